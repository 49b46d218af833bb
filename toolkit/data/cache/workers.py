"""Work that forked processes do, each by itself: where threads would wait for each other's Python."""

import ctypes
import multiprocessing
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

import torch

Item, Result = TypeVar("Item"), TypeVar("Result")

PATIENCE_S = 60.0  # without any result
_END_WITH_PARENT = 1  # Linux's PR_SET_PDEATHSIG


def can_fork() -> bool:
    """Whether this process may have such processes; elsewhere than on Linux, libraries do not expect it."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def forked(
    work: Callable[[Sequence[Item]], Iterable[Result]], items: Sequence[Item], *, processes: int
) -> Iterator[Result]:
    """What `work` yields of shares of the items, each share in a process of its own, as it comes.

    A process that fails, is killed or cannot begin ends without a word, its last results missing, and so do all where
    none has a result for a minute (a library that does not bear to be forked): whoever needs them does what is left
    itself, and meets an error where it can be told. Processes end with this one, and with the iterator.

    Args:
        work: of every `processes`-th item; what it yields must be picklable.
        items: are shared out.
        processes: how many work.
    """
    context = multiprocessing.get_context("fork")
    readers: list[Connection] = []
    children = []
    try:
        for share in range(processes):
            reader, writer = context.Pipe(duplex=False)
            readers.append(reader)
            child = context.Process(target=_serve, args=(work, items[share::processes], writer, readers), daemon=True)
            with warnings.catch_warnings(), suppress(OSError):  # no memory, or too many processes
                warnings.simplefilter("ignore", DeprecationWarning)  # that other threads run, which torch's do
                child.start()
                children.append(child)
            writer.close()  # or the end of the child would not be seen
        while ready := wait(readers, PATIENCE_S) if readers else []:
            for reader in ready:
                try:
                    yield reader.recv()
                except EOFError:
                    readers.remove(reader)
                    reader.close()
    finally:
        for child in children:
            child.kill()
            child.join()
        for reader in readers:
            reader.close()


def wait_for_threads(native_ids: Iterable[int]) -> None:
    """Wait until threads that have been joined are gone: on their way out they hold locks of libraries.

    A process that is forked meanwhile would wait for such a lock for ever: Intel's MKL takes one for its memory.
    """
    deadline = time.monotonic() + 1.0
    while any(Path(f"/proc/self/task/{one}").exists() for one in native_ids) and time.monotonic() < deadline:
        time.sleep(0.0005)


def _serve(
    work: Callable[[Sequence[Item]], Iterable[Result]],
    items: Sequence[Item],
    writer: Connection,
    readers: Sequence[Connection],
) -> None:
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent ends its children
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for reader in readers:
        reader.close()  # or the parent's end would not be seen
    torch.set_num_threads(1)
    with suppress(Exception):  # told by whoever does the rest; a closed pipe: nobody is there any more
        for result in work(items):
            writer.send(result)
