"""Augmentation `noise`: white, coloured or recorded noise at a signal-to-noise ratio."""

from typing import Literal

import torch
from torch import Tensor
from torchaudio.functional import add_noise

from toolkit.contracts import Augmentation
from toolkit_plugins.augmentations.draws import Range, check_range, uniform
from toolkit_plugins.augmentations.recordings import Recordings

COLOURS = {"white": 0.0, "pink": 1.0, "brown": 2.0}  # exponent of 1/f in power


def coloured_noise(samples: int, exponent: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise whose power falls with frequency as 1/f ** exponent: [samples]. Coloured noise has mean 0."""
    white = torch.randn(samples, generator=generator)
    if exponent == 0 or samples < 2:
        return white
    spectrum = torch.fft.rfft(white)
    factors = torch.arange(len(spectrum)).clamp_min(1) ** (-exponent / 2)
    factors[0] = 0
    return torch.fft.irfft(spectrum * factors, n=samples)


def noisy(wave: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """A waveform plus noise of the same length, `snr_db` dB below it: [samples]. Silent noise adds nothing."""
    if not bool(noise.square().sum() > 0):  # the squares of 1e-25 are 0 too, and nothing can be divided by them
        return wave
    return add_noise(wave, noise, torch.tensor(snr_db))


class Noise(Augmentation):
    """Noise over the whole recording, at a signal-to-noise ratio drawn uniformly in dB.

    Args:
        snr_db: lowest and highest signal-to-noise ratio, in dB, from -100 to 100.
        colour: white, pink (1/f) or brown (1/f²); random draws an exponent from 0 to 2.
        folder: folder of noise recordings, searched with its subfolders, instead of a colour: a random excerpt of a
            random recording, repeated if it is too short.

    Raises: ValueError if `snr_db` is reversed or out of range, the folder holds no recording, or one that cannot be
        read.
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        snr_db: Range = (5.0, 25.0),
        colour: Literal["white", "pink", "brown", "random"] = "random",
        folder: str | None = None,
    ):
        check_range(least=-100, most=100, snr_db=snr_db)
        self.snr_db, self.colour = snr_db, colour
        self.recordings = None if folder is None else Recordings(folder, sample_rate)

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[samples] -> [samples]."""
        snr_db = uniform(self.snr_db, generator)
        if self.recordings is not None:
            return noisy(values, self.recordings.excerpt(len(values), generator), snr_db)
        exponent = uniform((0.0, 2.0), generator) if self.colour == "random" else COLOURS[self.colour]
        return noisy(values, coloured_noise(len(values), exponent, generator), snr_db)
