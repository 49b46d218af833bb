"""Confusion matrices of speakers, and the accuracies that are read from them. Imports no torch.

Everything that is said about a system is computed from `confusions`: [speakers, classes, classes], rows are the
reference. With several seeds a speaker's matrix is the mean over them, so that pooled accuracies are those of the
mean seed. Accuracies are fractions of 1. The metric "wa" is the share of right utterances, "ua" the mean recall of
the classes that occur, as in `toolkit.statistics.metrics`.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import ShapeError, did_you_mean
from toolkit.statistics.metrics import Labels, confusion_matrix

METRICS = ("wa", "ua")
MIN_SPEAKERS = 6  # five pairs that all agree still have p = 2 / 32 > 0.05: with fewer nothing can be shown


@dataclass(frozen=True)
class Accuracies:
    """What a set of utterances scores.

    Args:
        wa: share of right utterances, 0 to 1.
        ua: mean recall of the classes that occur, 0 to 1.
        n: utterances.
    """

    wa: float
    ua: float
    n: int


@dataclass(frozen=True, eq=False)
class SpeakerConfusions:
    """One confusion matrix for each speaker.

    Args:
        speakers: their names.
        classes: in the order of rows and columns.
        counts: [speakers, classes, classes], rows are the reference; a read-only copy is kept.

    Raises:
        ShapeError: if `counts` has another shape, is no count, or holds a speaker without utterances.
        ValueError: if a speaker or a class occurs twice.
    """

    speakers: tuple[str, ...]
    classes: tuple[str, ...]
    counts: np.ndarray

    def __post_init__(self):
        for noun, names in (("speaker", self.speakers), ("class", self.classes)):
            if len(set(names)) != len(names):
                raise ValueError(f"a {noun} occurs twice in {list(names)}")
        counts = np.array(self.counts, dtype=float)
        hits_and_totals(counts)
        expected = [len(self.speakers), len(self.classes), len(self.classes)]
        if list(counts.shape) != expected:
            raise ShapeError(f"confusions of these speakers and classes are {expected}, not {list(counts.shape)}")
        counts.setflags(write=False)
        object.__setattr__(self, "counts", counts)

    def of(self, speakers: Sequence[str]) -> np.ndarray:
        """Return the matrices of these speakers, in their order: [speakers, classes, classes]."""
        return self.counts[[self.speakers.index(speaker) for speaker in speakers]]


def speaker_confusions(
    speakers: Sequence[str],
    reference: Labels,
    predicted: Labels,
    *,
    classes: Sequence[str],
    seeds: Sequence[Hashable] | None = None,
) -> SpeakerConfusions:
    """Count by speaker, and take the mean over seeds.

    Args:
        speakers: who speaks each utterance; those without a name are one speaker, as nothing sets them apart.
        reference: true label of each utterance.
        predicted: predicted label of each utterance.
        classes: every label, in the order of rows and columns.
        seeds: the seed of the run that each row is from; None where all are from one.

    Returns:
        Speakers in the order in which they first occur; a speaker's matrix is the mean over the seeds it has.

    Raises:
        ShapeError: if there is no utterance, or not one value of each for every utterance.
        ValueError: if a label is none of `classes`, or a speaker's utterances are others in another seed.

    >>> found = speaker_confusions(
    ...     ["1M", "1M", "1M", "1M"], ["ang", "sad", "ang", "sad"], ["ang", "sad", "ang", "ang"],
    ...     classes=["ang", "sad"], seeds=[1, 1, 2, 2],
    ... )
    >>> found.speakers, found.counts.tolist()
    (('1M',), [[[1.0, 0.0], [0.5, 0.5]]])
    """
    reference, predicted = np.asarray(reference), np.asarray(predicted)
    seeds = [None] * len(speakers) if seeds is None else seeds
    if {len(speakers), len(seeds), len(predicted)} != {len(reference)} or not len(reference):
        raise ShapeError(
            f"{len(reference)} utterances have {len(speakers)} speakers, {len(seeds)} seeds and {len(predicted)}"
            " predictions: one of each is needed for every utterance, and one utterance at least"
        )
    rows: dict[str, dict[Hashable, list[int]]] = {}
    for row, (speaker, seed) in enumerate(zip(speakers, seeds, strict=True)):
        rows.setdefault(str(speaker), {}).setdefault(seed, []).append(row)
    counts = []
    for speaker, of_seed in rows.items():
        of_speaker = np.stack(
            [confusion_matrix(reference[at], predicted[at], labels=classes) for at in of_seed.values()]
        )  # [seeds, classes, classes]
        totals = of_speaker.sum(axis=2)
        if (totals != totals[0]).any():
            found = ", ".join(f"{t.tolist()} in seed {s}" for s, t in zip(of_seed, totals, strict=True))
            raise ValueError(f"speaker {speaker!r} has not the same utterances in every seed: by class {found}")
        counts.append(of_speaker.mean(axis=0))
    return SpeakerConfusions(tuple(rows), tuple(map(str, classes)), np.stack(counts))


def pooled_accuracies(confusions: np.ndarray) -> Accuracies:
    """WA and UA of all speakers' utterances together: of the sum of their matrices.

    Args:
        confusions: [speakers, classes, classes].

    Returns:
        The accuracies; UA over the classes that any speaker has.

    Raises:
        ShapeError: if `confusions` has another shape, is no count, or holds a speaker without utterances.

    >>> pooled_accuracies(np.array([[[2, 0], [1, 1]], [[4, 2], [0, 0]]]))
    Accuracies(wa=0.7, ua=0.625, n=10)
    """
    hits, totals = (x.sum(axis=0) for x in hits_and_totals(confusions))
    wa, ua = (float(accuracy(hits, totals, metric)) for metric in METRICS)
    return Accuracies(wa, ua, round(totals.sum()))


def speaker_accuracies(confusions: np.ndarray, metric: str) -> np.ndarray:
    """The accuracy of every speaker: [speakers]; UA over the classes that the speaker has.

    Args and errors are those of `pooled_accuracies`; ValueError if `metric` is neither "wa" nor "ua".

    >>> speaker_accuracies(np.array([[[2, 0], [1, 1]], [[4, 1], [0, 0]]]), "ua").tolist()
    [0.75, 0.8]
    """
    return accuracy(*hits_and_totals(confusions), metric)


def difference_shares(a: np.ndarray, b: np.ndarray, metric: str) -> np.ndarray:
    """What every speaker adds to the pooled accuracy of `b` less that of `a`.

    Both systems answer for the same utterances, so that the pooled difference, in UA too, is a sum over speakers,
    and to swap the two systems' answers for one speaker is to change the sign of that speaker's share.

    Args:
        a: [speakers, classes, classes].
        b: the same speakers, with the same utterances.
        metric: "wa" or "ua".

    Returns:
        [speakers]; their sum is the pooled difference.

    Raises:
        ShapeError: if the two are not of the same utterances.
        ValueError: if the metric is unknown.

    >>> a = np.array([[[2, 0], [1, 1]], [[2, 2], [0, 0]]])
    >>> b = np.array([[[1, 1], [0, 2]], [[4, 0], [0, 0]]])
    >>> difference_shares(a, b, "wa").tolist()
    [0.0, 0.25]
    """
    gained, totals = gains_and_totals(a, b)
    # accuracy() is linear in the hits: a speaker's share is the pooled accuracy with the others' gains left out.
    return accuracy(gained, np.broadcast_to(totals.sum(axis=0), totals.shape), metric)


def hits_and_totals(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Right utterances and all utterances of every speaker by true class, all that accuracies need.

    Args:
        confusions: [speakers, classes, classes].

    Returns:
        Two arrays [speakers, classes].

    Raises:
        ShapeError: if `confusions` has another shape, is no count, or holds a speaker without utterances.
    """
    counts = np.asarray(confusions, dtype=float)
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or not counts.size:
        raise ShapeError(f"confusions are [speakers, classes, classes], rows the reference; not {list(counts.shape)}")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ShapeError("confusions hold a number that is no count: negative, infinite or not a number")
    totals = counts.sum(axis=2)
    without = np.flatnonzero(totals.sum(axis=1) == 0)
    if without.size:
        raise ShapeError(f"the speaker in row {without[0]} of the confusions has no utterance: leave the row out")
    return np.diagonal(counts, axis1=1, axis2=2), totals


