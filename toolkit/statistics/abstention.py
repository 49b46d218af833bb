"""Abstention: a system gives no label if its confidence is below a threshold, which is chosen on other recordings.

A coverage is the share of recordings that get a label. An error rate is a promise, by conformal risk control
(Angelopoulos, Bates, Fisch, Lei, Schuster, "Conformal risk control", ICLR 2024) with the speaker as the unit. A
speaker's risk at a threshold is the worst share of wrong labels at this threshold or any higher one. For n speakers
with risks R, the threshold is the lowest one at which (R_1 + ... + R_n + 1) / (n + 1) is at most the error rate.
docs/predicting.md says what this promises.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import PredictionError, did_you_mean
from toolkit.statistics.calibration import at_temperature, fit_temperature
from toolkit.statistics.metrics import Labels

CONFIDENCE, COVERAGE, ERROR = "confidence", "coverage", "error"
PERCENTS = range(1, 100)
RULES = ("coverage:0.9", "coverage:0.8", "coverage:0.5", "error:0.1", "error:0.2", "error:0.3")  # that tests report


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """What the validation part says about a system's confidences; docs/bundles.md describes each key."""

    temperature: float
    utterances: int
    speakers: int
    coverage: tuple[float, ...]
    error: tuple[float | None, ...]

    @classmethod
    def fit(
        cls, probabilities: np.ndarray, reference: Labels, *, labels: Sequence[str], speakers: Sequence[str]
    ) -> "Confidence":
        """Fit the temperature, then the thresholds of every coverage and error rate, in percent.

        If an utterance has no speaker, no error rate can be promised.
        """
        temperature = fit_temperature(probabilities, reference, labels=labels)
        tempered = at_temperature(probabilities, temperature)
        confidence, correct = tempered.max(axis=1), np.array(labels)[tempered.argmax(axis=1)] == np.asarray(reference)
        known = all(speakers)
        return cls(
            temperature=temperature,
            utterances=len(confidence),
            speakers=len(set(speakers)) if known else 0,
            coverage=coverage_thresholds(confidence),
            error=error_thresholds(confidence, correct, speakers) if known else (None,) * len(PERCENTS),
        )

    def threshold(self, kind: str, share: float) -> float:
        """The lowest confidence that gets a label by a rule of `read_rule`; PredictionError if it promises too much."""
        if kind == CONFIDENCE:
            return share
        if not self.utterances:
            raise PredictionError(f"{kind}:{share:g} needs thresholds from a validation part, and this system has none")
        thresholds = self.coverage if kind == COVERAGE else self.error
        if (found := thresholds[round(100 * share) - PERCENTS.start]) is not None:
            return found
        promised = [percent for percent, found in zip(PERCENTS, self.error, strict=True) if found is not None]
        least = f"The lowest possible is {ERROR}:{promised[0] / 100:g}" if promised else f"Use {COVERAGE}:SHARE"
        needed = f"{np.ceil(1 / share - 1 - 1e-9):.0f} or more speakers who did not train (there are {self.speakers})"
        reason = f"that takes a validation part of {needed}, with few errors at high confidences"
        raise PredictionError(f"{ERROR}:{share:g} cannot be promised: {reason}. {least}")


UNFITTED = Confidence(temperature=1.0, utterances=0, speakers=0, coverage=(), error=())  # without a validation part


def read_rule(text: str) -> tuple[str, float]:
    """Read a rule for abstaining: a confidence, or a coverage or an error rate in whole percent; else PredictionError.

    >>> read_rule("0.6"), read_rule("coverage:0.8")
    (('confidence', 0.6), ('coverage', 0.8))
    """
    kind, colon, number = text.rpartition(":")
    kind = kind if colon else CONFIDENCE
    try:
        share = float(number)
    except ValueError:
        share = float("nan")
    if kind not in (CONFIDENCE, COVERAGE, ERROR) or (kind == CONFIDENCE and not 0 <= share <= 1):
        near = did_you_mean(kind, (COVERAGE, ERROR)) if colon else ""
        wanted = f"a confidence from 0 to 1, {COVERAGE}:SHARE or {ERROR}:SHARE"
        raise PredictionError(f"{text!r} does not say when to abstain: {wanted} is needed.{near}")
    if kind != CONFIDENCE and not any(abs(100 * share - percent) < 1e-9 for percent in PERCENTS):
        raise PredictionError(f"{text!r}: a share is a whole percent, 0.01 to 0.99: {kind}:0.2 is 20 %.")
    return kind, share


def coverage_thresholds(confidence: np.ndarray) -> tuple[float, ...]:
    """For each of `PERCENTS`, a threshold at which that share of utterances gets a label, or the next larger one."""
    levels, counts = np.unique(-confidence, return_counts=True)
    labelled = np.cumsum(counts) / len(confidence)
    rows = np.searchsorted(labelled, np.array(PERCENTS) / 100 - 1e-12)
    return tuple(_below(-levels)[rows].tolist())


def error_thresholds(confidence: np.ndarray, correct: np.ndarray, speakers: Sequence[str]) -> tuple[float | None, ...]:
    """For each of `PERCENTS`, the lowest threshold that promises that error rate, or None."""
    speakers = np.asarray(speakers)
    order = np.argsort(-confidence, kind="stable")
    confidence, correct, speakers = confidence[order], correct[order], speakers[order]
    rise = np.zeros(len(confidence))  # of the sum of all speakers' risks, as the threshold falls to a confidence
    names = np.unique(speakers)
    for name in names:
        rows = np.flatnonzero(speakers == name)
        error = np.cumsum(~correct[rows]) / np.arange(1, len(rows) + 1)
        error[:-1][confidence[rows][1:] == confidence[rows][:-1]] = 0  # equal confidences get their labels together
        rise[rows] = np.diff(np.maximum.accumulate(error), prepend=0)
    bound = (np.cumsum(rise) + 1) / (len(names) + 1)
    lasts = np.append(confidence[1:] != confidence[:-1], True)  # the last of equal confidences
    thresholds = _below(confidence[lasts]).tolist()
    kept = np.searchsorted(bound[lasts], np.array(PERCENTS) / 100 + 1e-12)  # the bounds never fall
    return tuple(thresholds[count - 1] if count else None for count in kept)


def _below(levels: np.ndarray) -> np.ndarray:
    """For each confidence, in falling order, a threshold just below it: half-way to the next; 0 below the last."""
    return np.append((levels[:-1] + levels[1:]) / 2, 0.0)  # not at it, since machines round differently


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What abstaining does to labelled utterances."""

    coverage: float  # the share that gets a label
    error: float | None  # the share of these that is wrong; None if there are none
    error_by_speaker: float | None  # its mean over speakers, 0 for one without a label; None if one has no name

    @classmethod
    def of(cls, answered: np.ndarray, correct: np.ndarray, speakers: Sequence[str]) -> "Answered":
        """Count utterances, given whether each gets a label, whether its prediction is correct, and its speaker."""
        wrong, speakers = answered & ~correct, np.asarray(speakers)
        rows = [speakers == name for name in np.unique(speakers)]
        by_speaker = [wrong[row].sum() / max(answered[row].sum(), 1) for row in rows]
        return cls(
            coverage=float(answered.mean()),
            error=float(wrong.sum() / answered.sum()) if answered.any() else None,
            error_by_speaker=float(np.mean(by_speaker)) if all(speakers) else None,
        )
