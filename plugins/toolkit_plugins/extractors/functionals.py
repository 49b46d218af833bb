"""Extractor `functionals`: statistics over a segment of spectral and prosodic descriptors, without anything learned.

The approach of openSMILE's feature sets: Eyben, Wöllmer, Schuller, "openSMILE: The Munich versatile and fast
open-source audio feature extractor", ACM Multimedia 2010. The descriptors and statistics here are fewer.
The modulation spectrum says how fast a descriptor changes, as in Wu, Falk, Chan, "Automatic speech emotion
recognition using modulation spectral features", Speech Communication 53, 2011.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from toolkit.contracts import Extractor, Seq
from toolkit_plugins.extractors import frontends
from toolkit_plugins.extractors.checks import at_least, check_coefficients
from toolkit_plugins.extractors.descriptors import HOP_S, PITCH_HZ, descriptors

VERSION = 3  # part of every cache key: raise it when numbers change, here or in descriptors.py
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
PARTS = (2, 4)  # means of halves and of quarters
OCTAVES_HZ = (1, 2, 4, 8, 16)  # the lower ends of the bands of the modulation spectrum
STEP_HZ = 0.25
LEAST_POWER = 1e-6


class Functionals(Extractor):
    """One frame for each segment: what every descriptor is, how it changes, and when.

    These are the mean, the deviation and five quantiles of a descriptor and of its slope, its means in the halves and
    quarters of the segment, and the power of its modulation in five octaves from 1 to 32 Hz.

    The descriptors of a frame of 10 ms are `n_mels` log-mel bands, `n_mfcc` cepstral coefficients, energy, centroid,
    spread, four rolloff points and flux of the spectrum, pitch and voicing. Levels count from the segment's own
    maximum, so that loudness does not matter. There is nothing to train: a head reads the values as they are. They
    differ in scale, so the fusion has to `standardize`.

    Args:
        n_mels: mel bands.
        n_mfcc: cepstral coefficients.

    Raises: ValueError for a value out of range.

    Source: Eyben, Wöllmer, Schuller, "openSMILE", ACM Multimedia 2010; Wu, Falk, Chan, "Automatic speech emotion
        recognition using modulation spectral features", Speech Communication 53, 2011.
    """

    def __init__(self, *, sample_rate: int = 16_000, n_mels: int = 64, n_mfcc: int = 20):
        super().__init__()
        at_least(1, n_mels=n_mels, n_mfcc=n_mfcc)
        at_least(PITCH_HZ[1], sample_rate=sample_rate)
        check_coefficients(n_mfcc, n_mels)
        self.settings = {"sample_rate": sample_rate, "n_mels": n_mels, "n_mfcc": n_mfcc}
        self.front_end_args = {"front_end": "functionals", "version": VERSION, **self.settings}
        self.channels = (2 * (2 + len(QUANTILES)) + sum(PARTS) + len(OCTAVES_HZ)) * (n_mels + n_mfcc + 10)

    def frame_count(self, samples: int) -> int:
        """Always 1."""
        return 1

    @torch.no_grad()
    def features(self, wave: Seq) -> Seq:
        """[batch, samples] -> [batch, 1, channels]."""
        frames = descriptors(wave, **self.settings)
        slopes = frontends.deltas(frames)
        values = torch.cat([statistics(frames), statistics(slopes), course(frames), modulation(frames)], dim=1)
        return Seq(values[:, None, :], torch.ones_like(wave.lengths), full=True)

    def encode(self, features: Seq) -> Seq:
        """The features, unchanged."""
        return features


def statistics(frames: Seq) -> Tensor:
    """Mean, deviation and quantiles over real frames: [batch, time, channels] -> [batch, 7 * channels].

    >>> statistics(Seq(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2])))
    tensor([[2.0000, 1.0000, 1.1000, 1.5000, 2.0000, 2.5000, 2.9000]])
    """
    count = frames.lengths[:, None].to(frames.values.dtype)
    values = frames.zeroed().values
    mean = values.sum(dim=1) / count
    squares = (values - mean[:, None]).square().masked_fill(~frames.mask[:, :, None], 0)
    ordered = values.masked_fill(~frames.mask[:, :, None], float("inf")).sort(dim=1).values
    deviation = (squares.sum(dim=1) / count).sqrt()
    position = (count - 1) * count.new_tensor(QUANTILES)  # [batch, quantiles]
    low, high = (ordered.gather(1, _at(at.long(), ordered)) for at in (position.floor(), position.ceil()))
    quantiles = low + (high - low) * (position - position.floor())[:, :, None]
    return torch.cat([mean, deviation, quantiles.flatten(1)], dim=1)


def course(frames: Seq) -> Tensor:
    """Means of the halves and quarters of each row: [batch, time, channels] -> [batch, 6 * channels].

    Parts of rows that do not divide evenly overlap by a frame, as in torch's adaptive average pooling.
    """
    sums = functional.pad(frames.zeroed().values.double().cumsum(dim=1), (0, 0, 1, 0))  # sums[:, t]: of the first t
    length, found = frames.lengths[:, None], []
    for parts in PARTS:
        part = torch.arange(parts, device=length.device)
        first, end = part * length // parts, -(-(part + 1) * length // parts)  # [batch, parts], rounded outwards
        totals = sums.gather(1, _at(end, sums)) - sums.gather(1, _at(first, sums))
        found.append((totals / (end - first)[:, :, None]).flatten(1))
    return torch.cat(found, dim=1).to(frames.values.dtype)


def _at(steps: Tensor, values: Tensor) -> Tensor:
    """The index that gathers all channels of `values` at time steps: [batch, steps] -> [batch, steps, channels]."""
    return steps[:, :, None].expand(-1, -1, values.shape[2])


def modulation(frames: Seq) -> Tensor:
    """The modulation spectrum in octaves: [batch, time, channels] -> [batch, 5 * channels], log10 of mean power.

    A frame is 10 ms. A sine of amplitude a at a frequency of the grid adds its length in frames times a squared / 4 to
    the power there.
    """
    length = frames.lengths[:, None, None]
    mean = frames.zeroed().values.sum(dim=1, keepdim=True) / length
    values = Seq(frames.values - mean, frames.lengths).zeroed().values
    times = HOP_S * torch.arange(values.shape[1], device=values.device, dtype=values.dtype)
    found = []
    for lowest in OCTAVES_HZ:
        frequencies = torch.arange(lowest, 2 * lowest, STEP_HZ, device=values.device, dtype=values.dtype)
        phases = 2 * math.pi * frequencies[:, None] * times  # [frequencies, time]
        power = (phases.cos() @ values).square() + (phases.sin() @ values).square()
        found.append((power.mean(dim=1) / length[:, 0] + LEAST_POWER).log10())
    return torch.cat(found, dim=1)
