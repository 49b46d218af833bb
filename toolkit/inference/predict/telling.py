"""What a reader is told while audio is labelled: what is skipped, what has to be said of results, how far it is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


class Skipped:
    """Says what is skipped and counts it.

    Args:
        say: prints a line for the reader.
    """

    def __init__(self, say: Callable[[str], None]):
        self.say, self.count = say, 0

    def __call__(self, message: str) -> None:
        """Say why something is skipped."""
        self.count += 1
        self.say(f"skipped: {message}")


def say_stamps(stamps: Sequence[str], say: Callable[[str], None]) -> None:
    """Say what has to be said of every result."""
    for stamp in stamps:
        say(f"NOTE: {stamp}")


def progress(results: Iterable[T], *, total: int | None, shown: bool) -> Iterator[T]:
    """Draw a bar on standard error while results come.

    Args:
        results: passed on.
        total: how many there will be; None where that is not known.
        shown: whether to draw it.
    """
    console = Console(stderr=True)
    yield from track(results, "labelling", total=total, console=console, transient=True, disable=not shown)
