"""The results of an experiment so far, read from its folder."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.corpus import Utterance, read_manifest
from toolkit.errors import ExperimentError, did_you_mean
from toolkit.experiment.plan import Plan, existing_plan
from toolkit.experiment.progress import Progress
from toolkit.training.run_folder import EMBEDDINGS, EPOCHS, MANIFEST, PREDICTIONS, RESULTS, read_results


@dataclass(frozen=True)
class FinishedRun:
    """A finished cell.

    Args:
        system: the recipe's name.
        protocol: its name.
        fold: its name.
        seed: of the run.
        folder: the run's.
        recipe: the system's, resolved and plain; its fold and seed are not the run's.
    """

    system: str
    protocol: str
    fold: str
    seed: int
    folder: Path
    recipe: Mapping[str, Any]

    @cached_property
    def results(self) -> Mapping[str, Any]:
        """The content of results.json."""
        return read_results(self.folder / RESULTS)

    def predictions(self) -> list[dict[str, str]]:
        """The rows of predictions.csv."""
        return _rows(self.folder / PREDICTIONS)

    def epochs(self) -> list[dict[str, float]]:
        """The rows of epochs.csv, numbers as numbers."""
        rows = _rows(self.folder / EPOCHS)
        return [{key: float(value) for key, value in row.items() if key != "note"} for row in rows]

    def embeddings(self) -> dict[str, np.ndarray]:
        """The arrays of embeddings.npz: name -> [utterances, size]; "id" and "reference" [utterances]."""
        with np.load(self.folder / EMBEDDINGS) as arrays:
            return dict(arrays)

    def manifest(self) -> list[Utterance]:
        """The utterances that the run used, with the paths of their audio."""
        return read_manifest(self.folder / MANIFEST)


@dataclass(frozen=True)
class Outcome:
    """An experiment with its finished runs.

    Args:
        folder: the experiment's.
        plan: its systems and cells.
        baseline: the system that the others are compared with.
        runs: one for each finished cell, in the order of the plan.
        failures: system, protocol, fold and seed of a failed cell -> its error in one line.
    """

    folder: Path
    plan: Plan
    baseline: str
    runs: tuple[FinishedRun, ...]
    failures: Mapping[tuple[str, str, str, int], str]

    def of(self, system: str, protocol: str) -> list[FinishedRun]:
        """The finished runs of a system under a protocol."""
        return [run for run in self.runs if (run.system, run.protocol) == (system, protocol)]

    def with_baseline(self, system: str) -> "Outcome":
        """The same, compared with another system."""
        if system not in self.plan.systems:
            raise ExperimentError(
                f"No system of this experiment is called {system!r}.{did_you_mean(system, self.plan.systems)} "
                f"There are {', '.join(self.plan.systems)}."
            )
        return replace(self, baseline=system)


def read_experiment(folder: Path) -> Outcome:
    """Read an experiment's folder.

    Raises:
        ExperimentError: if it holds no experiment, or a damaged one.
    """
    folder, plan = Path(folder), existing_plan(folder)
    progress = Progress(folder, plan)
    cells = progress.cells(alive=False)
    runs = tuple(
        FinishedRun(*cell.cell.key, progress.records.run_folder(cell.record), plan.systems[cell.cell.system].recipe)
        for cell in cells
        if cell.state == "done"
    )
    failures = {cell.cell.key: cell.record.error or "" for cell in cells if cell.state == "failed"}
    return Outcome(folder, plan, next(iter(plan.systems)), runs, failures)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise ExperimentError(f"{path} cannot be read ({error.strerror}): delete the run and train it again.") from None
