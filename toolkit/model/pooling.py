"""Pooling over time, shared by the core and the plugins.

Snyder, Garcia-Romero, Sell, Povey, Khudanpur: "X-vectors: Robust DNN embeddings for speaker recognition",
ICASSP 2018.
"""

import torch
from torch import Tensor

from toolkit.contracts import Seq

SMALLEST_VARIANCE = 1e-8  # the square root has no gradient at 0


def mean_pooling(frames: Seq) -> Tensor:
    """Mean over real frames: [batch, time, channels] -> [batch, channels], at least float32.

    A row without frames gives NaN.

    >>> frames = torch.tensor([[[1.0], [3.0], [float("nan")]]])
    >>> mean_pooling(Seq(frames, torch.tensor([2])))
    tensor([[2.]])
    """
    values = frames.zeroed().values
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    return values.sum(dim=1) / frames.mask.sum(dim=1, keepdim=True)


def statistics_pooling(frames: Seq) -> Tensor:
    """Mean and standard deviation over real frames (x-vectors, Snyder et al., 2018).

    The deviation is that of the population (divided by the number of frames) and at least 1e-4, so that a
    single frame or a constant channel has a finite gradient.

    Returns: [batch, 2 * channels], at least float32: means, then standard deviations.

    >>> statistics_pooling(Seq(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2])))
    tensor([[2., 1.]])
    """
    means = mean_pooling(frames)
    # Zeros before the square: the gradient of a NaN's square is NaN, even if it is masked later.
    centred = frames.zeroed().values - means[:, None, :]
    variances = mean_pooling(Seq(centred.square(), frames.lengths, full=frames.full))
    return torch.cat([means, variances.clamp(min=SMALLEST_VARIANCE).sqrt()], dim=1)
