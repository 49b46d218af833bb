"""From recordings to predictions by the commands alone, each printed by the one before; recipes by name."""

import csv
import json
import os
import re
import shlex
import site
import subprocess
import sys
import venv
from pathlib import Path
from shutil import copy, copytree, ignore_patterns, which

import pytest
import soundfile
from click.testing import CliRunner, Result
from small_system import write_corpus

from toolkit.cli.main import main
from toolkit.recipe.loading import load_recipe, shipped_recipes

ROOT = Path(__file__).parents[2]
VOICES = {"ann": "en-us+f1", "bob": "en-us+m1", "cleo": "en-gb+f2", "dan": "en-gb-scotland+m3"}  # of espeak-ng


def run(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)), prog_name="toolkit")


def following(result: Result | subprocess.CompletedProcess, command: str) -> list[str]:
    """The words of the command that another one names as the next."""
    (line,) = [line for line in result.stderr.splitlines() if re.match(rf"Next.*: toolkit {command} ", line)]
    return shlex.split(line.partition(": toolkit ")[2])


@pytest.fixture
def recordings(tmp_path, monkeypatch) -> Path:
    """A manifest of six speakers in three sessions, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return write_corpus(tmp_path / "recordings")


def folder_of_classes(manifest: Path, *above: str) -> Path:
    """The recordings of a manifest as files in class folders, perhaps in other folders."""
    root = manifest.parent.parent / "classes"
    for row in manifest.read_text().splitlines()[1:]:
        name, label, *_ = row.split(",")
        folder = root.joinpath(*above[int(name[0]) - 1 : int(name[0])], label)
        folder.mkdir(parents=True, exist_ok=True)
        (manifest.parent / name).rename(folder / name)
    return root


def test_from_a_table_to_predictions_each_command_prints_the_next(recordings):
    done = run("new-recipe", "recordings/manifest.csv", "--base", "speech/functionals")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("recordings/manifest.csv: 24 utterances of 6 speakers, 3 F, 3 M; 2 classes: ")
    assert re.search(r"1M +│ 4 speakers: 16 utterances +│ 1F: 4 utterances +│ 1M: 4 utterances", done.stdout)
    assert done.stdout.splitlines()[-1] == "manifest.yaml"
    words = following(done, "train")
    assert words == ["train", "manifest.yaml"]
    done = run(*words, "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    assert following(done, "experiment") == ["experiment", "manifest.yaml", "--output", "manifest-folds"]
    done = run(*following(done, "export"))
    assert done.exit_code == 0, done.stderr
    *words, folder = following(done, "predict")
    assert (words, folder) == (["predict", "manifest.zip"], "FOLDER")
    done = run(*words, "recordings", "--format", "csv")
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 + 24 and ",tone," in done.stdout
    done = run("train", "manifest.yaml", "--device", "cpu", "--init_from", "manifest.zip")
    assert "--init_from=manifest.zip" in following(done, "experiment"), "the folds of the same system"


@pytest.fixture
def environment(tmp_path) -> Path:
    """An environment with a wheel of the toolkit, and with everything installed here except the repository."""
    pytest.importorskip("pip", reason="a wheel is installed by pip")
    source, folder = tmp_path / "source", tmp_path / "environment"
    for name in ("toolkit", "plugins", "recipes"):
        copytree(ROOT / name, source / name, ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        copy(ROOT / name, source)
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))  # .pth files there are not read
    pip = [sys.executable, "-m", "pip", "--python", folder, "install"]
    offline = ["--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, *offline, source], check=True, capture_output=True)
    return folder


@pytest.mark.skipif(which("espeak-ng") is None, reason="espeak-ng speaks the recordings")
def test_with_the_wheel_alone_recordings_of_four_voices_lead_to_predictions(environment, tmp_path):
    folder, rows = tmp_path / "elsewhere", ["path,label,speaker"]
    (folder / "clips").mkdir(parents=True)
    for speaker, voice in VOICES.items():
        for word in ("yes", "no", "stop", "go"):
            for number in range(5):
                name = f"clips/{word}-{speaker}-{number}.wav"
                manner = ["-v", voice, "-s", str(120 + 20 * number), "-p", str(35 + 8 * number)]
                subprocess.run(["espeak-ng", *manner, "-w", folder / name, word], check=True)
                rows.append(f"{name},{word},{speaker}")
    (folder / "words.csv").write_text("\n".join(rows))
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def installed(program: str, *words: str, **variables: str) -> subprocess.CompletedProcess:
        command = [environment / "bin" / program, *words]
        done = subprocess.run(command, cwd=folder, env=inherited | variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    where = installed("python", "-c", "import toolkit, toolkit_plugins as p; print(toolkit.__file__, *p.__path__)")
    assert all(Path(path).is_relative_to(environment) for path in where.stdout.split())
    done = installed("toolkit", "new-recipe", "words.csv", "--base", "speech/functionals")
    for command in ("train", "experiment", "report", "export"):
        done = installed("toolkit", *following(done, command))
    assert "words" in (folder / "words-folds" / "report.html").read_text()
    words = following(done, "predict")[:-1]
    done = installed("toolkit", *words, "clips", "--format", "csv", PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "torch.nn" in imported and not imported & {"torch._dynamo", "sympy"}, "torch's compiler takes a second"
    labels = [(row["label"], row["path"]) for row in csv.DictReader(done.stdout.splitlines())]
    assert len(labels) == 80 and sum(path.startswith(f"clips/{label}-") for label, path in labels) > 60


def test_a_folder_of_class_folders_is_a_manifest_whose_speakers_are_unknown(recordings):
    done = run("new-recipe", folder_of_classes(recordings), "--name", "mine")
    assert done.exit_code == 0 and "NOTE: speakers are not known" in done.stderr
    recipe = load_recipe("mine.yaml")
    assert (recipe.name, recipe.protocol.name, list(recipe.model.levels)) == ("mine", "random", ["mfcc"])
    done = run("check-data", "mine.yaml", "--json")
    (fold,) = json.loads(done.stdout)["folds"]
    assert fold["test"] == {"speakers": [], "utterances": 4} and fold["train"]["utterances"] == 18
    text = Path("mine.yaml").read_text()
    done = run("new-recipe", "classes", "--output", "mine.yaml")
    assert done.exit_code == 2 and "mine.yaml exists already: give --overwrite" in done.stderr
    assert Path("mine.yaml").read_text() == text
    assert run("new-recipe", "classes", "--output", "mine.yaml", "--overwrite").exit_code == 0
    Path("classes").rename("\u00e9motions")
    assert run("new-recipe", "\u00e9motions").stdout.endswith("\n\u00e9motions.yaml\n"), "letters are not only ASCII's"


def test_folders_of_a_split_in_a_folder_are_its_parts(recordings):
    folder_of_classes(recordings, "train", "val", "test")
    assert run("new-recipe", "classes", "--base", "sounds/functionals").exit_code == 0
    done = run("check-data", "classes.yaml")
    assert re.search(r"given +│ 8 utterances +│ 8 utterances +│ 8 utterances", done.stdout), done.output
    Path("classes/loose.wav").write_bytes(b"")
    done = run("new-recipe", "classes", "--overwrite")
    assert done.exit_code == 2 and "loose.wav is in no class folder" in done.stderr
    Path("classes/loose.wav").unlink()
    Path("classes/noise").mkdir()
    Path("classes/noise/x.wav").write_bytes(b"")
    done = run("new-recipe", "classes", "--overwrite")
    assert done.exit_code == 2 and "'test' is a part of a split, and 'noise' is not" in done.stderr


def test_a_linked_class_folder_is_refused(recordings):
    folder = folder_of_classes(recordings)
    (folder / "linked").symlink_to(recordings.parent)
    done = run("new-recipe", folder)
    assert done.exit_code == 2 and "linked is a link to a folder, which is not followed" in done.stderr


def test_the_paths_of_a_linked_manifest_are_relative_to_the_link(recordings, tmp_path):
    recordings.rename(tmp_path / "1f3a")
    recordings.symlink_to(tmp_path / "1f3a")
    made = run("new-recipe", "recordings/manifest.csv", "--name", "mine", "--base", "speech/functionals")
    assert made.exit_code == 0
    done = run("check-data", "mine.yaml")
    assert done.exit_code == 0, done.output


def test_the_folds_that_are_shown_are_those_of_the_recipe_that_is_written(recordings):
    Path("base.yaml").write_text("extends: speech/functionals\nprotocol: {name: groups, args: {k: 4}}\n")
    done = run("new-recipe", "recordings/manifest.csv", "--base", "base.yaml", "--protocol", "groups", "--name", "mine")
    assert done.exit_code == 0, done.output
    recipe = load_recipe("mine.yaml")
    assert (recipe.protocol.name, recipe.protocol.args) == ("groups", {}), "five groups, as shown"


@pytest.mark.parametrize(
    ("columns", "expected", "said"),
    [
        ("label,speaker", "{name: groups, args: {k: 4}}", ""),
        ("label,speaker,group", "{name: groups}", ""),
        ("label,speaker,split", "{name: given}", ""),
        ("label", "{name: random}", "speakers are not known"),
        ("label,speaker,sex", "{name: groups, args: {k: 4}}", "if it is the gender, give --columns gender=sex"),
    ],
)
def test_the_protocol_follows_from_the_columns(columns, expected, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", [0.1] * 12_000, 8000)
    rows, names = [f"file,start,end,{columns}"], columns.split(",")
    for number in range(40):
        speaker = number % 4
        known = {"label": "rare" if number < 4 else "often", "speaker": f"s{speaker}", "group": f"g{speaker}"}
        known["sex"], known["split"] = "f", ("train", "train", "valid", "test")[speaker]
        rows.append(",".join([f"{number}.wav,0,1.{number:02}", *(known[name] for name in names)]))
        Path(f"{number}.wav").symlink_to("a.wav")
    Path("my.csv").write_text("\n".join(rows))
    done = run("new-recipe", "my.csv", "--base", "ravdess/mfcc", "--columns", "path=file")
    assert done.exit_code == 0, done.output
    assert "often has 9 times the utterances of rare" in done.stderr and said in done.stderr
    text, recipe = Path("my.yaml").read_text(), load_recipe("my.yaml")
    assert f"protocol: {expected}" in text and recipe.audio.segment_seconds == 1.5
    assert recipe.corpus.args == {"path": str(tmp_path / "my.csv"), "columns": {"path": "file"}}
    assert recipe.model.losses["classification"].args == {"label_smoothing": 0.1, "class_weights": "balanced"}


def test_segments_are_as_long_as_95_percent_of_the_recordings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(10):  # 95 % of ten are all ten: nine are only 90 %
        soundfile.write(f"{number}.wav", [0.1] * 8000 * (3 if number == 9 else 1), 8000)
    Path("my.csv").write_text("\n".join(["path,label", *(f"{number}.wav,{'ab'[number % 2]}" for number in range(10))]))
    assert run("new-recipe", "my.csv").exit_code == 0
    assert load_recipe("my.yaml").audio.segment_seconds == 3.0
    assert "segment_seconds: 3.0}  # holds 100 % of the utterances whole" in Path("my.yaml").read_text()
    soundfile.write("0.wav", [0.1] * 8000 * 11, 8000)
    assert run("new-recipe", "my.csv", "--overwrite").exit_code == 0
    assert "segment_seconds: 10.0}  # holds 90 % of the utterances whole" in Path("my.yaml").read_text()


def test_names_that_are_alike_are_joined_or_kept_apart_as_asked(recordings):
    recordings.write_text(recordings.read_text().replace("1F0.wav,tone", "1F0.wav,Tone"))
    done = run("new-recipe", recordings, "--base", "speech/functionals")
    assert "--normalize true joins them" in done.stderr and "normalize" not in Path("manifest.yaml").read_text()
    for given, classes in (("true", ["noise", "tone"]), ("false", ["Tone", "noise", "tone"])):
        done = run("new-recipe", recordings, "--base", "speech/functionals", "--normalize", given, "--overwrite")
        assert done.exit_code == 0 and "differ only in case" not in done.stderr, done.stderr
        assert load_recipe("manifest.yaml").normalize is (given == "true")
        counts = json.loads(run("check-data", "manifest.yaml", "--json").stdout)["counts"]
        assert list(counts["1F"]) == classes


def test_a_misspelt_label_is_named_and_the_next_command_is_one_that_runs(recordings):
    recordings.write_text(recordings.read_text().replace("1M0.wav,tone", "1M0.wav,toen"))
    done = run("new-recipe", recordings, "--base", "speech/functionals")
    assert done.exit_code == 0, done.stderr
    said = "only one utterance has the label 'toen'. Did you mean 'tone'? Write label_map: {\"toen\": \"tone\"} into"
    assert said in done.stderr and "fold 1F cannot be trained: its training part lacks toen" in done.stderr
    assert following(done, "check-data") == ["check-data", "manifest.yaml"]
    assert run("check-data", "manifest.yaml").exit_code == 1
    with Path("manifest.yaml").open("a") as recipe:
        recipe.write('label_map: {"toen": "tone"}\n')
    assert run("check-data", "manifest.yaml").exit_code == 0


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("x.csv", '"columns": {"label": "Gef\u00fchl"}'),
        ("O'Neil.csv", "O'Neil.csv\""),
        ("two\u2028lines.csv", '\\u2028lines.csv"'),
    ],
)
def test_letters_of_any_language_stand_in_the_recipe_as_they_are(name, written, recordings):
    recordings.write_text(recordings.read_text().replace("path,label", "path,Gef\u00fchl"))
    table = recordings.rename(recordings.with_name(name))
    done = run("new-recipe", table, "--columns", "label=Gef\u00fchl", "--base", "sounds/mfcc", "--name", "mine")
    assert done.exit_code == 0 and written in Path("mine.yaml").read_text()
    assert load_recipe("mine.yaml").corpus.args == {"path": str(table), "columns": {"label": "Gef\u00fchl"}}


def test_tables_in_a_folder_of_class_folders_are_named(recordings):
    folder = folder_of_classes(recordings)
    assert "also holds tables" not in run("new-recipe", folder).stderr
    (folder / "list.csv").write_text("path,label\n")
    done = run("new-recipe", "classes", "--overwrite")
    assert done.exit_code == 0 and f"NOTE: {folder} also holds tables: list.csv; name one to use it" in done.stderr


@pytest.mark.parametrize(
    ("longest", "said"), [(1.04, "; 1.0 s each at 8000 Hz\n"), (1.06, "; 1.0 to 1.1 s at 8000 Hz\n")]
)
def test_recordings_that_are_equally_long_have_one_length(longest, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(10):
        soundfile.write(f"{number}.wav", [0.1] * int(8000 * (longest if number == 9 else 1)), 8000)
    Path("my.csv").write_text("\n".join(["path,label", *(f"{number}.wav,{'ab'[number % 2]}" for number in range(10))]))
    assert said in run("new-recipe", "my.csv").stdout


@pytest.mark.parametrize("name", ["2024", "1e3", "null", "true"])
def test_a_table_may_have_any_name(name, recordings):
    table = recordings.rename(recordings.with_name(f"{name}.csv"))
    assert run("new-recipe", table, "--base", "speech/functionals").exit_code == 0
    assert load_recipe(f"{name}.yaml").name == name


def test_what_cannot_be_split_by_speaker_is_refused(recordings):
    text = recordings.read_text().replace(",3F,F", ",2F,F").replace(",3M,M", ",2F,F").replace(",2M,M", ",2F,F")
    recordings.write_text(re.sub(",S[123]", ",", text).replace(",1M,M", ",1F,F"))
    done = run("new-recipe", recordings)
    assert done.exit_code == 2 and "cannot deal 2 speakers" in done.stderr and not Path("manifest.yaml").exists()


def test_recipes_are_listed_and_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = {row["name"]: row for row in json.loads(run("list-recipes", "--json").stdout)}
    assert set(listed) == set(shipped_recipes()) and len(listed) > 20
    assert listed["speech/whisper"]["levels"] == ["functionals", "whisper"]
    assert listed["speech/whisper"]["weights"] == {"model.levels.whisper.args.source": "openai/whisper-tiny.en"}
    assert all(row["summary"].endswith(".") for row in listed.values())
    assert "openai/whisper-tiny.en" in run("list-recipes").stdout
    for name, said in (
        ("multilevel", "Did you mean 'ravdess/multilevel'?"),
        ("speech/wisper", "Did you mean 'speech/whisper'?"),
        ("mulilevel", "Did you mean 'ravdess/multilevel'?"),
        ("zzz", "`toolkit list-recipes` lists the toolkit's own"),
    ):
        done = run("train", name)
        assert done.exit_code == 2 and said in done.stderr, done.stderr
    Path("mine.yaml").write_text("extends: speech/functionals\nname: speech\nseed: 3\n")
    assert (load_recipe("mine.yaml").seed, load_recipe("mine.yaml").training.epochs) == (3, 0)
