"""Front ends: waveform -> frames, as pure functions of a batch, on the device of the waveform.

Each takes and returns a Seq: [batch, samples] -> [batch, frames, channels]. A row depends on its own samples
alone: samples beyond its length count as zeros, and the decibel floor is taken from the row's own maximum. A row
of n samples has n // hop frames (at least 1): frame k is centred at sample k * hop, zeros lie beyond both ends
(librosa's padding), and the last centred frame is dropped, so that 48,000 samples are 300 frames of 10 ms. That
frame does count for the maximum, as it does in librosa, the oracle of the tests.

The transform is calculated in float64, as librosa's: bins near the floor then agree to 1e-4 dB. In float32 its rounding
error is relative to the frame's loudest bin and shows 80 dB below it (3e-3). Powers are float32: they are only added.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from toolkit.contracts import Seq
from toolkit_plugins.extractors.filters import centred_window, cosine_transform, mel_blocks

FLOOR_DB = -80.0
SMALLEST_POWER = 1e-10  # librosa's amin
VERSION = 3  # part of every cache key: raise it when the numbers below change

# Float64 values of windowed frames at once: what a core's caches hold; on an accelerator 256 MiB.
_CHUNK = {"cpu": 2**17}
_CHUNK_ACCELERATOR = 2**25


def frame_count(samples: int, *, hop: int) -> int:
    """The number of frames of a waveform.

    >>> frame_count(48_000, hop=160)
    300
    """
    return max(1, samples // hop)


def whole(wave: Seq) -> Seq:
    """The waveform of an extractor with `fixed_samples`: zeros beyond a row's length, which then count as real."""
    return Seq(wave.zeroed().values, torch.full_like(wave.lengths, wave.values.shape[1]), full=True)


def normalise(seq: Seq) -> Seq:
    """Mean 0 and variance 1 over the real steps of each row and channel; zeros beyond them.

    For a waveform as in transformers' Wav2Vec2FeatureExtractor: (x - mean) / sqrt(variance + 1e-7); digital silence
    stays zero. For frames, cepstral mean and variance normalisation (Viikki and Laurila, 1998).

    Args: seq [batch, time] or [batch, time, channels].
    Returns: the same shape and lengths.
    """
    beyond = ~seq.mask
    count = seq.lengths.clamp(min=1)[:, None]
    if seq.values.dim() == 3:
        beyond, count = beyond[:, :, None], count[:, :, None]
    values = seq.values.masked_fill(beyond, 0)
    values = (values - values.sum(1, keepdim=True) / count).masked_fill(beyond, 0)
    variance = values.square().sum(1, keepdim=True) / count
    return Seq(values / (variance + 1e-7).sqrt(), seq.lengths, full=seq.full)


def pre_emphasis(wave: Tensor, coefficient: float) -> Tensor:
    """First-order high-pass filter: y[0] = x[0], y[n] = x[n] - coefficient * x[n - 1].

    librosa.effects.preemphasis differs in y[0] alone: it continues the first two samples backwards.

    Args: wave [batch, samples].
    Returns: the same shape.
    """
    return torch.cat([wave[:, :1], wave[:, 1:] - coefficient * wave[:, :-1]], dim=1)


def log_spectrogram(
    wave: Seq, *, n_fft: int = 800, window: int = 640, hop: int = 160, bins: int = 200, preemphasis: float = 0.97
) -> Seq:
    """Amplitude in dB below the row's maximum over all bins, between -80 and 0; the lowest `bins` are kept.

    A row without any sound is at -80 dB throughout: silence is never loud.

    Args: wave [batch, samples]; n_fft, window (Hamming) and hop in samples.
    Returns: [batch, frames, bins], dB.
    """
    power = _power_spectrum(
        wave, n_fft=n_fft, window=window, shape="hamming", hop=hop, preemphasis=preemphasis
    )  # [batch, frames + 1, n_fft // 2 + 1]
    db = _relative_db(power.values[:, :-1, :bins], _top(power))
    return _without_last(db, power)


