"""Scaling by the minimum and maximum of the training part."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit.model.scaling import real_frames


class MinMax(nn.Module):
    """Scales each channel to [0, 1] by its minimum and maximum over the training part's real frames.

    Other data may lie outside. A channel that is constant in training becomes 0 there. Before `fit`, the bounds
    are `low` and `high`.
    """

    low: Tensor
    high: Tensor

    def __init__(self, channels: int, *, low: float = 0.0, high: float = 1.0):
        super().__init__()
        self.register_buffer("low", torch.full((channels,), float(low)))
        self.register_buffer("high", torch.full((channels,), float(high)))

    @torch.no_grad()
    def fit(self, features: Iterable[Seq]) -> None:
        """One pass over batches [batch, time, channels]. Raises: ValueError if none has a real frame."""
        bounds = [torch.stack([frames.amin(dim=0), frames.amax(dim=0)]) for frames in real_frames(features)]
        if not bounds:
            raise ValueError("a scaler needs a frame to be fitted on: the training part is empty")
        lows, highs = torch.stack(bounds, dim=1)  # [batches, channels] each
        low, high = lows.amin(dim=0), highs.amax(dim=0)
        self.low.copy_(low)
        self.high.copy_(torch.where(high > low, high, low + 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """[..., channels] -> the same shape."""
        return (values - self.low) / (self.high - self.low)
