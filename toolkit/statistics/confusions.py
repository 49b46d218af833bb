"""Confusion matrices by speaker, and the accuracies computed from them.

All figures of a system are computed from `Confusions`. With several seeds a speaker's matrix is the mean over them, so
that pooled accuracies are those of the mean seed. Accuracies are fractions of 1.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.statistics.metrics import METRICS, Labels, accuracy, confusion_matrix

# Speaker, or another group such as a gender -> matrix [classes, classes], rows are the reference.
Confusions = Mapping[str, np.ndarray]
MIN_SPEAKERS = 6  # five pairs that all agree still have p = 2 / 32 > 0.05: with fewer nothing can be shown


@dataclass(frozen=True)
class Accuracies:
    """The accuracies of a set of utterances, in fractions of 1."""

    wa: float  # fraction of correct utterances
    ua: float  # mean recall of the classes that occur
    n: int  # utterances


def speaker_confusions(
    speakers: Sequence[str],  # of each utterance; all without a name count as one speaker
    reference: Labels,
    predicted: Labels,
    *,
    classes: Sequence[str],  # in the order of rows and columns
    seeds: Sequence[Hashable] | None = None,  # of the run that each row is from; None where all are from one
) -> Confusions:
    """Count by speaker, and take the mean over seeds.

    Returns: speakers in the order in which they first occur; a speaker's matrix is the mean over the seeds it has, in
        which its utterances have to be the same.
    Raises: ValueError if the arguments differ in length, or a label is not one of `classes`.
    """
    seeds = [None] * len(speakers) if seeds is None else seeds
    labels: dict[str, dict[Hashable, tuple[list, list]]] = {}  # speaker -> seed -> reference and predicted
    for speaker, seed, true, answer in zip(speakers, seeds, reference, predicted, strict=True):
        of_seed = labels.setdefault(str(speaker), {}).setdefault(seed, ([], []))
        of_seed[0].append(true)
        of_seed[1].append(answer)
    found = {}
    for speaker, by_seed in labels.items():
        matrices = [confusion_matrix(true, answers, labels=classes) for true, answers in by_seed.values()]
        found[speaker] = np.mean(matrices, axis=0)
    return found


def pooled_accuracies(confusions: np.ndarray) -> Accuracies:
    """WA and UA of all speakers' utterances together: of the sum of their matrices.

    Args: confusions: [speakers, classes, classes].
    Returns: the accuracies; UA over the classes that any speaker has.

    >>> pooled_accuracies(np.array([[[2, 0], [1, 1]], [[4, 2], [0, 0]]]))
    Accuracies(wa=0.7, ua=0.625, n=10)
    """
    hits, totals = (x.sum(axis=0) for x in hits_and_totals(confusions))
    wa, ua = (float(accuracy(hits, totals, metric)) for metric in METRICS)
    return Accuracies(wa, ua, round(totals.sum()))


def accuracies_of(confusions: Confusions) -> dict[str, Accuracies]:
    """WA and UA of each speaker; UA over the classes that the speaker has."""
    return {speaker: pooled_accuracies(matrix[None]) for speaker, matrix in confusions.items()}


def difference_by_speaker(a: np.ndarray, b: np.ndarray, metric: str) -> np.ndarray:
    """Each speaker's contribution to the pooled accuracy of `b` minus that of `a`.

    Both systems were tested on the same utterances, so the pooled difference, in UA too, is a sum over speakers.
    Swapping the two systems' answers for one speaker changes the sign of that speaker's contribution.

    Args: a: [speakers, classes, classes]; b: the same speakers, with the same utterances; metric: "wa" or "ua".
    Returns: [speakers]; their sum is the pooled difference.

    >>> a = np.array([[[2, 0], [1, 1]], [[2, 2], [0, 0]]])
    >>> b = np.array([[[1, 1], [0, 2]], [[4, 0], [0, 0]]])
    >>> difference_by_speaker(a, b, "wa").tolist()
    [0.0, 0.25]
    """
    gained, totals = hits_and_totals(b, minus=a)
    # accuracy() is linear in the hits: a speaker's contribution is the pooled accuracy with the others' gains left out.
    return accuracy(gained, np.broadcast_to(totals.sum(axis=0), totals.shape), metric)


def hits_and_totals(confusions: np.ndarray, minus: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Correct utterances and all utterances of confusions, by speaker and true class: two arrays [speakers, classes].

    Accuracies need nothing else. With `minus`, of the same utterances: how many more are correct than there.
    """
    counts = np.asarray(confusions, dtype=float)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    if minus is None:
        return hits, counts.sum(axis=2)
    others, totals = hits_and_totals(minus)
    return hits - others, totals
