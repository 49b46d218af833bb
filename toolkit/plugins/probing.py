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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolkit.errors import BrokenPlugin, PluginError
from toolkit.files import cache_folder, read_json, write_whole
from toolkit.hookspecs import PluginSpec
from toolkit.plugins.declarations import Declaration, read_declaration, source_files

LIMIT = "TOOLKIT_PROBE_SECONDS"
FORMAT = 4  # of the cached answers; raised when the fields of PluginSpec change
CHILD = """
import json, os, sys
sys.path[:] = json.loads(sys.argv[2])
from toolkit.plugins.probing import read
print(json.dumps(read(sys.argv[1])), flush=True)
os._exit(0)  # without waiting for the plugin's threads
"""


def read_declarations(
    declarations: Sequence[Declaration], *, refresh: bool = False
) -> list[list[PluginSpec] | BrokenPlugin]:
    """The plugins of each declaration, or why it is broken: our own are read here, others in subprocesses.

    `refresh` reads others again instead of using cached answers.
    """
    # What is installed counts: another distribution can repair or break a plugin's import.
    metadata = [str(path) for folder in sys.path for path in sorted(Path(folder).glob("*.*-info"))]
    environment = [sys.version, *sys.path, os.environ.get("PYTHONPATH", ""), *metadata]
    with ThreadPoolExecutor(max_workers=8) as pool:
        asked = {d: pool.submit(_probe, d, environment, refresh) for d in declarations if not d.own}
        answers = [asked[d].result() if d in asked else read(d.module) for d in declarations]
    return [
        BrokenPlugin(answer["error"]) if "error" in answer else [PluginSpec(**spec) for spec in answer["specs"]]
        for answer in answers
    ]


def _probe(declaration: Declaration, environment: Sequence[str], refresh: bool) -> dict[str, Any]:
    """The answer of a subprocess, from a file that is named by everything it depends on."""
    files = [(file, file.stat()) for file in source_files(declaration.module)]
    states = [(str(file), state.st_size, state.st_mtime_ns) for file, state in files]
    key = json.dumps([FORMAT, _time_limit(), asdict(declaration), environment, states])
    kept = cache_folder() / "plugins" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, PluginError):
        if not refresh:
            return read_json(kept, PluginError, "delete it")
    answer = ask_subprocess(declaration.module)
    with contextlib.suppress(PluginError):  # if it cannot be written, the next process probes again
        write_whole(kept, json.dumps(answer), PluginError, "make it writable")
    return answer


def _time_limit() -> float:
    with contextlib.suppress(KeyError, ValueError):
        return float(os.environ[LIMIT])
    return 20.0


def ask_subprocess(module: str) -> dict[str, Any]:
    """The answer of `read` in a subprocess, within the time limit."""
    limit, command = _time_limit(), [sys.executable, "-c", CHILD, module, json.dumps(sys.path)]
    with tempfile.TemporaryFile() as output:  # a child of the plugin could hold a pipe open beyond the limit
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.DEVNULL}
        try:
            done = subprocess.run(command, **streams, timeout=limit, start_new_session=True, check=False)
            output.seek(0)
            return json.loads(output.read().splitlines()[-1])
        except subprocess.TimeoutExpired:
            return {"error": f"importing {module} took longer than {limit:g} s ({LIMIT} sets the limit)"}
        except (IndexError, ValueError):
            return {"error": f"importing {module} ended the process (exit code {done.returncode})"}


def read(module: str) -> dict[str, Any]:
    """Read a declaration in this process: {"specs": [...]} or {"error": "..."}."""
    try:
        return {"specs": [asdict(spec) for spec in read_declaration(module)]}
    except BrokenPlugin as error:
        return {"error": str(error)}
