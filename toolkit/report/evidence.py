"""An experiment's folder, read once: its plan, finished runs, answers, confusions, recipes and stamps."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from toolkit.corpus.protocols import chooses_on_test
from toolkit.corpus.targets import Target
from toolkit.errors import ExperimentError, did_you_mean, join
from toolkit.experiment.cells import Records
from toolkit.experiment.plan import Cell, read_plan
from toolkit.files import require_file
from toolkit.recipe.schema import FUSED
from toolkit.statistics.confidence import Confidence, at_temperature
from toolkit.statistics.metrics import (
    METRICS,
    Accuracies,
    Confusions,
    Spread,
    pooled_accuracies,
    speaker_confusions,
    spread,
)
from toolkit.training.predictions import Answers, damage_of, read_answers, read_confidence, read_csv
from toolkit.training.run_folder import EMBEDDINGS, EPOCHS, PREDICTIONS, RESULTS, read_results


@dataclass(frozen=True)
class FinishedRun:
    """A cell that is done; each file of its run is read once."""

    cell: Cell
    folder: Path  # of its run
    labels: tuple[str, ...]  # that it predicts

    @cached_property
    def results(self) -> Mapping[str, Any]:
        """The content of results.json."""
        return read_results(self.folder / RESULTS)

    @cached_property
    def answers(self) -> Answers:
        """The content of predictions.csv."""
        return read_answers(self.folder, self.labels, confusion=self.results["confusion"])

    @cached_property
    def confidence(self) -> Confidence:
        """The confidence that is fitted on the validation part."""
        return read_confidence(self.folder, self.labels, self.results)

    def curve(self, metric: str) -> dict[int, float]:
        """The test part's "wa" or "ua" after each epoch."""
        with damage_of(self.folder / EPOCHS) as file:
            return {int(row["epoch"]): float(row[f"test_{metric}"] or "nan") for row in read_csv(file)}

    def embeddings(self) -> np.ndarray:
        """The fused embeddings of the utterances of `answers`: [utterances, size]."""
        with damage_of(self.folder / EMBEDDINGS) as path, require_file(path).open("rb") as file:
            arrays = np.load(file)
            if arrays["id"].tolist() != self.answers.id.tolist():
                raise ValueError(f"it has other utterances than {PREDICTIONS}")
            return np.asarray(arrays[FUSED], dtype=np.float64)


class SystemRuns:
    """The finished runs of one system under one protocol."""

    def __init__(self, evidence: "Evidence", system: str, protocol: str):
        self.name, self.protocol, self.labels = system, protocol, evidence.plan.labels
        self.recipe = evidence.recipes[system]
        self.runs = [run for run in evidence.runs if run.cell.key[:2] == (system, protocol)]
        cells = [cell for cell in evidence.cells if cell.key[:2] == (system, protocol)]
        self.planned, self.planned_folds = len(cells), len(evidence.plan.folds[protocol])
        self.complete = len(self.runs) == self.planned
        self.folds = {run.cell.fold for run in self.runs}  # that have a finished run

    @cached_property
    def answers(self) -> Answers:
        """The answers of all runs, one run after another; there must be a run."""
        return Answers(*map(np.concatenate, zip(*(vars(run.answers).values() for run in self.runs), strict=True)))

    @cached_property
    def calibrated(self) -> np.ndarray | None:
        """The probabilities at each run's temperature: [answers, classes]; None if a run has no temperature."""
        if not all(run.confidence.utterances for run in self.runs):
            return None
        return np.concatenate([at_temperature(r.answers.probabilities, r.confidence.temperature) for r in self.runs])

    @cached_property
    def confusions(self) -> Confusions:
        """Confusions by speaker, averaged over the seeds of each fold; empty without a finished run."""
        return self.confusions_by(lambda answers: answers.speaker)

    def confusions_in(self, folds: set[str]) -> Confusions:
        """Confusions by speaker over some of the folds."""
        return self.confusions if folds == self.folds else self.confusions_by(lambda a: a.speaker, folds)

    def confusions_by(self, group: Callable[[Answers], np.ndarray], folds: set[str] | None = None) -> Confusions:
        """Confusions by the group that `group` gives each utterance, over all folds or only `folds`."""
        counts: dict[str, np.ndarray] = {}
        for fold in dict.fromkeys(run.cell.fold for run in self.runs if folds is None or run.cell.fold in folds):
            of_seeds = [
                speaker_confusions(group(a), a.reference, a.predicted, classes=self.labels)
                for a in (run.answers for run in self.runs if run.cell.fold == fold)
            ]
            for name in of_seeds[0]:
                counts[name] = counts.get(name, 0.0) + np.mean([found[name] for found in of_seeds], axis=0)
        return counts

    @property
    def pooled(self) -> Accuracies | None:
        """WA and UA over all test utterances, averaged over seeds; None without a finished run."""
        return pooled_accuracies(np.stack([*self.confusions.values()])) if self.confusions else None

    @property
    def speakers(self) -> list[str]:
        """The names of the test speakers, in the order of the folds."""
        return [name for name in self.confusions if name]

    @property
    def spread(self) -> dict[str, Spread]:
        """Metric -> mean and deviation over folds and seeds; empty without a finished run."""
        rows = [(run.cell.fold, run.cell.seed, *(run.results[metric] for metric in METRICS)) for run in self.runs]
        return spread(rows) if rows else {}


