"""Accuracies of groups of utterances: by gender, by duration, by any name. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolkit.errors import ShapeError
from toolkit.statistics.confusions import Accuracies
from toolkit.statistics.metrics import Labels, unweighted_accuracy, weighted_accuracy

THIRDS = ("short", "middle", "long")


@dataclass(frozen=True)
class Thirds:
    """Utterances by their duration.

    Args:
        names: "short", "middle" or "long" for each utterance.
        bounds_s: in seconds: the longest that is short, the longest that is middle.
    """

    names: tuple[str, ...]
    bounds_s: tuple[float, float]


def by_group(reference: Labels, predicted: Labels, groups: Sequence[str]) -> dict[str, Accuracies]:
    """WA and UA of every group; UA over the classes that the group has, so that groups may differ in them.

    Args:
        reference: true label of each utterance.
        predicted: predicted label of each utterance.
        groups: the group of each utterance; an empty name is a group like others.

    Returns:
        Group -> its accuracies, in the order in which groups first occur. `n` counts rows: of several seeds put
        together, each utterance counts once for each seed.

    Raises:
        ShapeError: if there is no utterance, or not one prediction and one group for each.

    >>> by_group(["ang", "sad", "sad"], ["ang", "sad", "ang"], ["F", "F", "M"])
    {'F': Accuracies(wa=1.0, ua=1.0, n=2), 'M': Accuracies(wa=0.0, ua=0.0, n=1)}
    """
    weighted_accuracy(reference, predicted)  # for its checks
    reference, predicted = np.asarray(reference), np.asarray(predicted)
    if len(groups) != len(reference):
        raise ShapeError(f"one group for each utterance is needed, not {len(groups)} for {len(reference)}")
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return {
        group: Accuracies(
            weighted_accuracy(reference[at], predicted[at]), unweighted_accuracy(reference[at], predicted[at]), len(at)
        )
        for group, at in rows.items()
    }


def duration_thirds(seconds: Sequence[float] | np.ndarray) -> Thirds:
    """Cut utterances into three groups of about as many, by their duration.

    Utterances of one duration stay together, so that groups differ in size, or are empty, where many are as long.

    Args:
        seconds: duration of each utterance, above 0.

    Returns:
        The name of each utterance's group, and the two bounds.

    Raises:
        ShapeError: if there is no utterance, or a duration is not above 0.

    >>> duration_thirds([1.0, 9.0, 2.0, 4.0, 5.0, 3.0, 7.0])
    Thirds(names=('short', 'long', 'short', 'middle', 'middle', 'short', 'long'), bounds_s=(3.0, 5.0))
    """
    seconds = np.asarray(seconds, dtype=float)
    if seconds.ndim != 1 or not seconds.size:
        raise ShapeError(f"one duration for each utterance is needed, and one at least, not {list(seconds.shape)}")
    if not (np.isfinite(seconds) & (seconds > 0)).all():
        raise ShapeError("a duration is not above 0 seconds, or no number")
    bounds = np.quantile(seconds, [1 / 3, 2 / 3])
    names = tuple(THIRDS[i] for i in np.searchsorted(bounds, seconds))
    return Thirds(names, (float(bounds[0]), float(bounds[1])))
