"""`toolkit predict` as a user types it: what is read, what is printed where, how a mistake is reported."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from stand_in_bundle import write_bundle

import toolkit
from toolkit.cli.main import main as cli
from toolkit.inference.predict.model import Model

pytestmark = pytest.mark.usefixtures("stand_in")

SUPPORT = Path(__file__).parents[2] / "support"
RATE = 16_000


@pytest.fixture(scope="module")
def gendered(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "gendered", covariate="{source: label}")


def write(path: Path, seconds: float = 0.2, rate: int = RATE, channels: int = 1, seed: int = 0) -> Path:
    samples = 0.3 * np.random.default_rng(seed).uniform(-1, 1, (int(seconds * rate), channels))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four recordings, one of them in a folder below, and files to pass over."""
    root = tmp_path_factory.mktemp("audio")
    write(root / "b.wav", 0.7)
    write(root / "a.flac", 0.2, 44_100, 2, seed=1)
    write(root / "inner" / "c.mp3", 0.3, seed=2)
    write(root / "z.OGG", 0.3, seed=3)
    write(root / ".hidden.wav")
    write(root / ".folder" / "d.wav")
    (root / "notes.txt").write_text("no audio")
    return root


def run(*words, stdin: bytes | None = None):
    return CliRunner().invoke(cli, ["predict", *map(str, words)], input=stdin, catch_exceptions=False)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


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


def test_bad_files_are_named_and_skipped_and_the_exit_code_says_so(bundle, folder, tmp_path):
    broken = tmp_path / "broken.flac"
    broken.write_bytes((folder / "a.flac").read_bytes()[:2000])
    missing, text = tmp_path / "missing.wav", folder / "notes.txt"
    done = run(bundle, folder / "b.wav", broken, missing, text, folder / "b.wav", "--format", "csv")
    assert done.exit_code == 1
    first, last = rows(done.stdout)
    assert first == last, "the same file twice is labelled twice"
    complaints = done.stderr.splitlines()
    assert len(complaints) == 3
    for line, path in zip(complaints, (broken, missing, text), strict=True):
        assert line.startswith("skipped: ") and str(path) in line


def test_a_table_is_read_under_the_names_of_its_columns(bundle, folder, tmp_path):
    table = tmp_path / "t.tsv"
    table.write_text(f"folder\tfile\tpath\tfrom\n{folder}\tb\tx\t0:00:00.10\n")
    done = run(bundle, table, "--format", "csv", "--columns", "path={folder}/{file}.wav,start=from")
    (row,) = rows(done.stdout)
    assert (row["path"], row["start"], row["end"]) == (f"{folder}/b.wav", "0.100", "0.700")
    done = run(bundle, table, "--columns", "path=filr")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "no column 'filr' for path; found folder, file, path, from. Did you mean 'file'?" in done.stderr
    done = run(bundle, folder, "--columns", "path=file")
    assert done.exit_code == 2 and f"names columns of a manifest, and {folder} is not one" in done.stderr
    done = run(bundle, table, "--columns", "path=file,path=folder")
    assert done.exit_code == 2 and "'--columns': path is named twice." in done.stderr
    done = run(bundle, table, "--columns", "path")
    assert done.exit_code == 2 and "'--columns': NAME=COLUMN,... is needed, not 'path'" in done.stderr


def test_a_manifest_needs_no_labels_and_its_stretches_are_labelled_by_themselves(bundle, folder):
    manifest = folder / "inner" / "stretches.csv"
    manifest.write_text(
        "path,start,end,weather\n../b.wav,,,dry\n../b.wav,0.1,0.5,wet\nc.mp3,,0.2,wet\n../b.wav,,,dry\n"
    )
    done = run(bundle, manifest, "--format", "csv")
    assert (done.exit_code, done.stderr) == (0, "")
    found = rows(done.stdout)
    assert [(row["start"], row["end"]) for row in found] == [
        ("0.000", "0.700"), ("0.100", "0.500"), ("0.000", "0.200"), ("0.000", "0.700"),
    ]  # fmt: skip
    assert found[0] == found[3] and found[0]["p_tone"] != found[1]["p_tone"]
    assert found[2]["path"] == str(folder / "inner" / "c.mp3")


