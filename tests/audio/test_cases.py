"""Files that trip readers: all commands alike read each as it is, or name its fault."""

import os
import socket
import struct
import sys

import av
import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from recipe_files import recipe_of
from stand_in_bundle import read_bundle, write_bundle

from toolkit.audio.reading import stretch
from toolkit.audio.waves import read_audio
from toolkit.cli.main import main as cli
from toolkit.corpus import Utterance
from toolkit.corpus.checks import check_corpus
from toolkit.corpus.listening import listen
from toolkit.data.segments import SegmentSet
from toolkit.errors import AudioError
from toolkit.inference.predict.model import segment_waves
from toolkit.inference.predict.recordings import Recording
from toolkit.recipe.schema import AudioSpec

RATE, SEGMENT = 16_000, 16_000


def hum(seconds=2.0, rate=RATE, scale=1.0):
    """A sum of harmonics that swells, so that no two stretches are alike."""
    t = np.arange(round(seconds * rate)) / rate
    voice = sum(np.sin(2 * np.pi * h * 140 * t) / h for h in (1, 2, 3, 5))
    return (scale * 0.2 * (0.5 + t / seconds / 2) * voice).astype(np.float32)


def written(path, seconds=2.0, rate=RATE, scale=1.0, **how) -> bytearray:
    soundfile.write(path, hum(seconds, rate, scale), rate, **how)
    return bytearray(path.read_bytes())


def plain(**how):
    return lambda path: written(path, **how)


def half(**how):
    return lambda path: path.write_bytes((whole := written(path, **how))[: len(whole) // 2])


def flac(total):
    """STREAMINFO holds the number of samples in 36 bits behind 108 others."""

    def make(path):
        content = written(path)
        content[21] = content[21] & 0xF0 | total >> 32
        content[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
        path.write_bytes(content)

    return make


def without_info(path):
    content = written(path, seconds=6.0)
    path.write_bytes(content[content.index(content[:2], 4) :])


def third_promised(path):
    content = written(path)
    at = max(content.find(b"Xing"), content.find(b"Info")) + 8
    content[at : at + 4] = struct.pack(">I", struct.unpack(">I", content[at : at + 4])[0] // 3)
    path.write_bytes(content)


def wav_sizes(riff, data):
    def make(path):
        content = written(path)
        content[4:8], content[40:44] = struct.pack("<I", riff), struct.pack("<I", data)
        path.write_bytes(content)

    return make


def sized(marker, data, form=">I"):
    """A number behind a marker gives the size of the data in bytes."""

    def make(path):
        content = written(path)
        at = content.index(marker) + len(marker)
        content[at : at + struct.calcsize(form)] = struct.pack(form, data)
        path.write_bytes(content)

    return make


def nist_third(path):
    content = written(path, format="NIST")
    path.write_bytes(content.replace(b"sample_count -i 32000", b"sample_count -i 10000"))


def text(path):
    path.write_text("no audio " * 50)


def twice(**how):
    return lambda path: path.write_bytes(written(path, **how) * 2)


def chained(*seconds):
    return lambda path: path.write_bytes(b"".join(written(path, seconds=one) for one in seconds))


def encoded(codec, rate, layout="mono", cut_to=1.0, **options):
    def make(path):
        with av.open(str(path), "w", options=options) as container:
            stream = container.add_stream(codec, rate=rate, layout=layout)
            frame = av.AudioFrame.from_ndarray(hum(rate=rate)[None], format="flt", layout="mono")
            frame.sample_rate = rate
            convert = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size)
            for one in convert.resample(frame) + convert.resample(None):
                container.mux(stream.encode(one))
            container.mux(stream.encode(None))
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * cut_to)])

    return make


def tailed(make):
    return lambda path: (make(path), path.write_bytes(path.read_bytes() + b"\1" * 500))


def bound_socket(path):
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(path.parent)
        one.bind(path.name)


def lasting(seconds, tolerance=0.0):
    return pytest.approx(seconds, abs=tolerance)