def log_mel(
    wave: Seq,
    *,
    sample_rate: int,
    n_fft: int = 2048,
    hop: int = 160,
    n_mels: int = 128,
    preemphasis: float = 0.97,
    reference: str = "maximum",
) -> Seq:
    """Power in mel bands, in dB, never more than 80 dB below the row's maximum.

    Args: wave [batch, samples]; sample_rate in Hz; n_fft (also the Hann window) and hop in samples; reference
        "maximum" (dB below the row's own: the recording's level does not count) or "one" (dB of the power itself).
    Returns: [batch, frames, n_mels], dB.
    """
    mels = _mel_powers(wave, sample_rate=sample_rate, n_fft=n_fft, hop=hop, n_mels=n_mels, preemphasis=preemphasis)
    db = (_relative_db if reference == "maximum" else _floored_db)(mels.values[:, :-1], _top(mels))
    return _without_last(db, mels)


def mfcc(
    wave: Seq,
    *,
    sample_rate: int,
    n_mfcc: int = 40,
    n_fft: int = 2048,
    hop: int = 160,
    n_mels: int = 128,
    preemphasis: float = 0.97,
) -> Seq:
    """Mel-frequency cepstral coefficients: the orthonormal DCT-II of dB in HTK mel bands, as librosa's.

    Args: as for `log_mel` with reference "one" (only the first coefficient depends on the level).
    Returns: [batch, frames, n_mfcc].
    """
    mels = _mel_powers(wave, sample_rate=sample_rate, n_fft=n_fft, hop=hop, n_mels=n_mels, preemphasis=preemphasis)
    db = _floored_db(mels.values[:, :-1], _top(mels))
    transform = cosine_transform(n_mels, n_mfcc, db.device)
    return _without_last((db.double() @ transform).to(db.dtype), mels)


def framed_waveform(wave: Seq, *, window: int = 400, hop: int = 160, preemphasis: float = 0.97) -> Seq:
    """The samples themselves: frame k holds samples k * hop to k * hop + window, zeros beyond the row's end.

    Returns: [batch, frames, window].
    """
    samples = wave.values.shape[1]
    values = Seq(pre_emphasis(wave.values, preemphasis), wave.lengths, full=wave.full).zeroed().values
    frames = frame_count(samples, hop=hop)
    values = functional.pad(values, (0, max(0, (frames - 1) * hop + window - samples)))
    framed = values.unfold(1, window, hop)[:, :frames]  # [batch, frames, window]
    lengths = torch.div(wave.lengths, hop, rounding_mode="floor").clamp_min(1)
    return Seq(framed.contiguous(), lengths, full=wave.full).zeroed()


def deltas(frames: Seq, *, reach: int = 2) -> Seq:
    """Slope along time: regression over 2 * reach + 1 frames; the row's ends are repeated.

    Args: frames [batch, time, channels].
    Returns: the same shape.
    Source: Young et al., The HTK Book, section "Delta, Acceleration and Third Differential Coefficients".
    """
    frames = frames.zeroed()
    steps = torch.arange(frames.values.shape[1], device=frames.values.device)
    slope = torch.zeros_like(frames.values)
    last = (frames.lengths[:, None] - 1).clamp_min(0)
    for k in range(1, reach + 1):
        after = torch.minimum(steps + k, last)[:, :, None].expand_as(frames.values)
        before = torch.minimum((steps - k).clamp_min(0), last)[:, :, None].expand_as(frames.values)
        slope += k * (frames.values.gather(1, after) - frames.values.gather(1, before))
    slope = slope / (2 * sum(k * k for k in range(1, reach + 1)))
    return Seq(slope, frames.lengths, full=frames.full).zeroed()


