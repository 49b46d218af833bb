"""One installed plugin: import its class, check its arguments, build it, name it where it fails."""

import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import isfunction, signature
from pkgutil import resolve_name
from types import FrameType
from typing import Any, NoReturn

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from toolkit.errors import FailedPlugin, PluginError, RecipeError, ShapeError, ToolkitError, one_line
from toolkit.hookspecs import CONTRACT_VERSION, PluginSpec
from toolkit.plugins.declarations import Declaration
from toolkit.plugins.kinds import KINDS
from toolkit.plugins.signatures import check_arguments, read_arguments
from toolkit.recipe.checks import NOWHERE, Location, Mismatch, check_value

BUILT_BY = "_toolkit_origin"  # attribute of what another distribution's plugin built: the Plugin, for messages


@dataclass(frozen=True)
class Plugin:
    """A plugin and the declaration that lists it."""

    spec: PluginSpec
    declaration: Declaration
    where: Location = NOWHERE  # its location in a recipe, for messages

    def __str__(self):
        return f"{self.spec.kind} {self.spec.name!r} from {self.declaration}"

    @property
    def full_name(self) -> str:
        """The name with its distribution, unambiguous in every installation."""
        return f"{self.declaration.distribution}:{self.spec.name}"

    @property
    def package(self) -> str:
        """The importable top-level name that holds the class."""
        return re.match(r"\w+", self.spec.target)[0]

    @property
    def context(self) -> tuple[str, ...]:
        """Names of the constructor arguments that the system gives."""
        return KINDS[self.spec.kind].context

    @property
    def problem(self) -> str:
        """Why it cannot be used here and what to do; "" if it can."""
        kind, contract = self.spec.kind, self.spec.contract
        if kind not in KINDS:
            return f"kind {kind!r} of plugin {self.spec.name!r} is not one of {', '.join(KINDS)}"
        try:
            if SpecifierSet(contract).contains(str(CONTRACT_VERSION)):
                return ""
        except InvalidSpecifier:
            return f"contract {contract!r} of plugin {self.spec.name!r} is not a range, for example '>=1,<2'"
        remedy = f"install a release of {self.declaration.distribution} for contract {CONTRACT_VERSION}, or a toolkit"
        problem = f"it was written for contract {contract}, and this toolkit has contract {CONTRACT_VERSION}"
        return f"{problem}; {remedy} with contract {contract}"

    def load(self) -> type:
        """Import the class. Raises: PluginError if it cannot be imported, or is not a class of its kind."""
        named, base = f"{self.where.before('plugin')}{self}", KINDS[self.spec.kind].base
        try:
            found = resolve_name(self.spec.target)
        except (Exception, SystemExit) as error:
            raise PluginError(f"{named} cannot be imported ({self.spec.target}): {one_line(error)}") from error
        if not (isinstance(found, type) and issubclass(found, resolve_name(base))):
            raise PluginError(f"{named} cannot be used: {self.spec.target} is not a {base.replace(':', '.')}.")
        return found

    def check_args(self, args: Mapping[str, Any] | None) -> dict[str, Any]:
        """A recipe's arguments, checked and converted by the class's signature; errors as for `check_arguments`."""
        what = f"{self.spec.kind} {self.spec.name!r}"
        return check_arguments(self.load(), args or {}, context=self.context, what=what, where=self.where)

    def build(self, args: Mapping[str, Any] | None = None, context: Mapping[str, Any] | None = None) -> Any:
        """Make an instance from a recipe's arguments and those context arguments that its constructor names."""
        cls, checked = self.load(), self.check_args(args)
        given = {each.name: context[each.name] for each in read_arguments(cls) if each.name in (context or {})}
        try:
            built = cls(**checked, **given)
        except (ToolkitError, ValueError) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            text = text.replace("--args.", f"--{self.where.child('args').path}.")
            first = re.match(r"\w*", text)[0]  # a message that begins with an argument's name is about it
            at = self.where.child("args", *([first] if first in checked else []))
            error_type = PluginError if isinstance(error, PluginError) else RecipeError
            raise error_type(f"{at}: {self.spec.kind} {self.spec.name!r}: {text}") from error
        except (Exception, SystemExit) as error:
            raise PluginError(f"{self.where.before()}{self} cannot be built: {one_line(error)}") from error
        if problem := misdeclared(built, resolve_name(KINDS[self.spec.kind].base)):
            raise PluginError(f"{self.where.before()}{self} cannot be used: {problem}")
        if not self.declaration.own:
            vars(built)[BUILT_BY] = self  # bypasses __setattr__, which nn.Module and frozen dataclasses replace
        return built


