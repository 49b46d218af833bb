"""Augmentation of features while training: masks along time and channels, and noise."""

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit_plugins.extractors.checks import at_least


class Augment(nn.Module):
    """SpecAugment's masks and Gaussian noise, in train() mode only; every row draws its own.

    Draws come from torch's global generator of the CPU: the same seed gives the same masks on any device.

    Args:
        time_masks: how many stretches of frames are masked.
        time_mask_frames: longest of them; no stretch is longer than half of a row's real frames.
        channel_masks: how many bands of neighbouring channels are masked.
        channel_mask_size: widest of them, in channels.
        noise: standard deviation of what is added to every value.
        fill: what masked values become.

    Source: Park et al., SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition,
        Interspeech 2019.
    """

    def __init__(
        self,
        *,
        time_masks: int = 0,
        time_mask_frames: int = 0,
        channel_masks: int = 0,
        channel_mask_size: int = 0,
        noise: float = 0.0,
        fill: float = 0.0,
    ):
        super().__init__()
        at_least(0, time_masks=time_masks, time_mask_frames=time_mask_frames)
        at_least(0, channel_masks=channel_masks, channel_mask_size=channel_mask_size, noise=noise)
        self.time = (time_masks, time_mask_frames)
        self.channel = (channel_masks, channel_mask_size)
        self.noise = noise
        self.fill = fill

    def forward(self, features: Seq) -> Seq:
        """[batch, time, channels] -> the same shape; in eval() mode the very same object."""
        if not self.training:
            return features
        values, lengths = features.values, features.lengths
        if self.noise:
            noise = torch.randn(values.shape, dtype=torch.float32)
            values = values + self.noise * noise.to(values)
        _, steps, channels = values.shape
        if all(self.time):
            masks = random_masks(steps, lengths, *self.time, longest=0.5)  # [batch, time]
            values = values.masked_fill(masks[:, :, None], self.fill)
        if all(self.channel):
            sizes = torch.full_like(lengths, channels)
            masks = random_masks(channels, sizes, *self.channel)  # [batch, channels]
            values = values.masked_fill(masks[:, None, :], self.fill)
        return Seq(values, lengths)


def random_masks(steps: int, lengths: Tensor, count: int, size: int, *, longest: float = 1.0) -> Tensor:
    """True in `count` stretches a row, each of 0 to `size` steps, anywhere within the row's length (both uniform).

    Args: lengths [batch]; longest: the largest part of a row's length that one stretch may cover.
    Returns: [batch, steps], bool.
    """
    draws = torch.rand(2, lengths.shape[0], count).to(lengths.device)
    limit = (lengths * longest).floor().clamp_max(size)[:, None]  # [batch, 1]
    width = (draws[0] * (limit + 1)).floor().minimum(limit)  # [batch, count]
    start = (draws[1] * (lengths[:, None] - width + 1)).floor().minimum(lengths[:, None] - width)
    position = torch.arange(steps, device=lengths.device)[:, None]
    inside = (position >= start[:, None]) & (position < (start + width)[:, None])  # [batch, steps, count]
    return inside.any(dim=2)
