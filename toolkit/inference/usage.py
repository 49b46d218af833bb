"""What is needed to use a trained system on audio, beside its weights. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit.corpus.targets import LABEL, Target


@dataclass(frozen=True)
class Usage:
    """How audio goes into a system and what comes out; `BundleConfig` checks the values.

    Args:
        labels: the classes that are predicted, in the order of the logits.
        sample_rate: of the waveforms, in Hz.
        segment_samples: longest segment.
        predict_from: the head whose output is the answer.
        tail: weighted (a segment weighs its real length in an utterance's mean) or equal.
        covariates: name of each covariate that is given with every recording -> its values in order.
        stamps: what must be shown beside every result.
    """

    labels: tuple[str, ...]
    sample_rate: int
    segment_samples: int
    predict_from: str
    tail: str = "weighted"
    covariates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stamps: tuple[str, ...] = ()

    @property
    def target(self) -> Target:
        """What is predicted."""
        return Target(LABEL, self.labels)
