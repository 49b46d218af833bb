"""The plugins of all installed distributions: listed, and found by kind and name. Imports none of them.

Declarations are read separately: a broken one is listed with its reason and the others work. If two distributions
declare the same kind and name, a recipe has to write `distribution:name`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from packaging.utils import canonicalize_name

from toolkit.errors import AmbiguousPlugin, BrokenPlugin, UnknownPlugin, did_you_mean, join
from toolkit.hookspecs import PluginSpec
from toolkit.plugins.declarations import Declaration, has_module, installed
from toolkit.plugins.kinds import KINDS, kind_called
from toolkit.plugins.plugin import Plugin
from toolkit.plugins.probing import read_declarations
from toolkit.recipe.locations import NOWHERE, Location
from toolkit.recipe.schema import PartSpec

LIST = "`toolkit list-plugins` lists all."


@dataclass(frozen=True)
class PluginInfo:
    """What is known about a plugin without importing it."""

    kind: str | None  # as declared; None for a broken declaration, which may hold several
    name: str  # as recipes write it; the entry point's name for a broken declaration
    distribution: str
    version: str
    summary: str
    status: Literal["ok", "broken", "ambiguous"]  # ambiguous: another distribution declares the same kind and name
    error: str | None = None  # why it is broken, or how to choose


class Registry:
    """The declared plugins; `answers` are all declarations, each with its plugins or the reason why it is broken."""

    def __init__(self, answers: Iterable[tuple[Declaration, list[PluginSpec] | BrokenPlugin]]):
        self._plugins: list[Plugin] = []
        self._misfits: list[tuple[Plugin, str]] = []  # and the reason why it cannot be used
        self._broken: list[PluginInfo] = []
        for d, answer in answers:
            if isinstance(answer, BrokenPlugin):
                self._broken.append(PluginInfo(None, d.name, d.distribution, d.version, "", "broken", str(answer)))
                continue
            for plugin in (Plugin(spec, d) for spec in answer):
                problem = plugin.problem
                if any((p.spec.kind, p.full_name) == (plugin.spec.kind, plugin.full_name) for p in self._plugins):
                    problem = problem or f"{d.distribution} declares it twice; the first declaration counts"
                if problem:
                    self._misfits.append((plugin, problem))
                else:
                    self._plugins.append(plugin)

    def list_plugins(self, kind: str | None = None) -> list[PluginInfo]:
        """All plugins, or those of one kind, by kind and name; broken ones of unknown kind come last.

        Raises: PluginError if the kind is unknown.
        """
        if kind is not None:
            kind_called(kind)
        infos = []
        for plugin in self._plugins:
            others = self._called(plugin.spec.kind, plugin.spec.name)
            names = dict.fromkeys(p.declaration.distribution for p in others if p.declaration != plugin.declaration)
            module = plugin.spec.target.partition(":")[0]
            if not plugin.declaration.own and not has_module(module):
                infos.append(_info(plugin, "broken", f"module {module} does not exist"))
            else:
                hint = f"also declared by {join(names)}; write {plugin.full_name!r}" if names else None
                infos.append(_info(plugin, "ambiguous" if names else "ok", hint))
        infos += [_info(plugin, "broken", problem) for plugin, problem in self._misfits] + self._broken
        order = {known: index for index, known in enumerate(KINDS)}
        infos.sort(key=lambda info: (order.get(info.kind, len(order)), info.name, info.distribution))
        return [info for info in infos if kind in (None, info.kind)]

    def kind_of(self, name: str) -> str:
        """The only kind in which a name, or distribution:name, is declared.

        Raises: UnknownPlugin, with the nearest name, if there is none; AmbiguousPlugin if there are several;
            BrokenPlugin if it is declared for an unknown kind.
        """
        kinds = self._kinds_of(name)
        if len(kinds) > 1:
            raise AmbiguousPlugin(f"{name!r} is the name of {join(kinds)}; say which, for example {kinds[0]} {name}.")
        if not kinds:
            self._refuse_misfits(None, name)
            near = did_you_mean(name, sorted({plugin.spec.name for plugin in self._plugins}))
            raise UnknownPlugin(f"No plugin is called {name!r}.{near}{self._note()} {LIST}")
        return kinds[0]

    def find(self, kind: str, name: str, where: Location = NOWHERE) -> Plugin:
        """The plugin of a kind that a recipe's name means.

        Args: kind: one of the kinds; name: as recipes write it, perhaps with "distribution:" before it; where: the
            plugin's location in the recipe, for messages.
        Raises: PluginError if the kind is unknown; UnknownPlugin, with the nearest name, if no plugin matches;
            AmbiguousPlugin, with what to write, if several do; BrokenPlugin if it cannot be used here.
        """
        kind_called(kind)
        found = sorted(self._called(kind, name), key=lambda plugin: plugin.full_name)
        at = where.before("plugin")
        if len(found) == 1:
            return replace(found[0], where=where)
        if found:
            choices = join((repr(plugin.full_name) for plugin in found), conjunction="or")
            raise AmbiguousPlugin(f"{at}{join(map(str, found))} have the same name. Write {choices}.")
        self._refuse_misfits(kind, name, at)
        same_kind = [plugin for plugin in self._plugins if plugin.spec.kind == kind]
        known = [*(p.spec.name for p in same_kind), *(p.full_name for p in same_kind if ":" in name)]
        hint = did_you_mean(name, known)
        if other := self._kinds_of(name):
            hint = f" Its kind is {join(other, 'or')}."
        raise UnknownPlugin(f"{at}No {kind} is called {name!r}.{hint}{self._note()} {LIST}")

    def _refuse_misfits(self, kind: str | None, name: str, at: str = "") -> None:
        """Raise BrokenPlugin if a declaration that cannot be used has this name, and this kind or an unknown one."""
        for plugin, problem in self._misfits:
            if (plugin.spec.kind == kind or plugin.spec.kind not in KINDS) and _is_called(plugin, name):
                raise BrokenPlugin(f"{at}{plugin} cannot be used: {problem}.")

    def _called(self, kind: str, name: str) -> list[Plugin]:
        return [plugin for plugin in self._plugins if plugin.spec.kind == kind and _is_called(plugin, name)]

    def _kinds_of(self, name: str) -> list[str]:
        misfits = [plugin for plugin, _ in self._misfits]
        kinds = {plugin.spec.kind for plugin in self._plugins if _is_called(plugin, name)}
        kinds = kinds or {plugin.spec.kind for plugin in misfits if _is_called(plugin, name)}
        return [kind for kind in KINDS if kind in kinds]

    def _note(self) -> str:
        """Broken declarations, any of which may declare the plugin that is looked for."""
        broken = dict.fromkeys(info.distribution for info in self._broken)
        return f" These are broken and may declare it: {join(broken)}." if broken else ""


def discover(declarations: Sequence[Declaration] | None = None, *, refresh: bool = False) -> Registry:
    """Read what distributions declare, by default all that are installed. No plugin can make this fail.

    `refresh` reads those of other distributions again instead of using cached answers.
    """
    declarations = installed() if declarations is None else declarations
    return Registry(zip(declarations, read_declarations(declarations, refresh=refresh), strict=True))


@cache
def default_registry() -> Registry:
    """The registry of this process, made at the first call."""
    return discover()


def find_part(kind: str, part: PartSpec) -> Plugin:
    """The plugin that a part of a recipe names; errors as for `Registry.find`."""
    return default_registry().find(kind, part.plugin, part.where)


def build(kind: str, part: PartSpec, context: Mapping[str, Any] | None = None) -> Any:
    """Build the plugin that a part of a recipe names, with its arguments; errors as for `Plugin.build`."""
    return find_part(kind, part).build(part.args, context)


def _info(plugin: Plugin, status: str, error: str | None) -> PluginInfo:
    spec, declaration = plugin.spec, plugin.declaration
    return PluginInfo(spec.kind, spec.name, declaration.distribution, declaration.version, spec.summary, status, error)


def _is_called(plugin: Plugin, name: str) -> bool:
    distribution, colon, short = name.rpartition(":")
    found = canonicalize_name(plugin.declaration.distribution)
    return plugin.spec.name == short and (not colon or canonicalize_name(distribution) == found)
