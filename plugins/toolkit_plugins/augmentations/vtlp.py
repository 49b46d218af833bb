"""Augmentation `vtlp`: vocal tract length perturbation: formants move, the pitch stays."""

import torch
from torch import Tensor

from toolkit.contracts import Augmentation
from toolkit_plugins.augmentations.draws import Range, check_range, uniform
from toolkit_plugins.augmentations.spectra import WINDOW, from_spectrum, spectrum

BOUNDARY_HZ = 4_800.0  # below it frequencies are multiplied; above it they go linearly to half the sample rate
ENVELOPE_S = 0.003  # longest quefrency of the envelope: below the period of nearly any voice
HIGHEST_RATE = 85_000  # Hz; above it the envelope is longer than half of a window, and the pitch would move too


def source_frequencies(frequencies: Tensor, alpha: float, half_rate: float) -> Tensor:
    """The frequencies that a warp moves to `frequencies`, in Hz: the inverse of Jaitly and Hinton's warp.

    >>> source_frequencies(torch.tensor([0.0, 1100.0, 8000.0]), 1.1, 8000.0)
    tensor([   0., 1000., 8000.])
    """
    edge = min(BOUNDARY_HZ, 0.6 * half_rate) * min(alpha, 1.0)  # after the warp
    before = edge / alpha
    above = half_rate - (half_rate - frequencies) * (half_rate - before) / (half_rate - edge)
    return torch.where(frequencies <= edge, frequencies / alpha, above)


def warped(wave: Tensor, alpha: float, *, sample_rate: int) -> Tensor:
    """A waveform with its spectral envelope stretched along frequency by `alpha`; harmonics stay: [samples].

    The envelope is the cepstrum's first 3 ms. Source: Jaitly and Hinton, "Vocal tract length perturbation (VTLP)
    improves speech recognition", ICML workshop 2013, which warps a filter bank.
    """
    frames = spectrum(wave)  # [bins, frames]
    cepstrum = torch.fft.irfft(frames.abs().clamp_min(1e-6).log(), n=WINDOW, dim=0)
    kept = round(ENVELOPE_S * sample_rate)
    cepstrum[kept : WINDOW - kept + 1] = 0
    envelope = torch.fft.rfft(cepstrum, dim=0).real  # [bins, frames], log
    bins = len(frames)
    half_rate = sample_rate / 2
    position = source_frequencies(torch.linspace(0, half_rate, bins), alpha, half_rate) / half_rate * (bins - 1)
    left = position.floor().long().clamp(0, bins - 2)
    part = (position - left)[:, None]
    moved = envelope[left] * (1 - part) + envelope[left + 1] * part
    return from_spectrum(frames * (moved - envelope).clamp(-6, 6).exp(), len(wave))


class Vtlp(Augmentation):
    """Another vocal tract length: the spectral envelope, with its formants, is warped; the pitch stays.

    Args:
        alpha: lowest and highest factor on frequencies; above 1 is a shorter tract.

    Source: Jaitly and Hinton, "Vocal tract length perturbation (VTLP) improves speech recognition", ICML workshop on
        deep learning for audio, speech and language processing, 2013.
    """

    def __init__(self, *, sample_rate: int = 16_000, alpha: Range = (0.9, 1.1)):
        check_range(least=0.5, most=2, alpha=alpha)
        if sample_rate > HIGHEST_RATE:
            raise ValueError(f"vtlp takes audio at up to {HIGHEST_RATE} Hz; audio.sample_rate is {sample_rate}")
        self.sample_rate, self.alpha = sample_rate, alpha

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[samples] -> [samples]."""
        return warped(values, uniform(self.alpha, generator), sample_rate=self.sample_rate)
