"""Work that threads do while its results are used, in order."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from toolkit.data.cache.workers import wait_for_threads

Item, Result = TypeVar("Item"), TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """What `work` makes of each item, in order; threads are at most two results each ahead of the reader.

    Each thread calculates by itself: torch does not share its operations out among further ones. What `work` raises
    comes at its item's place; nothing more is begun then, or where the reader stops.

    Args:
        work: is called by several threads at once.
        items: are taken when there is room for their results.
        threads: how many work.

    >>> list(ahead(lambda number: number * number, range(5), threads=2))
    [0, 1, 4, 9, 16]
    """
    own = torch.get_num_threads()
    pending: deque[Future[Result]] = deque()
    begun: list[int] = []

    def begin() -> None:
        begun.append(threading.get_native_id())
        torch.set_num_threads(1)

    pool = ThreadPoolExecutor(threads, "ahead", initializer=begin)
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(own)  # what threads set is the default of all that begin later
        wait_for_threads(begun)
