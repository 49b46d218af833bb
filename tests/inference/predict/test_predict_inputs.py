"""What `toolkit predict` reads: files, folders, manifests, standard input; covariates; how a mistake is reported."""

import os
from pathlib import Path

import pytest
from predict_command import rows, run, write
from stand_in_bundle import write_bundle

pytestmark = pytest.mark.usefixtures("stand_in")

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.fixture(scope="module")
def gendered(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "gendered", covariate="{source: label}")


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
    assert done.exit_code == 2 and f"name columns of a manifest, and {folder} is not one" in done.stderr
    done = run(bundle, table, "--columns", "path=file,path=folder")
    assert done.exit_code == 2 and "'--columns': NAME=COLUMN,... is needed, each name once" in done.stderr
    done = run(bundle, table, "--columns", "path")
    assert done.exit_code == 2 and "'--columns': NAME=COLUMN,... is needed, each name once, not 'path'" in done.stderr


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
    assert done.stderr.startswith(f"skipped: {tmp_path / 'm.csv'}: no column 'path'")


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
        (["--covariate", "gender=F", "--covariate", "gender=M"], "each name once"),
        (["--covariate", "gender=@sex"], "name columns of a manifest"),
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
        ("file,label\na.wav,x\n", "m.csv: no column 'path'"),
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


def test_files_of_one_stem_are_two_rows(bundle, tmp_path):
    for name in ("half.au", "half.w64"):
        write(tmp_path / name)
    done = run(bundle, tmp_path, "--format", "csv")
    assert [row["path"] for row in rows(done.stdout)] == [str(tmp_path / "half.au"), str(tmp_path / "half.w64")]
