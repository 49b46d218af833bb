"""Third-party declarations read in a subprocess with a time limit, and the answers kept.

A module that hangs, exits or crashes at import cannot be survived in one process. An answer is kept until the
distribution's version, its source, or what is installed beside it changes.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolkit.errors import BrokenPlugin, PluginError, one_line
from toolkit.files import cache_folder, write_whole
from toolkit.hookspecs import PluginSpec
from toolkit.plugins.declarations import Declaration, read_declaration, source_files

Declared = list[PluginSpec] | BrokenPlugin

LIMIT = "TOOLKIT_PROBE_SECONDS"
FORMAT = 3  # of the kept answers: what a PluginSpec holds
CHILD = """
import json, sys
module, answer, sys.path[:] = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
from toolkit.plugins.probing import write_answer
write_answer(module, answer)
"""


def read_declarations(declarations: Sequence[Declaration], *, refresh: bool = False) -> list[Declared]:
    """What each declaration declares, or why it is broken: our own are read here, others in subprocesses.

    Args:
        declarations: of any distributions.
        refresh: read others again instead of using kept answers.

    Returns:
        One answer for each.
    """
    others = [d for d in declarations if not d.own and not d.problem]
    answers = dict(zip(others, _probe(others, refresh=refresh), strict=True))
    return [answers[d] if d in answers else _read_own(d) for d in declarations]


def _read_own(declaration: Declaration) -> Declared:
    try:
        return BrokenPlugin(declaration.problem) if declaration.problem else read_declaration(declaration.module)
    except BrokenPlugin as error:
        return error


def _probe(declarations: Sequence[Declaration], *, refresh: bool) -> list[Declared]:
    """The kept answers; a subprocess gives those that are missing."""
    if not declarations:
        return []
    kept, environment = _read_kept(), _environment()
    names = {d: f"{sys.prefix} {d.distribution} {d.name}" for d in declarations}
    keys = {d: _key(d, environment) for d in declarations}
    missing = [d for d in declarations if refresh or kept.get(names[d], {}).get("key") != keys[d]]
    if missing:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=8) as pool:
            for d, answer in zip(missing, pool.map(ask_subprocess, [d.module for d in missing]), strict=True):
                kept[names[d]] = {"key": keys[d], "answer": answer}
        with contextlib.suppress(PluginError):  # if it cannot be written, the next process probes again
            write_whole(kept_answers(), json.dumps(kept), PluginError, "make it writable")
    return [_specs(kept[names[d]]["answer"]) for d in declarations]


def time_limit() -> float:
    """Seconds that a declaration may take to import: TOOLKIT_PROBE_SECONDS, else 20."""
    try:
        return float(os.environ[LIMIT])
    except (KeyError, ValueError):
        return 20.0


def kept_answers() -> Path:
    """The file of the answers that are kept."""
    return cache_folder() / "plugins.json"


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
        finally:  # with whatever it has started
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
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


def _specs(answer: Mapping[str, Any]) -> Declared:
    try:
        return [PluginSpec(**spec) for spec in answer["specs"]] if "specs" in answer else BrokenPlugin(answer["error"])
    except (KeyError, TypeError, ValueError) as error:
        return BrokenPlugin(f"its kept answer cannot be read: {one_line(error)}")


def _key(declaration: Declaration, environment: Sequence[str]) -> str:
    states = []
    for file in source_files(declaration.package):
        with contextlib.suppress(OSError):
            states.append((str(file), file.stat().st_size, file.stat().st_mtime_ns))
    parts = [FORMAT, sys.version, time_limit(), asdict(declaration), environment, states]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _environment() -> list[str]:
    """What is installed: another distribution can repair or break a plugin's import."""
    found = [*sys.path, os.environ.get("PYTHONPATH", "")]
    for entry in sys.path:
        with contextlib.suppress(OSError):
            found += sorted(name for name in os.listdir(entry or ".") if name.endswith((".dist-info", ".egg-info")))  # noqa: PTH208
    return found


def _read_kept() -> dict[str, Any]:
    try:
        kept = json.loads(kept_answers().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and all(isinstance(entry, dict) for entry in kept.values()) else {}
