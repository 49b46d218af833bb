"""Windows, mel filters and the cosine transform: constants of front ends, made once for each device."""

import logging
import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

_WINDOWS = {"hann": torch.hann_window, "hamming": torch.hamming_window}
_BANDS = 16  # mel bands per product on a CPU: a band reaches few bins, so one product would mostly be of zeros


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Triangular filters on the HTK mel scale up to half the sample rate, each of area 1 (librosa's norm).

    Returns: [n_fft // 2 + 1, n_mels], float64.
    """
    top = 2595.0 * math.log10(1.0 + sample_rate / 2 / 700.0)
    edges = torch.linspace(0, top, n_mels + 2, dtype=torch.float64, device="cpu")
    edges = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)  # Hz
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64, device="cpu")
    width = edges.diff()
    rising = (bins[:, None] - edges[:-2]) / width[:-1]
    falling = (edges[2:] - bins[:, None]) / width[1:]
    filters = torch.minimum(rising, falling).clamp_min(0) * (2.0 / (edges[2:] - edges[:-2]))
    if empty := int((filters.amax(dim=0) == 0).sum()):
        found = f"{empty} of {n_mels} mel bands stay empty between the bins of n_fft {n_fft} at {sample_rate} Hz"
        logging.getLogger("toolkit").warning("%s: fewer n_mels or a larger n_fft", found)
    return filters


@lru_cache(maxsize=32)
def cosine_transform(size: int, kept: int, device: torch.device) -> Tensor:
    """Orthonormal DCT-II as a matrix: [size, kept], float64."""
    with torch.inference_mode(False):
        n = torch.arange(size, dtype=torch.float64, device="cpu")
        k = torch.arange(kept, dtype=torch.float64, device="cpu")
        matrix = torch.cos(math.pi / size * (n[:, None] + 0.5) * k) * math.sqrt(2.0 / size)
        matrix[:, 0] /= math.sqrt(2.0)
        return matrix.to(device)


@lru_cache(maxsize=32)
def centred_window(shape: str, size: int, n_fft: int, device: torch.device) -> Tensor:
    """A window in the middle of n_fft samples: [n_fft], float64."""
    with torch.inference_mode(False):
        window = _WINDOWS[shape](size, dtype=torch.float64, device="cpu")
        left = (n_fft - size) // 2
        return functional.pad(window, (left, n_fft - size - left)).to(device)


@lru_cache(maxsize=32)
def mel_blocks(
    sample_rate: int, n_fft: int, n_mels: int, device: torch.device, dtype: torch.dtype
) -> list[tuple[int, int, Tensor]]:
    """The mel filters in blocks of neighbouring bands, each over the bins that its bands reach.

    Returns: for each block its first bin, one past its last, and filters [stop - first, bands].
    """
    with torch.inference_mode(False):
        whole, blocks = mel_filters(sample_rate, n_fft, n_mels).to(dtype), []
        for filters in whole.split(_BANDS if device.type == "cpu" else n_mels, dim=1):
            reached = filters.any(dim=1).nonzero().flatten().tolist() or [0]
            first, stop = reached[0], reached[-1] + 1
            blocks.append((first, stop, filters[first:stop].contiguous().to(device)))
        return blocks
