import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from toolkit.audio import read_audio
from toolkit.audio.reading import _is_joined, resampled_length, stretch
from toolkit.errors import AudioError


def tone(samples: int, rate: int = 16000, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(samples) / rate)).astype(np.float32)


def kind_of(path, **times) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(path, sample_rate=16000, **times)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
    return caught.value.kind


def test_samples_come_back_as_they_were_written(tmp_path):
    wave = tone(1000)
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    read = read_audio(tmp_path / "a.wav", sample_rate=16000)
    assert read.dtype == torch.float32 and read.shape == (1000,)
    assert torch.equal(read, torch.from_numpy(wave))


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.tile([[0.5, -0.25]], (800, 1)), 16000, subtype="FLOAT")
    assert torch.equal(read_audio(tmp_path / "a.wav", sample_rate=16000), torch.full((800,), 0.125))


def test_another_rate_is_resampled(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(48000, 48000), 48000, subtype="FLOAT")
    read = read_audio(tmp_path / "a.wav", sample_rate=16000)
    assert read.shape == (16000,)
    assert np.abs(read.numpy() - tone(16000))[100:-100].max() < 2e-3


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
@pytest.mark.parametrize("samples", [401, 4001, 4410])
def test_the_length_is_known_from_the_header(tmp_path, rate, samples):
    soundfile.write(tmp_path / "a.wav", tone(samples, rate), rate)
    read = read_audio(tmp_path / "a.wav", sample_rate=16000)
    assert stretch(tmp_path / "a.wav").samples(16000) == len(read) == resampled_length(samples, rate, 16000)


def test_a_stretch_is_read_from_start_to_end(tmp_path):
    wave = tone(16000)
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    read = read_audio(tmp_path / "a.wav", sample_rate=16000, start_s=0.25, end_s=0.5)
    assert torch.equal(read, torch.from_numpy(wave[4000:8000]))
    assert stretch(tmp_path / "a.wav", start_s=0.25, end_s=0.5).samples(16000) == 4000
    assert len(read_audio(tmp_path / "a.wav", sample_rate=16000, start_s=0.75)) == 4000


def test_a_stretch_beyond_the_file_is_refused_except_for_rounding(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000)
    assert kind_of(tmp_path / "a.wav", start_s=0.5, end_s=1.5) == "out-of-range"
    assert kind_of(tmp_path / "a.wav", start_s=1.0) == "out-of-range"
    assert kind_of(tmp_path / "a.wav", start_s=0.5, end_s=0.5) == "out-of-range"
    assert kind_of(tmp_path / "a.wav", start_s=-0.5) == "out-of-range"
    assert len(read_audio(tmp_path / "a.wav", sample_rate=16000, end_s=1.005)) == 16000


def test_a_wav_that_lacks_its_last_sample_is_truncated_and_the_header_alone_shows_it(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1000), 16000, subtype="PCM_16")
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-2])
    with pytest.raises(AudioError, match="truncated: 2 of the bytes"):
        stretch(tmp_path / "a.wav")


def test_chunks_before_and_after_the_data_do_not_count_as_missing(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1000), 16000, subtype="PCM_16")
    whole = (tmp_path / "a.wav").read_bytes()
    at = whole.index(b"data")
    odd = b"junk" + struct.pack("<I", 3) + b"abc\0"
    (tmp_path / "a.wav").write_bytes(whole[:at] + odd + whole[at:] + odd)
    assert len(read_audio(tmp_path / "a.wav", sample_rate=16000)) == 1000


def test_a_file_that_is_not_audio_is_refused_with_its_kind(tmp_path):
    (tmp_path / "text.wav").write_text("no audio " * 20)
    (tmp_path / "nothing.wav").touch()
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16000)
    (tmp_path / "folder.wav").mkdir()
    assert kind_of(tmp_path / "text.wav") == "unreadable"
    assert kind_of(tmp_path / "nothing.wav") == "empty"
    assert kind_of(tmp_path / "none.wav") == "empty"
    assert kind_of(tmp_path / "folder.wav") == "unreadable"
    assert kind_of(tmp_path / "missing.wav") == "missing"
    with pytest.raises(AudioError, match=r"does not exist$"):
        stretch(tmp_path / "missing.wav")
    with pytest.raises(AudioError, match=r"does not exist: a path here has /, not \\$"):
        stretch(tmp_path / r"day\missing.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_refused(tmp_path, value):
    wave = tone(1000)
    wave[17] = value
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    assert kind_of(tmp_path / "a.wav") == "not-finite"


@pytest.mark.parametrize("rate", [16_000, 8000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("part", [(0, 1), (0, 4000), (123, 4567), (20_000, 31_999), (31_990, 32_000)])
def test_a_part_equals_that_of_the_whole(tmp_path, rate, ending, part):
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, (2 * rate + 1, 2))
    soundfile.write(tmp_path / f"a.{ending}", noise, rate)
    whole = read_audio(tmp_path / f"a.{ending}", sample_rate=16_000)
    found = read_audio(tmp_path / f"a.{ending}", sample_rate=16_000, part=part)
    assert (found - whole[slice(*part)]).abs().max() < 1e-6 and len(found) == part[1] - part[0]


def test_a_part_of_a_file_at_another_rate_is_read_without_the_rest(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(44_100 * 20), 44_100)
    read, sizes = soundfile.SoundFile.read, []

    def watched(file, frames, **options):
        sizes.append(frames)
        return read(file, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", watched)
    assert len(read_audio(tmp_path / "a.wav", sample_rate=16_000, part=(160_000, 176_000))) == 16_000
    assert 44_100 <= sum(sizes) < 44_100 + 2500


MOST_MEMORY = """
import re, sys, torch
from toolkit.audio.waves import read_audio

def most():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

before = most()
for path in sys.argv[1:]:
    read_audio(path, sample_rate=16000)
print(most() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel has to tell the most memory that a process had")
def test_coprime_rates_take_little_memory(tmp_path):
    files = []
    for rate in (22_051, 192_001):
        files.append(tmp_path / f"{rate}.wav")
        soundfile.write(files[-1], tone(2 * rate, rate), rate)
    # in a process of its own: what came before may have taken more
    done = subprocess.run([sys.executable, "-c", MOST_MEMORY, *files], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200_000  # KiB; kernels of their own take 6 GB


@pytest.mark.parametrize("gap", [0, 2**20 - 9, 2**20 - 6, 2**20, 3 * 2**20])
def test_a_second_stream_is_found_wherever_it_begins(tmp_path, gap):
    begin, file = b"OggS\0\x02", tmp_path / "joined.ogg"
    file.write_bytes(begin + bytes(gap))
    assert not _is_joined(file, begin)
    file.write_bytes(begin + bytes(gap) + begin)
    assert _is_joined(file, begin)
