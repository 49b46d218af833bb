"""An experiment's folder, read once: its plan, finished runs, answers, confusions, recipes and stamps."""

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any
from zipfile import BadZipFile

import numpy as np

from toolkit.corpus import Utterance, read_manifest, speaker_order
from toolkit.corpus.protocols import chooses_on_test
from toolkit.errors import ExperimentError, did_you_mean, one_line
from toolkit.experiment.plan import Cell, Plan, existing_plan, without_unused
from toolkit.experiment.progress import Progress
from toolkit.files import require_file
from toolkit.recipe.schema import FUSED
from toolkit.statistics.abstention import Confidence
from toolkit.statistics.calibration import at_temperature
from toolkit.statistics.metrics import (
    METRICS,
    Accuracies,
    Confusions,
    Spread,
    pooled_accuracies,
    speaker_confusions,
    spread,
)
from toolkit.training.predictions import Answers, read_answers, read_confidence, read_csv
from toolkit.training.run_folder import (
    EMBEDDINGS,
    EPOCHS,
    MANIFEST,
    PREDICTIONS,
    RESULTS,
    read_results,
    validation_score,
)


@dataclass(frozen=True)
class FinishedRun:
    """A cell that is done, the folder of its run, and the labels that it predicts."""

    cell: Cell
    folder: Path
    labels: tuple[str, ...]

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
        """The test part's "wa" or "ua" after each epoch, from epochs.csv; ExperimentError if that is damaged."""
        with _damage_of(self.folder / EPOCHS) as file:
            return {int(row["epoch"]): float(row[f"test_{metric}"] or "nan") for row in read_csv(file)}

    def embeddings(self) -> np.ndarray:
        """The fused embeddings of the utterances of `answers`: [utterances, size].

        Raises: ExperimentError if embeddings.npz is damaged, or belongs to another run.
        """
        with _damage_of(self.folder / EMBEDDINGS) as path, require_file(path).open("rb") as file:
            arrays = np.load(file)
            fused = np.asarray(arrays[FUSED], dtype=np.float64)
            if arrays["id"].tolist() != self.answers.id.tolist():
                raise ValueError(f"it has other utterances than {PREDICTIONS}")
            if fused.ndim != 2 or len(fused) != len(self.answers.id) or not np.isfinite(fused).all():
                raise ValueError(f"{FUSED!r} is not a row of finite numbers for each utterance")
            return fused


