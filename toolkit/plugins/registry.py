"""The plugins of all installed distributions: list them, choose one, build it.

A distribution's declaration is read by itself: a broken one is listed with its reason and costs nothing else. A class
is imported when it is asked for. Two distributions that declare one kind and name are ambiguous until the recipe
writes `distribution:name`.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any

from toolkit.errors import BrokenPlugin, PluginError, RecipeError, ToolkitError
from toolkit.hookspecs import BASES, CONTEXT, PluginSpec
from toolkit.plugins.catalogue import Candidate, Catalogue, PluginInfo
from toolkit.plugins.declarations import Declaration, from_entry_points, installed, read_declaration, reason
from toolkit.plugins.failures import Origin, remember_origin
from toolkit.plugins.probing import probe
from toolkit.plugins.signatures import check_arguments, read_arguments
from toolkit.recipe.locations import Location, inside

__all__ = [
    "PluginInfo",
    "Registry",
    "build",
    "check_args",
    "default_registry",
    "discover",
    "get_class",
    "list_plugins",
]


class Registry(Catalogue):
    """A catalogue whose plugins can be imported, checked and built."""

    def get_class(self, kind: str, name: str, *, where: Location | str = "") -> type:
        """Import a plugin's class.

        Args:
            kind: one of the kinds.
            name: as recipes write it, perhaps with "distribution:" before it.
            where: the plugin's place in the recipe, for messages.

        Raises:
            UnknownPlugin: says which name is nearest.
            AmbiguousPlugin: says what to write.
            BrokenPlugin: if it was written for another contract, or the class cannot be imported.
        """
        return _import(self.find(kind, name, where), where)

    def check_args(self, kind: str, name: str, args: Mapping[str, Any] | None, *, where: Location | str = "") -> dict:
        """Check a recipe's arguments against the class's signature; build nothing.

        Returns:
            The arguments, as the signature wants them.

        Raises:
            RecipeError: with the argument's place. PluginError: as `get_class`.
        """
        candidate = self.find(kind, name, where)
        cls = _import(candidate, where)
        return check_arguments(
            cls, args or {}, context=CONTEXT[kind], what=f"{kind} {candidate.spec.name!r}", where=where
        )

    def build(
        self,
        kind: str,
        name: str,
        args: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        *,
        where: Location | str = "",
    ) -> Any:
        """Make an instance of a plugin.

        Args:
            kind: one of the kinds.
            name: as recipes write it.
            args: the recipe's arguments, checked first.
            context: what the system gives; the constructor gets what it names of it.
            where: the plugin's place in the recipe: a Location, which knows its file, or a dotted path.

        Raises:
            RecipeError: if an argument does not fit, or the constructor refuses its value. PluginError: as `get_class`.
        """
        checked = self.check_args(kind, name, args, where=where)
        candidate = self.find(kind, name)
        cls = self.get_class(kind, name, where=where)
        named = {argument.name for argument in read_arguments(cls, CONTEXT[kind]) if argument.given}
        given = {key: value for key, value in (context or {}).items() if key in named}
        try:
            plugin = cls(**checked, **given)
        except (ToolkitError, ValueError) as error:
            text = " ".join(str(error).split())
            first = re.match(r"\w*", text)[0]  # a message that begins with an argument's name is about it
            place = inside(where, "args", first) if first in checked else inside(where, "args")
            kept = PluginError if isinstance(error, PluginError) else RecipeError
            raise kept(f"{place}: {kind} {name!r}: {text}") from error
        except (Exception, SystemExit) as error:
            place = f"{where}: " if where else ""
            raise PluginError(f"{place}{candidate} cannot be built: {reason(error)}") from error
        remember_origin(plugin, Origin(candidate, where))
        return plugin


def discover(entry_points: Iterable[EntryPoint] | None = None, *, refresh: bool = False) -> Registry:
    """Read the declarations of all installed distributions: our own here, those of others in subprocesses.

    Args:
        entry_points: read these and no others.
        refresh: ask other distributions again, whatever was kept of their answers.

    Returns:
        The registry; nothing a plugin does makes this fail.
    """
    declarations = installed() if entry_points is None else from_entry_points(entry_points)
    third_party = [d for d in declarations if not d.own and not d.problem]
    answers = dict(zip(third_party, probe(third_party, refresh=refresh), strict=True))
    return Registry((d, answers[d] if d in answers else _answer(d)) for d in declarations)


@cache
def default_registry() -> Registry:
    """The registry of this process, made when it is first asked for."""
    return discover()


def list_plugins(kind: str | None = None) -> list[PluginInfo]:
    """`Registry.list_plugins` of this process."""
    return default_registry().list_plugins(kind)


def get_class(kind: str, name: str, *, where: Location | str = "") -> type:
    """`Registry.get_class` of this process."""
    return default_registry().get_class(kind, name, where=where)


def check_args(kind: str, name: str, args: Mapping[str, Any] | None, *, where: Location | str = "") -> dict[str, Any]:
    """`Registry.check_args` of this process."""
    return default_registry().check_args(kind, name, args, where=where)


def build(
    kind: str,
    name: str,
    args: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    *,
    where: Location | str = "",
) -> Any:
    """`Registry.build` of this process."""
    return default_registry().build(kind, name, args, context, where=where)


def _answer(declaration: Declaration) -> list[PluginSpec] | BrokenPlugin:
    if declaration.problem:
        return BrokenPlugin(declaration.problem)
    try:
        return read_declaration(declaration.module)
    except BrokenPlugin as error:
        return error


def _import(candidate: Candidate, where: Location | str) -> type:
    spec = candidate.spec
    place = f"{inside(where, 'plugin')}: " if where else ""
    try:
        found = getattr(import_module(spec.module), spec.attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may also exit
        raise BrokenPlugin(f"{place}{candidate} cannot be imported ({spec.target}): {reason(error)}") from error
    if not isinstance(found, type):
        raise BrokenPlugin(f"{place}{candidate} cannot be used: {spec.target} is no class.")
    module, base = BASES[spec.kind].split(":")
    known = getattr(sys.modules.get(module), base, None)  # whoever derives from it has imported it
    if known is None or not issubclass(found, known):
        raise BrokenPlugin(f"{place}{candidate} cannot be used: {spec.target} is no {module}.{base}.")
    return found
