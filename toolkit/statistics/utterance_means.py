"""From segments to utterances: means weighted by length, then probabilities."""

import numpy as np


class UtteranceMeans:
    """Weighted means of segment vectors by utterance, in float64.

    >>> means = UtteranceMeans()
    >>> means.add(np.array([7, 7, 9]), np.array([[0.0], [4.0], [5.0]]), np.array([3.0, 1.0, 2.0]))
    >>> means.utterances.tolist(), means.values.tolist()
    ([7, 9], [[1.0], [5.0]])
    """

    def __init__(self):
        self._sums: dict[int, np.ndarray] = {}
        self._weights: dict[int, float] = {}

    def add(self, utterances: np.ndarray, values: np.ndarray, weights: np.ndarray) -> None:
        """Take in a batch: utterances [batch], values [batch, size], weights [batch]."""
        for utterance, value, weight in zip(utterances.tolist(), values.astype(np.float64), weights, strict=True):
            self._sums[utterance] = self._sums.get(utterance, 0.0) + value * float(weight)
            self._weights[utterance] = self._weights.get(utterance, 0.0) + float(weight)

    @property
    def utterances(self) -> np.ndarray:
        """Indices of the utterances seen, sorted: [utterances]."""
        return np.array(sorted(self._sums), dtype=np.int64)

    @property
    def values(self) -> np.ndarray:
        """Their means, in the same order: [utterances, size]."""
        return np.stack([self._sums[u] / self._weights[u] for u in self.utterances.tolist()])


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis.

    >>> softmax(np.log(np.array([[1.0, 3.0]]))).round(6).tolist()
    [[0.25, 0.75]]
    """
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
