"""What a system predicts for audio: values that cannot contradict each other, and rows of text. Imports no torch.

A table is for readers, CSV and JSON lines are for programs. Every row is written as soon as it is known, so that there
may be any number of them.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

from toolkit.errors import ShapeError

NO_LABEL = "-"  # in a table
_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Prediction:
    """The probability of every class for a recording, or for a segment of one.

    Args:
        probabilities: label -> probability, in the system's order of labels; they sum to 1.
        start_s: where it begins, in seconds from the start of the file or array.
        end_s: where it ends.
        segments: of a recording, the prediction for each segment, in order. The recording's probabilities are the
            softmax of the mean of the segments' log-probabilities, weighted as in training.

    Raises:
        ShapeError: if there are fewer than two classes, the probabilities do not sum to 1, or the end is not after
            the start.

    >>> prediction = Prediction({"ang": 0.25, "neu": 0.65, "sad": 0.10}, start_s=0.0, end_s=2.5)
    >>> prediction.label, round(prediction.margin, 2), prediction.seconds
    ('neu', 0.4, 2.5)
    >>> print(prediction.label_above(0.7))
    None
    """

    probabilities: Mapping[str, float]
    start_s: float = field(kw_only=True)
    end_s: float = field(kw_only=True)
    segments: tuple["Prediction", ...] = ()

    def __post_init__(self):
        if len(self.probabilities) < 2 or not abs(sum(self.probabilities.values()) - 1) <= _SUM_TOLERANCE:
            raise ShapeError(f"probabilities of two or more classes sum to 1; these do not: {dict(self.probabilities)}")
        if not self.start_s < self.end_s:
            raise ShapeError(f"from {self.start_s} s to {self.end_s} s there is no audio")

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


class Rows:
    """Writes predictions into a file.

    Args:
        file: what is written to.
        labels: the system's classes, in order.
        abstain: the confidence below which a prediction has no label; None gives every one its label.
        note: what must be shown beside every result.
    """

    def __init__(self, file: TextIO, labels: Sequence[str], *, abstain: float | None = None, note: str = ""):
        self.file, self.labels, self.abstain, self.note = file, labels, abstain, note

    def begin(self) -> None:
        """Write what comes before the rows."""

    def write(self, name: str, found: Prediction) -> None:
        """Write a row: what is labelled, and its prediction."""
        raise NotImplementedError

    def label(self, found: Prediction) -> str | None:
        """The label, or None if the system abstains."""
        return found.label if self.abstain is None else found.label_above(self.abstain)


class TableRows(Rows):
    """Columns for a reader; the path, which may be long, comes last."""

    def begin(self) -> None:
        """Write the header."""
        self._widths = {label: max(len("0.000"), len(label)) for label in self.labels}
        self._label_width = max(len("label"), *map(len, self.labels))
        labels = [f"{label:>{width}}" for label, width in self._widths.items()]
        self._line("start s", "  end s", f"{'label':<{self._label_width}}", *labels, "margin", "path")

    def write(self, name: str, found: Prediction) -> None:
        """Write a row."""
        label = self.label(found) or NO_LABEL
        cells = [f"{found.start_s:7.2f}", f"{found.end_s:7.2f}", f"{label:<{self._label_width}}"]
        cells += [f"{found.probabilities[label]:>{width}.3f}" for label, width in self._widths.items()]
        self._line(*cells, f"{found.margin:6.3f}", name)

    def _line(self, *cells: str) -> None:
        self.file.write("  ".join(cells) + "\n")


class CsvRows(Rows):
    """Columns path, start, end, label, margin, p_<label> of every class; note if there is one."""

    def begin(self) -> None:
        """Write the header."""
        self._writer = csv.writer(self.file, lineterminator="\n")
        columns = ["path", "start", "end", "label", "margin", *(f"p_{label}" for label in self.labels)]
        self._writer.writerow([*columns, "note"] if self.note else columns)

    def write(self, name: str, found: Prediction) -> None:
        """Write a row."""
        row = [name, f"{found.start_s:.3f}", f"{found.end_s:.3f}", self.label(found) or "", repr(found.margin)]
        row += [repr(found.probabilities[label]) for label in self.labels]
        self._writer.writerow([*row, self.note] if self.note else row)


class JsonRows(Rows):
    """A JSON object a line: path, start, end, label, margin, probabilities; note if there is one."""

    def write(self, name: str, found: Prediction) -> None:
        """Write a line."""
        row = {
            "path": name,
            "start": round(found.start_s, 3),
            "end": round(found.end_s, 3),
            "label": self.label(found),
            "margin": found.margin,
            "probabilities": dict(found.probabilities),
        }
        self.file.write(json.dumps({**row, "note": self.note} if self.note else row, ensure_ascii=False) + "\n")


FORMATS: dict[str, type[Rows]] = {"table": TableRows, "csv": CsvRows, "jsonl": JsonRows}
