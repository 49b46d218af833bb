"""Shared by the benchmarks: timing contestants in turns, medians and ratios, tables, files for the page of results."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROUNDS = 5
RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("torch", "torchaudio", "torchvision", "transformers", "speechbrain", "librosa", "numpy")
QUIET = 0.3  # load average per core before a script begins; above it the figures count as disturbed


@dataclass(frozen=True)
class Timing:
    """Two contestants, timed in turns.

    Args:
        ours: seconds of each round.
        theirs: the opponent's seconds in the same rounds.
    """

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """How many times as fast ours was, round by round, sorted.

        >>> Timing(ours=[1.0, 2.0, 1.0], theirs=[3.0, 4.0, 5.0]).ratios
        [2.0, 3.0, 5.0]
        """
        return sorted(theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True))

    def row(self, what: str) -> dict[str, str]:
        """A row of a table: medians in seconds, the median ratio and its range."""
        ratios = self.ratios
        return {
            "what": what,
            "ours, s": f"{statistics.median(self.ours):.3g}",
            "opponent, s": f"{statistics.median(self.theirs):.3g}",
            "times as fast": f"{statistics.median(ratios):.2f}",
            "range": f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
        }


def alternate(ours: Callable[[], Any], theirs: Callable[[], Any], *, rounds: int = ROUNDS) -> Timing:
    """Time two functions in turns, after running each once; the first one changes from round to round."""
    timing = Timing([], [])
    contest = [(timing.ours, ours), (timing.theirs, theirs)]
    ours()
    theirs()
    for turn in range(rounds):
        for times, function in contest if turn % 2 else contest[::-1]:
            times.append(seconds(function))
    return timing


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Result:
    """The result of a script.

    Args:
        script: its file name.
        question: what was measured, in a sentence.
        opponent: what it is compared with, and the file with the opponent's code.
        rows: of a table, all with the same columns.
        notes: remarks below the table.
    """

    script: str
    question: str
    opponent: str
    rows: Sequence[Mapping[str, str]]
    notes: Sequence[str] = ()
    machine: Mapping[str, str] = field(default_factory=lambda: machine())

    def report(self) -> None:
        """Print the result, and write it for `results.md`."""
        print(f"{self.question}\n{self.opponent}\n\n{table(self.rows)}\n")
        print(*self.notes, sep="\n")
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{Path(self.script).stem}.json"
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as a Markdown table.

    >>> print(table([{"what": "a", "s": "1"}]))
    | what | s |
    |---|---|
    | a | 1 |
    """
    lines = [rows[0].keys(), *(row.values() for row in rows)]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(rows[0]), *text[1:]])


_LOAD = os.getloadavg()[0]  # before a script's own work


def machine() -> dict[str, str]:
    """Processor, cores, the GPU if there is one, versions, and whether something else was running."""
    cores = len(os.sched_getaffinity(0))
    disturbed = f"beside other load (load average {_LOAD:.1f} at the start)" if QUIET * cores < _LOAD else "quiet"
    return {
        "measured": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, {disturbed}",
        "processor": f"{_processor()}, {cores} cores",
        **_devices(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> dict[str, str]:
    import torch

    found = {"instructions": f"{torch.backends.cpu.get_cpu_capability()} in torch"}
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        found["GPU"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
