"""Cells as they are run: what a worker does with them, their records, and their progress for any process."""

import contextlib
import json
import os
import platform
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Literal, NamedTuple, TextIO

from toolkit.corpus.protocols import training_protocol
from toolkit.errors import ExperimentError, RecipeError, ToolkitError, counted, one_line
from toolkit.experiment.plan import Cell, Plan, PlannedSystem, with_protocol
from toolkit.files import locked, read_json, write_whole
from toolkit.plugins.plugin import plugin_failures
from toolkit.plugins.registry import build
from toolkit.recipe.loading import read_recipe_dict
from toolkit.recipe.reading import read_plain
from toolkit.terminal import quiet_libraries
from toolkit.training.predictions import read_csv
from toolkit.training.preparation import Source, prepare
from toolkit.training.run_folder import EPOCHS, RESULTS, read_results

if TYPE_CHECKING:
    from toolkit.training.loop.history import History
    from toolkit.training.run import Run

RUNS = "runs"
_one_at_a_time = threading.Lock()  # random states belong to the process, and a cluster's worker may have many threads


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
        self.lock, self.runs, self.folder = folder / "lock", folder / RUNS, folder / "cells"
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

    def are_written(self) -> bool:
        """Whether a process runs the experiment."""
        try:
            with locked(self.lock, wait=False, shared=True) as free:
                return not free
        except OSError:
            return False

    def path(self, cell: Cell, ending: str = ".json") -> Path:
        """The file of a cell's record; or, with .log, of everything that its run prints."""
        return self.folder / f"{cell.name}{ending}"

    def run_folder(self, record: Record | None) -> Path | None:
        """The folder of a cell's run, once it is known."""
        return self.runs / record.run if record and record.run else None

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
                with contextlib.suppress(ToolkitError, ValueError):
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
    """How long the rest may take, from finished cells of the same system, if as many run at a time as do now."""
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


class Threads(NamedTuple):
    """The threads of a training."""

    number: int  # of torch; the most it uses if not `asked`
    asked: bool = True  # whether the user asked for this number; if not, a small system takes one thread


@dataclass(frozen=True)
class Task:
    """Cells that share one training; or those of a trial, which only validates, is watched, and ends at a failure."""

    folder: Path
    cells: tuple[Cell, ...]  # of one system, fold and seed; the first one trains
    system: PlannedSystem
    threads: Threads
    watch: Callable[["History"], None] | None = None  # of a trial: called after each epoch of the first cell


def make_tasks(folder: Path, plan: Plan, cells: Iterable[Cell], threads: Threads) -> list[Task]:
    """Group cells by the training that they share, in their order."""
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        groups.setdefault((training_protocol(cell.protocol), cell.system, cell.fold, cell.seed), []).append(cell)
    return [Task(folder, tuple(group), plan.systems[group[0].system], threads) for group in groups.values()]


def run_task(task: Task) -> None:
    """Train and test each cell that is not finished; a failure is recorded with its error, and the next cell runs."""
    from toolkit.hardware import give_back

    with _one_at_a_time:
        for cell in task.cells:
            ended = _run_cell(task, cell)
            give_back()
            if ended.error and task.watch:
                raise ToolkitError(ended.error)


def _run_cell(task: Task, cell: Cell) -> Record:
    records = Records(task.folder)
    before = records.read(cell)
    run = before.run if before else None
    record = Record(cell, "running", time.time(), run=run, host=platform.node(), pid=os.getpid())
    records.write(record)
    log = records.path(cell, ".log").open("a", encoding="utf-8", buffering=1)
    with log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            with plugin_failures():
                run = _prepared_run(task, cell, log)
                random = bool(run.system.random_backbones)
                record = replace(record, run=run.folder.path.name, epochs=run.training.epochs, random=random)
                records.write(record)
                run.train(wait=True)
            record = replace(record, state="done", ended=time.time())
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            record = replace(record, state="failed", ended=time.time(), error=error_text(error))
        records.write(record)
    return record


def _prepared_run(task: Task, cell: Cell, log: TextIO) -> "Run":
    import torch

    from toolkit.training.run import Run

    quiet_libraries()
    torch.set_num_threads(task.threads.number)
    if not task.threads.asked:  # with this variable set, a small system would not take one thread
        os.environ.pop("OMP_NUM_THREADS", None)
    system = task.system
    recipe = with_protocol(read_recipe_dict(system.recipe, source=cell.system), cell.protocol)
    recipe = replace(recipe, fold=cell.fold, seed=cell.seed, output_folder=str(task.folder / RUNS))
    folder = None if system.data_folder is None else Path(system.data_folder)
    preparation = prepare(Source(recipe, build("corpus", recipe.corpus), folder, system.reduced))
    preparation = replace(preparation, evaluated=("valid",)) if task.watch else preparation
    return Run(preparation, say=partial(print, file=log), watch=task.watch if cell == task.cells[0] else None)


def record_loss(records: Records, task: Task, error: Exception) -> None:
    """Record the cells of a task that raised as failed: a worker records its cells' errors, but not its own death."""
    now = time.time()
    for cell in task.cells:
        record = records.read(cell) or Record(cell, "running", now)
        if record.state == "running":
            records.write(replace(record, state="failed", ended=now, error=error_text(error)))


def error_text(error: BaseException) -> str:
    """A cell's error in one line; a ToolkitError, which is written for users, is shown without its type."""
    return str(error) if isinstance(error, ToolkitError) else one_line(error)