def test_paths_are_read_from_standard_input(bundle, folder):
    lines = f"{folder / 'b.wav'}\n\n{folder / 'inner'}\r\n{folder / 'a.flac'}".encode()
    done = run(bundle, "-", "--format", "csv", stdin=lines)
    assert done.exit_code == 0, done.stderr
    names = [str(folder / name) for name in ("b.wav", "inner/c.mp3", "a.flac")]
    assert [row["path"] for row in rows(done.stdout)] == names


def test_a_refused_line_of_standard_input_is_skipped_alone(bundle, folder, tmp_path):
    (tmp_path / "m.csv").write_text("file\na.wav\n")
    done = run(bundle, "-", "--format", "csv", stdin=f"{tmp_path / 'm.csv'}\n{folder / 'b.wav'}".encode())
    assert done.exit_code == 1 and len(rows(done.stdout)) == 1
    assert done.stderr.startswith(f"skipped: {tmp_path / 'm.csv'}:1: no column 'path'")


def test_a_name_that_is_not_text_comes_out_as_it_came_in(bundle, folder, tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9, \xff.wav"
    os.link(folder / "b.wav", name)
    for done in (run(bundle, "-", "--format", "csv", stdin=name), run(bundle, tmp_path, "--format", "csv")):
        assert done.exit_code == 0, done.stderr
        assert name in done.stdout_bytes


def test_a_covariate_is_given_for_all_or_by_a_column(gendered, folder, tmp_path):
    def tones(*words) -> list[float]:
        done = run(gendered, *words, "--format", "csv")
        assert done.exit_code == 0, done.stderr
        return [float(row["p_tone"]) for row in rows(done.stdout)]

    (woman,), (man,) = (tones(folder / "b.wav", "--covariate", f"gender={value}") for value in ("F", "m"))
    assert abs(woman - man) > 1e-4
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"path,sex\n{folder}/b.wav,male\n{folder}/b.wav,F\n")
    assert tones(manifest, "--covariate", "gender=@sex") == pytest.approx([man, woman], abs=1e-6)


