"""Weighted and unweighted accuracy, F1 and confusion of labels, overall and by speaker; spread over folds and seeds.

WA and UA as in Schuller, Steidl, Batliner, "The INTERSPEECH 2009 emotion challenge", Interspeech 2009. All
values are fractions of 1, of utterances and never of segments.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.errors import did_you_mean

METRICS = ("wa", "ua")
Labels = Sequence[Hashable] | np.ndarray
# Speaker, or another group such as a gender -> matrix [classes, classes], rows are the reference. With several seeds it
# is the mean over them, so that pooled accuracies are those of the mean seed.
Confusions = Mapping[str, np.ndarray]


def accuracy(hits: np.ndarray, totals: np.ndarray, metric: str) -> np.ndarray:
    """WA or UA from correct and all utterances by true class, [..., classes]; linear in `hits`.

    "wa" is the fraction of utterances that are correct (scikit-learn's accuracy_score), "ua" the mean recall of the
    classes that occur (balanced_accuracy_score).
    """
    if metric == "wa":
        return hits.sum(axis=-1) / totals.sum(axis=-1)
    occurs = totals > 0
    recall = np.divide(hits, totals, out=np.zeros(hits.shape), where=occurs)
    return recall.sum(axis=-1) / occurs.sum(axis=-1)


def confusion_matrix(reference: Labels, predicted: Labels, *, labels: Labels) -> np.ndarray:
    """How often each label was predicted as each: [labels, labels], int64; rows are the reference."""
    matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(matrix, (label_indices(reference, labels), label_indices(predicted, labels)), 1)
    return matrix


def summary(matrix: np.ndarray, *, labels: Sequence[Hashable]) -> dict[str, Any]:
    """All metrics of a confusion matrix with at least one utterance, JSON-able.

    Returns: n_utterances, wa, ua (`accuracy`), macro_f1 (over the labels that occur in reference or prediction), f1
        (label -> F1, 0 for a label that never occurs), recall (label -> recall, None for a label without reference),
        labels, confusion (rows are the reference).
    """
    hits, totals = matrix.diagonal(), matrix.sum(axis=1)
    occurrences = matrix.sum(axis=0) + totals
    f1 = 2 * hits / np.maximum(occurrences, 1)
    recall = [hit / total if total else None for hit, total in zip(hits.tolist(), totals.tolist(), strict=True)]
    return {
        "n_utterances": int(matrix.sum()),
        **{metric: float(accuracy(hits, totals, metric)) for metric in METRICS},
        "macro_f1": float(f1[occurrences > 0].mean()),
        "f1": dict(zip(labels, f1.tolist(), strict=True)),
        "recall": dict(zip(labels, recall, strict=True)),
        "labels": list(labels),
        "confusion": matrix.tolist(),
    }


def label_indices(values: Labels, labels: Labels) -> np.ndarray:
    """The index of each value among the labels: [values]; ValueError if a value is not one of them."""
    values = np.asarray(values).tolist()
    index = {label: i for i, label in enumerate(np.asarray(labels).tolist())}
    for odd in (value for value in values if value not in index):
        raise ValueError(f"label {odd!r} is not one of {', '.join(map(str, index))}.{did_you_mean(odd, index)}")
    return np.array([index[value] for value in values], dtype=np.int64)


@dataclass(frozen=True)
class Accuracies:
    """The accuracies of a set of utterances, in fractions of 1."""

    wa: float  # fraction of correct utterances
    ua: float  # mean recall of the classes that occur
    n: int  # utterances


def speaker_confusions(speakers: Labels, reference: Labels, predicted: Labels, *, classes: Sequence[str]) -> Confusions:
    """Count by speaker, in the order in which they first occur; utterances without a name count as one speaker's."""
    found: dict[str, np.ndarray] = {}
    rows, columns = label_indices(reference, classes), label_indices(predicted, classes)
    for speaker, row, column in zip(speakers, rows, columns, strict=True):
        found.setdefault(str(speaker), np.zeros((len(classes), len(classes))))[row, column] += 1
    return found


def pooled_accuracies(confusions: np.ndarray) -> Accuracies:
    """WA and UA of the sum of the speakers' matrices, [speakers, classes, classes]."""
    hits, totals = (x.sum(axis=0) for x in hits_and_totals(confusions))
    wa, ua = (float(accuracy(hits, totals, metric)) for metric in METRICS)
    return Accuracies(wa, ua, round(totals.sum()))


def accuracies_of(confusions: Confusions) -> dict[str, Accuracies]:
    """WA and UA of each speaker; UA over the classes that the speaker has."""
    return {speaker: pooled_accuracies(matrix[None]) for speaker, matrix in confusions.items()}


def difference_by_speaker(a: np.ndarray, b: np.ndarray, metric: str) -> np.ndarray:
    """Each speaker's contribution to the pooled accuracy of `b` minus that of `a`: [speakers].

    Both are [speakers, classes, classes], of the same utterances, so the pooled difference, in UA too, is the sum over
    speakers. Swapping the two systems' answers for one speaker changes the sign of that speaker's contribution.
    """
    (hits, totals), (before, _) = hits_and_totals(b), hits_and_totals(a)
    # accuracy() is linear in the hits: a speaker's contribution is the pooled accuracy with the others' gains left out.
    return accuracy(hits - before, np.broadcast_to(totals.sum(axis=0), totals.shape), metric)


def hits_and_totals(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correct utterances and all utterances by speaker and true class, two arrays [speakers, classes]."""
    counts = np.asarray(confusions, dtype=float)
    return np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=2)


@dataclass(frozen=True)
class Spread:
    """The mean of an accuracy over folds, and its standard deviations (n - 1), None for fewer than two values."""

    mean: float  # over folds, of the means over each fold's seeds
    over_folds: float | None  # of those fold means
    over_seeds: float | None  # of the means over folds, of seeds that have every fold: others had easier or harder ones


def spread(runs: Iterable[tuple[Hashable, Hashable, float, float]]) -> dict[str, Spread]:
    """The spread of each metric (not a confidence interval) from (fold, seed, *accuracies) of each run."""
    by_fold: dict[Hashable, dict[Hashable, list[float]]] = {}
    for fold, seed, *accuracies in runs:
        by_fold.setdefault(fold, {})[seed] = accuracies
    complete = [seed for seed in next(iter(by_fold.values())) if all(seed in seeds for seeds in by_fold.values())]
    fold_means = np.array([np.mean(list(seeds.values()), axis=0) for seeds in by_fold.values()])  # [folds, metrics]
    seed_means = [np.mean([seeds[seed] for seeds in by_fold.values()], axis=0) for seed in complete]  # [seeds, metrics]
    over_folds, over_seeds = _deviation(fold_means), _deviation(seed_means)
    return {
        metric: Spread(float(fold_means[:, i].mean()), over_folds[i], over_seeds[i]) for i, metric in enumerate(METRICS)
    }


def _deviation(means: np.ndarray | list[np.ndarray]) -> list[float | None]:
    return [None] * len(METRICS) if len(means) < 2 else np.std(means, axis=0, ddof=1).tolist()


class UtteranceMeans:
    """From segments to utterances: means of their values weighted by length, in float64.

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

    def __iter__(self) -> Iterator[str]:
        return iter(self._sums)

    def __getitem__(self, name: str) -> np.ndarray:
        """The means of a value, in the order of the utterances' indices: [utterances, size]."""
        return np.stack([self._sums[name][u] / self._weights[u] for u in sorted(self._weights)])
