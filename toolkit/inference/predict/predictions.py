"""What a system says of audio, as values that cannot contradict themselves. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit.errors import ShapeError

_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Answer:
    """The probability of every class for a stretch of audio.

    Args:
        probabilities: label -> probability, in the system's order of labels; they sum to 1.
        start_s: where the stretch begins, in seconds from the begin of the file or array.
        end_s: where it ends.

    Raises:
        ShapeError: if there are fewer than two classes, the probabilities do not sum to 1, or the end is not after
            the start.

    >>> answer = Answer({"ang": 0.25, "neu": 0.65, "sad": 0.10}, start_s=0.0, end_s=2.5)
    >>> answer.label, round(answer.margin, 2), answer.seconds
    ('neu', 0.4, 2.5)
    >>> print(answer.label_above(0.7))
    None
    """

    probabilities: Mapping[str, float]
    start_s: float = field(kw_only=True)
    end_s: float = field(kw_only=True)

    def __post_init__(self):
        if len(self.probabilities) < 2 or not abs(sum(self.probabilities.values()) - 1) <= _SUM_TOLERANCE:
            raise ShapeError(f"probabilities of two or more classes sum to 1; these do not: {dict(self.probabilities)}")
        if not self.start_s < self.end_s:
            raise ShapeError(f"a stretch from {self.start_s} s to {self.end_s} s holds no audio")

    @property
    def label(self) -> str:
        """The class with the highest probability, the first of them where several have it."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def confidence(self) -> float:
        """The highest probability."""
        return max(self.probabilities.values())

    @property
    def margin(self) -> float:
        """The highest probability less the second."""
        second, best = sorted(self.probabilities.values())[-2:]
        return best - second

    @property
    def seconds(self) -> float:
        """How long the stretch lasts."""
        return self.end_s - self.start_s

    def label_above(self, confidence: float) -> str | None:
        """The label, or None where its probability is below `confidence`."""
        return self.label if self.confidence >= confidence else None


@dataclass(frozen=True)
class Prediction(Answer):
    """What a system says of a recording.

    Args:
        segments: the answer for each segment, in order. The recording's probabilities are the softmax of the mean of
            the segments' log-probabilities, in which a segment weighs as the system was trained to weigh it.
    """

    segments: tuple[Answer, ...]
