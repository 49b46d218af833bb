"""A table, and its Markdown, CSV and LaTeX, with its stamps in each."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from toolkit.files import csv_text, templates, to_cell
from toolkit.report.evidence import SystemRuns, incomplete_note, stamps_of
from toolkit.report.tables.formats import TEXT, Format

TEMPLATES = Path(__file__).parents[1] / "template"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_LATEX = {
    **{character: rf"\{character}" for character in "{}$&#%_"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # at the start of a row it would be an argument of the row before
    "]": "{]}",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
}


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    key: str  # its name in CSV files
    title: str  # its heading
    format: Format = TEXT
    group: str = ""  # a heading above several neighbouring columns
    value: Callable[[Any], Any] | None = None  # of a row; by default the row's attribute called `key`


class Table:
    """A table; its rows are mappings from column key to value."""

    def __init__(
        self,
        name: str,  # of its files, without ending
        title: str,  # what it shows, in one line
        columns: Sequence[Column],  # the first one names the row
        rows: Iterable[Any],  # whatever the columns read
        tested: Sequence[SystemRuns],  # what it is made from: their stamps are shown wherever its figures are
        notes: Sequence[str] = (),  # how to read it
        shown: int | None = None,  # how many rows a page shows, None for all; a CSV file has all
    ):
        self.name, self.title, self.columns = name, title, columns
        reads = {column.key: column.value or attrgetter(column.key) for column in columns}
        self.rows: list[Mapping[str, Any]] = [{key: read(row) for key, read in reads.items()} for row in rows]
        self.shown_rows = self.rows[:shown]
        self.stamps, self.notes = stamps_of(tested), [*notes, *incomplete_note(tested)]

    @property
    def spans(self) -> list[tuple[str, int]]:
        """Each group with the number of its neighbouring columns; a column without a group stands alone."""
        neighbours = groupby(self.columns, key=lambda column: (column.group, "" if column.group else column.key))
        return [(group, len([*members])) for (group, _), members in neighbours]

    def markdown(self) -> str:
        """A GitHub-flavoured table below its title, with stamps and notes around it."""
        return templates(TEMPLATES, escape=escape_markdown).get_template("table.md.j2").render(table=self)

    def csv(self) -> str:
        """All rows with plain numbers in full precision; the stamps are a last column `note`, as in a run's files."""
        head = [column.key + part for column in self.columns for part in column.format.parts]
        note = ["; ".join(self.stamps)] if self.stamps else []
        rows = [
            [value for column in self.columns for value in column.format.plain(row[column.key])] for row in self.rows
        ]
        return csv_text([[*head, "note"] if note else head, *([*map(to_cell, values), *note] for values in rows)])

    def latex(self) -> str:
        """A table environment for booktabs."""
        marks = {"variable_start_string": "<<", "variable_end_string": ">>"}  # braces are LaTeX's own
        return templates(TEMPLATES, escape=escape_latex, **marks).get_template("table.tex.j2").render(table=self)


SYSTEM = Column("system", "system", value=lambda tested: tested.name)


def percent(metric: str) -> str:
    """The title of a metric's figures in percent."""
    return f"{metric.upper()} %"


def escape_markdown(text: str) -> str:
    """Text that Markdown shows unchanged, in one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def escape_latex(text: str) -> str:
    """Text that LaTeX prints unchanged, in one line."""
    parts = re.split("-(?=-)", " ".join(str(text).split()))  # two hyphens would become a dash
    return "-{}".join(part.translate(str.maketrans(_LATEX)) for part in parts)
