"""Descriptors of short frames: mel bands, cepstrum, the shape of the spectrum, pitch and voicing.

Pitch is the highest peak of the autocorrelation, divided by that of the window: Boersma, "Accurate short-term analysis
of the fundamental frequency and the harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17, 1993.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from toolkit.contracts import Seq
from toolkit_plugins.extractors.filters import centred_window, cosine_transform, mel_blocks

HOP_S, WINDOW_S, PITCH_WINDOW_S = 0.01, 0.025, 0.05
PITCH_HZ = (60, 500)
OCTAVE_COST = 0.02  # bonus of a pitch one octave higher: a tone also repeats after two of its periods
VOICED = 0.5  # a frame is voiced if its autocorrelation peak is above this
RANGE_DB = 60.0  # levels are floored this far below the maximum
ROLLOFFS = (0.25, 0.5, 0.75, 0.9)
TINY = 1e-10


def descriptors(wave: Seq, *, sample_rate: int, n_mels: int, n_mfcc: int) -> Seq:
    """All descriptors side by side.

    Args: wave [batch, samples]; sample_rate in Hz.
    Returns: [batch, frames, n_mels + n_mfcc + 10], frames of 10 ms: log-mel and cepstrum (dB below the row's maximum),
        energy (dB), centroid, spread and rolloffs (kHz), flux, pitch (octaves above 1 Hz; interpolated where
        unvoiced) and voicing (0 to 1).
    """
    hop, device, dtype = round(HOP_S * sample_rate), wave.values.device, torch.float64
    lengths = torch.div(wave.lengths, hop, rounding_mode="floor").clamp_min(1)
    count = max(1, wave.values.shape[1] // hop)
    values = wave.zeroed().values.double()
    mask = Seq(values.new_zeros(values.shape[0], count), lengths).mask[:, :, None]

    window = round(WINDOW_S * sample_rate)
    n_fft = 2 ** (window - 1).bit_length()
    taper = centred_window("hann", window, n_fft, device)
    power = torch.fft.rfft(_framed(values, n_fft, hop, count) * taper).abs().square()  # [batch, frames, bins]
    blocks = mel_blocks(sample_rate, n_fft, n_mels, device, dtype)
    mel = _level(torch.cat([power[:, :, first:stop] @ filters for first, stop, filters in blocks], dim=2), mask)
    cepstrum = mel @ cosine_transform(n_mels, n_mfcc, device)
    energy = _level(power.sum(dim=2, keepdim=True), mask)
    frequencies = torch.linspace(0, sample_rate / 2000, n_fft // 2 + 1, device=device, dtype=dtype)
    pitch = _pitch(_framed(values, round(PITCH_WINDOW_S * sample_rate), hop, count), sample_rate, mask)
    found = [mel, cepstrum, energy, _shape(power.sqrt(), frequencies), pitch]
    return Seq(torch.cat(found, dim=2).to(torch.float32), lengths, full=wave.full).zeroed()


def _framed(values: Tensor, size: int, hop: int, count: int) -> Tensor:
    """Frames of `size` samples centred at every `hop`, with zeros beyond both ends: [batch, count, size]."""
    return functional.pad(values, (size // 2, size)).unfold(1, size, hop)[:, :count]


def _level(power: Tensor, mask: Tensor) -> Tensor:
    """In dB below the row's maximum over its real frames, at most RANGE_DB: everywhere in a row without any sound."""
    top = power.masked_fill(~mask, 0).amax(dim=(1, 2), keepdim=True)
    db, top_db = (10 * values.clamp_min(TINY).log10() for values in (power, top))
    return (db - top_db.masked_fill(top <= TINY, math.inf)).clamp_min(-RANGE_DB)


def _shape(magnitude: Tensor, frequencies: Tensor) -> Tensor:
    """Centroid, spread, rolloffs and flux of spectra [batch, frames, bins] -> [batch, frames, 7]."""
    share = magnitude / magnitude.sum(dim=2, keepdim=True).clamp_min(TINY)
    centroid = share @ frequencies
    spread = (share * (frequencies - centroid[:, :, None]).square()).sum(dim=2).sqrt()
    below = share.cumsum(dim=2)
    rolloffs = [(below < part).sum(dim=2) * frequencies[1] for part in ROLLOFFS]
    change = (share[:, 1:] - share[:, :-1]).square().sum(dim=2).sqrt()
    return torch.stack([centroid, spread, *rolloffs, functional.pad(change, (1, 0))], dim=2)


def _pitch(frames: Tensor, sample_rate: int, mask: Tensor) -> Tensor:
    """Pitch and voicing of frames [batch, frames, samples] -> [batch, frames, 2]."""
    size = frames.shape[2]
    taper = torch.hann_window(size, device=frames.device, dtype=frames.dtype)
    centred = (frames - frames.mean(dim=2, keepdim=True)) * taper
    lags = slice(sample_rate // PITCH_HZ[1], sample_rate // PITCH_HZ[0] + 1)
    wanted, of_taper = _autocorrelation(centred)[:, :, : lags.stop], _autocorrelation(taper)[: lags.stop]
    peaks = wanted / wanted[:, :, :1].clamp_min(TINY) / (of_taper / of_taper[0])
    peaks = peaks[:, :, lags]
    octaves = torch.log2(sample_rate / torch.arange(lags.start, lags.stop, device=frames.device, dtype=frames.dtype))
    best = (peaks + OCTAVE_COST * octaves).argmax(dim=2)
    octaves, voicing = octaves[best], peaks.gather(2, best[:, :, None])[:, :, 0]
    return torch.stack([interpolated(octaves, (voicing > VOICED) & mask[:, :, 0]), voicing.clamp(0, 1)], dim=2)


def _autocorrelation(frames: Tensor) -> Tensor:
    """Over the last axis, lag 0 first."""
    n_fft = 2 ** (2 * frames.shape[-1] - 1).bit_length()
    return torch.fft.irfft(torch.fft.rfft(frames, n_fft).abs().square(), n_fft)


def interpolated(values: Tensor, known: Tensor) -> Tensor:
    """Values [batch, time], linear between each row's known ones, constant beyond them, mid-range without any."""
    time = values.shape[1]
    steps = torch.arange(time, device=values.device).expand_as(values)
    ordered = steps.masked_fill(~known, time).sort(dim=1).values  # the known steps; ONNX has no cumulative maximum
    ordered = functional.pad(functional.pad(ordered, (1, 0), value=-1), (0, 1), value=time)
    rank = known.long().cumsum(dim=1)
    before, after = ordered.gather(1, rank), ordered.gather(1, rank + 1 - known.long())
    first = torch.where(before < 0, after, before).clamp_max(time - 1)
    last = torch.where(after == time, before, after).clamp_min(0)
    low, high = values.gather(1, first), values.gather(1, last)
    part = (steps - first) / (last - first).clamp_min(1)
    middle = math.log2(math.sqrt(PITCH_HZ[0] * PITCH_HZ[1]))
    return torch.where(known.any(dim=1, keepdim=True), low + (high - low) * part, middle)
