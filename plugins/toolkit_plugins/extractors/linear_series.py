"""Extractors `nlinear` and `dlinear`: linear maps along time, from L frames to P learned steps."""

import inspect
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from toolkit.contracts import Extractor, Seq
from toolkit.model.scaling import Standardize
from toolkit_plugins.extractors import frontends
from toolkit_plugins.extractors.checks import at_least, check_coefficients, fraction, overlap, retired_masks


def along_time(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear map along time.

    Args: x [batch, L, channels]; weight [P, L] and bias [P], or one of each per channel: [channels, P, L] and
        [channels, P].
    Returns: [batch, P, channels].
    """
    if weight.dim() == 2:
        return functional.linear(x.transpose(1, 2), weight, bias).transpose(1, 2)
    return torch.einsum("blc,cpl->bpc", x, weight) + bias.t()


def nlinear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear map of each channel minus its last step, which is added back: an offset of x is one of y.

    Args: as for `along_time`. The last step is detached.
    Returns: [batch, P, channels].
    Source: Zeng et al., Are Transformers Effective for Time Series Forecasting?, AAAI 2023.
    """
    last = x[:, -1:].detach()
    return along_time(x - last, weight, bias) + last


def series_decomposition(x: Tensor, kernel: int) -> tuple[Tensor, Tensor]:
    """Split a series into its moving average and the rest; both ends are repeated to keep the length.

    Args: x [batch, L, channels]; kernel: width of the average in steps, odd.
    Returns: seasonal and trend, each [batch, L, channels]; their sum is x.
    """
    ends = kernel // 2
    padded = torch.cat([x[:, :1].expand(-1, ends, -1), x, x[:, -1:].expand(-1, ends, -1)], dim=1)
    trend = functional.avg_pool1d(padded.transpose(1, 2), kernel, stride=1).transpose(1, 2)
    return x - trend, trend


def dlinear(
    x: Tensor, seasonal_weight: Tensor, seasonal_bias: Tensor, trend_weight: Tensor, trend_bias: Tensor, *, kernel: int
) -> Tensor:
    """One map for the trend and one for the rest, added.

    Args: as for `along_time` and `series_decomposition`.
    Returns: [batch, P, channels].
    Source: Zeng et al., Are Transformers Effective for Time Series Forecasting?, AAAI 2023.
    """
    seasonal, trend = series_decomposition(x, kernel)
    return along_time(seasonal, seasonal_weight, seasonal_bias) + along_time(trend, trend_weight, trend_bias)


class TimeMap(nn.Module):
    """Weight and bias of a map along time, drawn as in nn.Linear; channels: None if they share one map."""

    def __init__(self, length: int, steps: int, channels: int | None):
        super().__init__()
        one = () if channels is None else (channels,)
        bound = length**-0.5
        self.weight = nn.Parameter(torch.empty(*one, steps, length).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(*one, steps).uniform_(-bound, bound))


class NLinear(Extractor):
    """NLinear along time: every channel of the series, minus its last step, through a linear map to P steps.

    Takes one length only, a segment's. If `hidden` is set, a projection of the channels follows.

    Args:
        series: log_mel, mfcc, or frames (of the waveform).
        n_mels: mel bands (log_mel, mfcc).
        n_mfcc: coefficients (mfcc).
        n_fft: samples of the Hann window and of the transform (log_mel, mfcc).
        window: samples of a frame (frames).
        hop: samples from one frame to the next.
        preemphasis: coefficient of the initial high-pass filter, 0 for none.
        reference: what 0 dB is (log_mel): maximum (the segment's own) or one (the recording's level counts).
        normalize: standardize (each channel to mean 0 and deviation 1 over the training part) or none.
        steps: P, the number of output steps.
        individual: one map for each channel instead of one for all.
        hidden: channels after a projection with ReLU; 0 for none.
        dropout: dropout probability of the steps, before the projection.

    Raises: ValueError for a value out of range.

    Source: Zeng et al., Are Transformers Effective for Time Series Forecasting?, AAAI 2023.
    """

    maps = 1
    retired = retired_masks("channel_masks", "channel_mask_size")

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        segment_samples: int = 48_000,
        series: Literal["log_mel", "mfcc", "frames"] = "log_mel",
        n_mels: int = 128,
        n_mfcc: int = 40,
        n_fft: int = 2048,
        window: int = 400,
        hop: int = 160,
        preemphasis: float = 0.97,
        reference: Literal["maximum", "one"] = "maximum",
        normalize: Literal["standardize", "none"] = "standardize",
        steps: int = 96,
        individual: bool = False,
        hidden: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__()
        at_least(1, segment_samples=segment_samples, n_mels=n_mels, n_mfcc=n_mfcc, n_fft=n_fft, window=window, hop=hop)
        at_least(1, steps=steps)
        at_least(0, hidden=hidden)
        overlap(hop, n_fft=n_fft) if series != "frames" else overlap(hop, window=window)
        fraction(preemphasis=preemphasis, dropout=dropout)
        if series == "mfcc":
            check_coefficients(n_mfcc, n_mels)
        mels = {"sample_rate": sample_rate, "n_fft": n_fft, "n_mels": n_mels}
        self.front_end, channels, own = {
            "log_mel": (frontends.log_mel, n_mels, {**mels, "reference": reference}),
            "mfcc": (frontends.mfcc, n_mfcc, {**mels, "n_mfcc": n_mfcc}),
            "frames": (frontends.framed_waveform, window, {"window": window}),
        }[series]
        self.settings = {"hop": hop, "preemphasis": preemphasis, **own}
        self.fixed_samples = segment_samples
        version = {"front_end": series, "version": frontends.VERSION}
        self.front_end_args = {**version, "segment_samples": segment_samples, **self.settings}
        self.steps = steps
        self.fits = normalize == "standardize"
        self.scaler = Standardize(channels) if self.fits else None
        frames, one_each = frontends.frame_count(segment_samples, hop=hop), channels if individual else None
        self.linear = nn.ModuleList(TimeMap(frames, steps, one_each) for _ in range(self.maps))
        self.projection = nn.Sequential(nn.Dropout(dropout))
        if hidden:
            self.projection.extend([nn.Linear(channels, hidden), nn.ReLU()])
        self.channels = hidden or channels

    def frame_count(self, samples: int) -> int:
        """P, for the one length that is taken."""
        return self.steps

    @torch.no_grad()
    def features(self, wave: Seq) -> Seq:
        """The series of `fixed_samples` samples: [batch, fixed_samples // hop, channels of the series]."""
        return self.front_end(frontends.whole(wave), **self.settings)

    def fit(self, features: Iterable[Seq]) -> None:
        """Learn each channel's mean and deviation over the training part (normalize: standardize)."""
        self.scaler.fit(features)

    def encode(self, features: Seq) -> Seq:
        """Normalise, map along time, project: [batch, L, channels of the series] -> [batch, P, self.channels]."""
        values = features.values if self.scaler is None else self.scaler(features.values)
        values = self.projection(self.map_time(values))  # [batch, P, channels]
        return Seq(values, torch.full_like(features.lengths, self.steps), full=True)

    def map_time(self, values: Tensor) -> Tensor:
        """[batch, L, channels] -> [batch, P, channels]."""
        return nlinear(values, self.linear[0].weight, self.linear[0].bias)


class DLinear(NLinear):
    """DLinear along time: the trend (a moving average) and the rest of every channel, each mapped to P steps.

    Takes one length only, a segment's. If `hidden` is set, a projection of the channels follows.

    Args:
        kernel: frames of the moving average, odd.

    Source: Zeng et al., Are Transformers Effective for Time Series Forecasting?, AAAI 2023.
    """

    maps = 2

    def __init__(self, *, kernel: int = 25, **others):
        super().__init__(**others)
        at_least(1, kernel=kernel)
        if kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}; it has to be odd, so that the average has a middle")
        self.kernel = kernel

    # `others` are NLinear's arguments; recipes are checked against the signature, so it names them.
    __signature__ = inspect.Signature(
        [*inspect.signature(NLinear).parameters.values(), inspect.signature(__init__).parameters["kernel"]]
    )

    def map_time(self, values: Tensor) -> Tensor:
        """[batch, L, channels] -> [batch, P, channels]."""
        seasonal, trend = self.linear
        return dlinear(values, seasonal.weight, seasonal.bias, trend.weight, trend.bias, kernel=self.kernel)
