"""The input of the speaker encoder: mel power of frames of 25 ms, every 10 ms; and its windows of 1.6 s.

The encoder was trained on librosa's mel spectrograms (power, not decibels) of audio at 16 kHz whose level is at least
-30 dB of full scale.
"""

import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import melscale_fbanks

from toolkit.contracts import Seq

SAMPLE_RATE = 16_000
WINDOW, HOP, MELS = 400, 160, 40  # samples, samples, bands
PARTIAL_FRAMES = 160  # of a window
LEVEL_DB = -30.0


def frame_count(samples: int) -> int:
    """Frames of one length, the first centred at sample 0.

    >>> frame_count(1), frame_count(160), frame_count(48_000)
    (1, 2, 301)
    """
    return 1 + samples // HOP


def raised(wave: Seq) -> Seq:
    """Rows that are quieter than LEVEL_DB of full scale, brought to it; silence stays.

    Args: wave [batch, samples].
    """
    wave = wave.zeroed()
    power = wave.values.square().sum(dim=1) / wave.lengths.clamp_min(1)
    gain = 10 ** (LEVEL_DB / 20) / power.sqrt()
    return Seq(wave.values * torch.where(power > 0, gain.clamp_min(1), 1.0)[:, None], wave.lengths)


def mel_power(wave: Seq) -> Seq:
    """Power in mel bands (Slaney's scale and norm, as librosa's default); zeros lie beyond both ends.

    Args: wave [batch, samples].
    Returns: [batch, 1 + samples // 160, 40].
    """
    values = wave.zeroed().values
    window = torch.hann_window(WINDOW, device=values.device)
    spectrum = torch.stft(values, WINDOW, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
    bands = melscale_fbanks(
        WINDOW // 2 + 1, 0.0, SAMPLE_RATE / 2, MELS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    ).to(values.device)  # [bins, bands]
    power = spectrum.abs().square().transpose(1, 2)  # [batch, time, bins]
    return Seq(power @ bands, 1 + torch.div(wave.lengths, HOP, rounding_mode="floor"))


def window_count(samples: int, *, step: int) -> int:
    """Windows of so many samples, as in resemblyzer.

    The first always; another where three quarters of it lie within the audio and the one before it ends within.

    >>> [window_count(samples, step=80) for samples in (1, 31_999, 32_000, 48_000)]
    [1, 1, 2, 3]
    """
    three_quarters = max(0, samples - PARTIAL_FRAMES * HOP * 3 // 4) // (step * HOP)
    return 1 + min(three_quarters, max(0, 1 + samples // HOP - PARTIAL_FRAMES + step) // step)


def windows(wave: Seq, *, step: int) -> tuple[Tensor, list[int]]:
    """The windows of all rows, one row after the other; a last window that reaches beyond its row holds silence there.

    Args: wave [batch, samples]; step: frames from one window to the next.
    Returns: [windows, 160, 40], and how many are of each row.
    """
    counts = [window_count(samples, step=step) for samples in wave.lengths.tolist()]
    longer = functional.pad(wave.zeroed().values, (0, PARTIAL_FRAMES * HOP))
    frames = mel_power(Seq(longer, wave.lengths)).values
    cut = frames.unfold(1, PARTIAL_FRAMES, step).transpose(2, 3)  # [batch, windows, 160, 40]
    return torch.cat([row[:count] for row, count in zip(cut, counts, strict=True)]), counts
