"""Calibration: whether predictions with 80 % confidence are correct 80 % of the time, and a temperature that fixes it.

As in Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017: the confidence is the
probability of the predicted class, and confidences fall into bins of equal width. One temperature divides all
log-probabilities: it makes confidences lower or higher and changes no predicted class.

Functions take probabilities [utterances, classes], the true label of each utterance, and the name of each column. They
raise ShapeError if the rows are not probabilities, or there is not one label for each; ValueError if one is unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import ShapeError
from toolkit.statistics.metrics import Labels, label_indices

BINS = 15  # as in the paper
TEMPERATURES = (0.05, 20.0)  # the lowest and the highest that is fitted
_SUM_TOLERANCE = 1e-3  # probabilities may have been written with few digits


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
    """Scores as probabilities: [..., classes]; the bits of scipy.special.softmax, whose import takes 0.3 s."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def fit_temperature(probabilities: np.ndarray, reference: Labels, *, labels: Sequence) -> float:
    """The temperature with the lowest negative log-likelihood within `TEMPERATURES`, or 1 if none is better.

    It is 1 if all predictions are correct: the lowest would be best.
    """
    from scipy.optimize import minimize_scalar  # slow to import, and only needed here
    from scipy.special import logsumexp

    probabilities, true = checked_probabilities(probabilities, reference, labels)
    if (probabilities.argmax(axis=1) == true).all():
        return 1.0
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
