"""The short-time Fourier transform of a waveform, and its inverse."""

import torch
from torch import Tensor

WINDOW, HOP = 512, 128  # samples; a hop of a quarter lets frames be changed one by one


def spectrum(wave: Tensor) -> Tensor:
    """[samples] -> [bins, frames], complex; the waveform is padded with zeros at both ends."""
    window = torch.hann_window(WINDOW)
    return torch.stft(wave, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)


def from_spectrum(frames: Tensor, samples: int) -> Tensor:
    """[bins, frames] -> [samples]."""
    return torch.istft(frames, WINDOW, HOP, window=torch.hann_window(WINDOW), length=samples)
