"""Worker processes on this machine behind the interface of `concurrent.futures`, replaced when they die; no torch."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext
from queue import Empty, SimpleQueue
from typing import Any

from toolkit.errors import ExperimentError
from toolkit.experiment.calls import Answer, Call, answer, deliver
from toolkit.experiment.stoppable import StoppableExecutor


class LocalWorkers(StoppableExecutor):
    """Processes that take tasks in the order of their submission, one at a time each, and stay for the next task.

    A process starts with its first task. One that dies is replaced and does its task again; `stop` kills them all. They
    end with this process, however it ends. What a task returns should be small: a process that is killed while it
    writes more than a pipe holds (64 KiB) leaves its lane waiting for the rest.

    Args:
        jobs: how many processes.
        threads: that each may compute with (OMP_NUM_THREADS, MKL_NUM_THREADS).
        gpus: one for each process, as CUDA_VISIBLE_DEVICES takes it; empty leaves that as it is.
        attempts: how often in all a task is started whose process dies.
        on_death: gets a sentence for each process that dies in a task; called in the thread of its lane.

    Raises:
        ExperimentError: if a number is below 1, or GPUs and jobs are not as many.
    """

    def __init__(
        self,
        jobs: int,
        *,
        threads: int,
        gpus: Sequence[str | int] = (),
        attempts: int = 3,
        on_death: Callable[[str], None] | None = None,
    ):
        for name, value in (("jobs", jobs), ("threads", threads), ("attempts", attempts)):
            if value < 1:
                raise ExperimentError(f"{name} is {value}: at least 1 is needed.")
        if gpus and len(gpus) != jobs:
            raise ExperimentError(f"{jobs} jobs were given {len(gpus)} GPUs: each job takes one.")
        super().__init__()
        self._attempts = attempts
        self._on_death = on_death or (lambda description: None)
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._lanes = [_Lane(threads, str(gpus[i]) if gpus else None) for i in range(jobs)]
        for i, lane in enumerate(self._lanes):
            self._start(f"lane-{i}", self._feed, lane)

    def _put(self, call: Call) -> None:
        self._calls.put(call)

    def _end(self, *, cancel: bool) -> None:
        with contextlib.suppress(Empty):
            while cancel:
                call = self._calls.get_nowait()
                if call is not None:
                    call.cancel()
        for _ in self._lanes:
            self._calls.put(None)

    def _kill(self) -> None:
        for lane in self._lanes:
            lane.kill()

    def _feed(self, lane: "_Lane") -> None:
        while (call := self._calls.get()) is not None:
            if call.future.set_running_or_notify_cancel():
                self._do(lane, call)
            del call  # its result is not kept while the next one is waited for
        lane.close()

    def _do(self, lane: "_Lane", call: Call) -> None:
        try:
            answered = self._ask(lane, call.packed())
        except BaseException as error:
            call.future.set_exception(error)
        else:
            deliver(answered, call.future)

    def _ask(self, lane: "_Lane", packed: bytes) -> Answer:
        death = ""
        for start in range(1, self._attempts + 1):
            try:
                return lane.ask(packed)
            except BrokenProcessPool:
                death = lane.bury()
            if lane.killed:
                break
            again = f"its cell starts again ({start + 1} of {self._attempts})" if start < self._attempts else "given up"
            self._on_death(f"A worker process died ({death}): {again}.")
        if lane.killed:
            raise CancelledError("The workers were stopped in the middle of this cell.")
        times = "once" if self._attempts == 1 else f"{self._attempts} times"
        raise ExperimentError(
            f"The worker process died {times} on this cell (last: {death}): take fewer jobs or smaller batches if "
            "memory runs out; run this cell alone to see what else it is."
        )


class _Lane:
    """One process at a time, in a pool of its own: a pool is lost as a whole with any of its processes."""

    def __init__(self, threads: int, gpu: str | None):
        self.killed = False
        self._threads = threads
        self._gpu = gpu
        self._context = _Context()
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()  # no process starts after `kill`

    def ask(self, packed: bytes) -> Answer:
        """Have a packed call done by the process, started where there is none.

        Raises:
            BrokenProcessPool: if the process died.
        """
        with self._lock:
            if self.killed:
                raise CancelledError("The workers were stopped before this cell.")
            try:
                waiting = self._submit(packed)
            except BrokenProcessPool:  # it died between two tasks: no fault of this one
                self._bury()
                waiting = self._submit(packed)
        return waiting.result()

    def _submit(self, packed: bytes) -> Future:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1, mp_context=self._context, initializer=_begin, initargs=(self._threads, self._gpu)
            )
        # The new process inherits it: Ctrl-C must not reach it before it ignores it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self._pool.submit(answer, packed)
        except BrokenProcessPool:
            raise
        except BaseException:  # no process could be started; the call stays in this pool's queue
            self._pool = None
            raise

    def bury(self) -> str:
        """Forget the dead process; the next call starts another.

        Returns:
            What it died of.
        """
        with self._lock:
            return self._bury()

    def _bury(self) -> str:
        self._pool.shutdown()
        self._pool = None
        return cause_of_death(self._context.process.exitcode)

    def kill(self) -> None:
        """End the process at once, and start no other."""
        with self._lock:
            self.killed = True
            if self._pool is not None:
                self._context.process.kill()

    def close(self) -> None:
        """End the process, which has no task."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None


class _Context(SpawnContext):
    """Remembers the process that a pool starts: its exit code says what it died of."""

    process: multiprocessing.process.BaseProcess | None = None

    def Process(self, *args: Any, **kwargs: Any) -> multiprocessing.process.BaseProcess:  # noqa: N802 - their name
        self.process = super().Process(*args, **kwargs)
        return self.process


def cause_of_death(exit_code: int | None) -> str:
    """What a process died of, by the exit code that `multiprocessing` gives.

    >>> cause_of_death(-11)
    'killed by signal 11, SIGSEGV'
    >>> cause_of_death(3)
    'it ended itself with exit status 3'
    """
    if exit_code is None:
        return "its exit status is not known"
    if exit_code >= 0:
        return f"it ended itself with exit status {exit_code}"
    if exit_code == -signal.SIGKILL:
        return "killed by signal 9, which is what the kernel does when memory runs out"
    names = {s.value: s.name for s in signal.Signals}
    return f"killed by signal {-exit_code}, {names.get(-exit_code, 'which has no name')}"


def _begin(threads: int, gpu: str | None) -> None:
    """Prepare a new worker process before anything else happens in it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    if torch := sys.modules.get("torch"):  # imported by the main script of the parent, which spawn runs again
        torch.set_num_threads(threads)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
