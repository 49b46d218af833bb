"""Predictions as rows of text: a table for readers, CSV and JSON lines for programs. Imports no torch.

Every row is written as soon as it is known, so that there may be any number of them.
"""

import csv
import json
from collections.abc import Sequence
from typing import TextIO

from toolkit.inference.predict.predictions import Prediction

NO_LABEL = "-"  # in a table


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
