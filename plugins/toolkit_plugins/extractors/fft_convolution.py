"""A grouped convolution along time as a product of spectra."""

import torch
from torch import Tensor
from torch.nn import functional

_STEP = 32  # transforms of a multiple of it are quick


@torch.compiler.disable  # its complex numbers are nothing that a compiler makes faster
def grouped_convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *, padding: int, groups: int) -> Tensor:
    """What conv1d gives, in float32: for kernels of a hundred frames, for which cuDNN has but slow ones in groups.

    Args: x [batch, channels, time]; weight [out, channels / groups, kernel]; bias [out]; padding at both ends.
    Returns: [batch, out, time + 2 * padding - kernel + 1].
    """
    with torch.autocast(x.device.type, enabled=False):
        frames, kernel = x.shape[2] + 2 * padding, weight.shape[2]
        size = -(-frames // _STEP) * _STEP
        padded = functional.pad(x.float(), (padding, size - x.shape[2] - padding))
        spectra = torch.fft.rfft(padded).unflatten(1, (groups, -1))  # [batch, groups, in, bins]
        filters = torch.fft.rfft(weight.float(), size).conj().unflatten(0, (groups, -1))  # [groups, out, in, bins]
        products = torch.einsum("bgif,goif->bgof", spectra, filters).flatten(1, 2)
        values = torch.fft.irfft(products, size)[:, :, : frames - kernel + 1]
        return values if bias is None else values + bias.float()[:, None]
