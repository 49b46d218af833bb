"""What an experiment's finished runs say, read once: answers, confusions, recipes and stamps. Imports no torch."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from toolkit.corpus import Utterance, speaker_order
from toolkit.errors import ExperimentError
from toolkit.experiment.outcome import FinishedRun, Outcome
from toolkit.experiment.plan import read_plan
from toolkit.statistics import SpeakerConfusions, Spread, speaker_confusions, spread


@dataclass(frozen=True, eq=False)
class Answers:
    """What one run said of its test utterances.

    Args:
        id: [utterances].
        speaker: [utterances]; "" where there is no name.
        gender: [utterances]; "" where it is not known.
        seconds: [utterances], duration; NaN where it is not known.
        reference: [utterances], true labels.
        predicted: [utterances].
        probabilities: [utterances, classes].
    """

    id: np.ndarray
    speaker: np.ndarray
    gender: np.ndarray
    seconds: np.ndarray
    reference: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray


def read_answers(run: FinishedRun, labels: Iterable[str]) -> Answers:
    """Read a run's predictions.csv.

    Args:
        run: a finished one.
        labels: the classes, in the order of the columns of `probabilities`.

    Raises:
        ExperimentError: if it is damaged.
    """
    rows = run.predictions()
    try:
        if not rows:
            raise ValueError("no rows")
        return Answers(
            *(np.array([row.get(name) or "" for row in rows]) for name in ("id", "speaker", "gender")),
            np.array([float(row.get("seconds") or "nan") for row in rows]),
            *(np.array([row[name] for row in rows]) for name in ("reference", "predicted")),
            np.array([[float(row[f"p_{label}"]) for label in labels] for row in rows]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ExperimentError(
            f"{run.folder}: predictions.csv is damaged ({error}): delete the run and train it again."
        ) from None


class Evidence:
    """An experiment's finished runs; each file is read once.

    Args:
        outcome: the experiment.
    """

    def __init__(self, outcome: Outcome):
        self.outcome = outcome
        self.labels = outcome.labels
        self._answers: dict[Any, Answers] = {}

    @cached_property
    def recipes(self) -> Mapping[str, Mapping[str, Any]]:
        """System -> its resolved recipe, of systems without a finished run too."""
        plan = read_plan(self.outcome.folder)
        return {name: plan.systems[name].recipe for name in self.outcome.systems}

    @cached_property
    def utterances(self) -> Mapping[str, Utterance]:
        """The utterances of the experiment by id, from any run: all use the same."""
        return {u.id: u for run in self.outcome.runs[:1] for u in run.manifest()}

    def levels(self, system: str) -> int:
        """How many levels a system has."""
        return len(self.recipes[system]["model"]["levels"])

    def tested(self, protocol: str) -> list[str]:
        """Systems with a finished run under a protocol, in order."""
        return [system for system in self.outcome.systems if self.outcome.of(system, protocol)]

    def cells(self, system: str, protocol: str) -> tuple[int, int]:
        """How many cells of a system are done, and how many are planned."""
        planned = sum((cell.system, cell.protocol) == (system, protocol) for cell in self.outcome.planned)
        return len(self.outcome.of(system, protocol)), planned

    def complete(self, system: str, protocol: str) -> bool:
        """Whether every cell of a system is done."""
        done, planned = self.cells(system, protocol)
        return done == planned

    def answers(self, run: FinishedRun) -> Answers:
        """What a run said."""
        key = (run.system, run.protocol, run.fold, run.seed)
        if key not in self._answers:
            self._answers[key] = read_answers(run, self.labels)
        return self._answers[key]

    def all_answers(self, system: str, protocol: str) -> list[Answers]:
        """What all runs of a system said."""
        return [self.answers(run) for run in self.outcome.of(system, protocol)]

    def confusions(
        self,
        system: str,
        protocol: str,
        by: Callable[[Answers], Iterable[str]] = lambda answers: answers.speaker,
        folds: Iterable[str] | None = None,
    ) -> SpeakerConfusions | None:
        """Confusions by speaker, or by any other name of utterances; the mean over the seeds of each fold.

        Args:
            system: its name.
            protocol: its name.
            by: gives a name for each utterance.
            folds: only these.

        Returns:
            The names and their confusions; None without a finished run.
        """
        runs = self.outcome.of(system, protocol)
        counts: dict[str, np.ndarray] = {}
        for fold in dict.fromkeys(run.fold for run in runs):
            if folds is not None and fold not in folds:
                continue
            answers = {run.seed: self.answers(run) for run in runs if run.fold == fold}
            found = speaker_confusions(
                np.concatenate([np.asarray(by(a)) for a in answers.values()]).tolist(),
                np.concatenate([a.reference for a in answers.values()]),
                np.concatenate([a.predicted for a in answers.values()]),
                classes=self.labels,
                seeds=[seed for seed, a in answers.items() for _ in a.id],
            )
            for name, matrix in zip(found.speakers, found.counts, strict=True):
                counts[name] = counts[name] + matrix if name in counts else matrix
        if not counts:
            return None
        return SpeakerConfusions(tuple(counts), self.labels, np.stack(list(counts.values())))

    def spread(self, system: str, protocol: str) -> dict[str, Spread] | None:
        """Mean and deviation over folds and seeds; None without a finished run."""
        runs = self.outcome.of(system, protocol)
        rows = [(run.fold, run.seed, run.results["wa"], run.results["ua"]) for run in runs]
        return spread(rows) if rows else None

    def stamps(self, systems: Iterable[str] | None = None, protocols: Iterable[str] | None = None) -> tuple[str, ...]:
        """What has to be said of the figures of these systems under these protocols; of all where not given."""
        systems = self.outcome.systems if systems is None else tuple(systems)
        protocols = self.outcome.protocols if protocols is None else tuple(protocols)
        runs = [run for run in self.outcome.runs if run.system in systems and run.protocol in protocols]
        return tuple(dict.fromkeys(stamp for run in runs for stamp in run.results["stamps"]))

    def named_speakers(self, protocol: str) -> list[str]:
        """Names of the speakers that were tested, in the order of the corpus."""
        runs = [run for run in self.outcome.runs if run.protocol == protocol]
        tested = {name for run in runs for name in self.answers(run).speaker.tolist()}
        return [name for name in speaker_order(self.utterances.values()) if name in tested]
