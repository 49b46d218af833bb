"""Files for annotation programs: intervals from segments, and RTTM, label tracks and TextGrids, letter by letter."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import stand_in_bundle
from click.testing import CliRunner
from stand_in_bundle import write_bundle

import toolkit
from toolkit.cli.main import main as cli
from toolkit.inference.predict.output import audacity, rttm, textgrid
from toolkit.inference.predict.predictions import Interval, Prediction, intervals


def segments(*spans: tuple[float, float, str | None]) -> list[Prediction]:
    """Segments whose label has probability 1; for None both classes have 0.5, which `found` takes for no label."""
    return [
        Prediction({"a": 1.0 * (name == "a") or 0.5 * (name is None), "b": 1.0 * (name == "b") or 0.5 * (name is None)},
                   start_s=start, end_s=end)
        for start, end, name in spans
    ]  # fmt: skip


def found(*spans: tuple[float, float, str | None]) -> list[tuple[float, float, str | None]]:
    return [(one.start_s, one.end_s, one.label) for one in intervals(segments(*spans), 0.9)]


def test_neighbours_with_the_same_label_are_one_interval():
    assert found((0, 3, "a"), (3, 6, "a"), (6, 9, "b"), (9, 10, "a")) == [(0, 6, "a"), (6, 9, "b"), (9, 10, "a")]
    assert found((0, 3, None), (3, 6, None), (6, 7, "b")) == [(0, 6, None), (6, 7, "b")]
    assert found((1.5, 2, "a")) == [(1.5, 2, "a")] and found() == []


def test_overlapping_segments_are_divided_at_the_middle_of_their_overlap():
    """0 to 4 and 2 to 6 share 2 to 4; 2 to 6 and 4 to 7 share 4 to 6."""
    assert found((0, 4, "a"), (2, 6, "b"), (4, 7, "a")) == [(0, 3, "a"), (3, 5, "b"), (5, 7, "a")]
    assert found((0, 4, "a"), (1, 5, "a"), (2, 6, "b"), (3, 6.5, "b")) == [(0, 3.5, "a"), (3.5, 6.5, "b")]


def test_intervals_follow_each_other_and_reach_from_the_start_to_the_end():
    rng = np.random.default_rng(0)
    for hop in (0.1, 0.5, 1.7, 3.0):
        starts = [hop * k for k in range(20)]
        spans = [(start, min(start + 3.0, starts[-1] + 2.9), rng.choice(["a", "b"])) for start in starts]
        made = found(*spans)
        assert (made[0][0], made[-1][1]) == (0.0, spans[-1][1])
        assert all(one[1] == other[0] and one[2] != other[2] for one, other in pairwise(made))
        assert all(start < end for start, end, _ in made)


ODD = [Interval(0.25, 1.0, 'so "so"'), Interval(1.0, 2.5, None), Interval(2.5, 3.0004, "50 %")]


def test_rttm_by_hand():
    assert rttm("my talk.wav", ODD) == (
        'SPEAKER my%20talk.wav 1 0.250 0.750 <NA> <NA> so%20"so" <NA> <NA>\n'
        "SPEAKER my%20talk.wav 1 2.500 0.500 <NA> <NA> 50%20%25 <NA> <NA>\n"
    )
    assert rttm("a\tb\n", ODD[:1]).split()[1] == "a%09b%0A"


def test_a_label_track_by_hand():
    assert audacity(ODD) == '0.250000\t1.000000\tso "so"\n2.500000\t3.000400\t50 %\n'


def test_a_textgrid_by_hand():
    assert textgrid(ODD[:2]) == (
        'File type = "ooTextFile"\n'
        'Object class = "TextGrid"\n'
        "\n"
        "xmin = 0.250000\n"
        "xmax = 2.500000\n"
        "tiers? <exists>\n"
        "size = 1\n"
        "item []:\n"
        "    item [1]:\n"
        '        class = "IntervalTier"\n'
        '        name = "label"\n'
        "        xmin = 0.250000\n"
        "        xmax = 2.500000\n"
        "        intervals: size = 2\n"
        "        intervals [1]:\n"
        "            xmin = 0.250000\n"
        "            xmax = 1.000000\n"
        '            text = "so ""so"""\n'
        "        intervals [2]:\n"
        "            xmin = 1.000000\n"
        "            xmax = 2.500000\n"
        '            text = ""\n'
    )


