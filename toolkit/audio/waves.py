"""Audio as a waveform: the mean of the channels at the system's rate, block by block, in segments, or a part of it.

Resampling is soxr's, as a stream: how the audio is cut into blocks changes no bit of the result.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor

from toolkit.audio.reading import AudioStretch, resampled_length, stretch

CONTEXT = 320  # samples, at the lower of two rates, on either side that a resampled one depends on


def read_audio(
    path: str | Path,
    *,
    sample_rate: int,
    start_s: float | None = None,
    end_s: float | None = None,
    part: tuple[int, int] | None = None,
) -> Tensor:
    """Read a file, or a stretch of it, as the mean of its channels at the system's rate.

    Args: path: any format that libsndfile or ffmpeg reads; sample_rate: in Hz, to which others are resampled (soxr,
        high quality); start_s, end_s: in seconds; None is the beginning or the end of the file; part: (start, stop) of
        the samples to return; no more is decoded than they need.
    Returns: [samples], float32.
    Raises: AudioError if the file is missing, unreadable, truncated or empty, holds NaN, infinite or unscaled samples,
        or does not reach from `start_s` to `end_s`.
    """
    file = stretch(path, start_s=start_s, end_s=end_s)
    if part is None:
        return torch.cat(list(waves(file, sample_rate)))
    old, new = (rate // math.gcd(file.rate, sample_rate) for rate in (file.rate, sample_rate))
    context = 0 if old == new else math.ceil(CONTEXT * max(1, new / old))
    first = max(0, part[0] - context) // new * new  # where samples of both rates coincide
    stop = math.ceil((part[1] + context) * old / new)
    return torch.cat(list(waves(file, sample_rate, first // new * old, stop)))[part[0] - first : part[1] - first]


def waves(file: AudioStretch, sample_rate: int, start: int = 0, stop: int | None = None) -> Iterator[Tensor]:
    """Read all frames, or those from one to another, block by block: each [samples], float32, the mean of channels."""
    mono = (block[:, 0] if block.shape[1] == 1 else block.mean(axis=1) for block in file.blocks(start, stop))
    return map(torch.from_numpy, resampled(mono, file.rate, sample_rate))


def resampled(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """Blocks of a waveform at another rate (soxr, high quality), as many samples as `resampled_length` tells."""
    if rate == new_rate:
        yield from blocks
        return
    stream, taken, given = soxr.ResampleStream(rate, new_rate, 1, dtype="float32"), 0, 0
    for block in blocks:
        taken += len(block)
        wave = stream.resample_chunk(np.ascontiguousarray(block))
        given += len(wave)
        yield wave
    silence = np.zeros(rate // new_rate + 1, np.float32)  # soxr rounds the length, which is rounded up here
    yield stream.resample_chunk(silence, last=True)[: resampled_length(taken, rate, new_rate) - given]


def cut_waves(blocks: Iterable[Tensor], *, segment_samples: int) -> Iterator[Tensor]:
    """Blocks of a waveform as its segments, without overlap; the last may be shorter, as `reading.cut` tells."""
    parts, missing = [], segment_samples
    for block in blocks:
        while len(block) >= missing:
            yield torch.cat([*parts, block[:missing]])
            block, parts, missing = block[missing:], [], segment_samples
        parts.append(block)
        missing -= len(block)
    if missing < segment_samples:
        yield torch.cat(parts)
