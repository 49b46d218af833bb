"""An executor that can be stopped in the middle of its tasks; no torch."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from toolkit.experiment.calls import Call


class StoppableExecutor(Executor):
    """Takes tasks; threads of its own have them done elsewhere, the first one first.

    Leaving the `with` block waits for all tasks; leaving it by an exception, Ctrl-C's too, is `stop`. Subclasses start
    threads that end when it is shut down, and say what `_put`, `_end` and `_kill` mean.

    Attributes:
        closed: whether it takes no more tasks.
    """

    def __init__(self):
        self.closed = False
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def _start(self, name: str, serve: Callable, *args: Any) -> None:
        thread = threading.Thread(target=serve, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _put(self, call: Call) -> None:
        raise NotImplementedError

    def _end(self, *, cancel: bool) -> None:
        """Let the threads end when all tasks are done; with `cancel`, those that have not started are cancelled."""
        raise NotImplementedError

    def _kill(self) -> None:
        """Give the tasks up that have started."""
        raise NotImplementedError

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Put a task last in the queue.

        Args:
            fn: what the other process can import.
            args: of the function.
            kwargs: of the function.

        Returns:
            Its future. An exception of the task arrives unchanged, and the task is not tried again. An ExperimentError
            says that who did it was lost again and again; a CancelledError that it was stopped.

        Raises:
            RuntimeError: after `shutdown` and `stop`.
        """
        call = Call(Future(), fn, args, kwargs)
        with self._lock:
            if self.closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._put(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and end when the last one is done.

        Args:
            wait: whether to return only then; interrupted in it, `stop`.
            cancel_futures: whether to cancel the tasks that have not started.
        """
        with self._lock:
            self.closed = True
            self._end(cancel=cancel_futures)
        if wait:
            try:
                self._join()
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Cancel the tasks that have not started, and wait for no other."""
        with self._lock:
            self.closed = True
            self._end(cancel=True)
            self._kill()
        self._join()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        if kind is None:
            self.shutdown()
        else:
            self.stop()
        return False

    def _join(self) -> None:
        for thread in self._threads:
            while thread.is_alive() and thread is not threading.current_thread():  # as in a future's callback
                thread.join(1.0)  # Python can miss a Ctrl-C just before a wait; the next one sees it
