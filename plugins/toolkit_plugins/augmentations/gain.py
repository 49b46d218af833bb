"""Augmentation `gain`: louder or softer."""

import torch
from torch import Tensor

from toolkit.contracts import Augmentation
from toolkit_plugins.augmentations.draws import Range, check_range, uniform


def amplified(wave: Tensor, db: float) -> Tensor:
    """A waveform louder by `db` dB, not clipped: [samples]."""
    return wave * 10 ** (db / 20)


class Gain(Augmentation):
    """The recording louder or softer, by a gain drawn uniformly in dB. Nothing is clipped.

    Args:
        db: lowest and highest gain, in dB, from -100 to 100.
    """

    def __init__(self, *, db: Range = (-12.0, 6.0)):
        check_range(least=-100, most=100, db=db)
        self.db = db

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[samples] -> [samples]."""
        return amplified(values, uniform(self.db, generator))
