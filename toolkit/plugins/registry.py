"""The plugins of all installed distributions: listed, found by kind and name, with their versions. Imports none."""

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import distributions, version
from typing import Any, Literal

from packaging.utils import canonicalize_name

from toolkit.errors import PluginError, UnknownPlugin, did_you_mean, join
from toolkit.files import DISTRIBUTION
from toolkit.hookspecs import PluginSpec
from toolkit.plugins.declarations import Declaration, has_module, installed, read_declarations, source_files
from toolkit.plugins.kinds import KINDS, kind_called, parts
from toolkit.plugins.plugin import Plugin
from toolkit.recipe.checks import NOWHERE, Location
from toolkit.recipe.schema import PartSpec, Recipe

LIBRARIES = ("torch", "torchaudio", "speechbrain", "transformers", "numpy", "soundfile", "soxr")


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

    def __init__(self, answers: Iterable[tuple[Declaration, list[PluginSpec] | str]]):
        self._plugins: list[Plugin] = []  # those with a `problem` too
        self._broken: list[tuple[Declaration, str]] = []
        for declaration, answer in answers:
            if isinstance(answer, str):
                self._broken.append((declaration, answer))
            else:
                self._plugins += dict.fromkeys(Plugin(spec, declaration) for spec in answer)

    def list_plugins(self, kind: str | None = None) -> list[PluginInfo]:
        """All plugins, or those of one kind, by kind and name; broken ones of unknown kind come last."""
        if kind is not None:
            kind_called(kind)
        infos = [PluginInfo(None, d.name, d.distribution, d.version, "", "broken", why) for d, why in self._broken]
        for plugin in self._plugins:
            spec, d, module = plugin.spec, plugin.declaration, plugin.spec.target.partition(":")[0]
            same = [other for other in self._called(spec.name) if other.spec.kind == spec.kind and not other.problem]
            status, error = "ok", None
            if plugin.problem or not has_module(module):
                status, error = "broken", plugin.problem or f"the module {module} is missing"
            elif others := [other.declaration.distribution for other in same if other != plugin]:
                status, error = "ambiguous", f"also declared by {join(others)}; write {plugin.full_name!r}"
            infos.append(PluginInfo(spec.kind, spec.name, d.distribution, d.version, spec.summary, status, error))
        order = {known: index for index, known in enumerate(KINDS)}
        infos.sort(key=lambda info: (order.get(info.kind, len(order)), info.name, info.distribution))
        return [info for info in infos if kind in (None, info.kind)]

    def find(self, kind: str | None, name: str, where: Location = NOWHERE) -> Plugin:
        """The plugin of a kind, or of any, with a name as recipes write it, perhaps with "distribution:" before it."""
        kinds = KINDS if kind is None else (kind_called(kind).name,)
        called, at = self._called(name), where.before("plugin")
        usable = [plugin for plugin in called if not plugin.problem]
        found = [plugin for plugin in usable if plugin.spec.kind in kinds]
        if len(found) == 1:
            return replace(found[0], where=where)
        if found:
            names = (f"{p.spec.kind} {p.full_name}" if kind is None else repr(p.full_name) for p in found)
            raise PluginError(f"{at}{join(map(str, found))} have the same name. Write {join(names, 'or')}.")
        for plugin in called:
            if plugin.spec.kind in kinds or plugin.spec.kind not in KINDS:
                raise PluginError(f"{at}{plugin} cannot be used: {plugin.problem}.")
        same_kind = [plugin for plugin in self._plugins if plugin.spec.kind in kinds]
        near = did_you_mean(name, [known for p in same_kind for known in (p.spec.name, p.full_name)])
        hint = f" Its kind is {join((p.spec.kind for p in usable), 'or')}." if usable else near
        broken = dict.fromkeys(declaration.distribution for declaration, _ in self._broken)
        note = f" These are broken and may declare it: {join(broken)}." if broken else ""
        problem = f"{at}No {kind or 'plugin'} is called {name!r}.{hint}{note}"
        raise UnknownPlugin(f"{problem} `toolkit list-plugins` lists all.")

    def _called(self, name: str) -> list[Plugin]:
        distribution, colon, short = name.rpartition(":")
        called = [plugin for plugin in self._plugins if plugin.spec.name == short]
        if colon:
            same = canonicalize_name(distribution)
            called = [plugin for plugin in called if canonicalize_name(plugin.declaration.distribution) == same]
        return sorted(called, key=lambda plugin: plugin.full_name)


def discover(declarations: Sequence[Declaration] | None = None, *, refresh: bool = False) -> Registry:
    """Read what distributions declare, by default all that are installed. No plugin can make this fail."""
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


def used_versions(recipe: Recipe) -> dict[str, str]:
    """The `code_version` of every distribution whose plugins a recipe uses, and of the toolkit itself."""
    packages = {DISTRIBUTION: {"toolkit"}}
    for kind, _, part in parts(recipe):
        plugin = find_part(kind.name, part)
        packages.setdefault(plugin.declaration.distribution, set()).add(plugin.package)
    return {name: code_version(name, frozenset(found)) for name, found in sorted(packages.items())}


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


@cache
def code_version(name: str, packages: frozenset[str]) -> str:
    """A distribution's version; if no package index gave it, followed by "+" and a hash of its packages' source.

    A process keeps what it found first: its modules are those of that time, even if their source changes.
    """
    # A folder, a file or a repository may later hold other source of the same version, an index may not.
    # Inside its source folder an editable install is found twice; only one of the two has a direct_url.json.
    if not any(d.read_text("direct_url.json") for d in distributions(name=name)):
        return version(name)
    digest = hashlib.sha256()
    for package in sorted(packages):
        for path in source_files(package):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"{version(name)}+{digest.hexdigest()[:8]}"
