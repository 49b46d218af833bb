"""A call on its way to another process and back, so that nothing in it can break the process or the way; no torch.

>>> call = Call(Future(), divmod, (7, 2))
>>> deliver(answer(call.packed()), call.future)
>>> call.future.result()
(3, 1)
"""

import contextlib
import pickle
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import MappingProxyType
from typing import Any, NamedTuple

from toolkit.errors import ExperimentError


class Call(NamedTuple):
    """A function to be called elsewhere, and the future of what comes of it."""

    future: Future
    function: Callable
    args: tuple = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})

    def packed(self) -> bytes:
        """As bytes. The function is sent by its name: the other process imports it.

        Raises:
            Exception: whatever pickle raises where the function or an argument cannot be sent.
        """
        return pickle.dumps((self.function, self.args, dict(self.kwargs)))

    def cancel(self) -> None:
        """Cancel what has not started, and wake who waits for it."""
        self.future.cancel()
        self.future.set_running_or_notify_cancel()


class Answer(NamedTuple):
    """What came of a call: nothing in it but bytes and text, which every process can read.

    Args:
        value: what the call returned or raised, pickled; None for an exception that pickle refuses.
        raised: what the call raised, as "ValueError: text"; None where it returned.
        trace: the traceback of what it raised.
    """

    value: bytes | None
    raised: str | None = None
    trace: str = ""


class _Trace(Exception):  # noqa: N818 - never raised: shown as the cause of an exception from another process
    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def answer(packed: bytes) -> Answer:
    """Do a packed call, in the other process.

    Returns:
        What it returned or raised; where that cannot be pickled, what pickle raised.
    """
    try:
        function, args, kwargs = pickle.loads(packed)
        return Answer(pickle.dumps(function(*args, **kwargs)))
    except BaseException as error:
        text, trace = _one_line(error), traceback.format_exc()
        try:
            value = pickle.dumps(error)
        except Exception:
            value = None
        return Answer(value, text, trace)


def deliver(answered: Answer, future: Future) -> None:
    """Give a future what its call returned or raised, back in the process that asked.

    An exception that cannot be read here arrives as an ExperimentError with its type and text. Where it was raised in
    the other process is shown as its cause.
    """
    if answered.raised is not None:
        future.set_exception(_exception(answered))
        return
    try:
        result = pickle.loads(answered.value)
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _exception(answered: Answer) -> BaseException:
    error = None
    if answered.value is not None:
        with contextlib.suppress(Exception):  # exceptions with arguments of their own often cannot be made again
            error = pickle.loads(answered.value)
    if not isinstance(error, BaseException):
        error = ExperimentError(f"The worker raised {answered.raised}")
    error.__cause__ = _Trace(answered.trace)
    return error


def _one_line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # an exception whose text cannot be had
        text = ""
    return f"{type(error).__name__}: {text}"
