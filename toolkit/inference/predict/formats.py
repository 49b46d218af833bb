"""Answers as rows of text: a table for readers, CSV and JSON lines for programs. Imports no torch.

Every row is written when it is known, so that there may be any number of them.
"""

import csv
import json
from collections.abc import Sequence
from typing import TextIO

from toolkit.inference.predict.predictions import Answer

NO_LABEL = "-"  # in a table


class Rows:
    """Writes answers into a file.

    Args:
        file: what is written to.
        labels: the system's classes, in order.
        abstain: the confidence under which an answer has no label; None gives every one its label.
        note: what has to be said of every result.
    """

    def __init__(self, file: TextIO, labels: Sequence[str], *, abstain: float | None = None, note: str = ""):
        self.file, self.labels, self.abstain, self.note = file, labels, abstain, note

    def begin(self) -> None:
        """Write what stands before the rows."""

    def write(self, name: str, answer: Answer) -> None:
        """Write a row: what is labelled, and the answer."""
        raise NotImplementedError

    def label(self, answer: Answer) -> str | None:
        """The label, or None where the system abstains."""
        return answer.label if self.abstain is None else answer.label_above(self.abstain)


class CsvRows(Rows):
    """Columns path, start, end, label, margin, p_<label> of every class; note where there is one."""

    def begin(self) -> None:
        """Write the header."""
        self._writer = csv.writer(self.file, lineterminator="\n")
        columns = ["path", "start", "end", "label", "margin", *(f"p_{label}" for label in self.labels)]
        self._writer.writerow([*columns, "note"] if self.note else columns)

    def write(self, name: str, answer: Answer) -> None:
        """Write a row."""
        row = [name, f"{answer.start_s:.3f}", f"{answer.end_s:.3f}", self.label(answer) or "", repr(answer.margin)]
        row += [repr(answer.probabilities[label]) for label in self.labels]
        self._writer.writerow([*row, self.note] if self.note else row)


class JsonRows(Rows):
    """A JSON object a line: path, start, end, label, margin, probabilities; note where there is one."""

    def write(self, name: str, answer: Answer) -> None:
        """Write a line."""
        row = {
            "path": name,
            "start": round(answer.start_s, 3),
            "end": round(answer.end_s, 3),
            "label": self.label(answer),
            "margin": answer.margin,
            "probabilities": dict(answer.probabilities),
        }
        self.file.write(json.dumps({**row, "note": self.note} if self.note else row, ensure_ascii=False) + "\n")


class TableRows(Rows):
    """Columns for the eye; the path, which may be long, comes last."""

    def begin(self) -> None:
        """Write the columns' names."""
        labels = [f"{label:>{self._width(label)}}" for label in self.labels]
        self._line("start s", "  end s", f"{'label':<{self._label_width}}", *labels, "margin", "path")

    def write(self, name: str, answer: Answer) -> None:
        """Write a row."""
        label = self.label(answer) or NO_LABEL
        shares = [f"{p:>{self._width(label)}.3f}" for label, p in answer.probabilities.items()]
        times = (f"{answer.start_s:7.2f}", f"{answer.end_s:7.2f}")
        self._line(*times, f"{label:<{self._label_width}}", *shares, f"{answer.margin:6.3f}", name)

    @property
    def _label_width(self) -> int:
        return max(len("label"), *map(len, self.labels))

    def _width(self, label: str) -> int:
        return max(len("0.000"), len(label))

    def _line(self, *cells: str) -> None:
        self.file.write("  ".join(cells) + "\n")


FORMATS: dict[str, type[Rows]] = {"table": TableRows, "csv": CsvRows, "jsonl": JsonRows}