def gains_and_totals(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many more utterances of every speaker and true class `b` has right than `a`, and how many there are.

    Args and errors are those of `difference_shares`.

    Returns:
        Two arrays [speakers, classes].
    """
    (hits_a, totals_a), (hits_b, totals_b) = hits_and_totals(a), hits_and_totals(b)
    if totals_a.shape != totals_b.shape:
        raise ShapeError(
            f"speakers are paired: confusions of the same shape are needed, not {list(np.shape(a))}"
            f" and {list(np.shape(b))}"
        )
    differing = np.flatnonzero(~np.isclose(totals_a, totals_b).all(axis=1))
    if differing.size:
        row = differing[0]
        raise ShapeError(
            f"speakers are paired, but the one in row {row} has other utterances in each: by class"
            f" {totals_a[row].tolist()} and {totals_b[row].tolist()}"
        )
    return hits_b - hits_a, totals_a


def accuracy(hits: np.ndarray, totals: np.ndarray, metric: str) -> np.ndarray:
    """WA or UA from right and all utterances by true class: [..., classes] -> [...]; linear in `hits`.

    Raises:
        ValueError: if `metric` is neither "wa" nor "ua".
    """
    if metric == "wa":
        return hits.sum(axis=-1) / totals.sum(axis=-1)
    if metric == "ua":
        occurs = totals > 0
        recall = np.divide(hits, totals, out=np.zeros(hits.shape), where=occurs)
        return recall.sum(axis=-1) / occurs.sum(axis=-1)
    raise ValueError(f"metric {metric!r} is none of {', '.join(METRICS)}.{did_you_mean(metric, METRICS)}")
