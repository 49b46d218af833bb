"""`toolkit compare`: two trained systems on the same audio, paired by speaker."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import numpy as np

import toolkit
from toolkit.corpus import read_manifest
from toolkit.corpus.targets import Target
from toolkit.errors import PredictionError
from toolkit.inference.predict.covariates import GivenCovariates, check_names
from toolkit.inference.predict.evaluation import answer_corpus, missing_classes, named_speakers, speaker_notes
from toolkit.inference.predict.labels import map_corpus, read_label_map
from toolkit.inference.summary import TestSummary
from toolkit.report.evidence import Answers
from toolkit.report.tables.differences import comparison_notes
from toolkit.statistics import LEVEL, METRICS, Comparison, compare, speaker_confusions


@dataclass(frozen=True, eq=False)
class SystemComparison:
    """Two systems' answers for the same utterances, and what follows from them.

    Args:
        targets: bundle -> what its system predicts; A first.
        answers: bundle -> what its system predicted.
        n_skipped: how many utterances one of them could not read.
        stamps: bundle -> what must be shown beside its results.
    """

    targets: Mapping[str, Target]
    answers: Mapping[str, Answers]
    n_skipped: int
    stamps: Mapping[str, tuple[str, ...]]

    @property
    def baseline(self) -> str:
        """The name of A."""
        return next(iter(self.answers))

    @property
    def n_speakers(self) -> int:
        """How many speakers have a name."""
        return len(named_speakers(self.answers[self.baseline]))

    @cached_property
    def summaries(self) -> dict[str, TestSummary]:
        """Bundle -> accuracies and intervals."""
        return {
            name: TestSummary.of(answers, self.targets[name], all_speakers_known=False)
            for name, answers in self.answers.items()
        }

    @cached_property
    def differences(self) -> list[Comparison]:
        """B minus A in WA and UA."""
        classes = self.targets[self.baseline].classes
        confusions = {
            name: speaker_confusions(a.speaker.tolist(), a.reference, a.predicted, classes=classes)
            for name, a in self.answers.items()
        }
        return compare(confusions, baseline=self.baseline)

    @property
    def missing(self) -> list[str]:
        """The classes that no utterance has."""
        return missing_classes(self.answers[self.baseline], self.targets[self.baseline])

    @property
    def notes(self) -> list[str]:
        """What has to be known to read the figures."""
        notes = [f"Not read by both, and left out: {self.n_skipped}."] if self.n_skipped else []
        notes += [f"No utterance is {' or '.join(self.missing)}."] if self.missing else []
        return [*notes, *speaker_notes(self.answers[self.baseline]), *comparison_notes(self.differences)]

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON; accuracies are fractions of 1, differences are B minus A."""
        systems = [
            {
                "bundle": name,
                **{metric: getattr(test, metric) for metric in METRICS},
                "intervals": {metric: getattr(test, f"{metric}_interval") for metric in METRICS},
                "stamps": self.stamps[name],
            }
            for name, test in self.summaries.items()
        ]
        differences = {
            found.metric: {
                "difference": found.difference,
                "interval": found.interval and astuple(found.interval),
                "p": found.p,
                "p_corrected": found.p_corrected,
                "verdict": found.verdict,
            }
            for found in self.differences
        }
        return {
            "systems": systems,
            "differences": differences,
            "interval_level": LEVEL,
            "n_utterances": len(self.answers[self.baseline].id),
            "n_speakers": self.n_speakers,
            "n_skipped": self.n_skipped,
            "missing_classes": self.missing,
            "notes": self.notes,
        }


def compare_bundles(
    a: str,
    b: str,
    manifest: str,
    *,
    label_map: Sequence[str],
    covariates: Sequence[str],
    batch_size: int,
    device: str | None,
    say: Callable[[str], None],
) -> SystemComparison:
    """Test two systems on a labelled manifest.

    Args:
        a: the bundle of the baseline.
        b: the bundle that is compared with it.
        manifest: the corpus's.
        label_map: as for `evaluate`, and so are the other options.
        covariates: a covariate is given to the system that needs it.
        batch_size: segments in a batch.
        device: where the systems compute.
        say: prints a line for the reader.

    Raises:
        ToolkitError: if a bundle, the manifest or an option is wrong, a label is not one of the systems' classes, or
            they do not have the same classes.
    """
    if a == b:
        raise PredictionError(f"{a} is compared with itself: name two bundles")
    pairs, given = read_label_map(label_map), GivenCovariates.read(covariates)
    utterances = read_manifest(manifest)
    models = {name: toolkit.load(name, device=device) for name in (a, b)}
    labels = {name: model.labels for name, model in models.items()}
    if set(labels[a]) != set(labels[b]):
        raise PredictionError(
            f"{a} knows the classes {', '.join(labels[a])} and {b} knows {', '.join(labels[b])}: only systems with the "
            "same classes can be compared"
        )
    check_names([n for model in models.values() for n in model.usage.covariates], [*given.values, *given.columns])
    utterances, _ = map_corpus(utterances, labels[a], pairs)
    answers = {}
    for name, model in models.items():
        for stamp in model.usage.stamps:
            say(f"NOTE: {name}: {stamp}")
        answers[name] = answer_corpus(model, utterances, given, batch_size=batch_size, say=say)
    both = np.intersect1d(answers[a].id, answers[b].id)
    if not len(both):
        raise PredictionError("No utterance could be labelled by both systems: there is nothing to compare")
    answers = {name: _of(found, np.isin(found.id, both)) for name, found in answers.items()}
    stamps = {name: model.usage.stamps for name, model in models.items()}
    targets = {name: model.usage.target for name, model in models.items()}
    return SystemComparison(targets, answers, len(utterances) - len(both), stamps)


def _of(answers: Answers, rows: np.ndarray) -> Answers:
    return Answers(**{name: values[rows] for name, values in vars(answers).items()})
