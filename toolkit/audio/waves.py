"""Read audio as a waveform, the mean of its channels at the system's rate: whole, in part, in blocks or in segments."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from toolkit.audio.reading import BLOCK_S, AudioStretch, resampled_length, stretch

if TYPE_CHECKING:
    from torch import Tensor

CONTEXT = 320  # samples on either side that a resampled one depends on, at the lower of the two rates


def read_audio(
    path: str | Path,
    *,
    sample_rate: int,
    start_s: float | None = None,
    end_s: float | None = None,
    part: tuple[int, int] | None = None,
) -> "Tensor":
    """Read a file, or a stretch of it, as the mean of its channels at the system's rate.

    Args: path: any format that libsndfile or ffmpeg reads; sample_rate: in Hz, to which others are resampled (soxr,
        high quality); start_s, end_s: in seconds; None is the beginning or the end of the file; part: (start, stop) of
        the samples to return; only what they need is decoded.
    Returns: [samples], float32.
    Raises: AudioError if the file is missing, unreadable, truncated or empty, holds NaN, infinite or unscaled samples,
        or does not reach from `start_s` to `end_s`.
    """
    import torch

    file = stretch(path, start_s=start_s, end_s=end_s)
    if part is None:
        return torch.from_numpy(np.concatenate(list(waves(file, sample_rate))))
    (start, stop), divisor = part, math.gcd(file.rate, sample_rate)
    old, new = file.rate // divisor, sample_rate // divisor  # `old` frames become `new` samples
    context = 0 if old == new else math.ceil(CONTEXT * max(1, new / old))
    first = max(0, start - context) // new * new  # where samples of both rates coincide
    last_frame = math.ceil((stop + context) * old / new)
    wave = np.concatenate(list(waves(file, sample_rate, first // new * old, last_frame)))
    return torch.from_numpy(wave[start - first : stop - first])


def waves(file: AudioStretch, sample_rate: int, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
    """Read frames `start` to `stop`, by default all, block by block: each [samples], float32, the mean of channels."""
    mono = (block[:, 0] if block.shape[1] == 1 else block.mean(axis=1) for block in file.blocks(start, stop))
    return through(Resampler(file.rate, sample_rate), mono)


def through(stage: "Resampler | Cutter", blocks: Iterable) -> Iterator:
    """Pass all blocks of a waveform through a stage, and yield its output."""
    for block in blocks:
        yield from stage.add(block)
    yield from stage.end()


class Resampler:
    """Resample a waveform to the length that `resampled_length` gives; how it is cut into blocks changes no bit."""

    def __init__(self, rate: int, new_rate: int):
        self._rates, self._taken, self._given = (rate, new_rate), 0, 0
        self._stream = None if rate == new_rate else soxr.ResampleStream(rate, new_rate, 1, dtype="float32")

    def add(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Take the next block, [samples], float32, and yield what is ready."""
        if self._stream is None:
            yield block
            return
        self._taken += len(block)
        size = int(BLOCK_S * self._rates[0])  # of a block at a rate of a few Hz, soxr would make gigabytes at once
        for start in range(0, len(block), size):
            wave = self._stream.resample_chunk(np.ascontiguousarray(block[start : start + size]))
            self._given += len(wave)
            yield wave

    def end(self) -> Iterator[np.ndarray]:
        """Yield what is left."""
        if self._stream is not None:
            rate, new_rate = self._rates
            silence = np.zeros(rate // new_rate + 1, np.float32)  # soxr rounds the length; it has to be rounded up
            missing = resampled_length(self._taken, rate, new_rate) - self._given
            yield self._stream.resample_chunk(silence, last=True)[:missing]


class Cutter:
    """Cut a waveform into segments, each `hop_samples` after the one before; by default they do not overlap.

    The last one ends with the waveform and may be shorter; it is left out if it would hold nothing new.
    """

    def __init__(self, *, segment_samples: int, hop_samples: int | None = None):
        self._hop = hop_samples or segment_samples
        self._parts: list[np.ndarray] = []  # of the next segment
        self._new = self._missing = segment_samples  # its samples that are new, and those still to come

    def add(self, block: np.ndarray) -> Iterator[np.ndarray]:
        """Take the next block, [samples], and yield the segments that are complete."""
        while len(block) >= self._missing:
            segment = np.concatenate([*self._parts, block[: self._missing]])
            block, self._parts = block[self._missing :], [segment[self._hop :]]
            self._new = self._missing = self._hop
            yield segment
        self._parts.append(block)
        self._missing -= len(block)

    def end(self) -> Iterator[np.ndarray]:
        """Yield the last segment, if it holds anything new."""
        if self._missing < self._new:
            yield np.concatenate(self._parts)