CASES = {
    "plain.wav": (plain(), lasting(2)),
    **{f"rate_{rate}.wav": (plain(rate=rate), lasting(2)) for rate in (22_051, 44_101, 48_001, 96_001, 192_001, 701)},
    "rate_2147483647.wav": (plain(rate=2**31 - 1, seconds=1e-5), "unreadable"),
    "unknown.flac": (flac(0), lasting(2)),
    "short.flac": (plain(seconds=0.25), lasting(0.25)),
    "narrow.flac": (plain(seconds=1.25, rate=8000), lasting(1.25)),
    "third.flac": (flac(10_000), lasting(2)),
    "double.flac": (flac(64_000), "truncated"),
    "most.flac": (flac(2**36 - 1), "truncated"),
    "half.flac": (half(), "truncated"),
    "no_info.mp3": (without_info, lasting(6, 0.15)),
    "third.mp3": (third_promised, lasting(2)),
    "twice.mp3": (twice(), lasting(4, 0.15)),
    "half.mp3": (half(), "truncated"),
    "half.rf64": (half(format="RF64"), "truncated"),
    "half.w64": (half(), "truncated"),
    "half.au": (half(), "truncated"),
    "half_nist.wav": (half(format="NIST"), "truncated"),
    "half.aiff": (half(), "truncated"),
    "half.ogg": (half(seconds=9.0), "truncated"),
    **{f"rare.{form}": (plain(format=form), "unreadable") for form in ("avr", "mat4", "voc", "paf", "sds")},
    **{f"text.{name}": (text, "unreadable") for name in ("au", "snd", "gsm", "vox", "raw", "mp2", "wav", "m4a")},
    "half.opus": (half(seconds=9.0, format="OGG", subtype="OPUS"), "truncated"),
    "half.wav": (half(), "truncated"),
    "unfinished.wav": (wav_sizes(0, 0), lasting(2)),
    "piped.wav": (wav_sizes(0xFFFFFFFF, 0xFFFFFFFF), lasting(2)),
    "piped_data.wav": (sized(b"data", 0xFFFFFFFF, "<I"), lasting(2)),
    "third.wav": (wav_sizes(64_036, 20_000), "truncated"),
    "third.aiff": (sized(b"SSND", 20_008), "truncated"),
    "third.au": (sized(b".snd\0\0\0\x18", 20_000), "truncated"),
    "third.caf": (sized(b"data", 20_004, ">q"), "truncated"),
    "piped.caf": (sized(b"data", -1, ">q"), lasting(2)),
    "unknown_codec.caf": (sized(b"desc\0\0\0\0\0\0\0\x20" + struct.pack(">d4s", RATE, b"lpcm"), 7), "unreadable"),
    "tagged.au": (lambda path: path.write_bytes(written(path) + b"TAG" + bytes(125)), lasting(2)),
    "third_nist.wav": (nist_third, lasting(2)),
    "junk.rf64": (lambda path: path.write_bytes(written(path, format="RF64") + b"\1" * 99), lasting(2)),
    "junk.wav": (lambda path: path.write_bytes(written(path) + b"\1" * 99), lasting(2)),
    "twice.wav": (twice(), "unreadable"),
    "twice.au": (twice(), "truncated"),
    "twice.caf": (twice(), "truncated"),
    "chained.ogg": (chained(2.0, 1.0), lasting(3, 0.05)),
    "chained.flac": (chained(3.0, 2.0, 2.5), "unreadable"),
    "int16_scale.wav": (plain(scale=32768, subtype="FLOAT"), "scale"),
    "int16_scale.aiff": (plain(scale=32768, subtype="DOUBLE"), "scale"),
    "gsm.wav": (plain(subtype="GSM610"), lasting(2)),
    "g721.au": (plain(subtype="G721_32"), lasting(2, 0.01)),
    "dwvw.aiff": (plain(subtype="DWVW_16"), lasting(2)),
    "a.m4a": (encoded("aac", 22_050), lasting(2, 0.2)),
    "a.mp4": (encoded("aac", 16_000), lasting(2, 0.2)),
    "a.webm": (encoded("libopus", 48_000), lasting(2, 0.05)),
    "a.opus": (encoded("libopus", 48_000), lasting(2, 0.05)),
    "a.amr": (encoded("libopencore_amrnb", 8000), lasting(2, 0.05)),
    "half.m4a": (encoded("aac", 16_000, cut_to=0.5), "unreadable"),
    "half_at_once.m4a": (encoded("aac", 16_000, cut_to=0.5, movflags="faststart"), "truncated"),
    "half.avi": (encoded("mp3", 44_100, cut_to=0.5), "truncated"),
    "half.flv": (encoded("mp3", 44_100, cut_to=0.5), "truncated"),
    "tail.caf": (tailed(encoded("alac", 44_100)), lasting(2, 0.05)),
    "half.webm": (encoded("libopus", 48_000, cut_to=0.5), "truncated"),
    "half.amr": (encoded("libopencore_amrnb", 8000, cut_to=0.51), "truncated"),
    "note.m4a": (lambda path: path.write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(2000)), "unreadable"),
    "list.m4a": (lambda path: path.write_text("#EXTM3U\n#EXTINF:2,\nplain.wav\n#EXT-X-ENDLIST\n"), "unreadable"),
    "text.mp3": (text, "unreadable"),
    "nothing.webm": (lambda path: path.touch(), "empty"),
    "folder.wav": (lambda path: path.mkdir(), "unreadable"),
    "pipe.wav": (os.mkfifo, "unreadable"),
    "device.wav": (lambda path: path.symlink_to("/dev/zero"), "unreadable"),
    "socket.wav": (bound_socket, "unreadable"),
    "loop.wav": (lambda path: path.symlink_to(path), "unreadable"),
}
KINDS = {"folder.wav": "a folder", "pipe.wav": "a named pipe", "device.wav": "a device", "socket.wav": "a socket"}


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_read_or_refused_alike_everywhere(tmp_path, monkeypatch, capfd, name):
    monkeypatch.chdir(tmp_path)
    make, expected = CASES[name]
    path = tmp_path / name
    make(path)
    report = check_corpus([Utterance(id="one", path=path, label="a")], recipe_of(segment_samples=SEGMENT))
    errors = [problem for problem in report.problems if (problem.severity, problem.where) == ("error", str(path))]
    spec = AudioSpec(sample_rate=RATE, segment_seconds=SEGMENT / RATE)
    if isinstance(expected, str):
        with pytest.raises(AudioError) as caught:
            read_audio(path, sample_rate=RATE)
        with pytest.raises(AudioError) as streamed:
            list(segment_waves(Recording(path), spec))
        text = str(caught.value)
        assert text == str(streamed.value) == errors[0].message and str(path) in text and "\n" not in text
        assert caught.value.kind == errors[0].kind == expected and KINDS.get(name, "") in text
        assert capfd.readouterr() == ("", "")  # no library prints
        return
    wave = read_audio(path, sample_rate=RATE)
    assert capfd.readouterr() == ("", "")
    ((_, heard),) = listen([Utterance(id="one", path=path, label="a")])
    assert not errors and heard.frames / heard.rate == expected and len(wave) / RATE == expected
    assert stretch(path).samples(RATE) == len(wave) and wave.abs().max() > 0.1
    one = Utterance(id="one", path=path, label="a")
    trained_on = SegmentSet([one], {}, {}, sample_rate=RATE, segment_samples=SEGMENT).segments
    segments = zip(segment_waves(Recording(path), spec), trained_on, strict=True)
    assert all(torch.equal(found, wave[segment.start : segment.stop]) for found, segment in segments)
    start, stop = int(0.6 * len(wave)), int(0.7 * len(wave))
    part = read_audio(path, sample_rate=RATE, part=(start, stop))
    assert (part - wave[start:stop]).abs().max() < 1e-5 and len(part) == stop - start


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e308, -1.0])
@pytest.mark.parametrize("time", ["start_s", "end_s"])
def test_a_time_that_is_not_in_the_file_is_refused(tmp_path, time, seconds):
    written(tmp_path / "a.wav")
    with pytest.raises(AudioError, match="is not in it"):
        read_audio(tmp_path / "a.wav", sample_rate=RATE, **{time: seconds})


