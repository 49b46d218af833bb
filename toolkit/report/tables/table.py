"""A table, the formats of its values, and its Markdown, CSV and LaTeX, with its stamps in each."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from toolkit.files import csv_text, templates, to_cell
from toolkit.report.evidence import SystemRuns, incomplete_note, stamps_of
from toolkit.statistics.metrics import Spread
from toolkit.terminal import clock

DASH = "\N{EN DASH}"  # an unknown value
MINUS = "\N{MINUS SIGN}"
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
    MINUS: "$-$",
    DASH: "--",
    "±": r"$\pm$",
    "→": r"$\rightarrow$",
}


@dataclass(frozen=True)
class Format:
    """The format of a column's values; of fractions of 1, a reader sees percent or points."""

    write: Callable[[Any], str]  # a known value -> text for a reader
    split: Callable[[Any], tuple] = lambda value: (value,)  # a known value -> one plain value for each part
    parts: tuple[str, ...] = ("",)  # suffixes of a value's CSV columns
    numeric: bool = True  # aligned to the right
    wraps: bool = False  # whether a page may wrap it

    def show(self, value: Any) -> str:
        """Text for a reader."""
        return DASH if value is None else self.write(value)

    def plain(self, value: Any) -> tuple:
        """One value for each part; None where the value is unknown."""
        return (None,) * len(self.parts) if value is None else self.split(value)


def signed(value: float) -> str:
    """A difference with its sign; a value that rounds to 0 has none."""
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", MINUS)


def _mean_and_sd(value: Spread) -> str:
    return f"{100 * value.mean:.2f}" + ("" if value.over_folds is None else f" ± {100 * value.over_folds:.2f}")


_ENDS = ("_low", "_high")
TEXT = Format(str, numeric=False)
LONG_TEXT = Format(str, numeric=False, wraps=True)
COUNT = Format(lambda v: f"{v:,}")
NUMBER = Format(lambda v: f"{v:.1f}")
SECONDS = Format(lambda v: f"{v:.2f}")
CLOCK = Format(clock)
PERCENT = Format(lambda v: f"{100 * v:.2f}")
NATS = Format(lambda v: f"{v:.3f}")
PERCENT_1 = Format(lambda v: f"{100 * v:.1f}")
INTERVAL = Format(lambda v: DASH.join(f"{100 * end:.2f}" for end in v), tuple, _ENDS)
POINTS = Format(lambda v: signed(100 * v))
POINTS_INTERVAL = Format(lambda v: " to ".join(signed(100 * end) for end in v), tuple, _ENDS)
P_VALUE = Format(lambda v: "< 0.001" if v < 0.001 else f"{v:.3f}")
DONE = Format(lambda v: f"{v[0]} of {v[1]}", tuple, ("_done", "_planned"))
OVER_FOLDS = Format(_mean_and_sd, lambda v: (v.mean, v.over_folds), ("_fold_mean", "_fold_sd"))
OVER_SEEDS = Format(lambda v: PERCENT.show(v.over_seeds), lambda v: (v.over_seeds,), ("_seed_sd",))


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
        # each group with the number of its neighbouring columns; a column without a group stands alone
        neighbours = groupby(columns, key=lambda column: (column.group, "" if column.group else column.key))
        self.spans = [(group, len([*members])) for (group, _), members in neighbours]

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


def escape_markdown(text: str) -> str:
    """Text that Markdown shows unchanged, in one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def escape_latex(text: str) -> str:
    """Text that LaTeX prints unchanged, in one line."""
    parts = re.split("-(?=-)", " ".join(str(text).split()))  # two hyphens would become a dash
    return "-{}".join(part.translate(str.maketrans(_LATEX)) for part in parts)
