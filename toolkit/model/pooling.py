"""Pooling over time, shared by the core and the plugins."""

import torch
from torch import Tensor

from toolkit.contracts import Seq

SMALLEST_VARIANCE = 1e-8  # the square root has no gradient at 0


def mean_pooling(frames: Seq) -> Tensor:
    """Mean over real frames: [batch, time, channels] -> [batch, channels], at least float32; NaN if there are none."""
    values = frames.zeroed().values
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    return values.sum(dim=1) / frames.mask.sum(dim=1, keepdim=True)


def statistics_pooling(frames: Seq) -> Tensor:
    """Means, then standard deviations over real frames: [batch, time, channels] -> [batch, 2 * channels].

    As in Snyder, Garcia-Romero, Sell, Povey, Khudanpur, "X-vectors: Robust DNN embeddings for speaker recognition",
    ICASSP 2018. The deviation is that of the population and at least 1e-4, so that a single frame or a constant channel
    has a finite gradient. At least float32.
    """
    means = mean_pooling(frames)
    # Zeros before the square: the gradient of a NaN's square is NaN, even if it is masked later.
    centred = frames.zeroed().values - means[:, None, :]
    variances = mean_pooling(Seq(centred.square(), frames.lengths, full=frames.full))
    return torch.cat([means, variances.clamp(min=SMALLEST_VARIANCE).sqrt()], dim=1)