def misdeclared(plugin: Any, base: type) -> str:
    """Why the core could not or would not call what a plugin implements for it; "" if it would."""
    if "reads" in base.__annotations__:
        try:
            check_value(plugin.reads, base.__annotations__["reads"])
        except Mismatch as error:
            return f"`reads`: {error}"
    methods = {name: [*signature(method).parameters][1:] for name, method in vars(base).items() if isfunction(method)}
    for name, given in methods.items():
        try:
            signature(getattr(plugin, name)).bind(*given)
        except ValueError:  # nothing says what it takes
            continue
        except TypeError as error:
            return f"`{name}` cannot be called with ({', '.join(given)}): {error}."
    owners = (owner for owner in (plugin, *type(plugin).__mro__) if owner is not base)
    if not hasattr(base, "fits") or type(plugin).fit is base.fit or any("fits" in vars(owner) for owner in owners):
        return ""
    return "its `fit` would never be called, since `fits` is not set: set it to True, or to False if it learns nothing."


def require_rule(part: Any, member: str, holds: bool, rule: str, found: Any) -> None:
    """Raise FailedPlugin unless an attribute of a plugin, or what its method returned, keeps the contract's rule."""
    if not holds:
        shown = found if isinstance(found, str) else described(found)
        blame(part, f"`{member}` must give {rule}, and gave {shown}.")


def blame(part: Any, problem: str) -> NoReturn:
    """Raise FailedPlugin: the plugin that built a part, its location in the recipe, and what is wrong with it."""
    plugin = vars(part).get(BUILT_BY)
    raise FailedPlugin(_about(plugin, f": {problem}") if plugin else f"{type(part).__name__}: {problem}")


def described(value: Any) -> str:
    """A value in words: its type, and its shape and dtype if it has them."""
    is_seq = type(value).__name__ == "Seq"
    tensor, lengths = (value.values, f" with lengths of {value.lengths.dtype}") if is_seq else (value, "")
    if (shape := getattr(tensor, "shape", None)) is not None:
        return one_line(f"a {type(value).__name__} {list(shape)} of {getattr(tensor, 'dtype', '?')}{lengths}")
    return "None" if value is None else one_line(f"a {type(value).__name__}: {value!r}")[:120]


def _about(plugin: Plugin, text: str) -> str:
    command = f"`toolkit check-plugin {plugin.spec.kind} {plugin.full_name}`"
    return f"{plugin.where.before()}{plugin}{text} {command} tries the plugin out."


@contextmanager
def plugin_failures() -> Iterator[None]:
    """Turn an error in a plugin into a FailedPlugin; other errors pass unchanged.

    A plugin is at fault if one of its methods ran, even if it called our code and that failed. A ToolkitError other
    than a ShapeError is the plugin's own message to the user and passes.
    """
    try:
        yield
    except BaseException as error:  # a plugin may even exit
        passes = isinstance(error, (ToolkitError, KeyboardInterrupt)) and not isinstance(error, ShapeError)
        if passes or (line := _blame(error)) is None:
            raise
        raise FailedPlugin(line) from error


def _blame(error: BaseException) -> str | None:
    """The error in one line; None if no plugin is at fault."""
    steps = list(traceback.walk_tb(error.__traceback__))  # each call's frame and line, the one that raised last
    plugins = [plugin for frame, _ in steps if (plugin := _plugin(frame))]
    raised_in, _ = steps[-1]
    by_us = _package(raised_in) in ("toolkit", "toolkit_plugins")
    if not plugins or (isinstance(error, ShapeError) and not by_us):
        return None
    plugin = plugins[-1]
    if isinstance(error, NotImplementedError) and by_us:
        return _about(plugin, f" has no `{raised_in.f_code.co_name}`, which its contract requires.")
    own = [(frame.f_code, line) for frame, line in steps if _package(frame) == plugin.package]
    method, place = "forward", plugin.spec.target
    if own:
        (first, _), (last, line) = own[0], own[-1]
        method, place = first.co_name, f"{last.co_filename}, line {line}"
    return _about(plugin, f": `{method}` raised {one_line(error)} ({place}).")


def _plugin(frame: FrameType) -> Plugin | None:
    """The plugin that built the object whose method runs in a frame."""
    return getattr(frame.f_locals.get("self"), "__dict__", {}).get(BUILT_BY)


def _package(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "").partition(".")[0]
