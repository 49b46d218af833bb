"""The declarations of installed distributions in entry-point group "toolkit", each read separately.

Those of others are read in subprocesses with a time limit: a module that hangs, exits or crashes at import would take
its process with it. An answer is kept until the distribution's version, its source, or what is installed beside it
changes.
"""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pluggy
from packaging.utils import canonicalize_name

from toolkit import hookspecs
from toolkit.errors import PluginError, one_line
from toolkit.files import DISTRIBUTION, cache_folder, write_whole
from toolkit.hookspecs import GROUP, PluginSpec

LIMIT = "TOOLKIT_PROBE_SECONDS"
FORMAT = 5  # of the cached answers; raised when the fields of PluginSpec change
CHILD = """
import json, os, sys
sys.path[:] = json.loads(sys.argv[2])
from toolkit.plugins.declarations import read_declaration
print(json.dumps(read_declaration(sys.argv[1])), flush=True)
os._exit(0)  # without waiting for the plugin's threads
"""


@dataclass(frozen=True)
class Declaration:
    """One entry point of a distribution."""

    distribution: str
    version: str
    name: str  # the entry point's
    module: str  # what the entry point names, "package.module" or "package.module:object"

    def __str__(self):
        return f"{self.distribution} {self.version}"

    @property
    def own(self) -> bool:
        """Whether it belongs to the toolkit's own distribution."""
        return canonicalize_name(self.distribution) == DISTRIBUTION


def installed() -> list[Declaration]:
    """The declarations of all installed distributions; of two with the same name, the first on the path counts."""
    return [Declaration(e.dist.name, e.dist.version, e.name, e.value) for e in entry_points(group=GROUP)]


def source_files(module: str) -> list[Path]:
    """The Python files of the top-level package of "package.module:object", found without importing it."""
    if (spec := find_spec(re.split("[.:]", module)[0])) is None:
        return []
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    found = sorted(file for folder in folders for file in folder.rglob("*.py")) or [Path(spec.origin or "")]
    return [file for file in found if os.path.isfile(file)]


def has_module(module: str) -> bool:
    """Whether "package.module" can be found, without importing the package."""
    package, *rest = module.split(".")
    spec = find_spec(package)
    for name in rest:
        spec = spec and PathFinder.find_spec(name, spec.submodule_search_locations or ())
    return spec is not None


def read_declarations(declarations: Sequence[Declaration], *, refresh: bool = False) -> list[list[PluginSpec] | str]:
    """The plugins of each declaration, or why it is broken; `refresh` uses no cached answers."""
    # What is installed counts: another distribution can repair or break a plugin's import.
    metadata = [str(path) for folder in sys.path for path in sorted(Path(folder).glob("*.*-info"))]
    environment = [FORMAT, sys.version, *sys.path, os.environ.get(LIMIT), os.environ.get("PYTHONPATH"), *metadata]
    with ThreadPoolExecutor(max_workers=8) as pool:
        probes = {d: pool.submit(_probe, d, environment, refresh) for d in declarations if not d.own}
        answers = [probes[d].result() if d in probes else read_declaration(d.module) for d in declarations]
    return [answer if isinstance(answer, str) else [PluginSpec(**spec) for spec in answer] for answer in answers]


def _probe(declaration: Declaration, environment: Sequence[Any], refresh: bool) -> list[dict[str, str]] | str:
    """The answer of a subprocess, from a file that is named by everything it depends on."""
    files = [(file, file.stat()) for file in source_files(declaration.module)]
    states = [(str(file), state.st_size, state.st_mtime_ns) for file, state in files]
    key = json.dumps([environment, asdict(declaration), states])
    cached = cache_folder() / "plugins" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError):
        if not refresh:
            return json.loads(cached.read_bytes())
    answer = ask_subprocess(declaration.module)
    with contextlib.suppress(PluginError):  # if it cannot be written, the next process probes again
        write_whole(cached, json.dumps(answer), PluginError, "make it writable")
    return answer


def ask_subprocess(module: str) -> list[dict[str, str]] | str:
    """The answer of `read_declaration` in a subprocess, within the time limit."""
    limit = float(os.environ.get(LIMIT, "20"))
    command = [sys.executable, "-c", CHILD, module, json.dumps(sys.path)]
    with tempfile.TemporaryFile() as output:  # a child of the plugin could hold a pipe open beyond the limit
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.DEVNULL}
        try:
            done = subprocess.run(command, **streams, timeout=limit, start_new_session=True, check=False)
            output.seek(0)
            return json.loads(output.read().splitlines()[-1])
        except subprocess.TimeoutExpired:
            return f"importing {module} took longer than {limit:g} s ({LIMIT} sets the limit)"
        except (IndexError, ValueError):
            return f"importing {module} ended the process (exit code {done.returncode})"


def read_declaration(module: str) -> list[dict[str, str]] | str:
    """Import a declaration and call its hook: the fields of its plugins, or why it is broken."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            manager = pluggy.PluginManager(GROUP)
            manager.add_hookspecs(hookspecs)
            manager.register(EntryPoint(name=module, value=module, group=GROUP).load(), name=module)
            manager.check_pending()
            found = manager.hook.toolkit_register()
    except (Exception, SystemExit) as error:
        return f"importing {module} failed: {one_line(error)}"
    specs = found[0] if found else None
    if not isinstance(specs, (list, tuple)) or not all(isinstance(spec, PluginSpec) for spec in specs):
        needed = "a toolkit_register, marked with @toolkit.hookimpl, that returns a list of PluginSpec"
        return f"{module} declares nothing: {needed}, is needed"
    return [asdict(spec) for spec in specs]
