"""What a worker does for an experiment: the runs of cells that are read from one training, and their records."""

import contextlib
import os
import platform
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from toolkit.corpus.protocols import training_protocol
from toolkit.errors import ToolkitError
from toolkit.experiment.cells import Cell, Record, Records
from toolkit.experiment.plan import Plan
from toolkit.experiment.planning import with_protocol
from toolkit.plugins.failures import plugin_failures
from toolkit.plugins.registry import build
from toolkit.recipe.loading import read_recipe_dict
from toolkit.training.preparation import Source, prepare

if TYPE_CHECKING:
    from toolkit.training.run import Run

RUNS = "runs"
_one_at_a_time = threading.Lock()  # random states belong to the process: a cluster's worker may have several threads


@dataclass(frozen=True)
class Task:
    """Cells that are read from one training.

    Args:
        folder: the experiment's.
        cells: of one system, fold and seed; the first one trains.
        recipe: resolved, plain.
        data_folder: where the corpus is, or None.
        reduced: whether the recipe's `without_data` settings replace its own.
        threads: that torch computes with.
    """

    folder: Path
    cells: tuple[Cell, ...]
    recipe: Mapping[str, Any]
    data_folder: str | None
    reduced: bool
    threads: int


def make_tasks(folder: Path, plan: Plan, cells: Iterable[Cell], *, threads: int) -> list[Task]:
    """Group cells by the training that they are read from, in their order."""
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        groups.setdefault((training_protocol(cell.protocol), cell.system, cell.fold, cell.seed), []).append(cell)
    tasks = []
    for group in groups.values():
        system = plan.systems[group[0].system]
        tasks.append(Task(folder, tuple(group), system.recipe, system.data_folder, system.reduced, threads))
    return tasks


def run_task(task: Task) -> list[Record]:
    """Train and test what is not finished; a cell that fails is recorded with its error, and the next one is tried.

    Returns:
        The last record of each cell.
    """
    from toolkit.hardware import give_back

    with _one_at_a_time:
        done = []
        for cell in task.cells:
            done.append(_run_cell(task, cell))
            give_back()
        return done


def _run_cell(task: Task, cell: Cell) -> Record:
    records = Records(task.folder)
    record = Record(cell.name, "running", time.time(), host=platform.node(), pid=os.getpid())
    records.write(record)
    log = records.log(cell).open("a", encoding="utf-8", buffering=1)
    with log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            with plugin_failures():
                run = _prepared_run(task, cell, log)
                record = record.but(
                    run=run.folder.path.name, epochs=run.training.epochs, random=bool(run.system.random_backbones)
                )
                records.write(record)
                run.train(wait=True)
            record = record.but(state="done", ended=time.time())
        except Exception as error:
            expected = isinstance(error, ToolkitError)
            traceback.print_exc()
            record = record.but(
                state="failed",
                ended=time.time(),
                error=str(error) if expected else f"{type(error).__name__}: {error}".partition("\n")[0],
                traceback=None if expected else traceback.format_exc(),
            )
        records.write(record)
    return record


def _prepared_run(task: Task, cell: Cell, log: TextIO) -> "Run":
    import torch

    from toolkit.terminal import quiet_libraries
    from toolkit.training.run import Run

    quiet_libraries()
    torch.set_num_threads(task.threads)
    return Run(prepare(_source(task, cell)), say=lambda line: print(line, file=log))


def _source(task: Task, cell: Cell) -> Source:
    recipe = with_protocol(read_recipe_dict(task.recipe, source=cell.system), cell.protocol)
    recipe = replace(recipe, fold=cell.fold, seed=cell.seed, output_folder=str(task.folder / RUNS))
    corpus = build("corpus", recipe.corpus)
    return Source(recipe, corpus, None if task.data_folder is None else Path(task.data_folder), task.reduced)
