"""What is shown while recordings are labelled: what is skipped, and a progress bar. Imports no torch."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Skipped:
    """Reports what is skipped, and counts it.

    Args:
        say: prints a line.
    """

    def __init__(self, say: Callable[[str], None]):
        self.say, self.count = say, 0

    def __call__(self, message: str) -> None:
        """Report why something is skipped."""
        self.count += 1
        self.say(f"skipped: {message}")


def progress(results: Iterable[T], *, total: int | None, shown: bool) -> Iterator[T]:
    """Pass results on, and draw a bar on standard error meanwhile.

    Args:
        results: what is passed on.
        total: how many there will be; None if that is not known.
        shown: whether to draw it.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(results, "labelling", total=total, console=console, transient=True, disable=not shown)
