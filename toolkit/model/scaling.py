"""Scalers that are fitted on the training part: on real frames alone; what they find is kept in buffers."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq


class Moments:
    """Mean and sum of squared deviations of rows, batch by batch in float64 (Chan, Golub and LeVeque, 1979).

    >>> moments = Moments()
    >>> moments.add(torch.tensor([[1.0], [3.0]]))
    >>> moments.add(torch.tensor([[5.0]]))
    >>> moments.count, moments.mean.item(), moments.squares.item()
    (3, 3.0, 8.0)
    """

    def __init__(self):
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Take in rows: [rows, channels]."""
        rows = rows.double()
        n, mean = len(rows), rows.mean(dim=0)
        shift, total = mean - self.mean, self.count + n
        self.squares = self.squares + (rows - mean).square().sum(dim=0) + shift.square() * (self.count * n / total)
        self.mean = self.mean + shift * (n / total)
        self.count = total


class Standardize(nn.Module):
    """Each channel to mean 0 and deviation 1 over the real frames of the training part.

    A channel that is constant there is only centred. Before `fit` it changes nothing.

    Args:
        channels: size of the last axis.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    @torch.no_grad()
    def fit(self, features: Iterable[Seq]) -> None:
        """Learn from the real frames of batches [batch, time, channels].

        Raises:
            ValueError: if there is no real frame.
        """
        moments = Moments()
        for frames in _real_frames(features):
            moments.add(frames)
        self.set(moments)

    def set(self, moments: "Moments") -> None:
        """Take mean and deviation of rows that were counted elsewhere.

        Raises:
            ValueError: if there were none.
        """
        if not moments.count:
            raise ValueError("there is no frame to fit a scaler on: the training part is empty")
        deviation = (moments.squares / moments.count).sqrt()
        # Rounding leaves a constant channel with a deviation of a few millionths of its mean.
        constant = deviation <= 1e-6 * moments.mean.abs().clamp_min(1e-6)
        self.mean.copy_(moments.mean)
        self.deviation.copy_(deviation.masked_fill(constant, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """[..., channels] -> the same shape."""
        return (values - self.mean) / self.deviation


class MinMax(nn.Module):
    """Each channel to [0, 1] between the least and the largest real value of the training part.

    Other data may lie outside. A channel that is constant in training becomes 0 there. Before `fit`, `low` to
    `high` are scaled.

    Args:
        channels: size of the last axis.
        low: what 0 means before `fit`.
        high: what 1 means before `fit`.
    """

    low: Tensor
    high: Tensor

    def __init__(self, channels: int, *, low: float = 0.0, high: float = 1.0):
        super().__init__()
        self.register_buffer("low", torch.full((channels,), float(low)))
        self.register_buffer("high", torch.full((channels,), float(high)))

    @torch.no_grad()
    def fit(self, features: Iterable[Seq]) -> None:
        """One pass over the batches.

        Args: features: batches [batch, time, channels].
        Raises: ValueError if there is no real frame.
        """
        low = high = None
        for frames in _real_frames(features):
            least, most = frames.amin(dim=0), frames.amax(dim=0)
            low = least if low is None else torch.minimum(low, least)
            high = most if high is None else torch.maximum(high, most)
        if low is None:
            raise ValueError("there is no frame to fit a scaler on: the training part is empty")
        self.low.copy_(low)
        self.high.copy_(torch.where(high > low, high, low + 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """[..., channels] -> the same shape."""
        return (values - self.low) / (self.high - self.low)


def _real_frames(features: Iterable[Seq]) -> Iterable[Tensor]:
    """The real frames of each batch, [frames, channels], in float64 on the CPU."""
    for batch in features:
        frames = batch.values[batch.mask].cpu().double()
        if len(frames):
            yield frames
