"""How far an experiment is, read from its folder: by the process that runs it and by any other."""

import csv
import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolkit.errors import ExperimentError, ToolkitError
from toolkit.experiment.cells import Cell, Record, Records
from toolkit.experiment.plan import Plan
from toolkit.experiment.tasks import RUNS
from toolkit.training.run_folder import EPOCHS, RESULTS, read_results

LOCK = "lock"


@dataclass(frozen=True)
class CellProgress:
    """Where a cell stands.

    Args:
        cell: which.
        state: waiting (never begun), running, interrupted, done or failed.
        record: what is known of it, or None.
        epoch: epochs that are done.
        seconds: since it was begun, or how long it took.
        ua: of its test, where it is done.
        stamps: what has to be said of that.
    """

    cell: Cell
    state: Literal["waiting", "running", "interrupted", "done", "failed"]
    record: Record | None = None
    epoch: int = 0
    seconds: float = 0.0
    ua: float | None = None
    stamps: tuple[str, ...] = ()


class Progress:
    """Reads how far every cell is; what is finished is read once.

    Args:
        folder: the experiment's.
        plan: its cells.
    """

    def __init__(self, folder: Path, plan: Plan):
        self.folder, self.plan = Path(folder), plan
        self.records = Records(folder)
        self._done: dict[str, CellProgress] = {}

    def cells(self, *, alive: bool) -> list[CellProgress]:
        """Every cell of the plan, in order.

        Args:
            alive: whether a process runs the experiment; where none does, what was begun is interrupted.
        """
        return [self._cell(cell, alive) for cell in self.plan.cells]

    def _cell(self, cell: Cell, alive: bool) -> CellProgress:
        if cell.name in self._done:
            return self._done[cell.name]
        record = self.records.read(cell)
        if record is None:
            return CellProgress(cell, "waiting")
        if record.state == "running":
            seconds = time.time() - record.started
            return CellProgress(cell, "running" if alive else "interrupted", record, self._epochs(record), seconds)
        results = self.folder / RUNS / record.run / RESULTS if record.run else None
        seconds = (record.ended or record.started) - record.started
        if record.state == "failed":
            return CellProgress(cell, "failed", record, seconds=seconds)
        if results is None or not results.is_file():
            return CellProgress(cell, "waiting")  # its run was deleted
        done = CellProgress(cell, "done", record, record.epochs or 0, seconds, *_ua_and_stamps(results))
        self._done[cell.name] = done
        return done

    def _epochs(self, record: Record) -> int:
        if record.run is None:
            return 0
        try:
            with (self.folder / RUNS / record.run / EPOCHS).open(newline="") as file:
                return sum(1 for _ in csv.DictReader(file))
        except OSError:
            return 0


def seconds_left(cells: Sequence[CellProgress], *, jobs: int) -> float | None:
    """How long the rest may take, by what finished cells of the same system took; None where none is finished.

    Args:
        cells: of the whole experiment.
        jobs: cells that run at a time.
    """
    took: dict[str, list[float]] = {}
    for cell in cells:
        if cell.state == "done" and cell.seconds > 0:
            took.setdefault(cell.cell.system, []).append(cell.seconds)
    if not took:
        return None
    means = {system: sum(values) / len(values) for system, values in took.items()}
    every = sum(means.values()) / len(means)
    left = 0.0
    for cell in cells:
        if cell.state not in ("done", "failed"):
            spent = cell.seconds if cell.state == "running" else 0.0
            left += max(0.0, means.get(cell.cell.system, every) - spent)
    return left / jobs


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Try to become the process that runs an experiment; gives whether that worked.

    Raises:
        ExperimentError: if the folder cannot be written.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        lock = (Path(folder) / LOCK).open("a")
    except OSError as error:
        raise ExperimentError(f"{folder} cannot be written ({error.strerror}): choose another --output.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def is_alive(folder: Path) -> bool:
    """Whether a process runs the experiment of a folder."""
    try:
        with (Path(folder) / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _ua_and_stamps(path: Path) -> tuple[float | None, tuple[str, ...]]:
    try:
        results = read_results(path)
        return results["ua"], tuple(results["stamps"])
    except (ToolkitError, KeyError):
        return None, ()