@pytest.fixture
def predict(tmp_path, monkeypatch):
    monkeypatch.setattr("toolkit.inference.bundle.read_bundle", read_bundle)

    def run(*words, labels=(), charset="utf-8", **options):
        bundle = tmp_path / "bundle"
        if not bundle.exists():
            write_bundle(bundle, **({"labels": list(labels)} if labels else {}))
        words = ["predict", str(bundle), *map(str, words)]
        return CliRunner(charset=charset).invoke(cli, words, catch_exceptions=False, **options)

    return run


def test_a_folder_says_what_it_passes_over_and_phone_recordings_are_labelled(tmp_path, predict):
    folder = tmp_path / "in"
    folder.mkdir()
    written(folder / "a.wav")
    for name in ("a.m4a", "a.webm", "a.amr"):
        CASES[name][0](folder / name)
    for name in ("a.txt", "b.txt", "notes"):
        (folder / name).write_text("no audio")
    done = predict(folder)
    assert done.exit_code == 0 and done.stdout.count(str(folder)) == 4
    assert done.stderr == f"NOTE: 3 files in {folder} passed over, not audio by name: .txt (2), no ending (1)\n"


def test_without_pyav_a_line_says_how_to_get_it(tmp_path, monkeypatch):
    CASES["a.m4a"][0](tmp_path / "a.m4a")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match="pip install av"):
        read_audio(tmp_path / "a.m4a", sample_rate=RATE)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e308", "-1", "soon"])
