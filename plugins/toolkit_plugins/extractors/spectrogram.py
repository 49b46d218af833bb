"""Extractor `spectrogram`: a log-spectrogram as an image through AlexNet's convolutions."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.contracts import Extractor, Seq
from toolkit_plugins.extractors import alexnet, frontends
from toolkit_plugins.extractors.checks import at_least, fraction, overlap, retired_masks
from toolkit_plugins.extractors.min_max import MinMax

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class Spectrogram(Extractor):
    """A log-spectrogram as an image through AlexNet's convolutions; the defaults are the reference system's.

    Each frequency bin is scaled (`normalize`), the image is resized, repeated to three channels and normalised as
    for ImageNet. The last feature map is averaged to `pool`; its columns are the frames.

    Args:
        n_fft: samples of the transform.
        window: samples of the Hamming window.
        hop: samples from one frame to the next.
        bins: number of lowest frequency bins that are kept.
        preemphasis: coefficient of the initial high-pass filter, 0 for none.
        normalize: min_max (each bin to [0, 1] on the training part) or utterance (each bin to mean 0.5 and deviation
            1 / 6 over each segment, which removes the recording channel).
        image_size: height (frequency) and width (time) of the image in pixels.
        flip: high frequencies at the top of the image, as in the reference; else at the bottom.
        pool: frequency bands and frames that the last feature map is averaged to.
        weights: imagenet (torchvision's; random, with a warning, if they cannot be fetched), random, or the path
            of a state dict of torchvision's AlexNet (.pth or .safetensors).
        freeze: do not train the convolutions.
        normalization: batch adds a batch normalisation after each convolution, to train from random weights.
        dropout: dropout probability of the output frames.

    Raises: ValueError for a value out of range, or weights of another network.

    Source: Zou et al., Speech Emotion Recognition with Co-Attention Based Multi-Level Acoustic Information,
        ICASSP 2022; Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014.
    """

    standalone_args: Mapping[str, Any] = {"weights": "random"}

    retired = retired_masks("frequency_masks", "frequency_mask_bins")

    def __init__(
        self,
        *,
        segment_samples: int = 48_000,
        n_fft: int = 800,
        window: int = 640,
        hop: int = 160,
        bins: int = 200,
        preemphasis: float = 0.97,
        normalize: Literal["min_max", "utterance"] = "min_max",
        image_size: list[int] = [256, 384],  # noqa: B006 - never written to
        flip: bool = False,
        pool: list[int] = [6, 6],  # noqa: B006
        weights: str = "imagenet",
        freeze: bool = False,
        normalization: Literal["none", "batch"] = "none",
        dropout: float = 0.0,
    ):
        super().__init__()
        at_least(1, segment_samples=segment_samples, n_fft=n_fft, window=window, hop=hop, bins=bins)
        overlap(hop, n_fft=n_fft)
        fraction(preemphasis=preemphasis, dropout=dropout)
        if window > n_fft:
            raise ValueError(f"window is {window}; it cannot be longer than n_fft, {n_fft}")
        if bins > n_fft // 2 + 1:
            raise ValueError(f"bins is {bins}; n_fft {n_fft} gives no more than {n_fft // 2 + 1}")
        if len(image_size) != 2 or min(image_size) < alexnet.SMALLEST_IMAGE:
            raise ValueError(
                f"image_size is {image_size}; it is [height, width], each at least {alexnet.SMALLEST_IMAGE}"
            )
        at_least(1, image_size=max(image_size))
        height, width = alexnet.map_size(image_size)
        if len(pool) != 2 or not (1 <= pool[0] <= height and 1 <= pool[1] <= width):
            raise ValueError(f"pool is {pool}; image_size {image_size} gives maps from [1, 1] to [{height}, {width}]")
        self.fixed_samples = segment_samples
        self.fits = normalize == "min_max"
        self.channels = alexnet.CHANNELS * pool[0]
        self.image_size, self.flip = tuple(image_size), flip
        self.frames = pool[1]
        self.freeze = freeze
        self.settings = {"n_fft": n_fft, "window": window, "hop": hop, "bins": bins, "preemphasis": preemphasis}
        version = {"front_end": "log_spectrogram", "version": frontends.VERSION}
        self.front_end_args = {**version, "segment_samples": segment_samples, **self.settings}
        self.scaler = MinMax(bins, low=frontends.FLOOR_DB, high=0.0) if self.fits else None
        self.backbone, self.pretrained = alexnet.build(weights, normalization=normalization)
        self.random_backbone = weights == "imagenet" and self.pretrained is None
        self.set_frozen(False)
        self.pool = nn.AdaptiveAvgPool2d(tuple(pool))
        self.dropout = nn.Dropout(dropout)

    def set_frozen(self, frozen: bool) -> None:
        """Freeze the convolutions if they are pre-trained, or stand in for such; batch normalisation never is."""
        self.backbone.requires_grad_(not self.freeze)
        if frozen and (self.pretrained is not None or self.random_backbone):
            for layer in self.backbone:
                if isinstance(layer, nn.Conv2d):
                    layer.requires_grad_(False)

    def train(self, mode: bool = True) -> "Spectrogram":
        """As for any module, but a frozen backbone stays in eval() mode (its BatchNorm must not move)."""
        super().train(mode)
        if self.freeze:
            self.backbone.eval()
        return self

    def frame_count(self, samples: int) -> int:
        """The columns of `pool`, for the one length that is taken."""
        return self.frames

    @torch.no_grad()
    def features(self, wave: Seq) -> Seq:
        """Log-spectrogram of `fixed_samples` samples, [batch, fixed_samples // hop, bins], dB below the maximum."""
        return frontends.log_spectrogram(frontends.whole(wave), **self.settings)

    def fit(self, features: Iterable[Seq]) -> None:
        """Learn the minimum and maximum of each bin over the training part (normalize: min_max)."""
        self.scaler.fit(features)

    def encode(self, features: Seq) -> Seq:
        """Scale, make the image, and run the convolutions.

        Args: features: [batch, time, bins], dB.
        Returns: [batch, pool[1], 256 * pool[0]]; the map's columns are the frames.
        """
        if self.scaler is not None:
            scaled = self.scaler(features.values)
        else:
            scaled = 0.5 + frontends.normalise(features).values / 6
        picture = image(scaled.flip(2) if self.flip else scaled, self.image_size)
        maps = self.pool(self.backbone(picture))  # [batch, 256, frequency, time]
        frames = maps.permute(0, 3, 1, 2).flatten(2)  # [batch, time, 256 * frequency]
        lengths = torch.full_like(features.lengths, self.frames)
        return Seq(self.dropout(frames), lengths, full=True)


def image(scaled: Tensor, size: tuple[int, int]) -> Tensor:
    """A spectrogram as an image for networks trained on ImageNet.

    Args: scaled [batch, time, bins], in [0, 1]; size: height and width in pixels.
    Returns: [batch, 3, height, width]: frequency from top to bottom, three channels that differ in ImageNet's
        mean and deviation only; channels-last in memory, which suits convolutions.
    """
    picture = scaled.transpose(1, 2)[:, None]  # [batch, 1, bins, time]
    picture = functional.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)[:, 0]
    colours = [(picture - mean) / deviation for mean, deviation in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)]
    return torch.stack(colours, dim=3).permute(0, 3, 1, 2)
