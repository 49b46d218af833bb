"""How well a system did on labelled utterances: accuracies, intervals, confusion, calibration. Imports no torch."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from toolkit.corpus.targets import Target
from toolkit.errors import PredictionError
from toolkit.statistics.comparison import Interval, interval
from toolkit.statistics.confidence import (
    RULES,
    Answered,
    Confidence,
    at_temperature,
    expected_calibration_error,
    negative_log_likelihood,
    read_rule,
    reliability_curve,
)
from toolkit.statistics.metrics import METRICS, Accuracies, Confusions, accuracies_of, speaker_confusions
from toolkit.training.predictions import Answers


@dataclass(frozen=True, kw_only=True)
class TestSummary:
    """The result of a test, in fractions of 1; docs/bundles.md describes each key."""

    __test__ = False  # pytest would collect it for its name

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
        """Intervals need the speaker of every utterance, unless unnamed ones count as one: all_speakers_known=False."""
        found = target.summary(answers.reference, answers.predicted)
        intervals: dict[str, Interval | None] = dict.fromkeys(METRICS)
        if not all_speakers_known or (answers.speaker != "").all():
            counts = np.stack([*confusions_by("speaker", answers, target).values()])
            intervals = {metric: interval(counts, metric) for metric in METRICS}
        by_gender = accuracies_of(confusions_by("gender", answers, target))
        return cls(
            **{key: found[key] for key in ("n_utterances", *METRICS, "macro_f1", "recall", "f1")},
            **{f"{metric}_interval": ends for metric, ends in intervals.items()},
            confusion=tuple(map(tuple, found["confusion"])),
            ece=expected_calibration_error(answers.probabilities, answers.reference, labels=target.classes),
            confidence=float(np.mean(answers.probabilities.max(axis=1))),
            by_gender={gender: by_gender[gender] for gender in sorted(by_gender) if gender},
        )


@dataclass(frozen=True, kw_only=True)
class CalibrationSummary:
    """How reliable the probabilities of a test are; docs/bundles.md describes each key."""

    ece: float
    nll: float
    confidence: float
    bins: tuple[tuple[float, float, int], ...]


def calibration(answers: Answers, target: Target, confidence: Confidence) -> dict[str, CalibrationSummary]:
    """The calibration of answers "before" the temperature that they are at, and "after" it if it was fitted."""

    def summary(probabilities: np.ndarray) -> CalibrationSummary:
        tested = {"probabilities": probabilities, "reference": answers.reference, "labels": target.classes}
        curve = reliability_curve(**tested)
        return CalibrationSummary(
            ece=expected_calibration_error(**tested),
            nll=negative_log_likelihood(**tested),
            confidence=float(probabilities.max(axis=1).mean()),
            bins=tuple(zip(curve.confidence.tolist(), curve.accuracy.tolist(), curve.count.tolist(), strict=True)),
        )

    before = summary(at_temperature(answers.probabilities, 1 / confidence.temperature))
    return {"before": before} | ({"after": summary(answers.probabilities)} if confidence.utterances else {})


def abstaining(answers: Answers, confidence: Confidence) -> dict[str, Answered]:
    """Coverage and error by rule of `RULES` that can be promised, for answers at the temperature of `confidence`."""
    found, correct = {}, answers.predicted == answers.reference
    for rule in RULES:
        with suppress(PredictionError):
            answered = answers.probabilities.max(axis=1) >= confidence.threshold(*read_rule(rule))
            found[rule] = Answered.of(answered, correct, answers.speaker)
    return found


def confusions_by(column: str, answers: Answers, target: Target) -> Confusions:
    """One confusion matrix for each "speaker" or "gender" of the utterances."""
    groups = getattr(answers, column)
    return speaker_confusions(groups, answers.reference, answers.predicted, classes=target.classes)
