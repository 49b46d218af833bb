"""What has to be known of a trained system, beside its weights, to use it on audio; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit.corpus.targets import LABEL, Target

TAILS = ("weighted", "equal")


@dataclass(frozen=True)
class Usage:
    """How audio goes into a system and what comes out.

    Args:
        labels: the classes that are predicted, in the order of the logits.
        sample_rate: of the waveforms, in Hz.
        segment_samples: longest segment.
        tail: weighted (a segment weighs its real length in an utterance's mean) or equal.
        predict_from: the head whose output is the answer.
        covariates: name of each covariate that must be given -> its values in order.
        stamps: what has to be said of every result.

    Raises:
        ValueError: if there are fewer than two labels, one occurs twice, or a number or the tail is out of range.
    """

    labels: tuple[str, ...]
    sample_rate: int
    segment_samples: int
    predict_from: str
    tail: str = "weighted"
    covariates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stamps: tuple[str, ...] = ()

    def __post_init__(self):
        for what, values in {"labels": self.labels, **self.covariates}.items():
            if len(values) < 2 or len(set(values)) < len(values):
                raise ValueError(f"{what} are {list(values)}; two or more are needed, each once")
        if self.sample_rate < 1 or self.segment_samples < 1:
            raise ValueError(
                f"sample_rate is {self.sample_rate} and segment_samples is {self.segment_samples}; both are 1 or more"
            )
        if self.tail not in TAILS:
            raise ValueError(f"tail is {self.tail!r}; it is one of {', '.join(TAILS)}")

    @property
    def target(self) -> Target:
        """What the answer is about."""
        return Target(LABEL, self.labels)
