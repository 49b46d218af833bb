"""A worker's part of an experiment: it runs the cells that share one training, and records how they end."""

import contextlib
import os
import platform
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from toolkit.corpus.protocols import training_protocol
from toolkit.errors import ToolkitError, one_line
from toolkit.experiment.plan import Cell, Plan, PlannedSystem, with_protocol
from toolkit.experiment.progress import RUNS, Record, Records
from toolkit.plugins.plugin import plugin_failures
from toolkit.plugins.registry import build
from toolkit.recipe.loading import read_recipe_dict
from toolkit.terminal import quiet_libraries
from toolkit.training.preparation import Source, prepare

if TYPE_CHECKING:
    from toolkit.training.loop.history import History
    from toolkit.training.run import Run

_one_at_a_time = threading.Lock()  # random states belong to the process, and a cluster's worker may have many threads


class Threads(NamedTuple):
    """The threads of a training."""

    number: int  # of torch; the most it uses if not `asked`
    asked: bool = True  # whether the user asked for this number; if not, a small system takes one thread


@dataclass(frozen=True)
class Task:
    """Cells that share one training, or a trial's cells: without `test`, the first that fails ends the trial."""

    folder: Path
    cells: tuple[Cell, ...]  # of one system, fold and seed; the first one trains
    system: PlannedSystem
    threads: Threads
    test: bool = True
    watch: Callable[["History"], None] | None = None  # called after each epoch of the first cell


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
            if ended.error and not task.test:
                raise ToolkitError(ended.error)


def _run_cell(task: Task, cell: Cell) -> Record:
    records = Records(task.folder)
    before = records.read(cell)
    run = before.run if before else None
    record = Record(cell, "running", time.time(), run=run, host=platform.node(), pid=os.getpid())
    records.write(record)
    log = records.log(cell).open("a", encoding="utf-8", buffering=1)
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
    preparation = preparation if task.test else replace(preparation, evaluated=("valid",))
    return Run(preparation, say=partial(print, file=log), watch=task.watch if cell == task.cells[0] else None)


def error_text(error: BaseException) -> str:
    """A cell's error in one line; a ToolkitError, which is written for users, stands without its type."""
    return str(error) if isinstance(error, ToolkitError) else one_line(error)
