"""From segments to utterances: means weighted by length."""

from collections.abc import Mapping

import numpy as np


class UtteranceMeans:
    """Weighted means by utterance of values computed for segments, in float64.

    >>> means = UtteranceMeans()
    >>> means.add(np.array([7, 7, 9]), np.array([3.0, 1.0, 2.0]), {"emotion": np.array([[0.0], [4.0], [5.0]])})
    >>> means["emotion"].tolist()  # of utterance 7, then of 9
    [[1.0], [5.0]]
    """

    def __init__(self):
        self._weights: dict[int, float] = {}
        self._sums: dict[str, dict[int, np.ndarray]] = {}

    def add(self, utterances: np.ndarray, weights: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """Take in a batch: utterances [batch], weights [batch], values name -> [batch, size]."""
        for row, (utterance, weight) in enumerate(zip(utterances.tolist(), weights.tolist(), strict=True)):
            self._weights[utterance] = self._weights.get(utterance, 0.0) + weight
            for name, vectors in values.items():
                sums = self._sums.setdefault(name, {})
                sums[utterance] = sums.get(utterance, 0.0) + vectors[row].astype(np.float64) * weight

    @property
    def names(self) -> list[str]:
        """Names of the values."""
        return list(self._sums)

    def __getitem__(self, name: str) -> np.ndarray:
        """The means of a value, in the order of the utterances' indices: [utterances, size]."""
        return np.stack([self._sums[name][u] / self._weights[u] for u in sorted(self._weights)])
