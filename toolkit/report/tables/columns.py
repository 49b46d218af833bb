"""Columns and notes that several tables share."""

from collections.abc import Sequence

from toolkit.report.evidence import SystemRuns
from toolkit.report.tables.formats import MARKED, Marked
from toolkit.report.tables.table import Column

INCOMPLETE = "†"


def percent(metric: str) -> str:
    """The title of a metric's figures in percent.

    >>> percent("wa")
    'WA %'
    """
    return f"{metric.upper()} %"


def marked(tested: SystemRuns) -> Marked:
    """A system's name, with a mark where cells are missing."""
    return Marked(tested.system, "" if tested.complete else INCOMPLETE)


SYSTEM = Column("system", "system", MARKED, value=marked)


def incomplete_note(rows: Sequence[SystemRuns]) -> list[str]:
    """The meaning of the mark, where a row has it."""
    if all(row.complete for row in rows):
        return []
    return [f"{INCOMPLETE} Not all cells are done: accuracies of what is there, differences over common speakers."]
