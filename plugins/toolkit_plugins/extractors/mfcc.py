"""Extractor `mfcc`: cepstral coefficients through a BiLSTM."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from toolkit.contracts import Extractor, Seq
from toolkit.model.scaling import Standardize
from toolkit_plugins.extractors import frontends
from toolkit_plugins.extractors.checks import at_least, check_coefficients, fraction, overlap, retired_masks
from toolkit_plugins.extractors.masked_layers import BiLstm, MaskedConvolutions


class Mfcc(Extractor):
    """Mel-frequency cepstral coefficients through a BiLSTM; the defaults are the reference system's.

    Takes any length; a row's frames do not depend on its padding.

    Args:
        n_mfcc: coefficients of each frame.
        n_fft: samples of the Hann window and of the transform.
        hop: samples from one frame to the next.
        n_mels: mel bands (HTK scale) under the coefficients.
        preemphasis: coefficient of the initial high-pass filter, 0 for none.
        deltas: append slope and slope of the slope: three times the channels.
        normalize: frame_l2 (each frame to length 1), standardize (each coefficient to mean 0 and deviation 1
            over the training part), utterance (the same over each segment, which removes the recording channel and
            the speaker's mean voice) or none.
        encoder: bilstm, or none to return the frames themselves (after the convolutions).
        hidden: units of each direction of the LSTM.
        layers: layers of the LSTM.
        dropout: dropout probability between the LSTM's layers.
        convolutions: channels of each convolution along time before the encoder; an empty list for none.
        convolution_kernel: frames a convolution sees, odd.
        convolution_stride: stride in frames: each convolution divides the frame rate by it.
        convolution_norm: after each convolution: layer (each frame by itself) or batch (over the real frames of a
            training batch; learns faster from random weights, needs batches of more than a few segments).
        convolution_dropout: dropout probability after each convolution.

    Raises: ValueError for a value out of range.

    Source: Zou et al., Speech Emotion Recognition with Co-Attention Based Multi-Level Acoustic Information,
        ICASSP 2022.
    """

    retired = retired_masks("coefficient_masks", "coefficient_mask_size")

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        n_mfcc: int = 40,
        n_fft: int = 2048,
        hop: int = 160,
        n_mels: int = 128,
        preemphasis: float = 0.97,
        deltas: bool = False,
        normalize: Literal["frame_l2", "standardize", "utterance", "none"] = "frame_l2",
        encoder: Literal["bilstm", "none"] = "bilstm",
        hidden: int = 256,
        layers: int = 2,
        dropout: float = 0.5,
        convolutions: list[int] = [],  # noqa: B006 - never written to
        convolution_kernel: int = 5,
        convolution_stride: int = 1,
        convolution_norm: Literal["layer", "batch"] = "layer",
        convolution_dropout: float = 0.0,
    ):
        super().__init__()
        at_least(1, n_mfcc=n_mfcc, n_fft=n_fft, hop=hop, n_mels=n_mels, hidden=hidden, layers=layers)
        overlap(hop, n_fft=n_fft)
        at_least(1, convolution_stride=convolution_stride, convolution_kernel=convolution_kernel)
        fraction(preemphasis=preemphasis, dropout=dropout, convolution_dropout=convolution_dropout)
        check_coefficients(n_mfcc, n_mels)
        if convolution_kernel % 2 == 0:
            raise ValueError(f"convolution_kernel is {convolution_kernel}; it has to be odd")
        if any(size < 1 for size in convolutions):
            raise ValueError(f"convolutions is {convolutions}; every size has to be at least 1")
        self.hop = hop
        self.deltas = deltas
        self.normalize = normalize
        self.settings = {"sample_rate": sample_rate, "n_mfcc": n_mfcc, "n_fft": n_fft, "hop": hop, "n_mels": n_mels}
        self.settings["preemphasis"] = preemphasis
        version = {"front_end": "mfcc", "version": frontends.VERSION}
        self.front_end_args = {**version, "deltas": deltas, **self.settings}
        self.fits = normalize == "standardize"
        channels = n_mfcc * (3 if deltas else 1)
        self.scaler = Standardize(channels) if self.fits else None
        self.convolutions = MaskedConvolutions(
            channels,
            convolutions,
            kernel=convolution_kernel,
            stride=convolution_stride,
            norm=convolution_norm,
            dropout=convolution_dropout,
        )
        self.channels = self.convolutions.channels
        self.encoder: nn.Module = nn.Identity()
        if encoder == "bilstm":
            self.encoder = BiLstm(self.channels, hidden=hidden, layers=layers, dropout=dropout)
            self.channels = self.encoder.channels

    def frame_count(self, samples: int) -> int:
        """The number of frames, after the convolutions' strides."""
        return self.convolutions.frame_count(frontends.frame_count(samples, hop=self.hop))

    @torch.no_grad()
    def features(self, wave: Seq) -> Seq:
        """Coefficients, with their slopes if asked for: [batch, samples // hop, n_mfcc], 3 * n_mfcc with `deltas`."""
        frames = frontends.mfcc(wave, **self.settings)
        if not self.deltas:
            return frames
        slope = frontends.deltas(frames)
        values = torch.cat([frames.values, slope.values, frontends.deltas(slope).values], dim=2)
        return Seq(values, frames.lengths, full=frames.full)

    def fit(self, features: Iterable[Seq]) -> None:
        """Learn each coefficient's mean and deviation over the training part (normalize: standardize)."""
        self.scaler.fit(features)

    def encode(self, features: Seq) -> Seq:
        """Normalise, convolve, and run the LSTM: [batch, time, coefficients] -> [batch, frames, self.channels]."""
        if self.normalize == "utterance":
            features = frontends.normalise(features)
        values = features.values
        if self.scaler is not None:
            values = self.scaler(values)
        elif self.normalize == "frame_l2":
            values = functional.normalize(values, dim=2)
        return self.encoder(self.convolutions(Seq(values, features.lengths, full=features.full)))