@pytest.fixture
def bundle(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr("toolkit.inference.bundle.read_bundle", stand_in_bundle.read_bundle)
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def talks(tmp_path) -> Path:
    """a.wav, b c.wav and in/a.wav: tones and noise by turns."""
    rng, talks = np.random.default_rng(0), tmp_path / "talks"
    (talks / "in").mkdir(parents=True)
    for name in ("a.wav", "b c.wav", "in/a.wav"):
        soundfile.write(talks / name, 0.1 * rng.uniform(-1, 1, 25_000) * rng.integers(0, 5, 25).repeat(1000), 16_000)
    return talks


def run(*words):
    return CliRunner().invoke(cli, ["predict", *map(str, words)], catch_exceptions=False)


def expected(bundle: Path, path: Path, **options) -> list[Interval]:
    return intervals(toolkit.load(bundle).predict(path, **options).segments, 0)


def test_rttm_is_one_file_for_all_recordings(bundle, talks, tmp_path):
    done = run(bundle, talks, "--format", "rttm", "--hop", "0.1")
    names = ("a.wav", "b c.wav", "in/a.wav")
    lines = "".join(rttm(str(talks / name), expected(bundle, talks / name, hop_s=0.1)) for name in names)
    assert (done.exit_code, done.stdout) == (0, lines) and "b%20c.wav" in lines
    assert run(bundle, talks, "--format", "rttm", "--hop", "0.1", "--output", tmp_path / "all.rttm").stdout == ""
    assert (tmp_path / "all.rttm").read_text() == lines


@pytest.mark.parametrize(
    ("format", "text", "ending"), [("audacity", audacity, "txt"), ("textgrid", textgrid, "TextGrid")]
)
def test_tracks_are_a_file_for_each_recording_below_the_folder(bundle, talks, tmp_path, format, text, ending):
    done = run(bundle, talks, "--format", format, "--output", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (0, "")
    made = {str(path.relative_to(tmp_path / "out")): path for path in (tmp_path / "out").rglob("*.*")}
    assert sorted(made) == [f"a.{ending}", f"b c.{ending}", f"in/a.{ending}"]
    for name, path in made.items():
        assert path.read_text() == text(expected(bundle, (talks / name).with_suffix(".wav")))


def test_an_interval_below_the_confidence_has_no_label(bundle, talks, tmp_path):
    run(bundle, talks / "a.wav", "--format", "textgrid", "--output", tmp_path, "--abstain", "1")
    (line,) = [line for line in (tmp_path / "a.TextGrid").read_text().splitlines() if "text" in line]
    assert line.strip() == 'text = ""'
    assert run(bundle, talks / "a.wav", "--format", "rttm", "--abstain", "1").stdout == ""


def test_a_stretch_has_a_file_of_its_own_with_the_times_in_the_recording(bundle, talks, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,start,end\ntalks/a.wav,0.25,0.5\ntalks/a.wav,1,\n")
    done = run(bundle, manifest, "--format", "audacity", "--output", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    first, second = sorted((tmp_path / "out").iterdir())
    assert (first.name, second.name) == ("a-0.250-0.500.txt", "a-1.000-end.txt")
    assert first.read_text().startswith("0.250000\t0.500000\t")


def test_two_recordings_do_not_share_a_file(bundle, talks, tmp_path):
    done = run(bundle, talks / "a.wav", talks / "in/a.wav", talks / "a.wav", "--format=textgrid", "--output", tmp_path)
    assert done.exit_code == 1
    skipped = f"skipped: {talks}/in/a.wav: a.TextGrid is already the file of {talks}/a.wav: give another --output\n"
    assert done.stderr == skipped
    assert (tmp_path / "a.TextGrid").read_text() == textgrid(expected(bundle, talks / "a.wav"))


def test_two_stretches_do_not_share_a_file(bundle, talks, tmp_path):
    manifest = tmp_path / "m.csv"
    rows = ("talks/a.wav,0.0001,0.5001", "talks/a.wav,0.0004,0.5004", "talks/a.wav,0.0001,0.5001")
    manifest.write_text("\n".join(("path,start,end", *rows)) + "\n")
    done = run(bundle, manifest, "--format", "audacity", "--output", tmp_path / "out")
    assert done.exit_code == 1
    name = "a-0.000-0.500.txt"
    taken = f"{name} is already the file of {talks}/a.wav: give another --output"
    assert done.stderr == f"skipped: {talks}/a.wav ({manifest}:3): {taken}\n"
    assert (tmp_path / "out" / name).read_text().startswith("0.000100\t")


def test_a_row_of_a_manifest_that_names_no_file_is_skipped(bundle, talks, tmp_path, monkeypatch):
    monkeypatch.chdir(talks)
    Path("m.csv").write_text("path\n.\na.wav\n")
    done = run(bundle, "m.csv", "--format", "textgrid", "--output", tmp_path / "out")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1) and "(m.csv:2)" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.TextGrid"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--format textgrid writes a file for each recording: name a folder with --output"),
        (["--output", "a.TextGrid"], "--output a.TextGrid must be a folder"),
        (["--output", __file__], "must be a folder"),
    ],
)
def test_tracks_need_a_folder(bundle, talks, words, message):
    done = run(bundle, talks, "--format", "textgrid", *words)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert message in done.stderr


@pytest.mark.parametrize("format", ["audacity", "textgrid"])
def test_a_label_that_a_track_cannot_hold_is_one_line(tmp_path, talks, bundle, format):
    odd = write_bundle(tmp_path / "odd", labels=["a\tb", "c"])
    done = run(odd, talks, "--format", format, "--output", tmp_path / "out")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"--format {format} cannot hold the label 'a\\tb': jsonl and rttm can" in done.stderr
    done = run(odd, talks / "a.wav", "--format", "rttm")
    assert done.exit_code == 0 and all(len(line.split(" ")) == 10 for line in done.stdout.splitlines())
