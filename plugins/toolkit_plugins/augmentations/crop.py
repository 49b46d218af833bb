"""Augmentation `crop`: a random excerpt of the recording."""

import torch
from torch import Tensor

from toolkit.contracts import Augmentation
from toolkit_plugins.augmentations.draws import Range, check_range, uniform, whole


class Crop(Augmentation):
    """An excerpt of the segment, from anywhere in it; the rest is dropped.

    Args:
        part: smallest and largest fraction of the segment that is kept, from 0.01 to 1.
    """

    def __init__(self, *, part: Range = (0.7, 1.0)):
        check_range(least=0.01, most=1, part=part)
        self.part = part

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[samples] -> fewer samples."""
        kept = max(1, round(uniform(self.part, generator) * len(values)))
        start = whole(len(values) - kept, generator)
        return values[start : start + kept]
