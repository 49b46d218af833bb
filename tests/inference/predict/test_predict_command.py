"""What `toolkit predict` prints and writes, and where."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from predict_command import rows, run, write
from stand_in_bundle import write_bundle

import toolkit
from toolkit.cli.main import main as cli
from toolkit.inference.predict.model import Model

pytestmark = pytest.mark.usefixtures("stand_in")

SUPPORT = Path(__file__).parents[2] / "support"


def test_a_folder_is_searched_in_order_and_a_csv_holds_the_models_predictions(bundle, folder):
    done = run(bundle, folder, "--format", "csv")
    assert done.exit_code == 0
    assert done.stderr == f"NOTE: 1 file in {folder} passed over, not audio by name: .txt (1)\n"
    found = rows(done.stdout)
    names = ["a.flac", "b.wav", "z.OGG", "inner/c.mp3"]
    assert [row["path"] for row in found] == [str(folder / name) for name in names]
    assert list(found[0]) == ["path", "start", "end", "label", "margin", "p_noise", "p_tone"]
    assert run(bundle, folder, "--format", "csv", "--output", "-").stdout == done.stdout
    model = toolkit.load(bundle, device="cpu")
    for row in found:
        alone = model.predict(row["path"])
        assert row["label"] == alone.label
        assert float(row["margin"]) == pytest.approx(alone.margin, abs=1e-5)
        for label, p in alone.probabilities.items():
            assert float(row[f"p_{label}"]) == pytest.approx(p, abs=1e-5)
        assert (float(row["start"]), float(row["end"])) == pytest.approx((0, alone.seconds), abs=1e-3)


def test_json_lines_hold_the_same_and_so_does_the_table(bundle, folder):
    as_csv = rows(run(bundle, folder, "--format", "csv").stdout)
    objects = [json.loads(line) for line in run(bundle, folder, "--format", "jsonl").stdout.splitlines()]
    lines = run(bundle, folder).stdout.splitlines()
    assert lines[0].split() == ["start", "s", "end", "s", "label", "noise", "tone", "margin", "path"]
    assert len(as_csv) == len(objects) == len(lines) - 1 == 4
    for row, found, line in zip(as_csv, objects, lines[1:], strict=True):
        assert (found["path"], found["label"]) == (row["path"], row["label"])
        assert found["probabilities"] == {label: float(row[f"p_{label}"]) for label in ("noise", "tone")}
        assert (found["start"], found["end"], found["margin"]) == (0, float(row["end"]), float(row["margin"]))
        start, end, label, noise, tone, margin, path = line.split()
        assert (float(start), label, path) == (0, row["label"], row["path"])
        assert float(end) == pytest.approx(float(row["end"]), abs=6e-3)
        for text, exact in ((noise, row["p_noise"]), (tone, row["p_tone"]), (margin, row["margin"])):
            assert float(text) == pytest.approx(float(exact), abs=6e-4)


def test_segments_have_rows_with_times(bundle, folder):
    found = rows(run(bundle, folder / "b.wav", "--segments", "--format", "csv").stdout)
    assert [(row["start"], row["end"]) for row in found] == [("0.000", "0.300"), ("0.300", "0.600"), ("0.600", "0.700")]
    expected = toolkit.load(bundle, device="cpu").predict(folder / "b.wav").segments
    assert [float(row["p_tone"]) for row in found] == pytest.approx([s.probabilities["tone"] for s in expected])


def test_segments_may_overlap(bundle, folder):
    found = rows(run(bundle, folder / "b.wav", "--segments", "--hop", "0.2", "--format", "csv").stdout)
    assert [(row["start"], row["end"]) for row in found] == [("0.000", "0.300"), ("0.200", "0.500"), ("0.400", "0.700")]
    (whole,) = rows(run(bundle, folder / "b.wav", "--hop", "0.2", "--format", "csv").stdout)
    expected = toolkit.load(bundle, device="cpu").predict(folder / "b.wav", hop_s=0.2)
    assert float(whole["p_tone"]) == pytest.approx(expected.probabilities["tone"])
    assert [float(row["p_tone"]) for row in found] == pytest.approx(
        [s.probabilities["tone"] for s in expected.segments]
    )


@pytest.mark.parametrize("hop", ["0", "-1", "0.4", "nan", "inf"])
def test_a_wrong_hop_is_one_line_and_nothing_is_written(bundle, folder, tmp_path, hop):
    done = run(bundle, folder, "--hop", hop, "--output", tmp_path / "rows.txt")
    assert (done.exit_code, done.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert done.stderr.endswith(f"The hop is {float(hop)} s: it must be above 0 and at most a segment, 0.3 s\n")


def test_no_label_is_given_below_a_confidence(bundle, folder):
    plain = rows(run(bundle, folder, "--format", "csv").stdout)
    confidences = [max(float(row["p_noise"]), float(row["p_tone"])) for row in plain]
    limit = sorted(confidences)[2]
    expected = [row["label"] if c >= limit else "" for row, c in zip(plain, confidences, strict=True)]
    assert expected.count("") == 2
    abstained = ["--abstain", repr(limit)]
    assert [row["label"] for row in rows(run(bundle, folder, "--format", "csv", *abstained).stdout)] == expected
    lines = run(bundle, folder, "--format", "jsonl", *abstained).stdout.splitlines()
    assert [json.loads(line)["label"] or "" for line in lines] == expected
    table = run(bundle, folder, *abstained).stdout.splitlines()[1:]
    assert [line.split()[2] for line in table] == [label or "-" for label in expected]


def test_stamps_are_printed_once_and_are_in_every_row(tmp_path, folder):
    bundle = write_bundle(tmp_path / "stamped", stamps=["synthetic corpus", "random weights"])
    done = run(bundle, folder / "b.wav", folder / "z.OGG", "--format", "csv")
    assert done.stderr.splitlines() == ["NOTE: synthetic corpus", "NOTE: random weights"]
    assert {row["note"] for row in rows(done.stdout)} == {"synthetic corpus; random weights"}
    lines = run(bundle, folder, "--format", "jsonl").stdout.splitlines()
    assert {json.loads(line)["note"] for line in lines} == {"synthetic corpus; random weights"}


def test_rows_go_to_a_file(bundle, folder, tmp_path):
    expected = run(bundle, folder, "--format", "csv").stdout
    done = run(bundle, folder, "--format", "csv", "--output", tmp_path / "out.csv")
    assert (done.exit_code, done.stdout) == (0, "")
    assert (tmp_path / "out.csv").read_text() == expected and list(tmp_path.iterdir()) == [tmp_path / "out.csv"]
    done = run(bundle, folder, "--output", tmp_path / "out.csv" / "out.csv")
    assert done.exit_code == 2 and "cannot be written (File exists): choose another --output" in done.stderr


@pytest.mark.parametrize("ending", ["csv", "jsonl", "rttm"])
def test_the_format_is_that_of_the_outputs_ending(bundle, folder, tmp_path, ending):
    expected = run(bundle, folder, "--format", ending).stdout
    assert run(bundle, folder, "--output", tmp_path / f"out.{ending.upper()}").exit_code == 0
    assert (tmp_path / f"out.{ending.upper()}").read_text() == expected
    assert run(bundle, folder, "--format", "table", "--output", tmp_path / f"b.{ending}").exit_code == 0
    assert (tmp_path / f"b.{ending}").read_text() == run(bundle, folder).stdout


def test_a_file_of_rows_is_replaced_only_when_it_is_complete(bundle, folder, tmp_path, monkeypatch):
    (tmp_path / "out.csv").write_text("before")
    results, read = Model.results, []

    def interrupt(*args, **options):
        yield next(results(*args, **options))
        read.append((tmp_path / "out.csv").read_text())
        raise KeyboardInterrupt

    monkeypatch.setattr(Model, "results", interrupt)
    assert run(bundle, folder, "--format", "csv", "--output", tmp_path / "out.csv").exit_code == 130
    assert [*read, (tmp_path / "out.csv").read_text()] == ["before", "before"]
    assert list(tmp_path.iterdir()) == [tmp_path / "out.csv"]


@pytest.mark.parametrize("format", ["csv", "rttm"])
def test_a_folder_as_output_is_refused_before_anything_is_labelled(bundle, folder, tmp_path, monkeypatch, format):
    monkeypatch.setattr(Model, "results", lambda *args, **options: pytest.fail("it was labelled"))
    done = run(bundle, folder / "b.wav", "--format", format, "--output", tmp_path)
    assert (done.exit_code, done.stderr.count("\n"), list(tmp_path.iterdir())) == (2, 1, [])
    assert f"--output {tmp_path} is a folder: " in done.stderr


def test_a_stamp_is_not_a_formula_in_a_table(tmp_path, folder):
    bundle = write_bundle(tmp_path / "stamped", stamps=["=1+1"])
    assert rows(run(bundle, folder / "b.wav", "--format", "csv").stdout)[0]["note"] == "'=1+1"


def start(*words, **options) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, SUPPORT / "stand_in_bundle.py", "predict", *map(str, words)]
    return subprocess.Popen(command, env=environment, **options)


def test_rows_come_while_paths_are_still_written_and_a_closed_pipe_ends_it_quietly(bundle, folder):
    pipe = subprocess.PIPE
    process = start(bundle, "-", "--format=csv", "--batch-size=1", stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
    process.stdin.write(f"{folder / 'a.flac'}\n".encode())
    assert process.stdout.readline().startswith(b"path,")
    assert b"a.flac" in process.stdout.readline()
    process.stdout.close()
    process.stdin.write(f"{folder / 'b.wav'}\n".encode() * 100)
    process.stdin.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 141
    process.stderr.close()


def test_a_bar_is_drawn_on_a_terminal_and_rows_do_not_pass_through_it(bundle, folder):
    ours, theirs = pty.openpty()
    process = start(bundle, folder, "--format=csv", stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    output, drawn = process.stdout.read(), b""
    process.stdout.close()
    while True:
        try:
            drawn += os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(60) == 0
    assert len(rows(output.decode())) == 4
    assert b"labelling" in drawn and b"b.wav" not in drawn


@pytest.mark.parametrize("share", ["nan", "NaN", "-0.1", "1.5", "inf"])
def test_a_confidence_that_is_not_a_share_is_refused(share):
    done = CliRunner().invoke(cli, ["predict", "bundle", "a.wav", "--abstain", share])
    assert done.exit_code == 2 and f"{share!r} does not say when to abstain" in done.stderr


@pytest.mark.parametrize("output", ["a.wav", "list.csv", "other.wav"])
def test_the_output_never_replaces_an_input(bundle, tmp_path, output):
    write(tmp_path / "a.wav")
    write(tmp_path / "other.wav")
    (tmp_path / "list.csv").write_text("path\na.wav\n")
    before = (tmp_path / output).read_bytes()
    done = run(bundle, tmp_path / "a.wav", tmp_path / "list.csv", "--output", tmp_path / output)
    assert done.exit_code == 2 and f"--output {tmp_path / output} would replace" in done.stderr
    assert (tmp_path / output).read_bytes() == before


@pytest.mark.parametrize("options", [["a.wav"], ["--microphone"]])
def test_the_output_never_replaces_the_bundle(tmp_path, options, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("a.wav"))
    described = write_bundle(Path("folder")) / "stand_in.json"
    before = described.read_bytes()
    Path("b.zip").write_bytes(before)
    for bundle, output in (("b.zip", "b.zip"), ("folder", described)):
        done = run(bundle, *options, "--format", "csv", "--output", output)
        assert done.exit_code == 2 and f"--output {output} would replace the bundle" in done.stderr
        assert Path(output).read_bytes() == before
