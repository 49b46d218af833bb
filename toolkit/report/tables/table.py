"""A table: columns (each with a title, a value and a format), rows, stamps and notes; and what tables share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from toolkit.report.evidence import SystemRuns
from toolkit.report.tables.formats import INCOMPLETE, SYSTEM_NAME, TEXT, Format
from toolkit.statistics.metrics import Accuracies


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    key: str  # its name in CSV files
    title: str  # its heading
    format: Format = TEXT
    group: str = ""  # a heading above several neighbouring columns
    value: Callable[[Any], Any] | None = None  # of a row; by default the row's attribute called `key`

    def of(self, row: Any) -> Any:
        """Its value in a row."""
        return getattr(row, self.key) if self.value is None else self.value(row)


@dataclass(frozen=True)
class Table:
    """A table; `rows` are whatever its columns read, and are kept as mappings from column key to value."""

    name: str  # of its files, without ending
    title: str  # what it shows, in one line
    columns: Sequence[Column]  # the first one names the row
    rows: Sequence[Any]
    stamps: Sequence[str] = ()  # notes that must be shown wherever its figures are
    notes: Sequence[str] = ()  # how to read it
    shown: int | None = None  # how many rows a page shows, None for all; a CSV file has all

    def __post_init__(self):
        rows = tuple({column.key: column.of(row) for column in self.columns} for row in self.rows)
        object.__setattr__(self, "rows", rows)

    @property
    def shown_rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows that a page shows."""
        return self.rows[: self.shown]


SYSTEM = Column("system", "system", SYSTEM_NAME, value=lambda tested: tested)


def percent(metric: str) -> str:
    """The title of a metric's figures in percent."""
    return f"{metric.upper()} %"


def accuracy_column(
    metric: str, name: str, format: Format, accuracies_of_row: Callable[[Any], Accuracies | None]
) -> Column:
    """The column of a metric and of what `name` says."""
    key, group = f"{metric}_{name}", percent(metric)
    return Column(key, name, format, group, lambda row: getattr(accuracies_of_row(row), metric, None))


def incomplete_note(rows: Sequence[SystemRuns]) -> list[str]:
    """A note on the mark of incomplete systems, if a row has it."""
    if all(row.complete for row in rows):
        return []
    found = "accuracies are of finished ones, differences over common speakers and folds"
    return [f"{INCOMPLETE} Not all cells are done: {found}."]


def spans(columns: Iterable[Column]) -> list[tuple[str, tuple[Column, ...]]]:
    """Each group with its neighbouring columns; a column without a group stands alone.

    >>> columns = [Column("a", "a"), Column("b", "b", group="WA"), Column("c", "c", group="WA")]
    >>> [(group, len(members)) for group, members in spans(columns)]
    [('', 1), ('WA', 2)]
    """
    neighbours = groupby(columns, key=lambda column: (column.group, "" if column.group else column.key))
    return [(group, tuple(members)) for (group, _), members in neighbours]
