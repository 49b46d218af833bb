"""The forward pass of Whisper's encoder in steps, each exact under padding and cut to the real length.

transformers' encoder takes only 30 s; a segment of 3 s would cost ten times what it needs. Here positions and
attention end half a second after the audio. An input of 30 s gives the output of transformers' encoder.

Source: Radford et al., "Robust speech recognition via large-scale weak supervision", 2022, arXiv 2212.04356.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from toolkit.contracts import Seq

VERSION = 1  # part of every cache key: raise it when the numbers below change
LOUDNESS = 0.05  # root mean square
RATE = 16_000
N_FFT, HOP = 400, 160  # samples
SILENCE = RATE // 2  # samples that follow the audio: Whisper was trained on inputs that end in silence
LONGEST = 30 * RATE  # samples

Count = TypeVar("Count", int, Tensor)


def with_silence(samples: Tensor) -> Tensor:
    """Samples that the encoder sees: those of the audio and half a second of silence, at most 30 s."""
    return (samples + SILENCE).clamp(max=LONGEST)


def positions(samples: int) -> int:
    """The number of frames that the layers see: those of the audio and of the silence after it.

    >>> positions(48_000), positions(480_000)
    (175, 1500)
    """
    return (min(samples + SILENCE, LONGEST) // HOP + 1) // 2


def frame_count(samples: int) -> int:
    """The number of frames that come out.

    >>> frame_count(48_000), frame_count(100), frame_count(480_000)
    (150, 1, 1500)
    """
    return max(1, audible(positions(samples)))


def audible(frames: Count) -> Count:
    """The number of the encoder's frames (int or tensor) that are audio; 1500 are taken for 30 s of it.

    Audio of 29.5 to 30 s gives 1500 too: it keeps the frames of the silence after it, at most 25.
    """
    silent = SILENCE // (2 * HOP)
    whole = LONGEST // (2 * HOP)
    return frames - silent * (frames < whole)


def equally_loud(wave: Seq) -> Seq:
    """Rows [batch, samples] scaled to a root mean square of LOUDNESS over their real samples; silence stays."""
    values = wave.zeroed().values
    power = values.square().sum(dim=1, keepdim=True) / wave.lengths[:, None]
    return Seq(values * (LOUDNESS / power.sqrt().clamp_min(1e-6)), wave.lengths, full=wave.full)


def log_mel(wave: Seq, filters: Tensor) -> Seq:
    """Log-mel spectrogram as WhisperFeatureExtractor's, of the audio and the silence after it.

    log10 of the power in mel bands, floored 8 below the row's maximum, then (x + 4) / 4.

    Args: wave [batch, samples], at most 30 s; filters [n_fft // 2 + 1, bands].
    Returns: [batch, frames, bands]; lengths in frames of 10 ms; zeros beyond them.
    """
    lengths = with_silence(wave.lengths)
    width = min(wave.values.shape[1] + SILENCE, LONGEST)
    values = functional.pad(wave.zeroed().values, (0, width - wave.values.shape[1])).float()
    window = torch.hann_window(N_FFT, device=values.device)
    spectrum = torch.stft(values, N_FFT, HOP, window=window, return_complex=True)[:, :, :-1]
    power = spectrum.abs().square().transpose(1, 2) @ filters  # [batch, frames, bands]
    frames = Seq(power.clamp(min=1e-10).log10(), torch.div(lengths, HOP, rounding_mode="floor"), full=wave.full)
    values = frames.values if frames.full else frames.values.masked_fill(~frames.mask[:, :, None], -torch.inf)
    values = torch.maximum(values, values.amax(dim=(1, 2), keepdim=True) - 8.0)
    return Seq((values + 4.0) / 4.0, frames.lengths, full=frames.full).zeroed()


def embed(encoder: nn.Module, mel: Seq) -> Seq:
    """The two convolutions and the positions: what enters the first layer.

    Args: mel as `log_mel` returns it.
    Returns: [batch, frames, channels]; lengths in frames of 20 ms.
    """
    x = functional.gelu(encoder.conv1(mel.values.transpose(1, 2)))
    # A shorter row ends in zeros, as it does alone.
    x = Seq(x.transpose(1, 2), mel.lengths, full=mel.full).zeroed().values.transpose(1, 2)
    x = functional.gelu(encoder.conv2(x)).transpose(1, 2)
    x = x + encoder.embed_positions.weight[: x.shape[1]]
    # Frozen parts are in eval() mode even if the encoder is not: kept features must not depend on dropout.
    x = functional.dropout(x, p=encoder.dropout, training=encoder.conv1.training)
    lengths = torch.div(mel.lengths + 1, 2, rounding_mode="floor")
    return Seq(x, lengths, full=mel.full)


def transform(
    encoder: nn.Module, hidden: Seq, start: int, stop: int, *, sublayers: bool = False, recompute: bool = False
) -> list[Tensor]:
    """The transformer layers start, ..., stop - 1.

    Args: hidden [batch, frames, channels]; sublayers: also return what each layer's attention adds; recompute:
        recompute activations in the backward pass (Chen et al., 2016).
    Returns: for each layer what its attention adds, if wanted, and the state after it, [batch, frames, channels].
    """
    mask = None if hidden.full else hidden.mask[:, None, None, :]
    x, states = hidden.values, []
    for layer in encoder.layers[start:stop]:
        if recompute and encoder.training and torch.is_grad_enabled():
            attended, x = checkpoint(_sublayers, layer, x, mask, use_reentrant=False)
        else:
            attended, x = _sublayers(layer, x, mask)
        states += [attended, x] if sublayers else [x]
    return states


def _sublayers(layer: nn.Module, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """A layer as in transformers: what its attention adds to `x`, and the state after it."""

    def dropped(values: Tensor, p: float) -> Tensor:
        return functional.dropout(values, p=p, training=layer.training)

    attended, _ = layer.self_attn(layer.self_attn_layer_norm(x), attention_mask=mask)
    x = x + dropped(attended, layer.dropout)
    hidden = dropped(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))), layer.activation_dropout)
    return attended, x + dropped(layer.fc2(hidden), layer.dropout)
