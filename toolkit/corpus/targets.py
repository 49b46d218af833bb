"""What a head predicts: for each utterance, one of several classes. Imports no torch.

What would differ for another kind of target (a number, several classes at once) is asked of a `Target`: which values
there are, what a head's output means, which metrics fit, and which score selects the epoch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.corpus.utterance import GENDERS, Utterance
from toolkit.errors import CorpusError, ToolkitError, did_you_mean
from toolkit.statistics.metrics import METRICS, Labels, summary

LABEL = "label"  # the target whose prediction is the answer
UNKNOWN = -1  # the index of a value that is not known


def known(indices: Any) -> Any:
    """Where an array or a tensor of indices holds a known class: bool, of the same shape."""
    return indices != UNKNOWN


def unknown_like(indices: Any) -> Any:
    """As many indices, none of which is known."""
    return indices * 0 + UNKNOWN


@dataclass(frozen=True)
class Target:
    """One class of several, for each utterance: the label, or any other column of the manifest, such as gender.

    Covariates are described in the same way.

    Args:
        name: "label", or the column's.
        classes: in the order of a head's outputs.

    >>> gender = Target("gender", ("F", "M"))
    >>> gender.index("M"), gender.index("female"), gender.index(None) == UNKNOWN
    (1, 0, True)
    >>> gender.answers(np.array([[-0.1, -2.4], [-0.9, -0.5]]))
    ['F', 'M']
    """

    name: str
    classes: tuple[str, ...]

    @classmethod
    def of_column(cls, name: str, utterances: Iterable[Utterance]) -> "Target":
        """The target whose classes are the sorted values of a column.

        Args:
            name: the column's.
            utterances: the whole manifest, never a fold.

        Raises:
            CorpusError: if there are fewer than two values.
        """
        values = {value for utterance in utterances if (value := utterance.value(name)) is not None}
        if len(values) < 2:
            found = f"only {next(iter(values))!r}" if values else "no such column"
            raise CorpusError(f"The recipe needs {name!r} of the utterances, and the corpus has {found}.")
        return cls(name, tuple(sorted(values)))

    @staticmethod
    def by_name(classes: Mapping[str, Sequence[str]]) -> "dict[str, Target]":
        """Targets from their classes: name -> Target."""
        return {name: Target(name, tuple(values)) for name, values in classes.items()}

    @property
    def size(self) -> int:
        """How many outputs a head needs."""
        return len(self.classes)

    def index(self, value: str | None, *, error: type[ToolkitError] = CorpusError) -> int:
        """The index of a value's class, UNKNOWN for None or an empty text.

        Raises:
            ToolkitError: `error`, if the value is not one of the classes.
        """
        value = "" if value is None else str(value).strip()
        if not value:
            return UNKNOWN
        if value not in self.classes and self.name == "gender":
            value = GENDERS.get(value.lower(), value)  # as manifests are read
        if value not in self.classes:
            raise error(
                f"{self.name} {value!r} is not one of {', '.join(self.classes)}.{did_you_mean(value, self.classes)}"
            )
        return self.classes.index(value)

    def indices(self, utterances: Iterable[Utterance]) -> list[int]:
        """The index of each utterance's class, UNKNOWN where it is not known."""
        return [self.index(utterance.value(self.name)) for utterance in utterances]

    def counts(self, indices: Sequence[int]) -> list[int]:
        """How often each class occurs among indices; unknown ones do not count."""
        indices = np.asarray(indices)
        return np.bincount(indices[known(indices)], minlength=self.size).tolist()

    @staticmethod
    def scores(logits: Any) -> Any:
        """Log-probabilities, whose mean over segments scores the utterance: a tensor [..., classes], float32."""
        return logits.float().log_softmax(-1)

    @staticmethod
    def probabilities(scores: np.ndarray) -> np.ndarray:
        """The softmax of scores or of their means, along the last axis: [..., classes].

        >>> Target.probabilities(np.log(np.array([[1.0, 3.0]]))).round(6).tolist()
        [[0.25, 0.75]]
        """
        shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return shifted / shifted.sum(axis=-1, keepdims=True)

    def named(self, probabilities: np.ndarray) -> dict[str, float]:
        """Class -> probability, from [classes]."""
        return dict(zip(self.classes, probabilities.tolist(), strict=True))

    def answers(self, scores: np.ndarray) -> list[str]:
        """The class with the highest score (or probability) in each row, from [utterances, classes]."""
        return [self.classes[index] for index in scores.argmax(axis=1)]

    def metrics(self, reference: Labels, predicted: Labels) -> dict[str, float]:
        """WA and UA, which are computed after each epoch: metric -> value, a fraction of 1."""
        found = self.summary(reference, predicted)
        return {name: found[name] for name in METRICS}

    def summary(self, reference: Labels, predicted: Labels) -> dict[str, Any]:
        """All metrics that fit, JSON-able."""
        return summary(reference, predicted, labels=self.classes)

    @staticmethod
    def selection_score(found: Mapping[str, float]) -> float:
        """What selects the epoch, higher is better: WA + UA, of what `metrics` returns."""
        return sum(found[name] for name in METRICS)
