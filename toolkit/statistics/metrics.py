"""Weighted and unweighted accuracy, F1 and confusion of labels; pure functions of numpy, light to import.

WA and UA as in Schuller, Steidl, Batliner, "The INTERSPEECH 2009 emotion challenge", Interspeech 2009. All
values are fractions of 1, of utterances and never of segments.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from toolkit.errors import ShapeError, did_you_mean

Labels = Sequence[Hashable] | np.ndarray


def weighted_accuracy(reference: Labels, predicted: Labels) -> float:
    """WA: the share of utterances that are right (scikit-learn's accuracy_score).

    Args:
        reference: true label of each utterance.
        predicted: predicted label of each utterance.

    Returns:
        Between 0 and 1.

    Raises:
        ShapeError: if there is no utterance, or not one prediction for each.

    >>> weighted_accuracy(["ang", "sad", "sad", "sad"], ["ang", "sad", "sad", "ang"])
    0.75
    """
    reference, predicted = _pair(reference, predicted)
    return float(np.mean(reference == predicted))


def unweighted_accuracy(reference: Labels, predicted: Labels) -> float:
    """UA: the mean recall of the classes that the reference holds (scikit-learn's balanced_accuracy_score).

    Args and errors are those of `weighted_accuracy`.

    >>> unweighted_accuracy(["ang", "sad", "sad", "sad", "sad"], ["ang", "sad", "sad", "ang", "ang"])
    0.75
    """
    reference, predicted = _pair(reference, predicted)
    right = reference == predicted
    return float(np.mean([right[reference == label].mean() for label in np.unique(reference)]))


def confusion_matrix(reference: Labels, predicted: Labels, *, labels: Labels) -> np.ndarray:
    """How often each label was taken for each.

    Args:
        reference: true label of each utterance.
        predicted: predicted label of each utterance.
        labels: every label, in the order of rows and columns.

    Returns:
        [labels, labels], int64; rows are the reference, columns the prediction.

    Raises:
        ShapeError: if there is no utterance, or not one prediction for each.
        ValueError: if an utterance has a label that `labels` does not hold, or `labels` holds one twice.

    >>> confusion_matrix(["ang", "sad", "sad"], ["ang", "ang", "sad"], labels=["sad", "ang"])
    array([[1, 1],
           [0, 1]])
    """
    reference, predicted = _pair(reference, predicted)
    place = {label: index for index, label in enumerate(_listed(labels))}
    if len(place) != len(labels):
        raise ValueError(f"a label occurs twice in {_listed(labels)}")
    unknown = [label for label in [*_listed(reference), *_listed(predicted)] if label not in place]
    if unknown:
        raise ValueError(
            f"label {unknown[0]!r} is none of {', '.join(map(str, place))}.{did_you_mean(unknown[0], place)}"
        )
    rows = [place[label] for label in _listed(reference)]
    columns = [place[label] for label in _listed(predicted)]
    matrix = np.zeros((len(place), len(place)), dtype=np.int64)
    np.add.at(matrix, (rows, columns), 1)
    return matrix


def f1_by_class(reference: Labels, predicted: Labels, *, labels: Labels) -> dict[Any, float]:
    """F1 of every label: twice the hits, divided by how often it is true plus how often it is predicted.

    Args and errors are those of `confusion_matrix`.

    Returns:
        Label -> F1, in the order of `labels`; 0 for a label that occurs in neither.

    >>> f1_by_class(["ang", "sad", "sad"], ["ang", "ang", "sad"], labels=["ang", "sad", "neu"])["sad"]
    0.6666666666666666
    """
    matrix = confusion_matrix(reference, predicted, labels=labels)
    occurrences = matrix.sum(axis=0) + matrix.sum(axis=1)
    values = 2 * matrix.diagonal() / np.maximum(occurrences, 1)
    return dict(zip(_listed(labels), values.tolist(), strict=True))


def macro_f1(reference: Labels, predicted: Labels) -> float:
    """The mean F1 of the labels that the reference or the prediction holds (scikit-learn's f1_score, macro).

    Args and errors are those of `weighted_accuracy`.

    >>> macro_f1(["ang", "sad", "sad"], ["ang", "ang", "sad"])
    0.6666666666666666
    """
    reference, predicted = _pair(reference, predicted)
    present = np.unique(np.concatenate([reference, predicted]))
    return float(np.mean(list(f1_by_class(reference, predicted, labels=present).values())))


def summary(reference: Labels, predicted: Labels, *, labels: Labels) -> dict[str, Any]:
    """All of it, JSON-able.

    Args and errors are those of `confusion_matrix`.

    Returns:
        n_utterances, wa, ua, macro_f1, f1 (label -> F1), recall (label -> recall, None where the reference
        does not hold it), labels, confusion (rows are the reference).

    >>> found = summary(["ang", "sad", "sad"], ["ang", "ang", "sad"], labels=["ang", "sad"])
    >>> found["ua"], found["recall"], found["confusion"]
    (0.75, {'ang': 1.0, 'sad': 0.5}, [[1, 0], [1, 1]])
    """
    matrix = confusion_matrix(reference, predicted, labels=labels)
    totals = matrix.sum(axis=1).tolist()
    hits = matrix.diagonal().tolist()
    return {
        "n_utterances": int(matrix.sum()),
        "wa": weighted_accuracy(reference, predicted),
        "ua": unweighted_accuracy(reference, predicted),
        "macro_f1": macro_f1(reference, predicted),
        "f1": f1_by_class(reference, predicted, labels=labels),
        "recall": {
            label: hit / total if total else None
            for label, hit, total in zip(_listed(labels), hits, totals, strict=True)
        },
        "labels": _listed(labels),
        "confusion": matrix.tolist(),
    }


def _listed(labels: Labels) -> list[Any]:
    return np.asarray(labels).tolist()


def _pair(reference: Labels, predicted: Labels) -> tuple[np.ndarray, np.ndarray]:
    reference, predicted = np.asarray(reference), np.asarray(predicted)
    if reference.ndim != 1 or predicted.shape != reference.shape:
        raise ShapeError(
            f"one predicted label for each utterance is needed, not {list(predicted.shape)} for {list(reference.shape)}"
        )
    if not reference.size:
        raise ShapeError("there is no utterance to score: the part of the fold, or the predictions file, is empty")
    if (reference.dtype.kind in "USO") != (predicted.dtype.kind in "USO"):
        raise ShapeError(f"labels are {reference.dtype} in the reference and {predicted.dtype} in the prediction")
    return reference, predicted
