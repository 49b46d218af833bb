"""From a recording to its segments, block by block: the samples that `read_audio` gives, in constant memory.

Resampling is a convolution (windowed sinc, torchaudio): `new` samples out for every `old` in, where old / new is the
reduced ratio of the rates. So a block of whole multiples of `old`, with the kernel's width of neighbours on either
side, gives the same samples as the whole recording gives there.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.audio.reading import AudioStretch, opened, resampler
from toolkit.inference.predict.recordings import Recording, Samples

BLOCK_S = 2.0  # audio that is decoded and resampled at a time


@dataclass(frozen=True, eq=False)
class StreamedSegment:
    """A segment of a recording with its samples, at the system's rate.

    Args:
        start: first sample, counted from the start of the recording.
        wave: [samples], float32.
    """

    start: int
    wave: Tensor

    @property
    def stop(self) -> int:
        """One past the last sample."""
        return self.start + len(self.wave)


def streamed_segments(
    recording: Recording | Samples, *, sample_rate: int, segment_samples: int
) -> Iterator[StreamedSegment]:
    """Cut a recording into segments without overlap, the last one perhaps shorter, as `toolkit.audio.reading.cut` does.

    Args:
        recording: what is read.
        sample_rate: of the segments, in Hz.
        segment_samples: longest segment.

    Raises:
        AudioError: as `toolkit.audio.reading.read_audio`; what only decoding shows, after the segments before it.
    """
    start, rest = 0, torch.zeros(0)
    for wave in _waves(recording, sample_rate):
        rest = torch.cat([rest, wave])
        while len(rest) >= segment_samples:
            yield StreamedSegment(start, rest[:segment_samples].clone())  # a view would keep all of it in memory
            start, rest = start + segment_samples, rest[segment_samples:]
    if len(rest):
        yield StreamedSegment(start, rest)


def _waves(recording: Recording | Samples, sample_rate: int) -> Iterator[Tensor]:
    """The mean of the channels at a rate, one part after the other: each [samples], float32."""
    if isinstance(recording, Samples):
        wave, rate = torch.from_numpy(recording.values), recording.sample_rate
        yield wave if rate == sample_rate else resampler(rate, sample_rate)(wave)
        return
    with opened(recording.path, start_s=recording.start_s, end_s=recording.end_s) as stretch:
        if stretch.rate == sample_rate:
            yield from _mono_blocks(stretch, math.ceil(BLOCK_S * sample_rate))
        else:
            yield from _resampled(stretch, sample_rate)


def _resampled(stretch: AudioStretch, sample_rate: int) -> Iterator[Tensor]:
    old, new = (rate // math.gcd(stretch.rate, sample_rate) for rate in (stretch.rate, sample_rate))
    resample = resampler(stretch.rate, sample_rate)
    context = math.ceil(resample.width / old) * old  # input samples, on either side
    block = max(math.ceil(BLOCK_S * stretch.rate / old) * old, context)
    before, current = torch.zeros(0), None
    for after in _mono_blocks(stretch, block):
        if current is not None:
            resampled = resample(torch.cat([before, current, after[:context]]))
            yield resampled[len(before) // old * new :][: len(current) // old * new]
            before = torch.cat([before, current])[-context:]
        current = after
    resampled = resample(torch.cat([before, current]))
    yield resampled[len(before) // old * new :]


def _mono_blocks(stretch: AudioStretch, block: int) -> Iterator[Tensor]:
    for _ in range(0, stretch.frames, block):
        yield torch.from_numpy(stretch.read(block).mean(axis=1))
