"""How well confidences are calibrated, a temperature that corrects them, and abstention below a threshold.

Calibration is as in Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017: the confidence
is the probability of the predicted class, and confidences fall into bins of equal width. One temperature divides all
log-probabilities: it makes confidences lower or higher and changes no predicted class.

A system that abstains gives no label below a threshold, which is chosen on other recordings. A coverage is the share
of recordings that get a label. An error rate is a promise, by conformal risk control (Angelopoulos, Bates, Fisch, Lei,
Schuster, "Conformal risk control", ICLR 2024) with the speaker as the unit. A speaker's risk at a threshold is the
worst share of wrong labels at this threshold or any higher one. For n speakers with risks R, the threshold is the
lowest one at which (R_1 + ... + R_n + 1) / (n + 1) is at most the error rate. docs/predicting.md says what this means.

Functions take probabilities [utterances, classes], the true label of each utterance, and the name of each column. They
raise ShapeError if the rows are not probabilities, or there is not one label for each; ValueError if one is unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import PredictionError, ShapeError, did_you_mean
from toolkit.statistics.metrics import Labels, label_indices

BINS = 15  # as in the paper
TEMPERATURES = (0.05, 20.0)  # the lowest and the highest that is fitted
_SUM_TOLERANCE = 1e-3  # probabilities may have been written with few digits
CONFIDENCE, COVERAGE, ERROR = "confidence", "coverage", "error"
PERCENTS = range(1, 100)
RULES = ("coverage:0.9", "coverage:0.8", "coverage:0.5", "error:0.1", "error:0.2", "error:0.3")  # that tests report


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Accuracy against confidence, arrays [bins]; bins without utterances are left out."""

    centre: np.ndarray  # middle of the bin
    confidence: np.ndarray  # mean confidence in the bin, 0 to 1
    accuracy: np.ndarray  # fraction of correct utterances in the bin, 0 to 1
    count: np.ndarray  # utterances in the bin


def expected_calibration_error(probabilities: np.ndarray, reference: Labels, *, labels: Sequence) -> float:
    """The mean distance between a bin's accuracy and its confidence, weighted by utterances: from 0, the best, to 1.

    Few utterances make it larger than the true error: compare it only between systems tested on the same utterances.
    """
    curve = reliability_curve(probabilities, reference, labels=labels)
    return float(np.average(np.abs(curve.accuracy - curve.confidence), weights=curve.count))


def reliability_curve(probabilities: np.ndarray, reference: Labels, *, labels: Sequence) -> ReliabilityCurve:
    """Accuracy and mean confidence in every bin, which includes its upper bound and excludes its lower one."""
    probabilities, true = checked_probabilities(probabilities, reference, labels)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == true
    edges = np.linspace(0, 1, BINS + 1)
    bin_of = np.searchsorted(edges[1:-1], confidence)
    count = np.bincount(bin_of, minlength=BINS)
    filled = count > 0
    sums = (np.bincount(bin_of, weights=x, minlength=BINS)[filled] for x in (confidence, correct))
    return ReliabilityCurve(((edges[:-1] + edges[1:]) / 2)[filled], *(x / count[filled] for x in sums), count[filled])


def negative_log_likelihood(probabilities: np.ndarray, reference: Labels, *, labels: Sequence) -> float:
    """The mean of -log of the true class's probability, in nats: from 0, the best."""
    probabilities, true = checked_probabilities(probabilities, reference, labels)
    return float(-_logarithms(probabilities)[np.arange(len(true)), true].mean())


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The softmax of log-probabilities divided by a temperature: [utterances, classes]."""
    return softmax(_logarithms(probabilities) / temperature)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Scores as probabilities: [..., classes]; equal to the bit to scipy.special.softmax, whose import takes 0.3 s."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def fit_temperature(probabilities: np.ndarray, reference: Labels, *, labels: Sequence) -> float:
    """The temperature with the lowest negative log-likelihood within `TEMPERATURES`, or 1 if none is better."""
    from scipy.optimize import minimize_scalar  # slow to import, and only needed here
    from scipy.special import logsumexp

    probabilities, true = checked_probabilities(probabilities, reference, labels)
    if (probabilities.argmax(axis=1) == true).all():
        return 1.0  # the lowest would be best
    scores = _logarithms(probabilities)
    scores -= scores[np.arange(len(true)), true][:, None]

    def loss(log_temperature: float) -> float:
        return float(logsumexp(scores * np.exp(-log_temperature), axis=1).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, np.finfo(float).tiny))


def checked_probabilities(
    probabilities: np.ndarray, reference: Labels, labels: Sequence
) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities as an array, and the column of each true label."""
    probabilities = np.asarray(probabilities, dtype=float)
    if probabilities.shape != (len(reference), len(labels)) or not probabilities.size:
        wanted = f"{len(reference)} true labels, of the classes {list(labels)}"
        raise ShapeError(f"probabilities are [utterances, classes]; not {list(probabilities.shape)} for {wanted}")
    wrong = ~(np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE) | (probabilities < 0).any(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ShapeError(f"row {row} does not hold probabilities that sum to 1: {probabilities[row].tolist()}")
    return probabilities, label_indices(reference, list(labels))


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
        """Fit the temperature, then thresholds by percent; none of error rates if an utterance has no speaker."""
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
    """Read a rule as its kind and share: 0.6, coverage:0.8 or error:0.1, of whole percents; else PredictionError."""
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
