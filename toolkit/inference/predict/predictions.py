"""What a system predicts for audio, as values that cannot contradict each other. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit.errors import ShapeError

_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Prediction:
    """The probability of every class for a recording, or for a segment of one.

    Args:
        probabilities: label -> probability, in the system's order of labels; they sum to 1.
        start_s: where it begins, in seconds from the start of the file or array.
        end_s: where it ends.
        segments: of a recording, the prediction for each segment, in order. The recording's probabilities are the
            softmax of the mean of the segments' log-probabilities, weighted as in training.

    Raises:
        ShapeError: if there are fewer than two classes, the probabilities do not sum to 1, or the end is not after
            the start.

    >>> prediction = Prediction({"ang": 0.25, "neu": 0.65, "sad": 0.10}, start_s=0.0, end_s=2.5)
    >>> prediction.label, round(prediction.margin, 2), prediction.seconds
    ('neu', 0.4, 2.5)
    >>> print(prediction.label_above(0.7))
    None
    """

    probabilities: Mapping[str, float]
    start_s: float = field(kw_only=True)
    end_s: float = field(kw_only=True)
    segments: tuple["Prediction", ...] = ()

    def __post_init__(self):
        if len(self.probabilities) < 2 or not abs(sum(self.probabilities.values()) - 1) <= _SUM_TOLERANCE:
            raise ShapeError(f"probabilities of two or more classes sum to 1; these do not: {dict(self.probabilities)}")
        if not self.start_s < self.end_s:
            raise ShapeError(f"from {self.start_s} s to {self.end_s} s there is no audio")

    @property
    def label(self) -> str:
        """The class with the highest probability; the first one if several share it."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def confidence(self) -> float:
        """The highest probability."""
        return max(self.probabilities.values())

    @property
    def margin(self) -> float:
        """The highest probability minus the second highest."""
        second, best = sorted(self.probabilities.values())[-2:]
        return best - second

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.end_s - self.start_s

    def label_above(self, confidence: float) -> str | None:
        """The label, or None if its probability is below `confidence`."""
        return self.label if self.confidence >= confidence else None
