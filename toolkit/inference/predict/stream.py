"""From a recording to its segments, block by block: the samples that `read_audio` gives, in constant memory.

Resampling is a convolution (windowed sinc, torchaudio): `new` samples out for every `old` in, where old / new is the
reduced ratio of the rates. So a block of whole multiples of `old`, with the kernel's width of neighbours on either
side, gives what the whole recording gives there.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.audio.reading import resampler
from toolkit.inference.predict.recordings import Frames, Recording, Samples

BLOCK_S = 2.0  # audio that is decoded and resampled at a time


@dataclass(frozen=True, eq=False)
class StreamedSegment:
    """A stretch of a recording with its samples, at the system's rate.

    Args:
        start: first sample, counted from the begin of the recording.
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
    with recording.opened() as frames:
        start, parts, held = 0, [], 0
        for wave in waves(frames, sample_rate=sample_rate):
            while held + len(wave) >= segment_samples:
                missing = segment_samples - held
                yield StreamedSegment(start, torch.cat([*parts, wave[:missing]]))
                start, parts, held, wave = start + segment_samples, [], 0, wave[missing:]
            if len(wave):
                parts.append(wave)
                held += len(wave)
        if held:
            yield StreamedSegment(start, torch.cat(parts))


def waves(frames: Frames, *, sample_rate: int) -> Iterator[Tensor]:
    """The mean of the channels at a rate, one part after the other: each [samples], float32.

    Args:
        frames: read to its end.
        sample_rate: in Hz.
    """
    old, new = (rate // math.gcd(frames.rate, sample_rate) for rate in (frames.rate, sample_rate))
    if old == new:
        yield from _mono_blocks(frames, math.ceil(BLOCK_S * frames.rate))
        return
    resample = resampler(frames.rate, sample_rate)
    context = math.ceil(resample.width / old) * old  # input samples, on either side
    block = max(math.ceil(BLOCK_S * frames.rate / old) * old, context)
    before, current = torch.zeros(0), None
    for after in _mono_blocks(frames, block):
        if current is not None:
            resampled = resample(torch.cat([before, current, after[:context]]))
            yield resampled[len(before) // old * new :][: len(current) // old * new]
            before = torch.cat([before, current])[-context:]
        current = after
    resampled = resample(torch.cat([before, current]))
    yield resampled[len(before) // old * new :]


def _mono_blocks(frames: Frames, block: int) -> Iterator[Tensor]:
    left = frames.frames
    while left > 0:
        samples = frames.read(block)
        left -= len(samples)
        yield torch.from_numpy(samples.mean(axis=1))
