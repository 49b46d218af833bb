"""MP3s as they are found: with tags, zeros and junk around the frames, or among them."""

import struct

import numpy as np
import pytest
import soundfile

from toolkit.audio.waves import read_audio
from toolkit.errors import AudioError

RATE = 16_000
TITLE = b"TIT2" + struct.pack(">I", 6) + b"\0\0\0Title"
ID3 = b"ID3\x03\0\0\0\0\0" + bytes([len(TITLE) + 20]) + TITLE + bytes(20)
TAG = b"TAG" + b"x" * 125
LYRICS = b"LYRICSBEGININD0000200LYR00005hello000034LYRICS200"
ITEM = struct.pack("<II", 5, 0) + b"Title\0hello"
APE = ITEM + b"APETAGEX" + struct.pack("<IIII", 2000, len(ITEM) + 32, 1, 0) + bytes(8)
JUNK = np.random.default_rng(0).integers(0, 256, 3000, dtype="uint8").tobytes()


@pytest.fixture
def mp3(tmp_path):
    time = np.arange(2 * RATE) / RATE
    soundfile.write(tmp_path / "plain.mp3", (0.3 * np.sin(900 * time) * (1 + time)).astype("float32"), RATE)
    return (tmp_path / "plain.mp3").read_bytes()


def without_info(mp3):
    """Its frames without the first, which gives their number."""
    return mp3[mp3.index(mp3[:2], 4) :]


@pytest.mark.parametrize("before", [b"", ID3, ID3 * 1200])
@pytest.mark.parametrize("behind", [b"", TAG, LYRICS + TAG, LYRICS, APE, APE + TAG, ID3])
def test_tags_around_the_frames_change_no_sample(tmp_path, mp3, before, behind):
    (tmp_path / "a.mp3").write_bytes(before + mp3 + behind)
    assert (
        read_audio(tmp_path / "a.mp3", sample_rate=RATE) == read_audio(tmp_path / "plain.mp3", sample_rate=RATE)
    ).all()


@pytest.mark.parametrize("before", [b"", bytes(4000), JUNK])
@pytest.mark.parametrize("behind", [b"", bytes(400_000), JUNK])
def test_junk_around_the_frames_adds_a_few_frames_at_most(tmp_path, mp3, before, behind):
    (tmp_path / "a.mp3").write_bytes(before + mp3 + behind)
    assert len(read_audio(tmp_path / "a.mp3", sample_rate=RATE)) / RATE == pytest.approx(2, abs=0.15)


def test_a_part_of_a_file_with_tags_equals_that_of_the_plain_one(tmp_path, mp3):
    (tmp_path / "a.mp3").write_bytes(ID3 + mp3 + APE)
    parts = [read_audio(tmp_path / name, sample_rate=RATE, part=(20_000, 25_000)) for name in ("a.mp3", "plain.mp3")]
    assert (parts[0] == parts[1]).all() and len(parts[0]) == 5000


def test_files_that_were_joined_are_read_to_the_end(tmp_path, mp3):
    (tmp_path / "a.mp3").write_bytes(ID3 + mp3 + mp3 + TAG)
    assert len(read_audio(tmp_path / "a.mp3", sample_rate=RATE)) / RATE == pytest.approx(4, abs=0.15)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda mp3: mp3[: len(mp3) // 2] + JUNK + mp3[len(mp3) // 2 :], "truncated"),
        (lambda mp3: mp3[: len(mp3) // 2] + bytes(len(mp3) // 2), "truncated"),
        (lambda mp3: (some := without_info(mp3))[: len(some) // 2] + bytes(len(some) // 2), "truncated"),
        (lambda mp3: ID3 + b"no audio " * 50, "unreadable"),
        (lambda mp3: b"\xff\xfb\x90\0" * 200, "unreadable"),
        (lambda mp3: b"\xff", "unreadable"),
        (lambda mp3: bytes(5000), "unreadable"),
    ],
)
def test_damage_is_reported_in_one_line(tmp_path, mp3, capfd, change, kind):
    (tmp_path / "a.mp3").write_bytes(change(mp3))
    with pytest.raises(AudioError, match=r"a\.mp3 (is|cannot be) ") as caught:
        read_audio(tmp_path / "a.mp3", sample_rate=RATE)
    assert caught.value.kind == kind and "\n" not in str(caught.value) and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("cut", [1, 20])
def test_a_last_frame_that_is_cut_is_left_out(tmp_path, mp3, cut):
    (tmp_path / "a.mp3").write_bytes(mp3[:-cut])
    assert len(read_audio(tmp_path / "a.mp3", sample_rate=RATE)) / RATE == pytest.approx(2, abs=0.04)
