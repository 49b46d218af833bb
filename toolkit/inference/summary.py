"""How well a system did on labelled utterances: accuracies, intervals, confusion, calibration. Imports no torch."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np

from toolkit.corpus.targets import Target
from toolkit.errors import PredictionError
from toolkit.report.evidence import Answers
from toolkit.statistics.abstention import RULES, Answered, Confidence, read_rule
from toolkit.statistics.calibration import (
    at_temperature,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)
from toolkit.statistics.confusions import Accuracies, SpeakerConfusions, speaker_confusions
from toolkit.statistics.intervals import Interval, interval
from toolkit.statistics.metrics import METRICS


@dataclass(frozen=True, kw_only=True)
class TestSummary:
    """The result of a test, fractions of 1; docs/bundles.md describes each key.

    Intervals are None if the speakers are too few or not known, a class without utterances has no recall.
    """

    __test__ = False  # not a test, whatever its name says to pytest

    n_utterances: int
    wa: float
    ua: float
    macro_f1: float
    wa_interval: tuple[float, float] | None
    ua_interval: tuple[float, float] | None
    recall: Mapping[str, float | None]
    f1: Mapping[str, float]
    confusion: tuple[tuple[int, ...], ...]
    ece: float
    confidence: float
    by_gender: Mapping[str, Accuracies]

    @classmethod
    def of(cls, answers: Answers, target: Target, *, all_speakers_known: bool = True) -> "TestSummary":
        """Compute it of what a system predicted, its target's classes in the order of the probabilities.

        An interval needs the speaker of every utterance; without all_speakers_known, those without one count as one's.
        """
        found = target.summary(answers.reference, answers.predicted)
        intervals: dict[str, Interval | None] = dict.fromkeys(METRICS)
        if not all_speakers_known or (answers.speaker != "").all():
            counts = confusions_by(answers.speaker, answers, target).counts
            intervals = {metric: interval(counts, metric) for metric in METRICS}
        by_gender = confusions_by(answers.gender, answers, target).accuracies
        return cls(
            **{key: found[key] for key in ("n_utterances", *METRICS, "macro_f1", "recall", "f1")},
            **{f"{metric}_interval": ends and astuple(ends) for metric, ends in intervals.items()},
            confusion=tuple(map(tuple, found["confusion"])),
            ece=expected_calibration_error(answers.probabilities, answers.reference, labels=target.classes),
            confidence=float(np.mean(answers.probabilities.max(axis=1))),
            by_gender={gender: by_gender[gender] for gender in sorted(by_gender) if gender},
        )

    def interval(self, metric: str) -> Interval | None:
        """The interval of "wa" or "ua"."""
        ends = getattr(self, f"{metric}_interval")
        return None if ends is None else Interval(*ends)


@dataclass(frozen=True, kw_only=True)
class CalibrationSummary:
    """How reliable the probabilities of a test are; docs/bundles.md describes each key."""

    ece: float
    nll: float
    confidence: float
    bins: tuple[tuple[float, float, int], ...]

    @classmethod
    def of(cls, probabilities: np.ndarray, answers: Answers, target: Target) -> "CalibrationSummary":
        """Compute it of probabilities [utterances, classes] for the utterances of `answers`."""
        given = probabilities, answers.reference
        curve = reliability_curve(*given, labels=target.classes)
        return cls(
            ece=expected_calibration_error(*given, labels=target.classes),
            nll=negative_log_likelihood(*given, labels=target.classes),
            confidence=float(probabilities.max(axis=1).mean()),
            bins=tuple(zip(curve.confidence.tolist(), curve.accuracy.tolist(), curve.count.tolist(), strict=True)),
        )


def calibration(answers: Answers, target: Target, confidence: Confidence) -> dict[str, CalibrationSummary]:
    """Of answers at the temperature of `confidence`: the calibration "before" it, and "after" it if it was fitted."""
    found = {"before": at_temperature(answers.probabilities, 1 / confidence.temperature)}
    found |= {"after": answers.probabilities} if confidence.utterances else {}
    return {when: CalibrationSummary.of(probabilities, answers, target) for when, probabilities in found.items()}


def abstaining(answers: Answers, confidence: Confidence) -> dict[str, Answered]:
    """What the rules that are tested do to answers at the temperature of `confidence`: rule -> coverage and error.

    An error rate that cannot be promised is left out.
    """
    found, correct = {}, answers.predicted == answers.reference
    for rule in RULES if confidence.utterances else ():
        try:
            answered = answers.probabilities.max(axis=1) >= confidence.threshold(*read_rule(rule))
        except PredictionError:
            continue
        found[rule] = Answered.of(answered, correct, answers.speaker.tolist())
    return found


def confusions_by(groups: np.ndarray, answers: Answers, target: Target) -> SpeakerConfusions:
    """The confusions of each group of utterances: groups [utterances]."""
    return speaker_confusions(groups.tolist(), answers.reference, answers.predicted, classes=target.classes)
