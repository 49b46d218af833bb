"""Recordings read block by block: the same samples as the whole file at once, whatever its rate, format and length."""

import numpy as np
import pytest
import soundfile
import soxr
import torch

from toolkit.audio import reading
from toolkit.audio.waves import Cutter, Resampler, read_audio, through
from toolkit.errors import AudioError, PredictionError, ShapeError
from toolkit.inference.predict.model import segment_waves
from toolkit.inference.predict.recordings import Recording, Samples
from toolkit.recipe.schema import AudioSpec

RATE, SEGMENT = 16_000, 4800


def noise(samples: int, channels: int = 1) -> np.ndarray:
    return (0.3 * np.random.default_rng(samples).uniform(-1, 1, (samples, channels))).astype(np.float32)


def write(path, samples: int, rate: int, channels: int = 1) -> Recording:
    soundfile.write(path, noise(samples, channels), rate)
    return Recording(path)


def segments(recording) -> list:
    return list(segment_waves(recording, AudioSpec(sample_rate=RATE, segment_seconds=SEGMENT / RATE)))


def check_against_the_whole(recording: Recording, monkeypatch, block_s: float = 1.0) -> None:
    whole = read_audio(recording.path, sample_rate=RATE, start_s=recording.start_s, end_s=recording.end_s)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "BLOCK_S", block_s)
        found = segments(recording)
    for wave, expected in zip(found, whole.split(SEGMENT), strict=True):
        assert wave.dtype == torch.float32 and torch.equal(wave, expected)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("length", [1, 16, 4799, 4800, 4801, 9600, 33_333])
@pytest.mark.parametrize("block_s", [0.001, 0.1, 2.0])
def test_segments_hold_the_samples_of_the_whole_file(tmp_path, monkeypatch, rate, length, block_s):
    """Lengths are around a segment's border after resampling; blocks are smaller and larger than a segment."""
    recording = write(tmp_path / "a.wav", -(-length * rate // RATE), rate, channels=2)
    check_against_the_whole(recording, monkeypatch, block_s)


@pytest.mark.parametrize(
    ("samples", "hop", "spans"),
    [
        (10, 2, [(0, 4), (2, 6), (4, 8), (6, 10)]),
        (11, 2, [(0, 4), (2, 6), (4, 8), (6, 10), (8, 11)]),
        (11, 3, [(0, 4), (3, 7), (6, 10), (9, 11)]),
        (5, 1, [(0, 4), (1, 5)]),
        (9, 4, [(0, 4), (4, 8), (8, 9)]),
        (4, 1, [(0, 4)]),
        (3, 2, [(0, 3)]),
        (0, 2, []),
    ],
)
@pytest.mark.parametrize("block", [1, 3, 100])
def test_segments_that_overlap_end_with_the_first_that_reaches_the_end(samples, hop, spans, block):
    blocks = torch.arange(samples).split(block) if samples else []
    found = [wave.tolist() for wave in through(Cutter(segment_samples=4, hop_samples=hop), blocks)]
    assert found == [list(range(*span)) for span in spans]


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_every_format_is_read_in_blocks_as_at_once(tmp_path, monkeypatch, ending, rate):
    check_against_the_whole(write(tmp_path / f"a.{ending}", 5 * rate + 77, rate, channels=2), monkeypatch)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_stretch_of_a_file_is_read_in_blocks_as_at_once(tmp_path, monkeypatch, ending):
    path = write(tmp_path / f"a.{ending}", 200_000, 44_100).path
    check_against_the_whole(Recording(path, start_s=0.3, end_s=3.77), monkeypatch)
    check_against_the_whole(Recording(path, start_s=1.5), monkeypatch)


def test_samples_in_memory_are_cut_like_those_of_a_file(tmp_path):
    samples = noise(100_000, channels=2)
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype="FLOAT")
    expected = segments(Recording(tmp_path / "a.wav"))
    for values in (samples.T, samples.T.astype(np.float64), torch.from_numpy(samples.T), samples.mean(axis=1)):
        found = segments(Samples(values, 44_100))
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert (one - other).abs().max() < 1e-6


def test_no_more_than_a_segment_and_a_block_are_held_of_a_long_file(tmp_path, monkeypatch):
    """A file of 100 s is read in pieces of 2 s, each when its turn comes."""
    recording, sizes = write(tmp_path / "a.wav", 100 * 8000, 8000), []
    monkeypatch.setattr(reading, "BLOCK_S", 2.0)
    read = soundfile.SoundFile.read

    def watched(file, frames, **options):
        sizes.append(frames)
        return read(file, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", watched)
    found = segment_waves(recording, AudioSpec(sample_rate=RATE, segment_seconds=3.0))
    next(found)
    assert sum(sizes) <= 8000 * (3 + 2 + 2)  # a segment, what is left of the block after it, and the block behind
    assert sum(len(wave) for wave in found) == 1_600_000 - 48_000
    assert max(sizes) == 16_000 and len(sizes) == 50


def test_samples_at_a_low_rate_are_resampled_in_pieces():
    """At 16 Hz, as from a rate in kHz, each becomes a thousand."""
    values, resampler = noise(4800)[:, 0], Resampler(16, RATE)
    pieces = [*resampler.add(values), *resampler.end()]
    assert max(map(len, pieces)) < 2**20  # as soxr's own blocks are
    whole = soxr.ResampleStream(16, RATE, 1, dtype="float32")
    expected = [whole.resample_chunk(values), whole.resample_chunk(np.zeros(1, np.float32), last=True)]
    assert np.array_equal(np.concatenate(pieces), np.concatenate(expected)[: 300 * RATE])


def test_a_sample_that_is_not_a_number_is_found_anywhere(tmp_path):
    samples = noise(200_000)
    samples[-3] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        segments(Recording(tmp_path / "a.wav"))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros((1, 2, 3), np.float32), ShapeError, r"not \[1, 2, 3\]"),
        (np.float32(1), ShapeError, r"not \[\]"),
        (np.zeros((16_000, 2), np.float32), ShapeError, "transpose"),
        (np.zeros(100, np.int16), ShapeError, "32768"),
        (torch.zeros(100, dtype=torch.int16), ShapeError, "32768"),
        (np.zeros(0, np.float32), AudioError, "no samples"),
        (np.full(100, np.nan), AudioError, "NaN"),
        (np.full(100, 8192.0), AudioError, "array: samples reach 8192, and full scale is 1: divide them by .*32768"),
        (np.array([0.0, -100.5]), AudioError, "reach 100.5"),
    ],
)
def test_an_array_that_is_not_audio_is_refused(values, error, message):
    with pytest.raises(error, match=message):
        Samples(values, 16_000)


def test_a_mix_may_be_above_full_scale():
    assert Samples(np.array([0.0, 1.5, -100.0]), 16_000).values.tolist() == [0.0, 1.5, -100.0]


@pytest.mark.parametrize("rate", [0, -1, 16_000.5, "16000", 16_000_000_000])
def test_a_sample_rate_is_a_whole_number_that_can_be_resampled(rate):
    with pytest.raises(PredictionError, match="sample_rate"):
        Samples(np.zeros(100), rate)
