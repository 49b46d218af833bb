"""The finished runs of an experiment, read once: answers, confusions, recipes and stamps."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from toolkit.corpus import Utterance, speaker_order
from toolkit.errors import ExperimentError
from toolkit.experiment.outcome import FinishedRun, Outcome
from toolkit.statistics import (
    METRICS,
    Accuracies,
    SpeakerConfusions,
    Spread,
    pooled_accuracies,
    speaker_confusions,
    spread,
)


@dataclass(frozen=True, eq=False)
class Answers:
    """One run's answers for its test utterances.

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
    """Read the predictions.csv of a run that predicts these labels.

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


class SystemRuns:
    """A system under one protocol, as far as its cells are done; each file is read once.

    Attributes:
        recipe: the system's, resolved.
        runs: the finished ones, in the order of the plan.
        planned: the number of planned cells.
    """

    def __init__(self, outcome: Outcome, system: str, protocol: str):
        self.system, self.protocol, self.labels = system, protocol, outcome.plan.labels
        self.recipe = outcome.plan.systems[system].recipe
        self.runs = outcome.of(system, protocol)
        self.planned = sum((cell.system, cell.protocol) == (system, protocol) for cell in outcome.plan.cells)

    @property
    def complete(self) -> bool:
        """Whether every cell is done."""
        return len(self.runs) == self.planned

    @cached_property
    def answers(self) -> list[Answers]:
        """The answers of each run."""
        return [read_answers(run, self.labels) for run in self.runs]

    @cached_property
    def reference(self) -> np.ndarray:
        """True labels of the answers of all runs: [answers]."""
        return np.concatenate([answers.reference for answers in self.answers])

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Probabilities of the answers of all runs: [answers, classes]."""
        return np.concatenate([answers.probabilities for answers in self.answers])

    @cached_property
    def confusions(self) -> SpeakerConfusions | None:
        """Confusions by speaker, the mean over the seeds of each fold; None without a finished run."""
        return self.confusions_by(lambda answers: answers.speaker)

    def confusions_by(
        self, group: Callable[[Answers], Iterable[str]], folds: Iterable[str] | None = None
    ) -> SpeakerConfusions | None:
        """Confusions by the groups that `group` gives the utterances, of all folds or of some."""
        counts: dict[str, np.ndarray] = {}
        for fold in dict.fromkeys(run.fold for run in self.runs if folds is None or run.fold in folds):
            of_fold = [(run.seed, a) for run, a in zip(self.runs, self.answers, strict=True) if run.fold == fold]
            found = speaker_confusions(
                np.concatenate([np.asarray(group(a)) for _, a in of_fold]).tolist(),
                np.concatenate([a.reference for _, a in of_fold]),
                np.concatenate([a.predicted for _, a in of_fold]),
                classes=self.labels,
                seeds=[seed for seed, a in of_fold for _ in a.id],
            )
            for name, matrix in zip(found.speakers, found.counts, strict=True):
                counts[name] = counts[name] + matrix if name in counts else matrix
        return SpeakerConfusions(tuple(counts), self.labels, np.stack(list(counts.values()))) if counts else None

    @property
    def pooled(self) -> Accuracies | None:
        """WA and UA over all test utterances, the mean over seeds; None without a finished run."""
        return pooled_accuracies(self.confusions.counts) if self.confusions else None

    @property
    def speakers(self) -> set[str]:
        """The test speakers that have a name."""
        return set(self.confusions.speakers) - {""} if self.confusions else set()

    @property
    def spread(self) -> dict[str, Spread]:
        """Metric -> mean and deviation over folds and seeds; empty without a finished run."""
        rows = [(run.fold, run.seed, *(run.results[metric] for metric in METRICS)) for run in self.runs]
        return spread(rows) if rows else {}


class Evidence:
    """All that a report is made from."""

    def __init__(self, outcome: Outcome):
        self.outcome = outcome
        self.of = cache(partial(SystemRuns, outcome))  # (system, protocol) -> the system under the protocol

    @cached_property
    def recipes(self) -> Mapping[str, Mapping[str, Any]]:
        """System -> its resolved recipe, of systems without a finished run too."""
        return {name: system.recipe for name, system in self.outcome.plan.systems.items()}

    @cached_property
    def utterances(self) -> Mapping[str, Utterance]:
        """The utterances of the experiment by id, from any run: all use the same."""
        return {u.id: u for run in self.outcome.runs[:1] for u in run.manifest()}

    def all_of(self, systems: Iterable[str], protocol: str) -> list[SystemRuns]:
        """These systems under a protocol."""
        return [self.of(system, protocol) for system in systems]

    def tested(self, protocol: str) -> list[SystemRuns]:
        """The systems that have a finished run under a protocol, in order."""
        return [tested for tested in self.all_of(self.outcome.plan.systems, protocol) if tested.runs]

    def speakers(self, protocol: str) -> list[str]:
        """Names of the test speakers, in the order of the corpus."""
        tested = {name for of_system in self.tested(protocol) for name in of_system.speakers}
        return [name for name in speaker_order(self.utterances.values()) if name in tested]

    def stamps(self) -> tuple[str, ...]:
        """The stamps of all runs."""
        return stamps_of(t for protocol in self.outcome.plan.protocols for t in self.tested(protocol))


def stamps_of(tested: Iterable[SystemRuns]) -> tuple[str, ...]:
    """The notes that everything made from these runs must carry, each once."""
    runs = (run for of_system in tested for run in of_system.runs)
    return tuple(dict.fromkeys(stamp for run in runs for stamp in run.results["stamps"]))