@contextmanager
def _damage_of(file: Path) -> Iterator[Path]:
    try:
        yield file
    except (KeyError, IndexError, TypeError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        reason = f"{file} is damaged ({one_line(error)})"
        raise ExperimentError(f"{reason}: delete the run and train it again.") from None


class SystemRuns:
    """The finished runs of one system under one protocol; each file is read once."""

    def __init__(self, evidence: "Evidence", system: str, protocol: str):
        self.name, self.protocol, self.labels = system, protocol, evidence.plan.labels
        self.recipe = evidence.recipes[system]
        self.runs = [run for run in evidence.runs if run.cell.key[:2] == (system, protocol)]
        cells = [cell for cell in evidence.cells if cell.key[:2] == (system, protocol)]
        self.planned, self.planned_folds = len(cells), len({cell.fold for cell in cells})

    @property
    def complete(self) -> bool:
        """Whether every cell is done."""
        return len(self.runs) == self.planned

    @property
    def folds(self) -> set[str]:
        """The folds that have a finished run."""
        return {run.cell.fold for run in self.runs}

    @cached_property
    def answers(self) -> Answers:
        """The answers of all runs, which have to be there, one run after another."""
        of_runs = zip(*(vars(run.answers).values() for run in self.runs), strict=True)
        return Answers(*map(np.concatenate, of_runs))

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

    def confusions_by(self, group: Callable[[Answers], Iterable[str]], folds: set[str] | None = None) -> Confusions:
        """Confusions by the group that `group` gives each utterance, over all folds or only `folds`."""
        counts: dict[str, np.ndarray] = {}
        for fold in dict.fromkeys(run.cell.fold for run in self.runs if folds is None or run.cell.fold in folds):
            of_fold = [run for run in self.runs if run.cell.fold == fold]
            found = speaker_confusions(
                np.concatenate([np.asarray(group(run.answers)) for run in of_fold]).tolist(),
                np.concatenate([run.answers.reference for run in of_fold]),
                np.concatenate([run.answers.predicted for run in of_fold]),
                classes=self.labels,
                seeds=[run.cell.seed for run in of_fold for _ in run.answers.id],
            )
            for name, matrix in found.items():
                counts[name] = counts.get(name, 0.0) + matrix
        return counts

    @property
    def pooled(self) -> Accuracies | None:
        """WA and UA over all test utterances, averaged over seeds; None without a finished run."""
        return pooled_accuracies(np.stack([*self.confusions.values()])) if self.confusions else None

    @property
    def speakers(self) -> set[str]:
        """The test speakers that have a name."""
        return set(self.confusions) - {""}

    @property
    def validation_scores(self) -> dict[FinishedRun, float]:
        """WA + UA of the validation part of each run whose results have them."""
        having = [r for r in self.runs if all(isinstance(r.results.get(f"valid_{m}"), float) for m in METRICS)]
        return {run: validation_score(run.results) for run in having}

    @cached_property
    def seeds_differ(self) -> bool:
        """Whether the predictions of a fold differ between seeds; also true where no fold has two seeds."""
        first: dict[str, np.ndarray] = {}
        found = [(r.answers.probabilities, first.setdefault(r.cell.fold, r.answers.probabilities)) for r in self.runs]
        return len(first) == len(found) or not all(np.array_equal(one, other) for one, other in found)

    @property
    def spread(self) -> dict[str, Spread]:
        """Metric -> mean and deviation over folds and seeds, None over equal ones; empty without a finished run."""
        rows = [(run.cell.fold, run.cell.seed, *(run.results[metric] for metric in METRICS)) for run in self.runs]
        found = spread(rows) if rows else {}
        return found if self.seeds_differ else {name: replace(one, over_seeds=None) for name, one in found.items()}


class Evidence:
    """Everything a report is made from.

    Args: folder: the experiment's folder; baseline: the system that the others are compared with, by default the first;
        systems: the only ones that count, by default all.
    Raises: ExperimentError if the folder holds no experiment or a damaged one, or no system has one of the names.
    """

    def __init__(self, folder: str | Path, baseline: str | None = None, systems: Collection[str] = ()):
        self.folder, whole = Path(folder), existing_plan(Path(folder))
        for name in (name for name in (*systems, *([baseline] if baseline else ())) if name not in whole.systems):
            near, there = did_you_mean(name, whole.systems), f"Its systems are {', '.join(whole.systems)}."
            raise ExperimentError(f"No system of this experiment is called {name!r}.{near} {there}")
        self.left_out = [name for name in whole.systems if systems and name not in systems]
        if baseline in self.left_out:
            raise ExperimentError(f"--systems leaves out the baseline, {baseline!r}: add it, or choose another one.")
        self.plan = _without(self.left_out, whole)
        self.protocols, self.baseline = tuple(self.plan.folds), baseline or next(iter(self.plan.systems))
        planned = {cell.key for cell in self.plan.cells}
        places = dict.fromkeys((cell.protocol, cell.fold, cell.seed) for cell in self.plan.cells)
        pairs = product(self.plan.systems.items(), places)
        every = (Cell(name, *place, system.fingerprint) for (name, system), place in pairs)
        self.not_run = [cell for cell in every if cell.key not in planned]  # another system has them, this one has not
        self.cells = (*self.plan.cells, *self.not_run)
        progress = Progress(self.folder, self.plan)
        self.changed = progress.records.left_out(self.plan)
        cells, run_folder = progress.cells(alive=False), progress.records.run_folder
        done = [cell for cell in cells if cell.state == "done"]
        self.runs = [FinishedRun(c.cell, run_folder(c.record), self.plan.labels) for c in done]  # as planned
        self.failures = {c.cell.key: c.record.error or "" for c in cells if c.state == "failed"}
        self.recipes = {name: system.recipe for name, system in self.plan.systems.items()}  # resolved
        pairs = product(self.plan.systems, self.protocols)
        self._runs_of = {(system, protocol): SystemRuns(self, system, protocol) for system, protocol in pairs}

    def check_splits(self) -> None:
        """Refuse runs of one fold whose training or test utterances differ, and a manifest that lacks some.

        Raises: ExperimentError, with the names of two runs or of the manifest.
        """
        first: dict[tuple, tuple] = {}
        for run in self.runs:
            split, ids = run.results.get("split"), frozenset(run.answers.id.tolist())
            other = first.setdefault((run.cell.protocol, run.cell.fold), (split, ids, run.folder))
            if (split, ids) != other[:2]:
                raise ExperimentError(
                    f"{other[2]} and {run.folder} have different utterances in fold {run.cell.fold!r}: a report "
                    "compares systems on the same folds. Train one of the two again, in a separate experiment."
                )
            if lost := ids - self.utterances.keys():
                file = self.runs[0].folder / MANIFEST
                raise ExperimentError(f"{file} lacks {min(lost)!r}: delete the run and train it again.")

    @cached_property
    def utterances(self) -> Mapping[str, Utterance]:
        """The experiment's utterances by id, from its first run: all runs use the same."""
        return {u.id: u for run in self.runs[:1] for u in read_manifest(run.folder / MANIFEST)}

    def runs_of(self, system: str, protocol: str) -> SystemRuns:
        """The finished runs of a system under a protocol."""
        return self._runs_of[system, protocol]

    def all_of(self, systems: Iterable[str], protocol: str) -> list[SystemRuns]:
        """The runs of these systems under a protocol."""
        return [self.runs_of(system, protocol) for system in systems]

    def tested(self, protocol: str) -> list[SystemRuns]:
        """The systems that have a finished run under a protocol, in order."""
        return [tested for tested in self.all_of(self.plan.systems, protocol) if tested.runs]

    def speakers(self, protocol: str) -> list[str]:
        """Names of the test speakers, in the order of the corpus."""
        tested = {name for of_system in self.tested(protocol) for name in of_system.speakers}
        return [name for name in speaker_order(self.utterances.values()) if name in tested]

    def best_run(self) -> FinishedRun | None:
        """Of the system with the best mean validation score, the run with the best one.

        A system with a shuffled covariate, or with fewer folds than another, is not taken, nor is a protocol that
        validates on the test part if there is another one. None without a validation score.
        """
        covariates = {name: recipe["model"]["covariates"].values() for name, recipe in self.recipes.items()}
        controls = [name for name, some in covariates.items() if any(spec["source"] == "shuffled" for spec in some)]
        tested = [t for t in self.tested(min(self.protocols, key=chooses_on_test)) if t.name not in controls]
        folds = max((len(t.folds) for t in tested), default=0)
        scores = [t.validation_scores for t in tested if len(t.folds) == folds and t.validation_scores]
        best = max(scores, key=lambda by_run: fmean(by_run.values()), default={})
        return max(best, key=best.get, default=None)

    def stamps(self) -> tuple[str, ...]:
        """The stamps of all runs."""
        return stamps_of(t for protocol in self.protocols for t in self.tested(protocol))


def _without(names: Collection[str], plan: Plan) -> Plan:
    systems = {name: system for name, system in plan.systems.items() if name not in names}
    cells = tuple(cell for cell in plan.cells if cell.system in systems)
    return without_unused(replace(plan, systems=systems, cells=cells))


def stamps_of(tested: Iterable[SystemRuns]) -> tuple[str, ...]:
    """The notes that everything made from these runs must carry, each once."""
    runs = (run for of_system in tested for run in of_system.runs)
    return tuple(dict.fromkeys(stamp for run in runs for stamp in run.results["stamps"]))
