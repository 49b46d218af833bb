"""Augmentations `shift` and `frame_shift`: roll along time; what leaves at one end enters at the other."""

import torch
from torch import Tensor

from toolkit.contracts import Augmentation
from toolkit_plugins.augmentations.draws import uniform


def shifted(values: Tensor, part: float) -> Tensor:
    """A row rolled along time by a fraction of its length: [time] or [time, channels]."""
    return values.roll(round(part * len(values)), dims=0)


class Shift(Augmentation):
    """The waveform rolled along time by a fraction of its length.

    Args:
        most: largest fraction, in either direction, from 0 to 1.
    """

    def __init__(self, *, most: float = 0.1):
        if not 0 <= most <= 1:
            raise ValueError(f"most is {most:g}; it has to be at least 0 and at most 1")
        self.most = most

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[time] or [time, channels] -> the same shape."""
        return shifted(values, uniform((-self.most, self.most), generator))


class FrameShift(Shift):
    """The frames of a level rolled along time by a fraction of their number; works on cached features."""

    reads = "features"
