"""Third-party declarations read in a subprocess with a time limit, and the answers kept.

A module that hangs, exits or crashes at import cannot be survived in one process. An answer is kept until the
distribution's version, its source, or what is installed beside it changes.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from toolkit.errors import BrokenPlugin
from toolkit.hookspecs import PluginSpec
from toolkit.plugins.declarations import OWN, Declaration, read_declaration, reason

LIMIT = "TOOLKIT_PROBE_SECONDS"
FORMAT = 2  # of the kept answers: what a PluginSpec holds
CHILD = """
import json, sys
module, answer, sys.path[:] = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
from toolkit.plugins.probing import write_answer
write_answer(module, answer)
"""


def probe(declarations: Sequence[Declaration], *, refresh: bool = False) -> list[list[PluginSpec] | BrokenPlugin]:
    """What each declaration declares, or why it is broken.

    Args:
        declarations: of third-party distributions.
        refresh: ask again, whatever was kept.

    Returns:
        One answer for each.
    """
    if not declarations:
        return []
    kept, environment = _read_kept(), _environment()
    names = [f"{sys.prefix} {d.distribution} {d.name}" for d in declarations]
    keys = [_key(declaration, environment) for declaration in declarations]
    answers: list[dict | None] = [
        kept[name]["answer"] if not refresh and kept.get(name, {}).get("key") == key else None
        for name, key in zip(names, keys, strict=True)
    ]
    missing = [index for index, answer in enumerate(answers) if answer is None]
    if missing:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=8) as pool:
            fresh = pool.map(ask_subprocess, [declarations[index].module for index in missing])
            for index, answer in zip(missing, fresh, strict=True):
                answers[index] = answer
                kept[names[index]] = {"key": keys[index], "answer": answer}
        _write_kept(kept)
    return [_specs(answer) for answer in answers]


def time_limit() -> float:
    """Seconds that a declaration may take to import: TOOLKIT_PROBE_SECONDS, else 20."""
    try:
        return float(os.environ[LIMIT])
    except (KeyError, ValueError):
        return 20.0


def cache_file() -> Path:
    """Where answers are kept, in the user's cache folder."""
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / OWN / "plugins.json"


def ask_subprocess(module: str, *, limit: float | None = None) -> dict[str, Any]:
    """Read a declaration in a subprocess.

    Returns:
        {"specs": [...]} or {"error": "..."}.
    """
    limit = time_limit() if limit is None else limit
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        answer = Path(folder) / "answer.json"
        # No pipes: a child of the plugin could hold them open beyond the end.
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, module, str(answer), json.dumps(sys.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            return {"error": f"importing {module} took longer than {limit:g} s ({LIMIT} sets the limit)"}
        finally:
            _kill(process)
        try:
            return json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {"error": f"importing {module} ended the process (exit code {process.returncode})"}


def write_answer(module: str, path: str) -> None:
    """In the subprocess: read the declaration, write the answer, leave without waiting for its threads."""
    try:
        answer: dict[str, Any] = {"specs": [asdict(spec) for spec in read_declaration(module)]}
    except BrokenPlugin as error:
        answer = {"error": str(error)}
    Path(path + ".partial").write_text(json.dumps(answer), encoding="utf-8")
    Path(path + ".partial").replace(path)
    os._exit(0)


def _specs(answer: Mapping[str, Any]) -> list[PluginSpec] | BrokenPlugin:
    try:
        return [PluginSpec(**spec) for spec in answer["specs"]] if "specs" in answer else BrokenPlugin(answer["error"])
    except (KeyError, TypeError, ValueError) as error:
        return BrokenPlugin(f"its kept answer cannot be read: {reason(error)}")


def _kill(process: subprocess.Popen) -> None:
    """End the child with whatever it has started."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _key(declaration: Declaration, environment: Sequence[str]) -> str:
    parts = [FORMAT, sys.version, time_limit(), asdict(declaration), environment, list(_sources(declaration.module))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _environment() -> list[str]:
    """What is installed: another distribution can mend or break a plugin's import."""
    found = [*sys.path, os.environ.get("PYTHONPATH", "")]
    for entry in sys.path:
        with contextlib.suppress(OSError):
            found += sorted(name for name in os.listdir(entry or ".") if name.endswith((".dist-info", ".egg-info")))  # noqa: PTH208
    return found


def _sources(module: str) -> Iterator[tuple[str, int, int]]:
    """Path, size and time of the declaration's file and of those beside it in its packages; imports nothing."""
    spec: ModuleSpec | None = None
    prefix = ""
    for part in module.partition(":")[0].split("."):
        prefix = f"{prefix}.{part}".lstrip(".")
        try:
            if "." not in prefix:
                spec = importlib.util.find_spec(prefix)
            else:
                spec = PathFinder.find_spec(prefix, spec.submodule_search_locations) if spec else None
        except (ImportError, ValueError, AttributeError):
            return
        if spec is None:
            return
        folders = spec.submodule_search_locations
        files = [file for folder in folders for file in sorted(Path(folder).glob("*.py"))] if folders else []
        for file in files or ([Path(spec.origin)] if spec.origin else []):
            with contextlib.suppress(OSError):
                status = file.stat()
                yield str(file), status.st_size, status.st_mtime_ns


def _read_kept() -> dict[str, Any]:
    try:
        kept = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and all(isinstance(entry, dict) for entry in kept.values()) else {}


def _write_kept(kept: Mapping[str, Any]) -> None:
    """Replace the file in one step; a folder that cannot be written costs a probe next time and no more."""
    path = cache_file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            json.dump(kept, file)
        Path(file.name).replace(path)
