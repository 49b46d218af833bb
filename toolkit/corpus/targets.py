"""What a head predicts, or a fusion takes as a covariate: for each utterance, one of several classes. No torch."""

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from toolkit.corpus.utterance import COLUMNS, GENDERS, Utterance, plain_marks
from toolkit.errors import CorpusError, ToolkitError, did_you_mean, listed
from toolkit.statistics.confidence import softmax
from toolkit.statistics.metrics import METRICS, Labels, confusion_matrix, summary

MOST_CODES = 20  # up to so many whole numbers may be codes of classes; more are a quantity
LABEL = "label"  # the target whose prediction is the answer
UNKNOWN = -1  # the index of an unknown value


@dataclass(frozen=True)
class Target:
    """The label, or any other column of a manifest; all that regression or multi-label classification would change."""

    name: str
    classes: tuple[str, ...]  # in the order of a head's outputs

    @classmethod
    def of_column(cls, name: str, utterances: Sequence[Utterance]) -> "Target":
        """Its classes are the sorted values in the whole manifest, never of a fold; CorpusError for fewer than two."""
        values = {value for utterance in utterances if (value := utterance.value(name)) is not None}
        if len(values) < 2:
            filled = {column for u in utterances for column in (*COLUMNS, *u.extra) if u.value(column)} - {name}
            has = f"only {next(iter(values))!r}" if values else f"none; it has {listed(sorted(filled), 20)}"
            problem = f"The recipe needs {name!r} of the utterances, and the corpus has {has}."
            raise CorpusError(problem + did_you_mean(name, filled))
        return cls(name, tuple(sorted(values)))

    def check_numbers(self, *, asked: bool) -> str | None:
        """A note if classes are whole numbers, perhaps codes, or one is nan; None if they are names or `asked` for.

        Raises: CorpusError if most are numbers that look like a quantity: fractions, or more than MOST_CODES.
        """
        numbers = {value: whole for value in self.classes if (whole := is_whole(value)) is not None}
        if asked or 2 * len(numbers) <= len(self.classes):
            missing = [value for value in self.classes if value.lower() == "nan" and not asked]
            return f"{self.name!r} holds {missing[0]!r}, which may stand for a missing value" if missing else None
        found = f"{self.name!r} holds numbers ({listed(numbers, 5)})"
        if len(numbers) <= MOST_CODES and all(numbers.values()):
            return f"{found}: each is a class of its own, and their order means nothing"
        raise CorpusError(
            f"{found}, and systems here predict classes: give --numbers_as_classes {self.name} to make each a class "
            "of its own, or put names of classes into another column"
        )

    @staticmethod
    def by_name(classes: Mapping[str, Sequence[str]]) -> "dict[str, Target]":
        """Targets from their classes: name -> Target."""
        return {name: Target(name, tuple(values)) for name, values in classes.items()}

    def index(self, value: str | None, *, error: type[ToolkitError] = CorpusError) -> int:
        """The index of a value's class, UNKNOWN for None or an empty text; `error` is raised if it is not a class."""
        value = "" if value is None else str(value).strip()
        if not value:
            return UNKNOWN
        if value not in self.classes and self.name == "gender":
            value = GENDERS.get(value.lower(), value)  # as in manifests
        if value not in self.classes:
            near = did_you_mean(value, self.classes)
            raise error(f"{self.name} {value!r} is not one of {listed(self.classes)}.{near}")
        return self.classes.index(value)

    def known_index(self, value: str | None, utterance_id: str) -> int:
        """The index of a covariate that the system reads; CorpusError if it is missing or not one of the classes."""
        index = self.index(value)
        if index == UNKNOWN:
            found = f"Utterance {utterance_id!r} has no {self.name}, and the system reads it"
            remedy = f"Fill the manifest's column {self.name!r}, or use a system with `source: predicted`"
            raise CorpusError(f"{found}. {remedy}, which needs none.")
        return index

    def indices(self, utterances: Iterable[Utterance]) -> list[int]:
        """The index of each utterance's class, UNKNOWN if it is not known."""
        return [self.index(utterance.value(self.name)) for utterance in utterances]

    def counts(self, indices: Sequence[int]) -> list[int]:
        """How often each class occurs among indices, without unknown ones."""
        indices = np.asarray(indices)
        return np.bincount(indices[indices != UNKNOWN], minlength=len(self.classes)).tolist()

    @staticmethod
    def scores(logits: Any) -> Any:
        """Log-probabilities, whose mean over segments scores the utterance: a tensor [..., classes], float32."""
        return logits.float().log_softmax(-1)

    probabilities = staticmethod(softmax)  # of scores or of their means: [..., classes]

    def answers(self, scores: np.ndarray) -> list[str]:
        """The class with the highest score (or probability) in each row, from [utterances, classes]."""
        return [self.classes[index] for index in scores.argmax(axis=1)]

    def metrics(self, reference: Labels, predicted: Labels) -> dict[str, float]:
        """WA and UA, which are computed after each epoch: metric -> value, a fraction of 1."""
        found = self.summary(reference, predicted)
        return {name: found[name] for name in METRICS}

    def summary(self, reference: Labels, predicted: Labels) -> dict[str, Any]:
        """All metrics that fit, JSON-able."""
        return summary(confusion_matrix(reference, predicted, labels=self.classes), labels=self.classes)

    @staticmethod
    def selection_score(row: Mapping[str, Any], part: str = "valid") -> float:
        """The score that selects the epoch, higher is better: WA + UA of a part, from epochs.csv or results.json."""
        return sum(row[f"{part}_{name}"] for name in METRICS)


def is_whole(text: str) -> bool | None:
    """Whether a text is a whole number; None where it is not a number.

    >>> [is_whole(text) for text in ("3.0", "\u22120,5", "10 %", "1/2", "nan", "10 dB", "20-30", "two")]
    [True, False, False, False, False, None, None, None]
    """
    plain = plain_marks(text).replace(",", ".").replace(" ", "")
    try:
        number = float(Fraction(plain) if "/" in plain else plain.removesuffix("%"))
    except (ValueError, ArithmeticError):
        return None
    return number.is_integer() and "%" not in plain


def shuffled_value(utterance_id: str, seed: int, counts: Mapping[str, int], covariate: str = "gender") -> str:
    """The control of a covariate: a value independent of the utterance, drawn from the corpus's `counts` of values.

    It is keyed by seed and id: the same in training, validation and test, on every machine, in any order.
    """
    key = "\0".join((covariate, str(seed), utterance_id)).encode()
    share = int.from_bytes(hashlib.sha256(key).digest()[:6], "big") / 2**48  # in [0, 1)
    values = sorted(counts)
    reached = itertools.accumulate(counts[value] for value in values)
    return next(v for v, limit in zip(values, reached, strict=True) if share * sum(counts.values()) < limit)
