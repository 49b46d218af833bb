"""The commands `toolkit experiment` and `toolkit status`: what their options mean, and what they print."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import click

from toolkit.errors import ExperimentError, counted
from toolkit.experiment.display import LiveDisplay, print_cells
from toolkit.experiment.plan import PLAN, read_plan
from toolkit.experiment.planning import make_plan
from toolkit.experiment.progress import Progress, is_alive
from toolkit.experiment.running import run_experiment
from toolkit.training.preparation import Source

OURS = {"fold": "--folds", "seed": "--seeds", "output_folder": "--output", "protocol.name": "--protocol"}
REFRESH_S = 2.0


@dataclass(frozen=True)
class Settings:
    """Where the cells of an experiment are trained.

    Args:
        jobs: trainings at a time on this machine.
        threads: of each training.
        gpus: of this machine, one for each job; empty where no GPU is given to a job by name.
        scheduler: address of a Dask scheduler, or None.
        resources: what a training takes of a Dask worker: name -> amount.
    """

    jobs: int = 1
    threads: int = 1
    gpus: tuple[str, ...] = ()
    scheduler: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        *,
        jobs: int | None,
        gpus: str | None,
        threads: int | None,
        scheduler: str | None,
        resources: Sequence[str],
        overrides: Sequence[str],
    ) -> "Settings":
        """Make them of the command's options.

        Raises:
            ExperimentError: for options that exclude each other or cannot be read.
        """
        for word in overrides:
            key = word.removeprefix("--").partition("=")[0]
            if word.startswith("--") and key in OURS:
                raise ExperimentError(f"--{key} is for one run: an experiment takes {OURS[key]}.")
        given = tuple(gpus.split(",")) if gpus else ()
        if scheduler is None and resources:
            raise ExperimentError("--resource is for the workers of a Dask cluster: give its --scheduler too.")
        if scheduler is not None and (jobs or gpus):
            raise ExperimentError("--jobs and --gpus are for this machine; with --scheduler the cluster has workers.")
        if given and jobs not in (None, len(given)):
            raise ExperimentError(f"--gpus names {len(given)} and --jobs is {jobs}: each job takes one GPU.")
        amounts = _amounts(resources)
        jobs = len(given) or jobs or 1
        share = max(1, len(os.sched_getaffinity(0)) // jobs) if scheduler is None else int(amounts.get("threads", 1))
        return cls(jobs, threads or share, given, scheduler, amounts)

    def executor(self, say: Callable[[str], None]) -> AbstractContextManager[Executor]:
        """What the cells are submitted to."""
        if self.scheduler is not None:
            from toolkit.experiment.cluster import cluster_executor

            return cluster_executor(self.scheduler, resources=self.resources, same=used_code)
        from toolkit.experiment.workers import LocalWorkers

        return LocalWorkers(self.jobs, threads=self.threads, gpus=self.gpus, on_death=say)


def conduct(
    sources: Sequence[Source], settings: Settings, *, folds: str, seeds: str, protocols: str | None, output: str
) -> int:
    """Plan and run an experiment, and say how it went.

    Returns:
        How many of its cells failed.
    """
    plan = make_plan(
        sources,
        protocols=protocols.split(",") if protocols else None,
        folds=None if folds == "all" else folds.split(","),
        seeds=_seeds(seeds),
    )

    def say(line: str) -> None:
        click.echo(line, err=True)

    cells = counted(len(plan.cells), "cell")
    say(f"{cells}: {', '.join(plan.systems)}; folds {_listed_folds(plan.folds)}; seeds {seeds}")
    with LiveDisplay(jobs=settings.jobs) as show:
        try:
            cells = run_experiment(
                Path(output), plan, lambda: settings.executor(say), threads=settings.threads, say=say, show=show
            )
        except KeyboardInterrupt:
            say("Stopped. The same command goes on where this one stopped.")
            raise SystemExit(130) from None
    print_cells(cells)
    failed = sum(cell.state == "failed" for cell in cells)
    if failed:
        say(f"Failed: {failed}. What they said is in {Path(output) / 'cells'}; the same command tries them again.")
    say(f"The report: toolkit report {output}")
    return failed


def show_status(folder: str, *, watch: bool) -> None:
    """Print how far an experiment is, with `watch` again and again."""
    plan = read_plan(Path(folder))
    if plan is None:
        raise ExperimentError(f"{folder} holds no experiment ({PLAN} is missing): give the --output of one.")
    progress = Progress(Path(folder), plan)
    while True:
        alive = is_alive(Path(folder))
        if watch:
            click.clear()
        print_cells(progress.cells(alive=alive))
        click.echo("A process runs this experiment." if alive else "No process runs this experiment.")
        if not watch or not alive:
            return
        time.sleep(REFRESH_S)


def used_code() -> dict[str, str]:
    """The version of the toolkit's own code and of what computes: the same on all workers, or results would differ."""
    from importlib.metadata import version

    from toolkit.files import DISTRIBUTION
    from toolkit.plugins.versions import code_version

    return {DISTRIBUTION: code_version(DISTRIBUTION, {"toolkit", "toolkit_plugins"}), "torch": version("torch")}


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        seeds = (-1,)
    if min(seeds) < 0:
        raise ExperimentError(f"--seeds is {text!r}: whole numbers from 0 with commas between them, as 1,2,3.")
    return seeds


def _amounts(words: Sequence[str]) -> dict[str, float]:
    amounts = {}
    for word in words:
        name, _, amount = word.partition("=")
        try:
            amounts[name] = float(amount)
        except ValueError:
            raise ExperimentError(f"--resource {word!r}: a name and an amount are needed, as GPU=1.") from None
    return amounts


def _listed_folds(folds: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{', '.join(names)} of {protocol}" for protocol, names in folds.items())
