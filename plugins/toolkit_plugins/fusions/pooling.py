"""Frames of one level -> one vector: mean, statistics, learned attention, or all frames flattened.

Statistics: Snyder et al., "X-vectors: Robust DNN embeddings for speaker recognition", ICASSP 2018.
Attention with deviations: Okabe, Koshinaka, Shinoda, "Attentive statistics pooling for deep speaker
embedding", Interspeech 2018, arXiv 1803.10963. Several heads: Lin et al., "A structured self-attentive
sentence embedding", ICLR 2017, arXiv 1703.03130.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from toolkit.contracts import LevelShape, Seq
from toolkit.errors import ShapeError
from toolkit.model.pooling import SMALLEST_VARIANCE, mean_pooling, statistics_pooling


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis among real positions, exactly 0 elsewhere.

    Args: scores: [batch, heads, time]; mask: [batch, time], True where real.
    Returns: [batch, heads, time], at least float32; sums to 1 over time.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return scores.masked_fill(~mask[:, None, :], float("-inf")).softmax(dim=2)


def weighted_statistics(frames: Seq, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation (Okabe et al., 2018), in float32 also under autocast.

    Args: frames: [batch, time, channels]; weights: [batch, heads, time], 0 beyond the lengths, summing to 1 over time.
    Returns: means and standard deviations, both [batch, heads, channels]; a deviation is at least 1e-4.
    """
    # A variance does not depend on the origin: one near the frames keeps E[x^2] - E[x]^2 from cancelling.
    origin = mean_pooling(frames).detach()[:, None, :]  # [batch, 1, channels]
    with torch.autocast(frames.values.device.type, enabled=False):
        values = frames.zeroed().values - origin
        means = weights @ values  # [batch, heads, channels]
        variances = weights @ values.square() - means.square()
    return means + origin, variances.clamp(min=SMALLEST_VARIANCE).sqrt()


class Pooling(nn.Module):
    """A function without parameters: [batch, time, channels] -> [batch, size]."""

    def __init__(self, pool: Callable[[Seq], Tensor], size: int):
        super().__init__()
        self.pool, self.size = pool, size

    def forward(self, frames: Seq) -> Tensor:
        """Pool the real frames: [batch, time, channels] -> [batch, size]."""
        return self.pool(frames)


class AttentivePooling(nn.Module):
    """Weighted mean over real frames, the weights learned: softmax over time of v tanh(W x + b).

    Args: channels: size of a frame; hidden: rows of W; heads: number of sets of weights, each over all channels,
        whose means are concatenated; statistics: append the weighted standard deviations.
    """

    def __init__(self, *, channels: int, hidden: int = 128, heads: int = 1, statistics: bool = False):
        super().__init__()
        self.statistics = statistics
        self.size = heads * channels * (2 if statistics else 1)
        self.score = nn.Sequential(nn.Linear(channels, hidden), nn.Tanh(), nn.Linear(hidden, heads))

    def weights(self, frames: Seq) -> Tensor:
        """The weight of every frame: [batch, heads, time]; 0 beyond the lengths, sums to 1 over time."""
        scores = self.score(frames.zeroed().values)  # [batch, time, heads]
        return masked_softmax(scores.transpose(1, 2), frames.mask)

    def forward(self, frames: Seq) -> Tensor:
        """[batch, time, channels] -> [batch, size]: the means of all heads, then their deviations."""
        means, deviations = weighted_statistics(frames, self.weights(frames))
        parts = [means, deviations] if self.statistics else [means]
        return torch.cat([part.flatten(start_dim=1) for part in parts], dim=1)


class Flatten(nn.Module):
    """[batch, time, channels] -> [batch, time * channels], 0 beyond the lengths; for one fixed time."""

    def __init__(self, *, channels: int, frames: int):
        super().__init__()
        self.frames = frames
        self.size = frames * channels

    def forward(self, frames: Seq) -> Tensor:
        """All real frames side by side; errors as in `check_frames`."""
        check_frames(frames, self.frames)
        return frames.zeroed().values.flatten(start_dim=1)


def check_frames(frames: Seq, expected: int) -> None:
    """Raise ShapeError unless the time axis of frames [batch, time, channels] is the one that layers were built for."""
    if frames.values.shape[1] != expected:
        raise ShapeError(
            f"{frames.values.shape[1]} frames where {expected} are needed: this fusion takes whole segments "
            "only (`fixed_samples`)"
        )


def pooling_layer(name: str, shape: LevelShape) -> nn.Module:
    """The pooling of this name for one level; the layer has a `size`."""
    if name == "statistics":
        return Pooling(statistics_pooling, 2 * shape.channels)
    if name == "mean":
        return Pooling(mean_pooling, shape.channels)
    if name == "attention":
        return AttentivePooling(channels=shape.channels)
    return Flatten(channels=shape.channels, frames=shape.frames)
