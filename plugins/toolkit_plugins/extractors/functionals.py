"""Extractor `functionals`: statistics over a segment of spectral and prosodic descriptors, without anything learned.

The approach of openSMILE's feature sets: Eyben, Wöllmer, Schuller, "openSMILE: The Munich versatile and fast
open-source audio feature extractor", ACM Multimedia 2010. The descriptors and statistics are fewer and chosen here.
"""

import torch
from torch import Tensor

from toolkit.contracts import Extractor, Seq
from toolkit_plugins.extractors import frontends
from toolkit_plugins.extractors.checks import at_least
from toolkit_plugins.extractors.descriptors import VERSION, descriptors

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Functionals(Extractor):
    """One frame for each segment: mean, deviation and five quantiles of every descriptor and of its slope.

    The descriptors of a frame of 10 ms are `n_mels` log-mel bands, `n_mfcc` cepstral coefficients, energy, centroid,
    spread, four rolloff points and flux of the spectrum, pitch and voicing. Levels count from the segment's own
    maximum, so that loudness does not matter. There is nothing to train: a head reads the values as they are. They
    differ in scale, so the fusion has to `standardize`.

    Args:
        n_mels: mel bands.
        n_mfcc: cepstral coefficients.

    Raises: ValueError for a value out of range.

    Source: Eyben, Wöllmer, Schuller, "openSMILE", ACM Multimedia 2010.
    """

    def __init__(self, *, sample_rate: int = 16_000, n_mels: int = 64, n_mfcc: int = 20):
        super().__init__()
        at_least(1, n_mels=n_mels, n_mfcc=n_mfcc)
        if n_mfcc > n_mels:
            raise ValueError(f"n_mfcc is {n_mfcc}; {n_mels} mel bands (n_mels) have no more than {n_mels} coefficients")
        self.settings = {"sample_rate": sample_rate, "n_mels": n_mels, "n_mfcc": n_mfcc}
        self.front_end_args = {"front_end": "functionals", "version": VERSION, **self.settings}
        self.channels = 2 * (2 + len(QUANTILES)) * (n_mels + n_mfcc + 10)

    def frame_count(self, samples: int) -> int:
        """Always 1."""
        return 1

    @torch.no_grad()
    def features(self, wave: Seq) -> Seq:
        """[batch, samples] -> [batch, 1, channels]."""
        frames = descriptors(wave, **self.settings)
        values = torch.cat([statistics(frames), statistics(frontends.deltas(frames))], dim=1)
        return Seq(values[:, None, :], torch.ones_like(wave.lengths), full=True)

    def encode(self, features: Seq) -> Seq:
        """The same."""
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
    found = [mean, (squares.sum(dim=1) / count).sqrt()]
    for quantile in QUANTILES:
        position = quantile * (count - 1)  # [batch, 1]
        low, high = (
            ordered.gather(1, at.long()[:, :, None].expand(-1, -1, ordered.shape[2]))[:, 0]
            for at in (position.floor(), position.ceil())
        )
        found.append(low + (high - low) * (position - position.floor()))
    return torch.cat(found, dim=1)
