"""What the contract suite returns: one Finding for each property, and how properties are run."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch

Case = TypeVar("Case")


@dataclass(frozen=True)
class Finding:
    """One property of one plugin.

    Args:
        property: its name; the function of that name in `toolkit.testing` says what it asks for.
        holds: whether the plugin has it.
        detail: where it does not: what was found, with the input that shows it.
    """

    property: str
    holds: bool
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.property}: {'holds' if self.holds else self.detail}"


class Violation(AssertionError):  # noqa: N818 - reads as the sentence it reports
    """A property does not hold; the text says what was found with which input."""


def require(condition: object, detail: str) -> None:
    """Raise Violation unless the condition is true."""
    if not condition:
        raise Violation(detail)


def examine(properties: Iterable[Callable[[Case], None]], case: Case) -> list[Finding]:
    """Try each property on the case, each from the same random state, which is put back afterwards."""
    findings = []
    for each in properties:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                each(case)
                findings.append(Finding(each.__name__, True))
            except Violation as violation:
                findings.append(Finding(each.__name__, False, str(violation)))
            except (Exception, SystemExit) as error:  # a plugin may raise anything
                findings.append(Finding(each.__name__, False, f"{type(error).__name__}: {error}"))
    return findings


def call_with(make: Callable[..., Any], context: Mapping[str, Any]) -> Any:
    """Call `make` with those context arguments that it names, as the core builds plugins.

    A function that takes `**context` gets them all; a class whose constructor does gets what it names, as in the core.

    >>> call_with(lambda size: size, {"size": 3, "classes": 4})
    3
    """
    parameters = inspect.signature(make).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if takes_any and plugin_class(make) is None:
        return make(**context)
    return make(**{name: value for name, value in context.items() if name in parameters})


def plugin_class(make: Callable[..., Any]) -> type | None:
    """The class behind a factory, or None."""
    while isinstance(make, partial):
        make = make.func
    return make if isinstance(make, type) else None
