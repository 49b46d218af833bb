"""The declarations of installed distributions in entry-point group "toolkit", each read separately."""

import contextlib
import re
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from os.path import isfile
from pathlib import Path

import pluggy
from packaging.utils import canonicalize_name

from toolkit import hookspecs
from toolkit.errors import BrokenPlugin, one_line
from toolkit.files import DISTRIBUTION
from toolkit.hookspecs import GROUP, PluginSpec


@dataclass(frozen=True)
class Declaration:
    """One entry point of a distribution."""

    distribution: str
    version: str
    name: str  # the entry point's
    module: str  # what the entry point names, "package.module" or "package.module:object"

    @property
    def own(self) -> bool:
        """Whether it belongs to the toolkit's own distribution."""
        return canonicalize_name(self.distribution) == DISTRIBUTION


def installed() -> list[Declaration]:
    """The declarations of all installed distributions; of two with the same name, the first on the path counts."""
    return [Declaration(e.dist.name, e.dist.version, e.name, e.value) for e in entry_points(group=GROUP)]


def source_files(module: str) -> list[Path]:
    """The Python files of the top-level package of "package.module:object", found without importing it."""
    spec = None
    with contextlib.suppress(ImportError, ValueError):
        spec = find_spec(re.split("[.:]", module)[0])
    if spec is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    found = sorted(file for folder in folders for file in folder.rglob("*.py")) or [Path(spec.origin or "")]
    return [file for file in found if isfile(file)]


def read_declaration(module: str) -> list[PluginSpec]:
    """Import a declaration and call its hook; what it prints goes to standard error.

    Raises: BrokenPlugin if the import or the hook fails, or the hook is missing, misspelt or returns no list.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            manager = pluggy.PluginManager(GROUP)
            manager.add_hookspecs(hookspecs)
            manager.register(EntryPoint(name=module, value=module, group=GROUP).load(), name=module)
            manager.check_pending()
            found = manager.hook.toolkit_register()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may even exit
        raise BrokenPlugin(f"reading {module} failed: {one_line(error)}") from error
    specs = found[0] if found else None
    if not isinstance(specs, list) or not all(isinstance(spec, PluginSpec) for spec in specs):
        needed = "a toolkit_register, marked with @toolkit.hookimpl, that returns a list of PluginSpec"
        raise BrokenPlugin(f"{module} declares nothing: {needed}, is needed")
    return specs
