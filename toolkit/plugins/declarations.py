"""The declarations of installed distributions in entry-point group "toolkit", each read separately.

pluggy's own loading stops at the first failure and does not report a misspelt hook or a wrong return type.
"""

import contextlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, EntryPoint, distributions
from importlib.util import find_spec
from pathlib import Path

import pluggy
from packaging.utils import canonicalize_name

from toolkit import hookspecs
from toolkit.errors import BrokenPlugin, did_you_mean, one_line
from toolkit.files import DISTRIBUTION
from toolkit.hookspecs import GROUP, PluginSpec

HOOK = "toolkit_register"


@dataclass(frozen=True)
class Declaration:
    """One entry point of a distribution, whose version is "?" if its metadata cannot be read."""

    distribution: str
    version: str
    name: str  # the entry point's
    module: str  # what the entry point names, "package.module" or "package.module:object"
    problem: str = ""  # why it cannot be read

    @property
    def own(self) -> bool:
        """Whether it belongs to the toolkit's own distribution."""
        return canonicalize_name(self.distribution) == DISTRIBUTION


def installed() -> list[Declaration]:
    """The declarations of all installed distributions; of two with the same name, the first on the path counts."""
    found: dict[str, list[Declaration]] = {}
    for distribution in distributions():
        if declarations := list(_declarations(distribution)):
            found.setdefault(canonicalize_name(declarations[0].distribution), declarations)
    return [declaration for declarations in found.values() for declaration in declarations]


def source_files(module: str) -> list[Path]:
    """The Python files of the top-level package of "package.module:object", found without importing it."""
    spec = None
    with contextlib.suppress(ImportError, ValueError):
        spec = find_spec(re.split("[.:]", module)[0])
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    found = sorted(file for folder in folders for file in folder.rglob("*.py"))
    return found or ([Path(spec.origin)] if spec.origin else [])


def has_module(module: str) -> bool:
    """Whether "package.module" has a file, found without importing the package."""
    name, *rest = module.split(".")
    with contextlib.suppress(ImportError, ValueError):
        spec = find_spec(name)
        for each in rest:
            name, folders = f"{name}.{each}", spec.submodule_search_locations if spec else None
            spec = PathFinder.find_spec(name, folders) if folders else None
        return spec is not None
    return False


def read_declaration(module: str) -> list[PluginSpec]:
    """Import a declaration and call its hook; what it prints goes to standard error.

    Raises: BrokenPlugin if the import or the hook fails, or the hook is missing, misspelt or returns no list.
    """
    step = f"importing {module}"
    try:
        with contextlib.redirect_stdout(sys.stderr):
            plugin = EntryPoint(name=module, value=module, group=GROUP).load()
            step = f"{HOOK} of {module}"
            return _ask(plugin, module)
    except (KeyboardInterrupt, BrokenPlugin):
        raise
    except BaseException as error:  # a plugin may even exit
        raise BrokenPlugin(f"{step} failed: {one_line(error)}") from error


def _ask(plugin: object, module: str) -> list[PluginSpec]:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name=module)
    hooks = manager.get_hookcallers(plugin) or []
    for hook in hooks:
        if not hook.has_spec():
            raise BrokenPlugin(f"{module} implements an unknown hook {hook.name!r}.{did_you_mean(hook.name, [HOOK])}")
    if not hooks:
        unmarked = " The function exists, but is not marked with @toolkit.hookimpl." if hasattr(plugin, HOOK) else ""
        raise BrokenPlugin(f"{module} has no hook {HOOK}.{unmarked}")
    results = manager.hook.toolkit_register()
    specs = results[0] if results else None
    if not isinstance(specs, (list, tuple)):
        raise BrokenPlugin(f"{HOOK} of {module} returned a {type(specs).__name__}, not a list of PluginSpec")
    if odd := [type(spec).__name__ for spec in specs if not isinstance(spec, PluginSpec)]:
        raise BrokenPlugin(f"{HOOK} of {module} returned a list with a {odd[0]}, not of PluginSpec")
    return list(specs)


def _declarations(distribution: Distribution) -> Iterator[Declaration]:
    try:
        if f"[{GROUP}]" not in (distribution.read_text("entry_points.txt") or ""):
            return
        name, version = distribution.metadata["Name"] or "?", distribution.version or "?"
        for entry_point in distribution.entry_points.select(group=GROUP):
            yield Declaration(name, version, entry_point.name, entry_point.value)
    except Exception as error:
        folder = getattr(distribution, "_path", None)
        name = getattr(folder, "stem", "?").partition("-")[0]
        yield Declaration(name, "?", GROUP, "", f"its metadata cannot be read: {one_line(error)}")
