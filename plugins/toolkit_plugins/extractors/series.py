"""The series that NLinear and DLinear read: log-mel, MFCC or framed waveform of one fixed length."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from toolkit.contracts import Seq
from toolkit_plugins.extractors import frontends
from toolkit_plugins.extractors.checks import at_least, fraction, one_of, overlap
from toolkit_plugins.extractors.fixed_length import cut_frames, cut_wave

SERIES = ("log_mel", "mfcc", "frames")


class Series(nn.Module):
    """One front end by name; arguments are NLinear's, those that it does not use are ignored.

    Raises: ValueError for a value out of range.
    """

    def __init__(
        self,
        *,
        series: str,
        sample_rate: int,
        segment_samples: int,
        n_mels: int,
        n_mfcc: int,
        n_fft: int,
        window: int,
        hop: int,
        preemphasis: float,
        reference: str,
    ):
        super().__init__()
        one_of(SERIES, series=series)
        one_of(("maximum", "one"), reference=reference)
        at_least(1, segment_samples=segment_samples, n_mels=n_mels, n_mfcc=n_mfcc, n_fft=n_fft, window=window, hop=hop)
        overlap(hop, n_fft=n_fft) if series != "frames" else overlap(hop, window=window)
        fraction(preemphasis=preemphasis)
        if series == "mfcc" and n_mfcc > n_mels:
            raise ValueError(f"n_mfcc is {n_mfcc}; {n_mels} mel bands (n_mels) have no more than {n_mels} coefficients")
        self.samples = segment_samples
        self.frames = frontends.frame_count(segment_samples, hop=hop)
        settings: dict[str, Any] = {"hop": hop, "preemphasis": preemphasis}
        self.silence = 0.0
        if series == "frames":
            self.front_end, self.channels = frontends.framed_waveform, window
            settings |= {"window": window}
        elif series == "mfcc":
            self.front_end, self.channels = frontends.mfcc, n_mfcc
            settings |= {"sample_rate": sample_rate, "n_fft": n_fft, "n_mels": n_mels, "n_mfcc": n_mfcc}
        else:
            self.front_end, self.channels = frontends.log_mel, n_mels
            settings |= {"sample_rate": sample_rate, "n_fft": n_fft, "n_mels": n_mels, "reference": reference}
            self.silence = frontends.FLOOR_DB if reference == "maximum" else -100.0
        self.settings = settings
        self.cache_key: Mapping[str, Any] = {
            "front_end": series,
            "version": frontends.VERSION,
            "segment_samples": segment_samples,
            **settings,
        }

    @torch.no_grad()
    def forward(self, wave: Seq) -> Seq:
        """[batch, samples] -> [batch, self.frames, self.channels]."""
        return self.front_end(cut_wave(wave, self.samples), **self.settings)

    def cut(self, features: Seq) -> Seq:
        """The frames cut to the series' length, with silence beyond a row's own."""
        return cut_frames(features, self.frames, silence=self.silence)
