"""Standardisation that is learnt from the training part."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq


class Standardize(nn.Module):
    """Each channel less its mean, divided by its deviation; the outermost values are cut.

    Mean and deviation are those of the real frames of the training part. A channel that is constant there is only
    centred. Before `fit` nothing is centred or divided.

    Args:
        channels: size of the last axis.
        limit: values beyond -limit and limit, in deviations, become these.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int, *, limit: float):
        super().__init__()
        self.limit = limit
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    @torch.no_grad()
    def fit(self, features: Iterable[Seq]) -> None:
        """One pass in float64.

        Args: features: batches [batch, time, channels].
        Raises: ValueError without a real frame.
        """
        count, origin = 0, None
        for batch in features:
            frames = batch.values[batch.mask].cpu().double()  # [frames, channels]
            if not len(frames):
                continue
            if origin is None:  # sums about a frame of the data: a constant channel's are exactly 0
                origin = frames[0].clone()
                total, squares = torch.zeros_like(origin), torch.zeros_like(origin)
            count += len(frames)
            total += (frames - origin).sum(dim=0)
            squares += (frames - origin).square().sum(dim=0)
        if origin is None:
            raise ValueError("the training part is empty: mean and deviation need at least one frame")
        deviation = (squares / count - (total / count).square()).clamp_min(0).sqrt().float()
        self.mean.copy_(origin + total / count)
        self.deviation.copy_(torch.where(deviation > 0, deviation, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """[..., channels] -> the same shape."""
        return ((values - self.mean) / self.deviation).clamp(-self.limit, self.limit)
