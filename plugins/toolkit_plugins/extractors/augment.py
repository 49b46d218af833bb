"""Augmentation of features while training: shifts, noise, and masks along time and channels."""

import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit_plugins.extractors.checks import at_least, fraction


class Augment(nn.Module):
    """A shift in time, Gaussian noise and SpecAugment's masks, in train() mode only; every row draws its own.

    Draws come from torch's global generator of the features' device, so that torch.manual_seed decides them.

    Args:
        time: how many stretches of frames are masked, and the longest of them, never more than half of a row's
            real frames.
        channels: how many bands of neighbouring channels are masked, and the widest of them.
        noise: standard deviation of what is added to every value.
        time_shift: largest circular shift in time, as a fraction of a row's real frames.
        fill: what masked values become.

    Source: Park et al., SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition,
        Interspeech 2019.
    """

    def __init__(
        self,
        *,
        time: tuple[int, int] = (0, 0),
        channels: tuple[int, int] = (0, 0),
        noise: float = 0.0,
        time_shift: float = 0.0,
        fill: float = 0.0,
    ):
        super().__init__()
        at_least(0, time_masks=time[0], time_mask_frames=time[1], noise=noise)
        at_least(0, channel_masks=channels[0], channel_mask_size=channels[1])
        fraction(time_shift=time_shift)
        self.time, self.channels = time, channels
        self.noise, self.time_shift, self.fill = noise, time_shift, fill

    def forward(self, features: Seq) -> Seq:
        """[batch, time, channels] -> the same shape; in eval() mode the very same object."""
        if not self.training:
            return features
        values, lengths = features.values, features.lengths
        if self.time_shift:
            values = shift(values, lengths, self.time_shift)
        if self.noise:
            values = values + self.noise * torch.randn_like(values)
        _, steps, channels = values.shape
        if all(self.time):
            masks = random_masks(steps, lengths, *self.time, longest=0.5)  # [batch, time]
            values = values.masked_fill(masks[:, :, None], self.fill)
        if all(self.channels):
            sizes = torch.full_like(lengths, channels)
            masks = random_masks(channels, sizes, *self.channels)  # [batch, channels]
            values = values.masked_fill(masks[:, None, :], self.fill)
        return Seq(values, lengths, full=features.full)


def shift(values: Tensor, lengths: Tensor, farthest: float) -> Tensor:
    """Roll each row's real frames by a uniform part of its length, from -farthest to +farthest.

    Args: values [batch, time, channels]; lengths [batch]; farthest in [0, 1).
    Returns: the same shape; frames beyond a length stay.
    """
    draws = 2 * torch.rand(lengths.shape[0], device=lengths.device) - 1
    by = (draws * farthest * lengths).round().long()
    steps = torch.arange(values.shape[1], device=lengths.device)
    source = torch.remainder(steps - by[:, None], lengths.clamp_min(1)[:, None])
    source = torch.where(steps < lengths[:, None], source, steps)  # [batch, time]
    return values.gather(1, source[:, :, None].expand_as(values))


def random_masks(steps: int, lengths: Tensor, count: int, size: int, *, longest: float = 1.0) -> Tensor:
    """True in `count` stretches a row, of 0 to `size` steps each, anywhere within the row's length.

    Args: lengths [batch]; longest: the largest part of a row's length that one stretch may cover.
    Returns: [batch, steps], bool.
    """
    draws = torch.rand(2, lengths.shape[0], count, device=lengths.device)
    limit = (lengths * longest).floor().clamp_max(size)[:, None]  # [batch, 1]
    width = (draws[0] * (limit + 1)).floor().minimum(limit)  # [batch, count]
    start = (draws[1] * (lengths[:, None] - width + 1)).floor().minimum(lengths[:, None] - width)
    position = torch.arange(steps, device=lengths.device)[:, None]
    inside = (position >= start[:, None]) & (position < (start + width)[:, None])  # [batch, steps, count]
    return inside.any(dim=2)