class Evidence:
    """Everything a report is made from; `systems`: the only ones that count, by default all."""

    def __init__(self, folder: str | Path, baseline: str | None = None, systems: Collection[str] = ()):
        self.folder, whole = Path(folder), read_plan(Path(folder))
        check_known("--systems", "system", systems, whole.systems)
        check_known("--baseline", "system", [baseline] if baseline else (), whole.systems)
        self.left_out = [name for name in whole.systems if systems and name not in systems]
        if baseline in self.left_out:
            raise ExperimentError(f"--systems leaves out the baseline, {baseline!r}: add it, or choose another one.")
        kept = {name: system for name, system in whole.systems.items() if name not in self.left_out}
        cells = tuple(cell for cell in whole.cells if cell.system in kept)
        self.plan = replace(whole, systems=kept, cells=cells)
        self.protocols, self.baseline = tuple(self.plan.folds), baseline or next(iter(kept))
        tests = dict.fromkeys(cell.key[1:] for cell in cells)  # protocol, fold and seed
        # each system should have every test that any has: a table compares them
        self.cells = [Cell(name, *test, system.fingerprint) for test in tests for name, system in kept.items()]
        records = Records(self.folder)
        self.changed = records.left_out(self.plan)
        found, run_folder = records.progress(self.plan, alive=False), records.run_folder  # in the order of the plan
        self.runs = [FinishedRun(c.cell, run_folder(c.record), self.plan.labels) for c in found if c.state == "done"]
        self.failures = {c.cell.key: c.record.error or "" for c in found if c.state == "failed"}
        self.recipes = {name: system.recipe for name, system in kept.items()}  # resolved
        self.runs_of = {(name, p): SystemRuns(self, name, p) for p in self.protocols for name in kept}

    def check_splits(self) -> None:
        """Raise ExperimentError if the training or test utterances of two runs of one fold differ."""
        first: dict[tuple, tuple] = {}
        for run in self.runs:
            split, ids = run.results.get("split"), frozenset(run.answers.id.tolist())
            other = first.setdefault((run.cell.protocol, run.cell.fold), (split, ids, run.folder))
            if (split, ids) != other[:2]:
                raise ExperimentError(
                    f"{other[2]} and {run.folder} have different utterances in fold {run.cell.fold!r}: a report "
                    "compares systems on the same folds. Train one of the two again, in a separate experiment."
                )

    def all_of(self, systems: Iterable[str], protocol: str) -> list[SystemRuns]:
        """The runs of these systems under a protocol."""
        return [self.runs_of[system, protocol] for system in systems]

    def tested(self, protocol: str | None = None) -> list[SystemRuns]:
        """The systems that have a finished run under a protocol, in order; by default under each of the protocols."""
        return [runs for runs in self.runs_of.values() if runs.runs and protocol in (None, runs.protocol)]

    def best_run(self) -> FinishedRun | None:
        """Of the system with the best mean validation score, the run with the best one.

        A system with a shuffled covariate, or with fewer folds than another, is not taken, nor is a protocol that
        validates on the test part if there is another one.
        """
        covariates = {name: recipe["model"]["covariates"].values() for name, recipe in self.recipes.items()}
        controls = [name for name, specs in covariates.items() if any(spec["source"] == "shuffled" for spec in specs)]
        tested = [t for t in self.tested(min(self.protocols, key=chooses_on_test)) if t.name not in controls]
        whole = [t for t in tested if len(t.folds) == max(len(other.folds) for other in tested)]
        valid = [[run for run in t.runs if run.results.get("valid_wa") is not None] for t in whole]
        scores = [{run: Target.selection_score(run.results) for run in runs} for runs in valid if runs]
        best = max(scores, key=lambda by_run: fmean(by_run.values()), default={})
        return max(best, key=best.get, default=None)


def check_known(option: str, noun: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raise ExperimentError if an option has a name that the experiment lacks."""
    for name in (name for name in names if name not in known):
        near = did_you_mean(name, known)
        raise ExperimentError(f"{option}: this experiment has no {noun} {name!r}.{near} It has {', '.join(known)}.")


def stamps_of(tested: Iterable[SystemRuns]) -> tuple[str, ...]:
    """The notes that everything made from these runs must carry, each once."""
    runs = (run for of_system in tested for run in of_system.runs)
    return tuple(dict.fromkeys(stamp for run in runs for stamp in run.results["stamps"]))


def incomplete_note(tested: Iterable[SystemRuns]) -> list[str]:
    """A note that names the systems with missing cells, if there are any."""
    missing = dict.fromkeys(system.name for system in tested if not system.complete)
    return [f"Not all cells of {join(missing)} are done: only finished ones count."] if missing else []
