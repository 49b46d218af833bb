"""Third-party declarations, read in subprocesses with a time limit; the answers are cached.

A module that hangs, exits or crashes at import would take its process with it. An answer is kept until the
distribution's version, its source, or what is installed beside it changes.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolkit.errors import BrokenPlugin, PluginError
from toolkit.files import cache_folder, read_json, write_whole
from toolkit.hookspecs import PluginSpec
from toolkit.plugins.declarations import Declaration, read_declaration, source_files

Declared = list[PluginSpec] | BrokenPlugin

LIMIT = "TOOLKIT_PROBE_SECONDS"
FORMAT = 3  # of the cached answers; raised when the fields of PluginSpec change
CHILD = """
import json, sys
module, answer, sys.path[:] = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
from toolkit.plugins.probing import write_answer
write_answer(module, answer)
"""


def read_declarations(declarations: Sequence[Declaration], *, refresh: bool = False) -> list[Declared]:
    """The plugins of each declaration, or why it is broken: our own are read here, others in subprocesses.

    `refresh` reads others again instead of using cached answers.
    """
    others = [d for d in declarations if not d.own and not d.problem]
    answers = _probe(others, refresh=refresh) if others else {}
    answers |= {d: {"error": d.problem} if d.problem else _answer(d.module) for d in declarations if d not in answers}
    return [_declared(answers[d]) for d in declarations]


def _probe(declarations: Sequence[Declaration], *, refresh: bool) -> dict[Declaration, dict[str, Any]]:
    file = cache_folder() / "plugins.json"
    kept: dict[str, Any] = {}
    with contextlib.suppress(OSError, PluginError):
        kept = {k: v for k, v in read_json(file, PluginError, "delete it").items() if isinstance(v, dict)}
    # What is installed counts: another distribution can repair or break a plugin's import.
    installed = [str(path) for folder in sys.path for path in sorted(Path(folder).glob("*.*-info"))]
    environment = [sys.version, *sys.path, os.environ.get("PYTHONPATH", ""), *installed]
    names = {d: f"{sys.prefix} {d.distribution} {d.name}" for d in declarations}
    keys = {d: _key(d, environment) for d in declarations}
    known = {d: kept.get(names[d], {}) for d in declarations}
    if missing := [d for d in declarations if refresh or known[d].get("key") != _seal(keys[d], known[d].get("answer"))]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=8) as pool:
            for d, answer in zip(missing, pool.map(ask_subprocess, [d.module for d in missing]), strict=True):
                kept[names[d]] = {"key": _seal(keys[d], answer), "answer": answer}
        with contextlib.suppress(PluginError):  # if it cannot be written, the next process probes again
            write_whole(file, json.dumps(kept), PluginError, "make it writable")
    return {d: kept[names[d]]["answer"] for d in declarations}


def _seal(key: list[Any], answer: Any) -> str:
    """A hash of an answer and what it depends on: one that was edited is asked for again."""
    return hashlib.sha256(json.dumps([key, answer]).encode()).hexdigest()


def _key(declaration: Declaration, environment: Sequence[str]) -> list[Any]:
    """What an answer depends on."""
    files = [(file, file.stat()) for file in source_files(declaration.module) if os.path.isfile(file)]
    states = [(str(file), state.st_size, state.st_mtime_ns) for file, state in files]
    return [FORMAT, _time_limit(), asdict(declaration), environment, states]


def _time_limit() -> float:
    with contextlib.suppress(KeyError, ValueError):
        return float(os.environ[LIMIT])
    return 20.0


def ask_subprocess(module: str) -> dict[str, Any]:
    """Read a declaration in a subprocess, within the time limit: {"specs": [...]} or {"error": "..."}."""
    limit = _time_limit()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-c", CHILD, module, str(answer), json.dumps(sys.path)]
        # No pipes: a child of the plugin could hold them open beyond the limit.
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        try:
            done = subprocess.run(command, **streams, timeout=limit, start_new_session=True, check=False)
        except subprocess.TimeoutExpired:
            return {"error": f"importing {module} took longer than {limit:g} s ({LIMIT} sets the limit)"}
        try:
            return json.loads(answer.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {"error": f"importing {module} ended the process (exit code {done.returncode})"}


def write_answer(module: str, path: str) -> None:
    """In the subprocess: read the declaration, write the answer, exit without waiting for the plugin's threads."""
    Path(path).write_text(json.dumps(_answer(module)), encoding="utf-8")
    os._exit(0)


def _answer(module: str) -> dict[str, Any]:
    """Read a declaration in this process: {"specs": [...]} or {"error": "..."}."""
    try:
        return {"specs": [asdict(spec) for spec in read_declaration(module)]}
    except BrokenPlugin as error:
        return {"error": str(error)}


def _declared(answer: dict[str, Any]) -> Declared:
    if "error" in answer:
        return BrokenPlugin(answer["error"])
    return [PluginSpec(**spec) for spec in answer["specs"]]
