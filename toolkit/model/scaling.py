"""A scaler that is fitted on the real frames of the training part; its statistics are buffers."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq


class Moments:
    """Mean and sum of squared deviations of rows, batch by batch in float64 (Chan, Golub and LeVeque, 1979)."""

    def __init__(self):
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Add rows: [rows, channels]."""
        rows = rows.double()
        n, mean = len(rows), rows.mean(dim=0)
        shift, total = mean - self.mean, self.count + n
        self.squares = self.squares + (rows - mean).square().sum(dim=0) + shift.square() * (self.count * n / total)
        self.mean = self.mean + shift * (n / total)
        self.count = total


class Standardize(nn.Module):
    """Scales each of `channels` to mean 0 and deviation 1 over the real frames of the training part.

    A channel that is constant there, but for rounding, is only centred. Before `fit`, values stay as they are.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    @torch.no_grad()
    def fit(self, features: Iterable[Seq]) -> None:
        """Learn from the real frames of batches [batch, time, channels]. Raises: ValueError if there are none."""
        moments = Moments()
        for frames in real_frames(features):
            moments.add(frames)
        self.set(moments)

    def set(self, moments: Moments) -> None:
        """Take mean and deviation from `moments`. Raises: ValueError if they hold no rows."""
        if not moments.count:
            raise ValueError("a scaler needs a frame to be fitted on: the training part is empty")
        deviation = (moments.squares / moments.count).sqrt()
        # Rounding leaves a constant channel with a deviation of a few millionths of its mean.
        constant = deviation <= 1e-6 * moments.mean.abs().clamp_min(1e-6)
        # A channel that is zero but for rounding: divided by that, its values in other data would outweigh all others.
        constant |= deviation <= 1e-6 * deviation[~constant].median()
        self.mean.copy_(moments.mean)
        self.deviation.copy_(deviation.masked_fill(constant, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """[..., channels] -> the same shape."""
        return (values - self.mean) / self.deviation


def real_frames(features: Iterable[Seq]) -> Iterable[Tensor]:
    """The real frames of each batch, [frames, channels], in float64 on the CPU."""
    for batch in features:
        frames = batch.values[batch.mask].cpu().double()
        if len(frames):
            yield frames
