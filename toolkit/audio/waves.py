"""Audio as a waveform: the mean of the channels at the system's rate, block by block, in segments, or a part of it.

Resampling is a convolution (windowed sinc, torchaudio): `new` samples out for every `old` in, where old / new is the
reduced ratio of the rates. So a block of whole multiples of `old`, with the kernel's width of neighbours on either
side, gives what the whole recording gives there.
"""

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torchaudio.transforms import Resample

from toolkit.audio.reading import AudioStretch, opened

BLOCK_S = 10.0  # audio that is decoded and resampled at a time


def read_audio(
    path: str | Path,
    *,
    sample_rate: int,
    start_s: float | None = None,
    end_s: float | None = None,
    part: tuple[int, int] | None = None,
) -> Tensor:
    """Read a file, or a stretch of it, as the mean of its channels at the system's rate.

    Args:
        path: any format libsndfile reads.
        sample_rate: in Hz; other rates are resampled (windowed sinc, torchaudio's defaults).
        start_s: where to begin, in seconds; None is the beginning of the file.
        end_s: where to end, in seconds; None is the end of the file.
        part: (start, stop) of the samples to return; no more is decoded than they need.

    Returns:
        [samples], float32.

    Raises:
        AudioError: if the file is missing, unreadable, truncated or empty, holds NaN or infinite samples, or
            does not reach from `start_s` to `end_s`.
    """
    with opened(path, start_s=start_s, end_s=end_s) as stretch:
        if part is None:
            return torch.cat(list(waves(stretch, sample_rate)))
        old, new, context = _ratio(stretch.rate, sample_rate)
        first = max(0, part[0] // new * old - context)
        needed = stretch.between(first, -(-part[1] // new) * old + context)
        wave = torch.cat(list(waves(needed, sample_rate)))
        offset = first // old * new
        return wave[part[0] - offset : part[1] - offset]


def waves(stretch: AudioStretch, sample_rate: int) -> Iterator[Tensor]:
    """Read to the end, block by block: each [samples], float32, the mean of the channels at a rate."""
    old, new, context = _ratio(stretch.rate, sample_rate)
    block = max(math.ceil(BLOCK_S * stretch.rate / old) * old, context)
    if old == new:
        yield from _mono_blocks(stretch, block)
        return
    resample = resampler(stretch.rate, sample_rate)
    before, current = torch.zeros(0), None
    for after in _mono_blocks(stretch, block):
        if current is not None:
            resampled = resample(torch.cat([before, current, after[:context]]))
            yield resampled[len(before) // old * new :][: len(current) // old * new]
            before = torch.cat([before, current])[-context:]
        current = after
    resampled = resample(torch.cat([before, current]))
    yield resampled[len(before) // old * new :]


def cut_waves(blocks: Iterable[Tensor], *, segment_samples: int) -> Iterator[Tensor]:
    """Blocks of a waveform as its segments, without overlap; the last may be shorter, as `reading.cut` tells."""
    rest = torch.zeros(0)
    for block in blocks:
        rest = torch.cat([rest, block])
        while len(rest) >= segment_samples:
            yield rest[:segment_samples].clone()  # a view would keep all of it in memory
            rest = rest[segment_samples:]
    if len(rest):
        yield rest


@lru_cache(maxsize=16)
def resampler(rate: int, new_rate: int) -> Resample:
    """The resampling from one rate to another (windowed sinc, torchaudio's defaults, in float32), cached."""
    return Resample(rate, new_rate, dtype=torch.float32)


def _ratio(rate: int, new_rate: int) -> tuple[int, int, int]:
    """The reduced ratio of two rates, and the input samples on either side that an output sample depends on."""
    old, new = rate // math.gcd(rate, new_rate), new_rate // math.gcd(rate, new_rate)
    return old, new, 0 if old == new else math.ceil(resampler(rate, new_rate).width / old) * old


def _mono_blocks(stretch: AudioStretch, block: int) -> Iterator[Tensor]:
    for _ in range(0, stretch.frames, block):
        samples = stretch.read(block)
        yield torch.from_numpy(samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1))