def _power_spectrum(
    wave: Seq,
    *,
    n_fft: int,
    window: int,
    shape: str,
    hop: int,
    preemphasis: float,
    reduce: Callable[[Tensor], Tensor] = lambda power: power,
) -> Seq:
    """Power of centred frames, in the waveform's own precision, at least float32.

    Args: reduce: takes some frames' power, [batch, frames, n_fft // 2 + 1], while it is in the processor's cache.
    Returns: [batch, frames + 1, channels of `reduce`]; lengths count the last frame, which callers drop.
    """
    samples, device = wave.values.shape[1], wave.values.device
    kept = wave.values.dtype if wave.values.dtype == torch.float64 else torch.float32
    taper = centred_window(shape, window, n_fft, device)
    frames = frame_count(samples, hop=hop)
    # Rounded to the waveform's own precision, as when float32 samples are filtered before librosa.
    filtered = Seq(pre_emphasis(wave.values.to(kept), preemphasis), wave.lengths, full=wave.full)
    values = filtered.zeroed().values.double()
    left = n_fft // 2
    right = max(0, frames * hop - left + n_fft - samples)
    framed = functional.pad(values, (left, right)).unfold(1, n_fft, hop)[:, : frames + 1]
    powers = [reduce(_power(torch.fft.rfft(part * taper), kept)) for part in _some_frames(framed)]
    lengths = torch.div(wave.lengths, hop, rounding_mode="floor") + 1
    return Seq(torch.cat(powers, dim=1), lengths, full=wave.full and samples >= hop)


def _power(spectrum: Tensor, dtype: torch.dtype) -> Tensor:
    """Squared magnitude, real and imaginary parts rounded to `dtype` first."""
    squares = torch.view_as_real(spectrum).to(dtype).square_()
    return squares[..., 0] + squares[..., 1]


def _some_frames(framed: Tensor) -> Sequence[Tensor]:
    """Frames [batch, frames, n_fft] in chunks; an exported graph takes any length at once."""
    if torch.compiler.is_exporting():
        return [framed]
    batch, _, n_fft = framed.shape
    return framed.split(max(1, _CHUNK.get(framed.device.type, _CHUNK_ACCELERATOR) // (batch * n_fft)), dim=1)


def _mel_powers(wave: Seq, *, sample_rate: int, n_fft: int, hop: int, n_mels: int, preemphasis: float) -> Seq:
    """Power in mel bands: [batch, frames + 1, n_mels]."""

    def bands(power: Tensor) -> Tensor:
        blocks = mel_blocks(sample_rate, n_fft, n_mels, power.device, power.dtype)
        return torch.cat([power[:, :, first:stop] @ filters for first, stop, filters in blocks], dim=2)

    return _power_spectrum(
        wave, n_fft=n_fft, window=n_fft, shape="hann", hop=hop, preemphasis=preemphasis, reduce=bands
    )


def _without_last(values: Tensor, power: Seq) -> Seq:
    """Frames whose lengths are those of `power` less its last frame, at least 1; zeros beyond them."""
    frames = Seq(values, (power.lengths - 1).clamp_min(1), full=power.full)
    if frames.full:
        return frames
    return Seq(values * frames.mask[:, :, None], frames.lengths)  # several times as fast as Seq.zeroed


def _top(power: Seq) -> Tensor:
    """The row's largest value over its real frames: [batch, 1, 1]."""
    loudest = power.values.amax(dim=2)
    if not power.full:
        loudest = loudest.masked_fill(~power.mask, 0)
    return loudest.amax(dim=1)[:, None, None]


def _floored_db(power: Tensor, top: Tensor) -> Tensor:
    """10 log10 of the power, floored 80 dB below `top`."""
    db = power.clamp_min(SMALLEST_POWER).log10_().mul_(10.0)
    return db.clamp_min_(10.0 * torch.log10(top.clamp_min(SMALLEST_POWER)) + FLOOR_DB)


def _relative_db(power: Tensor, top: Tensor) -> Tensor:
    """Decibels below `top`: from -80 to 0; -80 where `top` is silence."""
    top_db = 10.0 * torch.log10(top.clamp_min(SMALLEST_POWER))
    top_db = top_db.masked_fill(top <= SMALLEST_POWER, math.inf)
    return power.clamp_min(SMALLEST_POWER).log10_().mul_(10.0).sub_(top_db).clamp_min_(FLOOR_DB)
