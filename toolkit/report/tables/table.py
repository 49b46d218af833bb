"""A table: columns, rows, and what has to be said of it. Light to import."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from toolkit.report.tables.formats import TEXT, Format


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        key: its name in rows and in CSV files.
        head: what stands above it.
        format: of its values.
        group: what stands above several neighbouring columns.
    """

    key: str
    head: str
    format: Format = TEXT
    group: str = ""

    @property
    def whole_head(self) -> str:
        """Group and head in one, where there is only one line for both."""
        return f"{self.group} {self.head}".strip()


class Span(NamedTuple):
    """Neighbouring columns of one group."""

    group: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: of its files, without ending.
        title: what it shows, in one line.
        columns: the first one names the row.
        rows: values by column key.
        stamps: what has to be said wherever its figures stand.
        notes: how to read it.
        shown: how many rows a page shows; None: all. A CSV file has all of them.

    Raises:
        ValueError: if a row lacks a column, or two columns have one key.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]
    stamps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shown: int | None = None

    def __post_init__(self):
        for name in ("columns", "rows", "stamps", "notes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        keys = [column.key for column in self.columns]
        if len(set(keys)) < len(keys):
            raise ValueError(f"table {self.name!r} has two columns of one key: {keys}")
        for row in self.rows:
            missing = [key for key in keys if key not in row]
            if missing:
                raise ValueError(f"a row of table {self.name!r} has no {missing[0]!r}: {dict(row)}")

    @property
    def spans(self) -> list[Span]:
        """Its columns by group, in order."""
        return spans(self.columns)

    @property
    def shown_rows(self) -> tuple[Mapping[str, Any], ...]:
        """The rows that a page shows."""
        return self.rows[: self.shown]


def spans(columns: Sequence[Column]) -> list[Span]:
    """Neighbouring columns of one group together; a column without a group is alone.

    >>> columns = [Column("a", "a"), Column("b", "b", group="WA"), Column("c", "c", group="WA")]
    >>> [len(span.columns) for span in spans(columns)]
    [1, 2]
    """
    found = []
    for group, members in groupby(columns, key=lambda column: column.group):
        members = tuple(members)
        found += [Span(group, members)] if group else [Span("", (column,)) for column in members]
    return found
