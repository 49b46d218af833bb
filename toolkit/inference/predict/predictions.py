"""Predictions of recordings and segments, and intervals, which are segments without overlap."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Prediction:
    """The probability of every class for a recording, or for a segment of one.

    A recording's probabilities are the softmax of the mean of its segments' log-probabilities, weighted as in training.
    """

    probabilities: Mapping[str, float]  # by label, in the system's order; they sum to 1
    start_s: float = field(kw_only=True)  # where it begins, in seconds from the start of the file or array
    end_s: float = field(kw_only=True)
    segments: tuple["Prediction", ...] = ()  # a recording's predictions for its segments, in order

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


@dataclass(frozen=True)
class Interval:
    """A stretch of a recording with one label, or with none."""

    start_s: float
    end_s: float
    label: str | None


def intervals(segments: Iterable[Prediction], threshold: float) -> list[Interval]:
    """Segments of a recording as consecutive intervals; one has no label if its confidence is below `threshold`.

    Overlapping segments are divided at the middle of their overlap; neighbours with the same label are one interval.
    """
    found: list[Interval] = []
    for segment in segments:
        start_s, label = segment.start_s, segment.label_above(threshold)
        if found and found[-1].label == label:
            start_s = found.pop().start_s
        elif found:
            start_s = (found[-1].end_s + start_s) / 2
            found[-1] = replace(found[-1], end_s=start_s)
        found.append(Interval(start_s, segment.end_s, label))
    return found
