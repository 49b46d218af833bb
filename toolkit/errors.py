"""Errors that users can cause. A message is one line: what was found, where, the nearest valid name and what to do."""

import difflib
from collections.abc import Iterable


class ToolkitError(Exception):
    """Base of all errors that a user's input can cause; the commands print only its text, without a traceback."""


class PluginError(ToolkitError):
    """A plugin cannot be written, listed, chosen, imported, examined or built."""


class UnknownPlugin(PluginError):  # noqa: N818 - reads as the sentence it prints
    """No plugin of this kind has this name."""


class FailedPlugin(PluginError):  # noqa: N818
    """A plugin broke its contract while it was used: it returned a wrong value, or raised an unexpected error."""


class RecipeError(ToolkitError):
    """A recipe or an override does not describe a system that can be built."""


class CorpusError(ToolkitError):
    """A corpus folder or a manifest is not what the recipe needs."""


class ProtocolError(ToolkitError):
    """A protocol cannot split this corpus, or its `fold` has a speaker in two parts."""

    def __init__(self, message: str, fold: object = None):
        super().__init__(message)
        self.fold = fold


class AudioError(ToolkitError):
    """Audio cannot be used; `kind` is missing, unreadable, truncated, empty, out-of-range, not-finite or scale."""

    def __init__(self, message: str, kind: str = "unreadable"):  # unpickling gives the message alone
        super().__init__(message)
        self.kind = kind


class ShapeError(ToolkitError, ValueError):
    """A tensor does not have the shape that the contract states."""


class CheckpointError(ToolkitError):
    """A run's folder or checkpoint cannot be written, read or continued."""


class BundleError(ToolkitError):
    """A bundle cannot be written, read or used here."""


class PredictionError(ToolkitError):
    """Audio, a covariate or a label is not what a trained system needs."""


class ExperimentError(ToolkitError):
    """An experiment cannot be planned, run, continued or read."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, or None if none is like it."""
    return next(iter(difflib.get_close_matches(str(name), map(str, known), n=1, cutoff=0.6)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name nearest to `name`, or "" if none is like it."""
    near = nearest(name, known)
    return "" if near is None else f" Did you mean {near!r}?"


def join(items: Iterable[str], conjunction: str = "and") -> str:
    """Join items to a list in a sentence: a, b and c."""
    *most, last = items
    return f"{', '.join(most)} {conjunction} {last}" if most else last


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names for a message, cut if there are many: a, b, ... (3 in all)."""
    names = list(names)
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")


def counted(number: int, noun: str) -> str:
    """A number with its noun in the singular or plural: 1 cell, 0 cells."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def one_line(what: object) -> str:
    """An exception or any other object as one printable line of at most 400 characters.

    >>> one_line(ValueError("no more" + chr(10) + "than one")), one_line("a" + chr(27) + "[2J")
    ('ValueError: no more than one', 'a?[2J')
    """
    line = printable(f"{type(what).__name__}: {what}".rstrip(": ") if isinstance(what, BaseException) else str(what))
    return line if len(line) <= 400 else line[:397] + "..."


def printable(text: str) -> str:
    """Text as one line without control characters or lone surrogates, cut if it would fill a screen."""
    line = text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return line if len(line) <= 2000 else f"{line[:1500]} ... {line[-400:]}"