@pytest.mark.parametrize("column", ["start", "end"])
def test_a_row_with_an_impossible_time_is_named_and_the_others_are_labelled(tmp_path, predict, column, value):
    written(tmp_path / "a.wav")
    (tmp_path / "m.csv").write_text(f"path,{column}\na.wav,1\na.wav,{value}\na.wav,1.5\n")
    done = predict(tmp_path / "m.csv")
    assert done.exit_code == 1 and done.stdout.count("a.wav") == 2
    says = f"m.csv:3: {column} is 'soon'; seconds" if value == "soon" else "is not in it"
    assert says in done.stderr and "m.csv:3" in done.stderr and done.stderr.count("\n") == 1


def test_a_row_whose_audio_cannot_be_read_is_named_with_its_line(tmp_path, predict):
    written(tmp_path / "a.wav")
    (tmp_path / "m.csv").write_text("path,start\na.wav,1\na.wav,7\n")
    done = predict(tmp_path / "m.csv")
    assert done.exit_code == 1 and "is not in it (" in done.stderr and done.stderr.endswith("m.csv:3)\n")


@pytest.mark.parametrize("name", ["a.ods", "a.xlsx"])
def test_another_table_is_answered_with_the_manifests_that_are_read(tmp_path, predict, name):
    (tmp_path / name).write_text("path\tlabel\na.wav\tx\n")
    done = predict(tmp_path / name)
    assert done.exit_code == 1 and name in done.stderr and "Manifests end in .csv, .tsv" in done.stderr


@pytest.mark.parametrize("name", ["third.mp3", "plain.wav", "a.m4a", "unknown.flac", "a.webm"])
def test_audio_on_standard_input_is_one_line_that_says_what_to_do(tmp_path, predict, name):
    CASES[name][0](tmp_path / name)
    done = predict("-", input=(tmp_path / name).read_bytes())
    assert (done.exit_code, done.stdout) == (2, "")
    assert "save audio to a file" in done.stderr and done.stderr.count("\n") == 1


def test_a_path_that_no_file_can_have_is_skipped(tmp_path, predict):
    written(tmp_path / "a.wav")
    done = predict("-", input=b"x" * 70_000 + b"\n" + os.fsencode(tmp_path / "a.wav") + b"\n")
    assert done.exit_code == 1 and done.stdout.count("a.wav") == 1


@pytest.mark.parametrize("format", ["table", "csv", "jsonl"])
def test_labels_that_a_console_lacks_are_replaced(tmp_path, predict, format):
    written(tmp_path / "a.wav")
    done = predict(tmp_path / "a.wav", "--format", format, labels=["гнев", "größer"], charset="cp1252")
    assert done.exit_code == 0 and "????" in done.stdout and "größer" in done.stdout
