"""The records of an experiment's cells, and its progress, for the process that runs it and for any other."""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from toolkit.errors import ExperimentError, RecipeError, ToolkitError, counted
from toolkit.experiment.plan import Cell, Plan
from toolkit.files import locked, read_json, write_whole
from toolkit.recipe.reading import read_plain
from toolkit.training.predictions import read_csv
from toolkit.training.run_folder import EPOCHS, RESULTS, read_results

LOCK, RUNS, CELLS = "lock", "runs", "cells"


@dataclass(frozen=True)
class Record:
    """The state of a cell's run."""

    cell: Cell
    state: Literal["running", "done", "failed"]  # "running": interrupted if no process runs the experiment
    started: float  # when the cell was last started, in seconds since 1970
    ended: float | None = None  # when it was done or failed
    epochs: int | None = None  # the most that the training may run
    run: str | None = None  # the name of the run's folder, once it is known
    random: bool = False  # a pre-trained backbone has random weights: the next command runs the cell again
    error: str | None = None  # one line, of a failed cell; its traceback is in the log
    host: str = ""
    pid: int = 0


@dataclass(frozen=True)
class CellProgress:
    """A cell's state, as its record and its run's folder show it."""

    cell: Cell
    state: Literal["waiting", "running", "interrupted", "done", "failed"]
    record: Record | None = None  # None while it waits
    epoch: int = 0  # epochs that are done, while it runs
    seconds: float = 0.0  # from its start to its end, or until now while it runs
    ua: float | None = None  # of its test, if it is done
    stamps: tuple[str, ...] = ()  # notes that belong to its result


class Records:
    """The records in an experiment's folder, one small file for each cell; results of finished cells are read once."""

    def __init__(self, folder: Path):
        self.experiment, self.folder = Path(folder), Path(folder) / CELLS
        self._done: dict[Cell, CellProgress] = {}

    def write(self, record: Record) -> None:
        """Write or replace a cell's record; ExperimentError if the disk is full or cannot be written."""
        text = json.dumps(asdict(record), indent=1) + "\n"
        write_whole(self.path(record.cell), text, ExperimentError, "make room and run the same command again")

    def read(self, cell: Cell) -> Record | None:
        """A cell's record, or None; ExperimentError if it is damaged."""
        path = self.path(cell)
        return _read(path) if path.exists() else None

    def left_out(self, plan: Plan) -> list[str]:
        """A line for each of the plan's systems with cells that were done with other settings or code."""
        planned = {self.path(cell) for cell in plan.cells}
        records = [_read(path) for path in sorted(self.folder.glob("*.json")) if path not in planned]
        done = [record.cell for record in records if record.state == "done" and record.cell.system in plan.systems]
        changed = [cell.system for cell in done if cell.fingerprint != plan.systems[cell.system].fingerprint]
        why = "with other settings or code; runs/ keeps their runs"
        counts = Counter(changed).items()
        return [f"{system}: the tables leave out {counted(count, 'cell')} {why}" for system, count in counts]

    def path(self, cell: Cell) -> Path:
        """The file of a cell's record."""
        return self.folder / f"{cell.name}.json"

    def log(self, cell: Cell) -> Path:
        """The file with everything that a cell's run prints."""
        return self.folder / f"{cell.name}.log"

    def run_folder(self, record: Record) -> Path | None:
        """The folder of a cell's run, once it is known."""
        return self.experiment / RUNS / record.run if record.run else None

    def progress(self, plan: Plan, *, alive: bool) -> list[CellProgress]:
        """The plan's cells in order; unless a process runs them (`alive`), running ones count as interrupted."""
        return [self._done.get(cell) or self._cell(cell, alive) for cell in plan.cells]

    def _cell(self, cell: Cell, alive: bool) -> CellProgress:
        if (record := self.read(cell)) is None:
            return CellProgress(cell, "waiting")
        run = self.run_folder(record)
        if record.state == "running":
            state, epoch = "running" if alive else "interrupted", 0
            if run is not None:
                with suppress(ToolkitError, ValueError):
                    epoch = max((int(row.get("epoch") or 0) for row in read_csv(run / EPOCHS)), default=0)
            return CellProgress(cell, state, record, epoch, time.time() - record.started)
        seconds = (record.ended or record.started) - record.started
        if record.state == "failed":
            return CellProgress(cell, "failed", record, seconds=seconds)
        if run is None or not os.path.exists(run / RESULTS):
            return CellProgress(cell, "waiting")  # its run was deleted
        results = read_results(run / RESULTS)
        done = CellProgress(cell, "done", record, seconds=seconds, ua=results["ua"], stamps=tuple(results["stamps"]))
        if not record.random:  # such a cell runs again
            self._done[cell] = done
        return done


def _read(path: Path) -> Record:
    remedy = "delete it and run the command again, which continues its cell"
    try:
        return read_plain(Record, read_json(path, ExperimentError, remedy))
    except RecipeError as error:
        raise ExperimentError(f"{path} is damaged ({error}): {remedy}.") from None


def seconds_left(cells: Sequence[CellProgress]) -> float | None:
    """How long the rest may take, estimated from finished cells of the same system.

    As many cells are assumed to run at a time as do now; None if none runs or none is finished.
    """
    done = [cell for cell in cells if cell.state == "done" and cell.seconds > 0]
    running = {cell.cell: cell.seconds for cell in cells if cell.state == "running"}
    if not done or not running:
        return None
    mean = fmean(cell.seconds for cell in done)
    systems = {cell.cell.system for cell in done}
    means = {system: fmean(cell.seconds for cell in done if cell.cell.system == system) for system in systems}
    left = [cell.cell for cell in cells if cell.state not in ("done", "failed")]
    rest = [max(0.0, means.get(cell.system, mean) - running.get(cell, 0.0)) for cell in left]
    return max(sum(rest) / len(running), *rest)


def is_alive(folder: Path) -> bool:
    """Whether a process runs the experiment of a folder."""
    try:
        with locked(Path(folder) / LOCK, wait=False, shared=True) as free:
            return not free
    except OSError:
        return False
