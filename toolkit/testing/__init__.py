"""The contract suite: properties that every plugin of a kind must have.

A plugin's own tests call `assert_contract`; `toolkit check-plugin KIND NAME` examines an installed plugin.
"""

import inspect
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pkgutil import resolve_name
from traceback import walk_tb
from typing import Any, ClassVar

import torch

from toolkit.errors import FailedPlugin, one_line
from toolkit.plugins.kinds import KINDS, kind_called
from toolkit.plugins.signatures import read_arguments
from toolkit.recipe.checks import Mismatch, check_value

__all__ = ["Case", "Finding", "Violation", "assert_contract", "case_class", "check_plugin", "contract", "require"]


@dataclass(frozen=True)
class Finding:
    """Whether one property holds for one plugin."""

    property: str  # its name
    holds: bool | None  # None: not tried, since a basic property does not hold
    detail: str = ""  # if it does not hold: what was found, with the input that shows it
    asks: str = ""  # what the property asks for
    error: BaseException | None = field(default=None, compare=False, repr=False)  # that the plugin raised

    def __str__(self) -> str:
        return f"{self.property}: {'holds' if self.holds else self.detail}"


class Violation(AssertionError):  # noqa: N818 - reads as the sentence it reports
    """A property does not hold; the message says what was found, with which input."""


def require(condition: object, detail: str) -> None:
    """Raise Violation unless the condition is true."""
    if not condition:
        raise Violation(detail)


def contract(function: Callable) -> Callable:
    """Mark a method of a Case as a property of the contract; its docstring says what it asks for."""
    function.is_property = True
    return function


@dataclass(frozen=True)
class Case:
    """A plugin to examine; each kind has a subclass with a method, marked by `contract`, for each property.

    `make` is the class, a partial of it with the recipe's arguments, or any function that returns a new plugin.
    """

    make: Callable[..., Any]  # called with the context arguments that it names
    kind: ClassVar[str]
    # Properties to try first: where one of them does not hold, the others would report its consequences.
    basic: ClassVar[tuple[str, ...]] = ("attributes_are_as_declared",)

    def context(self) -> dict[str, Any]:
        """The kind's context arguments, name -> value, from the attributes of these names."""
        return {name: copy(getattr(self, name)) for name in KINDS[self.kind].context}

    def build(self) -> Any:
        """A new plugin, given the context arguments that it names."""
        named = inspect.signature(self.make).parameters
        return self.make(**{name: value for name, value in self.context().items() if name in named})

    @classmethod
    def properties(cls) -> list[Callable[..., None]]:
        """The properties that the kind must have; a class drops an inherited one by setting it to None."""
        named = (vars(base).items() for base in reversed(cls.__mro__))
        found = [name for items in named for name, value in items if hasattr(value, "is_property")]
        names = dict.fromkeys(["arguments_are_documented", *cls.basic, *found])
        return [getattr(cls, name) for name in names if getattr(cls, name) is not None]

    def examine(self) -> list[Finding]:
        """Try the properties, each from the same random state; the caller's state is restored."""
        findings, missing = [], ""
        for each in self.properties():
            name, asks = each.__name__, " ".join((each.__doc__ or "").split())
            untried = None, f"not tried, since {missing} does not hold", None
            holds, detail, error = untried if missing else self._try(each)
            findings.append(Finding(name, holds, detail, asks, error))
            if holds is False and name in self.basic:
                missing = name
        return findings

    def _try(self, method: Callable[..., None]) -> tuple[bool, str, BaseException | None]:
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                method(self)
        except (Violation, FailedPlugin) as error:
            return False, str(error), None
        except (Exception, SystemExit) as error:
            return False, self._located(error), error
        return True, "", None

    def _located(self, error: BaseException) -> str:
        """An error that a plugin raised, with the line of its code, in one line."""
        steps = list(walk_tb(error.__traceback__))
        if isinstance(error, NotImplementedError) and not str(error):
            return f"it has no `{steps[-1][0].f_code.co_name}`"
        package = unwrapped(self.make).__module__.partition(".")[0]
        own = [step for step in steps if step[0].f_globals.get("__name__", "").partition(".")[0] == package]
        return one_line(error) + "".join(f" ({frame.f_code.co_filename}, line {line})" for frame, line in own[-1:])

    @contract
    def arguments_are_documented(self) -> None:
        """Constructor arguments are keyword-only, have annotations that fit the defaults, and are in the docstring."""
        cls = unwrapped(self.make)
        if not isinstance(cls, type) or cls.__init__ in (object.__init__, torch.nn.Module.__init__):
            return  # the arguments of a function say nothing about the plugin's
        for name, parameter in inspect.signature(cls).parameters.items():
            by_name = parameter.kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
            require(by_name, f"constructor argument {name!r} can be given by position: write it after `*`")
        for argument in read_arguments(cls):
            if argument.name not in KINDS[self.kind].context:
                require(not argument.problem, argument.problem)
                require(argument.meaning, f"{argument.name!r} is not explained under Args in the class's docstring")

    @contract
    def attributes_are_as_declared(self) -> None:
        """It derives from the base class of its kind, and its attributes have the types that are declared there."""
        plugin, base = Case.build(self), resolve_name(KINDS[self.kind].base)
        require(isinstance(plugin, base), f"{type(plugin).__name__} is not a {base.__module__}.{base.__name__}")
        for name, kind in base.__annotations__.items():
            require(hasattr(plugin, name), f"`{name}` is not set")
            value = getattr(plugin, name)
            require(value != "", f"{name} is empty")
            try:
                check_value(value, kind)
            except Mismatch as error:
                raise Violation(f"{name}: {error}") from None


def unwrapped(make: Callable[..., Any]) -> Callable[..., Any]:
    """The class or function that a partial calls."""
    return make.func if isinstance(make, partial) else make


def case_class(kind: str) -> type[Case]:
    """The class that examines a kind's plugins. Raises: PluginError if the kind is unknown."""
    return resolve_name(kind_called(kind).suite)


def check_plugin(
    kind: str, make: Callable[..., Any], args: Mapping[str, Any] | None = None, **options: Any
) -> list[Finding]:
    """Examine a plugin of any kind: a Finding for each property. Raises: PluginError if the kind is unknown.

    Args: make: as in `Case`; args: as in a recipe; options: arguments of the kind's `Case`, such as `folder`.
    """
    return case_class(kind)(partial(make, **args) if args else make, **options).examine()


def assert_contract(kind: str, make: Callable[..., Any], args: Mapping[str, Any] | None = None, **options: Any) -> None:
    """Raise AssertionError if a property does not hold, and list all that do not; arguments as for `check_plugin`."""
    findings = check_plugin(kind, make, args, **options)
    broken = [f"\n- {finding}" for finding in findings if finding.holds is False]
    untried = sum(finding.holds is None for finding in findings)
    if broken:
        rest = f"\n{untried} more were not tried." if untried else ""
        raise AssertionError(f"This {kind} breaks its contract:{''.join(broken)}{rest}")
