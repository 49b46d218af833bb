"""The commands `toolkit experiment` and `toolkit status`: their options, their work and their output."""

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import click

from toolkit.errors import ExperimentError, counted
from toolkit.experiment.display import live_display, print_cells
from toolkit.experiment.engine import Workers, cluster_workers, local_workers
from toolkit.experiment.plan import TRIALS, existing_plan, make_plan, merged, read_plan, write_plan
from toolkit.experiment.progress import LOCK, Progress, Record, Records, is_alive
from toolkit.experiment.tasks import Task, Threads, error_text, make_tasks, run_task
from toolkit.files import DISTRIBUTION, LONGEST, locked
from toolkit.plugins.versions import code_version
from toolkit.terminal import say
from toolkit.training.preparation import Source

INSTEAD = {"fold": "--folds", "seed": "--seeds", "output_folder": "--output", "protocol.name": "--protocol"}
REFRESH_S = 2.0
LOOK_AGAIN_S = 1.0


@dataclass(frozen=True)
class WorkerOptions:
    """Where cells are trained, as the command's options say; None or empty: the option was not given.

    Raises: ExperimentError if two options exclude each other, or torch does not find a named GPU.
    """

    jobs: int | None = None
    gpus: tuple[str, ...] = ()
    threads: int | None = None
    scheduler: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if self.scheduler is None and self.resources:
            raise ExperimentError("--resource is for the workers of a Dask cluster: give its --scheduler too.")
        if self.scheduler is not None and (self.jobs or self.gpus):
            raise ExperimentError("--jobs and --gpus are for this machine; --scheduler trains on a cluster.")
        if self.gpus and self.jobs not in (None, len(self.gpus)):
            raise ExperimentError(f"--gpus names {len(self.gpus)} and --jobs is {self.jobs}: each job takes one GPU.")
        if self.gpus:  # torch would silently train on the CPU
            import torch

            here, found = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
            known = here.split(",")[:found] if here else [str(number) for number in range(found)]
            for name in self.gpus:
                if name not in known and not (found and name.startswith(("GPU-", "MIG-"))):
                    has = f"it has {', '.join(known) or 'none'}"
                    raise ExperimentError(f"--gpus: this machine has no GPU {name!r}; {has}.")

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> "WorkerOptions":
        """The options of this class, which are removed from a command's others."""
        return cls(**{one.name: options.pop(one.name) for one in fields(cls)})

    @property
    def at_a_time(self) -> int:
        """How many cells this machine trains at a time."""
        return len(self.gpus) or self.jobs or 1

    @property
    def threads_each(self) -> Threads:
        """The threads of each training.

        They are --threads, else OMP_NUM_THREADS, else its share of the cores; on a cluster --threads, else the
        resource `threads`, else 1.
        """
        if self.scheduler is not None:
            return Threads(self.threads or max(1, int(self.resources.get("threads", 1))))
        from dask.system import cpu_count

        first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
        given = self.threads or (int(first) if first.isdecimal() else 0)
        return Threads(given or max(1, cpu_count() // self.at_a_time), asked=given > 0)

    def workers(self, tasks: int) -> AbstractContextManager[Workers]:
        """The workers for a number of tasks."""
        if self.scheduler is not None:
            return cluster_workers(self.scheduler, resources=self.resources, same=used_code)
        jobs = min(self.at_a_time, tasks)
        return local_workers(jobs, threads=self.threads_each.number, gpus=self.gpus[:jobs])


def run_experiment(
    sources: Sequence[Source],
    options: WorkerOptions,
    *,
    folds: tuple[str, ...],  # or ("all",)
    seeds: str,
    protocols: Sequence[str],  # none: the recipes' own
    output: str,
) -> tuple[int, int]:
    """Plan and run an experiment, and print how it went.

    One process at a time runs the experiment of a folder. A second one waits for it, shows its progress, and then runs
    what is missing. Cells of other commands in the folder are left as they are.

    Returns: how many of its cells failed, and how many are done.
    Raises: ExperimentError if the folder cannot be written, holds an experiment on other data, or a damaged one.
    """
    some = None if folds == ("all",) else folds
    plan = make_plan(sources, protocols=protocols or None, folds=some, seeds=_seeds(seeds))
    listed = "; ".join(f"{', '.join(names)} of {protocol}" for protocol, names in plan.folds.items())
    say(f"{counted(len(plan.cells), 'cell')}: {', '.join(plan.systems)}; folds {listed}; seeds {seeds}")
    folder = Path(output).absolute()
    if os.path.isdir(folder / TRIALS):
        raise ExperimentError(f"{folder} holds a search of `toolkit tune`: choose another --output.")
    progress = Progress(folder, plan)
    with live_display() as show, _turn(folder, lambda: show(progress.cells(alive=True))):
        whole, lines = merged(read_plan(folder), plan)
        for line in lines:
            say(line)
        write_plan(folder, whole)
        before = progress.cells(alive=False)
        progress.again = [c.record for c in before if c.state == "failed"]
        missing = [c.cell for c in before if c.state != "done" or c.record.random]
        if tasks := make_tasks(folder, plan, missing, options.threads_each):
            with options.workers(len(tasks)) as workers:
                show(progress.cells(alive=True))
                for ended in workers.run(run_task, tasks):
                    for task, error in ended:
                        if error is not None:
                            _record_loss(progress.records, task, error)
                    show(progress.cells(alive=True))
    progress.again = []  # those that were not reached are failed as before
    cells = progress.cells(alive=False)
    print_cells(cells)
    if failed := sum(cell.state == "failed" for cell in cells):
        say(f"Failed: {failed}. Their output is in {Path(output) / 'cells'}; the same command tries them again.")
    return failed, sum(cell.state == "done" for cell in cells)


@contextmanager
def _turn(folder: Path, show: Callable[[], None]) -> Iterator[None]:
    """Wait until no other process runs the experiment of a folder, then keep others waiting during the block."""
    for turn in count():
        with ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                ours = stack.enter_context(locked(folder / LOCK, wait=False))
            except OSError as error:
                reason = f"{folder} cannot be written ({error.strerror})"
                raise ExperimentError(f"{reason}: choose another --output.") from error
            if ours:
                yield
                return
        if not turn:
            say("Another process runs this experiment. This one waits, and then runs what is left.")
        show()
        time.sleep(LOOK_AGAIN_S)


def _record_loss(records: Records, task: Task, error: Exception) -> None:
    """Record the cells of a task that raised as failed: a worker records its cells' errors, but not its own death."""
    now = time.time()
    for cell in task.cells:
        record = records.read(cell) or Record(cell, "running", now)
        if record.state == "running":
            records.write(replace(record, state="failed", ended=now, error=error_text(error)))


def show_status(folder: str, *, watch: bool) -> None:
    """Print the progress of an experiment; with `watch`, again and again while a process runs it."""
    progress = Progress(Path(folder), existing_plan(Path(folder)))
    while True:
        alive = is_alive(Path(folder))
        if watch:
            click.clear()
        print_cells(progress.cells(alive=alive))
        for line in progress.records.left_out(progress.plan):
            click.echo(line)
        click.echo("A process runs this experiment." if alive else "No process runs this experiment.")
        if not watch or not alive:
            return
        time.sleep(REFRESH_S)


def refuse_options_of_one_run(overrides: Sequence[str], command: str, varied: Collection[str] = tuple(INSTEAD)) -> None:
    """Refuse overrides of keys that a command varies; the ExperimentError names the option to use instead."""
    for word in overrides:
        key = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and key in varied:
            raise ExperimentError(f"--{key} is for one run: {command} takes {INSTEAD[key]}.")


def used_code() -> dict[str, str]:
    """The versions of the toolkit and torch: if they differ between workers, so may the results."""
    own = code_version(DISTRIBUTION, frozenset({"toolkit", "toolkit_plugins"}))
    return {DISTRIBUTION: own, "torch": version("torch")}


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        seeds = (-1,)
    if min(seeds) < 0 or max(seeds) >= 10**LONGEST:
        raise ExperimentError(f"--seeds is {text!r}: whole numbers from 0 with commas between them, for example 1,2,3.")
    return seeds
