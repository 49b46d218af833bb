"""Predictions, as values that check themselves and as rows of text. Imports no torch.

A table is for readers, CSV and JSON lines are for programs. Every row is written as soon as it is known, so that their
number is not limited.
"""

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from toolkit.errors import ShapeError
from toolkit.files import to_cell

NO_LABEL = "-"  # in a table
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # control characters, which a terminal would obey
_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Prediction:
    """The probability of every class for a recording, or for a segment of one.

    A recording's probabilities are the softmax of the mean of its segments' log-probabilities, weighted as in training.

    Raises: ShapeError if there are fewer than two probabilities, their sum is not 1, or the end is not after the start.

    >>> prediction = Prediction({"ang": 0.25, "neu": 0.65, "sad": 0.10}, start_s=0.0, end_s=2.5)
    >>> prediction.label, round(prediction.margin, 2), prediction.seconds
    ('neu', 0.4, 2.5)
    >>> print(prediction.label_above(0.7))
    None
    """

    probabilities: Mapping[str, float]  # by label, in the system's order; they sum to 1
    start_s: float = field(kw_only=True)  # where it begins, in seconds from the start of the file or array
    end_s: float = field(kw_only=True)
    segments: tuple["Prediction", ...] = ()  # a recording's predictions for its segments, in order

    def __post_init__(self):
        if len(self.probabilities) < 2 or not abs(sum(self.probabilities.values()) - 1) <= _SUM_TOLERANCE:
            raise ShapeError(f"probabilities of two or more classes sum to 1; these do not: {dict(self.probabilities)}")
        if not self.start_s < self.end_s:
            raise ShapeError(f"from {self.start_s} s to {self.end_s} s is not a stretch of audio")

    @property
    def label(self) -> str:
        """The class with the highest probability; the first one if several share it."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def confidence(self) -> float:
        """The highest probability."""
        return max(self.probabilities.values())

    @property
    def margin(self) -> float:
        """The highest probability minus the second highest."""
        second, best = sorted(self.probabilities.values())[-2:]
        return best - second

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.end_s - self.start_s

    def label_above(self, confidence: float) -> str | None:
        """The label, or None if its probability is below `confidence`."""
        return self.label if self.confidence >= confidence else None


RowWriter = Callable[[str, str | None, Prediction], None]  # writes a row: a name, its label if any, its prediction


def table_rows(file: TextIO, labels: Sequence[str], note: str) -> RowWriter:
    """Columns for a reader; the path, which may be long, comes last."""
    widths = {label: max(len("0.000"), len(label)) for label in labels}
    label_width = max(len("label"), *map(len, labels))

    def line(*cells: str) -> None:
        file.write(CONTROLS.sub("?", "  ".join(cells)) + "\n")

    def write(name: str, label: str | None, found: Prediction) -> None:
        cells = [f"{found.start_s:7.2f}", f"{found.end_s:7.2f}", f"{label or NO_LABEL:<{label_width}}"]
        cells += [f"{found.probabilities[known]:>{width}.3f}" for known, width in widths.items()]
        line(*cells, f"{found.margin:6.3f}", name)

    heads = [f"{label:>{width}}" for label, width in widths.items()]
    line("start s", "  end s", f"{'label':<{label_width}}", *heads, "margin", "path")
    return write


def csv_rows(file: TextIO, labels: Sequence[str], note: str) -> RowWriter:
    """Columns path, start, end, label, margin, p_<label> of every class; note if there is one."""
    row_writer, last = csv.writer(file, lineterminator="\n"), [to_cell(note)] if note else []

    def write(name: str, label: str | None, found: Prediction) -> None:
        row = [to_cell(name), f"{found.start_s:.3f}", f"{found.end_s:.3f}", to_cell(label or ""), repr(found.margin)]
        row_writer.writerow([*row, *(repr(found.probabilities[known]) for known in labels), *last])

    heads = ["path", "start", "end", "label", "margin", *(f"p_{label}" for label in labels)]
    row_writer.writerow([*heads, "note"] if note else heads)
    return write


def json_rows(file: TextIO, labels: Sequence[str], note: str) -> RowWriter:
    """A JSON object per line: path, start, end, label, margin, probabilities; note if there is one."""

    def write(name: str, label: str | None, found: Prediction) -> None:
        row = {"path": name, "start": round(found.start_s, 3), "end": round(found.end_s, 3), "label": label}
        row |= {"margin": found.margin, "probabilities": dict(found.probabilities)}
        file.write(json.dumps({**row, "note": note} if note else row, ensure_ascii=False) + "\n")

    return write


FORMATS = {"table": table_rows, "csv": csv_rows, "jsonl": json_rows}
