"""Masks on features: spans of frames, or bands of neighbouring channels (SpecAugment)."""

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor

from toolkit.contracts import Augmentation, Seq
from toolkit.errors import RecipeError
from toolkit.model.scaling import Moments, real_frames
from toolkit_plugins.augmentations.draws import check_least, whole


def masked(values: Tensor, start: int, stop: int, fill: Tensor, *, axis: int) -> Tensor:
    """Features with a span of an axis replaced.

    Args: values [time, channels]; start and stop on axis 0 (time) or 1 (channels); fill [channels], or 0-d.
    Returns: the same shape.
    """
    steps = torch.arange(values.shape[axis], device=values.device)
    inside = (steps >= start) & (steps < stop)
    return torch.where(inside[:, None] if axis == 0 else inside, fill.to(values, non_blocking=True), values)


class OnLevel(Augmentation):
    """An augmentation of a level's features that learns each channel's mean and deviation over the training part."""

    reads = "features"
    fits = True

    def __init__(self):
        self.mean, self.deviation = torch.zeros(()), torch.ones(())

    def fit(self, features: Iterable[Seq]) -> None:
        """Mean and deviation of each channel."""
        moments = Moments()
        for frames in real_frames(features):
            moments.add(frames)
        self.mean, self.deviation = moments.mean.float(), (moments.squares / moments.count).sqrt().float()


class Mask(OnLevel):
    """Masks along one axis: what `time_mask` and `freq_mask` share.

    Args:
        fill: what replaces values: mean (each channel's over the training part) or minimum (the segment's lowest value,
            silence in a spectrogram in dB).
    """

    axis: int
    longest: float = 1.0  # fraction of the axis that a mask may cover

    def __init__(self, masks: int, size: int, fill: str):
        super().__init__()
        check_least(1, masks=masks)
        self.masks, self.size, self.fill = masks, size, fill

    def fit(self, features: Iterable[Seq]) -> None:
        """Mean of each channel. Raises: RecipeError for waveforms, and for segments of one frame."""
        shapes = []

        def noted() -> Iterator[Seq]:
            for seq in features:
                shapes.append(seq.values.shape[1:])
                yield seq

        super().fit(noted())
        frames, channels = map(max, zip(*shapes, strict=True))
        if channels == 1:
            raise RecipeError("features of one channel, such as waveforms, cannot be masked")
        if frames == 1 and self.axis == 0:
            raise RecipeError("each segment has one frame, so no span can be masked")

    def change(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """[time, channels] -> the same shape; a mask that would leave nothing is left out."""
        length = values.shape[self.axis]
        fill = self.mean if self.fill == "mean" else values.min()
        shown = torch.ones(length, dtype=torch.bool)
        for _ in range(self.masks):
            size = whole(min(self.size, int(length * self.longest)), generator)
            start = whole(length - size, generator)
            left = shown.clone()
            left[start : start + size] = False
            if left.any():
                shown, values = left, masked(values, start, start + size, fill, axis=self.axis)
        return values


class TimeMask(Mask):
    """Spans of 0 to `frames` frames, anywhere, replaced by `fill`.

    Args:
        masks: number of spans.
        frames: longest span, never more than half of the segment.

    Source: Park et al., SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition,
        Interspeech 2019.
    """

    axis, longest = 0, 0.5

    def __init__(self, *, masks: int = 2, frames: int = 40, fill: Literal["mean", "minimum"] = "mean"):
        check_least(1, frames=frames)
        super().__init__(masks, frames, fill)


class FreqMask(Mask):
    """Bands of 0 to `channels` neighbouring channels, anywhere, replaced by `fill`.

    Args:
        masks: number of bands.
        channels: widest band; at least one channel always stays.

    Source: Park et al., SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition,
        Interspeech 2019.
    """

    axis = 1

    def __init__(self, *, masks: int = 2, channels: int = 8, fill: Literal["mean", "minimum"] = "mean"):
        check_least(1, channels=channels)
        super().__init__(masks, channels, fill)
