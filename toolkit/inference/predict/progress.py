"""A progress bar while recordings are labelled. Imports no torch."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


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
