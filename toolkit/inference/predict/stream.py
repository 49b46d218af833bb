"""From a recording to its segments, block by block: the samples that `read_audio` gives, in constant memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from toolkit.audio.reading import opened
from toolkit.audio.waves import cut_waves, resampler, waves
from toolkit.inference.predict.recordings import Recording, Samples


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
        AudioError: as `toolkit.audio.waves.read_audio`; what only decoding shows, after the segments before it.
    """
    start = 0
    for wave in cut_waves(_blocks(recording, sample_rate), segment_samples=segment_samples):
        yield StreamedSegment(start, wave)
        start += len(wave)


def _blocks(recording: Recording | Samples, sample_rate: int) -> Iterator[Tensor]:
    """The mean of the channels at a rate, one part after the other: each [samples], float32."""
    if isinstance(recording, Samples):
        wave, rate = torch.from_numpy(recording.values), recording.sample_rate
        yield wave if rate == sample_rate else resampler(rate, sample_rate)(wave)
        return
    with opened(recording.path, start_s=recording.start_s, end_s=recording.end_s) as stretch:
        yield from waves(stretch, sample_rate)
