"""Output on a terminal: tables as wide as it is, progress, durations, warnings of one line. No torch."""

import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from toolkit.errors import printable

EVERY_S = 30.0
LAST_LINE = "toolkit.last_line"  # when a command printed its last line, in click's context
WIDTH = 160  # columns if the output is not a terminal: wide enough that rows stay whole for a search

T = TypeVar("T")


class PlainConsole(Console):
    """A console that prints text as it is: without markup, emoji codes or control characters."""

    def __init__(self, **options):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options) -> Text:
        """Make a text printable; rich calls this for each line, cell and title."""
        return super().render_str(printable(text), **options)


def console_for_output() -> Console:
    """A console for standard output, as wide as the terminal."""
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=WIDTH)


def say(line: str) -> None:
    """Print a line on standard error; standard output is for results."""
    if ctx := click.get_current_context(silent=True):
        ctx.meta[LAST_LINE] = time.monotonic()
    click.echo(printable(line), err=True)


def clock(seconds: float) -> str:
    """A duration in hours, minutes and seconds.

    >>> clock(0.01), clock(0.44), clock(3.2), clock(605), clock(7384)
    ('below 0.1 s', '0.4 s', '3 s', '10 min 5 s', '2 h 3 min')
    """
    if seconds < 0.95:
        return "below 0.1 s" if seconds < 0.05 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def table_of(name: str, *figures: str, title: str | None = None) -> Table:
    """A table whose first column holds names, and the others figures, aligned right."""
    table = Table(title=title)
    table.add_column(name, overflow="fold")
    for column in figures:
        table.add_column(column, justify="right", overflow="fold")
    return table


def confusion_table(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Table:
    """The row-normalised confusion matrix, in percent."""
    table = table_of("", *labels, title="Confusion: of each class (row), the percentage predicted as (column)")
    for label, row in zip(labels, matrix, strict=True):
        total = sum(row)
        table.add_row(label, *(f"{100 * count / total:.1f}" if total else "-" for count in row))
    return table


def progress(results: Iterable[T], what: str, *, total: int | None, shown: bool) -> Iterator[T]:
    """Yield the results; meanwhile draw a bar on standard error if `shown`, else print their number every 30 s."""
    if shown:
        yield from track(results, what, total=total, console=PlainConsole(stderr=True), transient=True)
        return
    for number, result in enumerate(results, start=1):
        doing(f"{what} {number}" + ("" if total is None else f" of {total}"))
        yield result


def doing(what: str) -> None:
    """Say what a command is doing, after 30 s of silence; only outside of a terminal, and only on rank 0."""
    ctx, now = click.get_current_context(silent=True), time.monotonic()
    if ctx is None or sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":
        return
    if now >= ctx.meta.setdefault(LAST_LINE, now) + EVERY_S:
        say(f"{ctx.info_name}: {what} so far")


class _LineHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname}: {record.getMessage()}")


def quiet_libraries() -> None:
    """Route the `toolkit` logger to standard error; libraries print warnings and errors only."""
    logger = logging.getLogger("toolkit")
    if not any(isinstance(handler, _LineHandler) for handler in logger.handlers):
        logger.addHandler(_LineHandler())
    logger.propagate = False
    for name in ("speechbrain", "transformers"):
        logging.getLogger(name).setLevel(logging.WARNING)