def test_a_row_without_the_covariate_is_skipped_by_name(gendered, folder, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"path,gender\n{folder}/b.wav,\n{folder}/a.flac,F\n{folder}/z.OGG,X\n")
    done = run(gendered, manifest, "--covariate", "gender=@gender", "--format", "csv")
    assert done.exit_code == 1 and [row["path"] for row in rows(done.stdout)] == [f"{folder}/a.flac"]
    first, second = done.stderr.splitlines()
    assert first.startswith(f"skipped: {folder}/b.wav: ") and "gender" in first
    assert second.startswith(f"skipped: {folder}/z.OGG: ") and "'X'" in second


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--covariate gender=F (it knows F, M) for all of them, or --covariate gender=@column"),
        (["--covariate", "gendre=F"], "Did you mean 'gender'?"),
        (["--covariate", "gender=X"], "'X' is not one of F, M"),
        (["--covariate", "gender"], "NAME=VALUE"),
        (["--covariate", "gender=F", "--covariate", "gender=M"], "twice"),
        (["--covariate", "gender=@sex"], "reads a column of a manifest"),
    ],
)
def test_a_covariate_that_is_missing_or_wrong_is_one_line(gendered, folder, words, message):
    done = run(gendered, folder, *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_missing_column_is_named_with_the_nearest_one(gendered, folder, tmp_path):
    (tmp_path / "m.csv").write_text(f"path,sexes\n{folder}/b.wav,F\n")
    done = run(gendered, tmp_path / "m.csv", "--covariate", "gender=@sex")
    assert done.exit_code == 2 and "no column 'sex'" in done.stderr and "Did you mean 'sexes'?" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.wav,x\n", "m.csv:1: no column 'path'"),
        ("path\n", "holds no utterance"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_one_line_and_nothing_is_labelled(bundle, folder, tmp_path, text, message):
    (tmp_path / "m.csv").write_text(text)
    done = run(bundle, folder, tmp_path / "m.csv")
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_nothing_to_label_is_an_error(bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    done = run(bundle, tmp_path / "empty")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "holds no audio file" in done.stderr and "nothing to label" in done.stderr
    assert run(bundle, "-", stdin=b"\n").exit_code == 2
    assert run(tmp_path / "no-bundle", SUPPORT / "no.wav").exit_code == 2


def test_paths_that_do_not_exist_are_one_line_and_no_header(bundle, tmp_path):
    done = run(bundle, tmp_path / "a.wav", tmp_path / "b")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith(f"There is nothing to label: {tmp_path}/a.wav and {tmp_path}/b cannot be found\n")
    assert done.stderr.count("\n") == 1


def test_an_empty_folder_among_others_is_named(bundle, folder, tmp_path):
    done = run(bundle, tmp_path, folder / "b.wav", "--format", "csv")
    assert done.exit_code == 1 and len(rows(done.stdout)) == 1
    assert f"skipped: {tmp_path} holds no audio file" in done.stderr


def test_stamps_are_printed_once_and_are_in_every_row(tmp_path, folder):
    bundle = write_bundle(tmp_path / "stamped", stamps=["synthetic corpus", "random weights"])
    done = run(bundle, folder / "b.wav", folder / "z.OGG", "--format", "csv")
    assert done.stderr.splitlines() == ["NOTE: synthetic corpus", "NOTE: random weights"]
    assert {row["note"] for row in rows(done.stdout)} == {"synthetic corpus; random weights"}
    lines = run(bundle, folder, "--format", "jsonl").stdout.splitlines()
    assert {json.loads(line)["note"] for line in lines} == {"synthetic corpus; random weights"}


def test_rows_go_to_a_file_that_appears_when_it_is_complete(bundle, folder, tmp_path):
    expected = run(bundle, folder, "--format", "csv").stdout
    done = run(bundle, folder, "--format", "csv", "--output", tmp_path / "out.csv")
    assert (done.exit_code, done.stdout) == (0, "")
    assert (tmp_path / "out.csv").read_text() == expected and list(tmp_path.iterdir()) == [tmp_path / "out.csv"]
    done = run(bundle, folder, "--output", tmp_path / "out.csv" / "out.csv")
    assert done.exit_code == 2 and "cannot be written (File exists): choose another --output" in done.stderr


@pytest.mark.parametrize("format", ["csv", "rttm"])
def test_a_folder_as_output_is_refused_before_anything_is_labelled(bundle, folder, tmp_path, monkeypatch, format):
    monkeypatch.setattr(Model, "results", lambda *args, **options: pytest.fail("it was labelled"))
    done = run(bundle, folder / "b.wav", "--format", format, "--output", tmp_path)
    assert (done.exit_code, done.stderr.count("\n"), list(tmp_path.iterdir())) == (2, 1, [])
    assert f"--output {tmp_path} is a folder: " in done.stderr


def test_a_stamp_is_not_a_formula_in_a_table(tmp_path, folder):
    bundle = write_bundle(tmp_path / "stamped", stamps=["=1+1"])
    assert rows(run(bundle, folder / "b.wav", "--format", "csv").stdout)[0]["note"] == "'=1+1"


def test_sixty_files_of_mixed_formats_with_five_broken_ones_label_fifty_five_and_name_five(bundle, tmp_path):
    kinds = [("wav", 16_000), ("flac", 44_100), ("ogg", 22_050), ("mp3", 48_000)]
    for number in range(60):
        ending, rate = kinds[number % 4]
        write(tmp_path / f"{number:02}.{ending}", 0.1 + 0.01 * number, rate, 1 + number % 2, seed=number)
    broken = [tmp_path / f"{number:02}.{kinds[number % 4][0]}" for number in (3, 16, 17, 18, 59)]
    for path in broken:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = run(bundle, tmp_path, "--format", "csv")
    assert done.exit_code == 1
    named = [line for line in done.stderr.splitlines() if line.startswith("skipped: ")]
    assert len(named) == 5 and all(str(path) in line for path, line in zip(broken, named, strict=True))
    expected = [path for path in sorted(tmp_path.iterdir()) if path not in broken]
    assert [row["path"] for row in rows(done.stdout)] == list(map(str, expected))


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_on_standard_input_may_begin_with_a_byte_order_mark(bundle, folder, encoding):
    paths = [str(folder / "b.wav"), str(folder / "a.flac")]
    done = run(bundle, "-", "--format", "csv", stdin="".join(f"{path}\n" for path in paths).encode(encoding))
    assert (done.exit_code, [row["path"] for row in rows(done.stdout)]) == (0, paths)


def test_files_of_one_stem_are_two_rows(bundle, tmp_path):
    for name in ("half.au", "half.w64"):
        write(tmp_path / name)
    done = run(bundle, tmp_path, "--format", "csv")
    assert [row["path"] for row in rows(done.stdout)] == [str(tmp_path / "half.au"), str(tmp_path / "half.w64")]
