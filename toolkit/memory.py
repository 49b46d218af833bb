"""What a process takes of the memory it no longer uses: glibc keeps freed blocks, other C libraries are left alone."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGE = 2**20  # bytes


def give_back() -> None:
    """Give back what is not used; objects that refer to each other (a Brain and its checkpointer) included."""
    gc.collect()
    with _glibc() as libc:
        libc.malloc_trim(0)


def give_back_large_blocks(_worker: int = 0) -> None:
    """From now on in this process, give back each block of a megabyte or more when it is freed.

    For a DataLoader's workers (as their `worker_init_fn`): they make batches of many sizes, and the holes between
    them would add up to several hundred megabytes each. A training would wait for new pages in every step.
    """
    with _glibc() as libc:
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_TRIM_THRESHOLD, _LARGE)


@contextmanager
def _glibc() -> Iterator[ctypes.CDLL]:
    with suppress(AttributeError, OSError):
        yield ctypes.CDLL(None)
