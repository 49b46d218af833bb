"""Augmentation `telephone`: what a narrow-band telephone leaves of a recording."""

from functools import lru_cache

import numpy as np
import torch
from scipy.signal import butter, sosfilt
from soxr import resample
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import mu_law_decoding, mu_law_encoding

from toolkit.contracts import Augmentation

RATE = 8_000  # of a telephone, in Hz


def telephoned(wave: Tensor, *, sample_rate: int, low: float = 300.0, high: float = 3400.0) -> Tensor:
    """A waveform through a telephone: a band of frequencies, 8,000 samples a second, 8 bits by mu-law.

    Args: wave [samples]; sample_rate, low and high in Hz.
    Returns: [samples].
    Source: ITU-T G.711, Pulse code modulation of voice frequencies, 1988.
    """
    band = sosfilt(_band(low, high, sample_rate), wave.numpy()).astype(np.float32)
    narrow = torch.from_numpy(resample(band, sample_rate, RATE) if sample_rate > RATE else band)
    narrow = mu_law_decoding(mu_law_encoding(narrow.clamp(-1, 1), 256), 256)
    wide = torch.from_numpy(resample(narrow.numpy(), RATE, sample_rate)) if sample_rate > RATE else narrow
    return functional.pad(wide, (0, max(0, len(wave) - len(wide))))[: len(wave)]


@lru_cache
def _band(low: float, high: float, sample_rate: int) -> np.ndarray:
    """A Butterworth band-pass filter, 24 dB an octave on either side."""
    return butter(4, (low, high), "bandpass", fs=sample_rate, output="sos")


class Telephone(Augmentation):
    """The recording as a telephone transmits it: band-limited, at 8,000 Hz, in 8 bits. Nothing but `p` is random.

    Args:
        low: lower end of the band, in Hz.
        high: upper end of the band, in Hz, below half the sample rate and 4,000 Hz.

    Raises: ValueError if the band is out of range.

    Source: ITU-T G.711, Pulse code modulation of voice frequencies, 1988.
    """

    def __init__(self, *, sample_rate: int = 16_000, low: float = 300.0, high: float = 3400.0):
        nyquist = min(RATE, sample_rate) / 2
        if not 0 < low < high < nyquist:
            raise ValueError(f"low is {low:g} and high is {high:g}; they have to rise, between 0 and {nyquist:g} Hz")
        self.settings = {"sample_rate": sample_rate, "low": low, "high": high}

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[samples] -> [samples]."""
        return telephoned(values, **self.settings)
