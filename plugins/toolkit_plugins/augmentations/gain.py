"""Augmentation `gain`: another loudness."""

import torch
from torch import Tensor

from toolkit.contracts import Augmentation
from toolkit_plugins.augmentations.draws import Range, check_range, uniform


def amplified(wave: Tensor, db: float) -> Tensor:
    """A waveform so many dB louder, not clipped: [samples]."""
    return wave * 10 ** (db / 20)


class Gain(Augmentation):
    """The recording louder or softer, by a number of dB that is drawn uniformly. Nothing is clipped.

    Args:
        db: least and most, in dB.
    """

    def __init__(self, *, db: Range = (-12.0, 6.0)):
        check_range(db=db)
        self.db = db

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[samples] -> [samples]."""
        return amplified(values, uniform(self.db, generator))
