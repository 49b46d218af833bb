"""The commands as a user types them: where recipes are found, what is printed, how a mistake is reported."""

import contextlib
import csv
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from small_system import write_corpus, write_recipe

from toolkit.cli.main import main
from toolkit.cli.runs import train

ROOT = Path(__file__).parents[2]
TRAIN = ROOT / "recipes" / "iemocap" / "train.py"


def on_a_terminal(*command: object, **environment: str) -> tuple[int, str, str]:
    """A real command in the root: its exit code, its output, and its errors as on a terminal of 120 columns."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("IEMOCAP_ROOT", "RAVDESS_ROOT")}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))  # 24 rows of 120 columns
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            env={**inherited, "OMP_NUM_THREADS": "1", **environment},
            stdout=output,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a pseudo-terminal whose other side is closed
            while block := os.read(ours, 4096):
                shown += block
        os.close(ours)
        code = process.wait()
        output.seek(0)
        return code, output.read().decode(), shown.decode()


def in_this_process(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)), prog_name="toolkit")


def train_py(folder: Path, *words: object) -> Result:
    """What train.py of a folder does: see `test_train_py_runs_from_the_root...`."""
    return CliRunner().invoke(train, list(map(str, words)), prog_name="train.py", obj=folder)


@pytest.fixture(autouse=True)
def no_corpora(monkeypatch):
    for name in ("IEMOCAP_ROOT", "RAVDESS_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def test_train_py_runs_from_the_root_shows_a_bar_and_a_table_and_ends_with_the_path(tmp_path, cache, monkeypatch):
    """Also from the recipe's folder and with an absolute path: there the run is found finished."""
    small = ["--corpus.args.utterances_per_speaker", "4", "--training.epochs=1", "--output_folder", tmp_path]
    code, out, shown = on_a_terminal("recipes/iemocap/train.py", "hparams/mfcc.yaml", *small, XDG_CACHE_HOME=cache)
    assert code == 0, shown
    assert "WA %" in out and "UA %" in out and "synthetic" in out
    assert "NOTE: synthetic corpus" in shown  # at the start
    assert "NOTE: synthetic corpus" in out  # and at the end
    assert "NOTE: small settings" in out
    assert "train_loss=" in shown and ("it/s" in shown or "s/it" in shown)  # the bar
    results = Path(out.splitlines()[-1])
    assert results.name == "results.json" and results.parent.parent == tmp_path
    for name in ("recipe.yaml", "manifest.csv", "epochs.csv", "predictions.csv", "results.json"):
        assert "synthetic corpus" in (results.parent / name).read_text(), name
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    for where, recipe in ((TRAIN.parent, "hparams/mfcc.yaml"), (tmp_path, TRAIN.parent / "hparams" / "mfcc.yaml")):
        monkeypatch.chdir(where)
        again = train_py(TRAIN.parent, recipe, *small)
        assert again.exit_code == 0, again.stderr
        assert "This run is finished; nothing is trained" in again.stderr
        assert Path(again.stdout.splitlines()[-1]) == results


def test_a_runs_files_hold_what_the_docs_promise(tmp_path):
    done = in_this_process("train", write_recipe(tmp_path), "--fold", "S2")
    assert done.exit_code == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1]).parent
    results = json.loads((folder / "results.json").read_text())
    keys = "system corpus protocol fold seed wa ua labels confusion n_utterances synthetic pretrained versions seconds"
    assert set(keys.split()) <= set(results)
    assert (results["fold"], results["synthetic"], results["pretrained"]) == ("S2", False, {"mfcc": None})
    predictions = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))
    known = ["id", "speaker", "gender", "seconds", "reference", "predicted"]
    assert list(predictions[0]) == [*known, "p_noise", "p_tone"]
    assert {row["speaker"] for row in predictions} == {"2F", "2M"}
    for row in predictions:
        probabilities = {label: float(row[f"p_{label}"]) for label in ("noise", "tone")}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-12)
        assert row["predicted"] == max(probabilities, key=probabilities.get)
    accuracy = sum(row["reference"] == row["predicted"] for row in predictions) / len(predictions)
    assert results["wa"] == pytest.approx(accuracy) and results["n_utterances"] == len(predictions) == 8
    with np.load(folder / "embeddings.npz") as embeddings:
        assert embeddings["fused"].shape == (8, 8)
        assert embeddings["id"].tolist() == [row["id"] for row in predictions]
    epochs = list(csv.DictReader((folder / "epochs.csv").read_text().splitlines()))
    assert list(epochs[0]) == ["epoch", "train_loss", "valid_wa", "valid_ua", "test_wa", "test_ua", "seconds"]
    assert [row["epoch"] for row in epochs] == ["1", "2", "3"]


def test_a_hyphen_may_stand_for_the_underscore_of_an_option(tmp_path):
    done = in_this_process(
        "train", write_recipe(tmp_path), "--output-folder", tmp_path / "other", "--data-folder=/x", "--init-from=/y"
    )
    assert done.stderr == "toolkit: The data folder /x does not exist.\n"
    done = in_this_process("train", write_recipe(tmp_path), "--output-folder", tmp_path / "other", "--init-from=/y")
    assert done.exit_code == 2 and "/y" in done.stderr and "init-from" not in done.stderr


def test_no_next_command_is_one_that_would_be_refused(tmp_path):
    shuffled = "--model.covariates={gender: {source: shuffled}}"
    done = in_this_process("train", write_recipe(tmp_path), "--protocol", "groups", "--training.epochs=1", shuffled)
    assert done.exit_code == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Next")]
    assert "toolkit experiment" in line and " --protocol=groups " in line, "a shuffled covariate cannot be exported"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hparams/mtl_rc.yaml"], "mtl_cr.yaml"),
        (["hparams/ser.yaml", "--model.fusion.args.dimm", "3", "--modell.x", "3"], "'model'"),
        (["hparams/ser.yaml", "--training.epoch", "3"], "epochs"),
        (["hparams/ser.yaml", "--fold"], "--fold"),
        (["hparams/ser.yaml", "--data_folder", "/nowhere"], "/nowhere"),
        (["hparams/ser.yaml", "--protocol", "losso"], "loso"),
        (["hparams/ser.yaml", "--fold", "6M"], "1M, 1F, 2M"),
        (["hparams/ser.yaml", "--model.levels.mfcc.args.n_mfc", "13"], "n_mfcc"),
        (["hparams/ser.yaml", "--training.precision", "fp61"], "fp16"),
        (["hparams/ser.yaml", "--training.precision", "fp16", "--device", "cpu"], "needs a GPU"),
    ],
    ids=lambda value: " ".join(value[1:2]) if isinstance(value, list) else "",
)
def test_a_users_mistake_is_one_line_with_what_is_near(arguments, message, cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    small = [] if "--data_folder" in arguments else ["--corpus.args.utterances_per_speaker=4"]
    done = train_py(TRAIN.parent, *small, *arguments)
    assert done.exit_code == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith("making the")]
    shown = [line for line in lines if line.strip()]
    assert len(shown) == 1 and message in shown[0], done.stderr


def test_ravdess_without_data_says_how_to_name_the_folder():
    done = train_py(ROOT / "recipes" / "ravdess", "hparams/mfcc.yaml")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert "--data_folder" in done.stderr and "RAVDESS_ROOT" in done.stderr


def test_check_data_counts_and_exits_1_when_training_would_stop(tmp_path):
    recipe = write_recipe(tmp_path)
    fine = in_this_process("check-data", recipe, "--json")
    assert fine.exit_code == 0, fine.stderr
    found = json.loads(fine.stdout)
    assert found["counts"]["1M"] == {"noise": 2, "tone": 2}
    assert [p for p in found["problems"] if p["severity"] == "error"] == []
    (tmp_path / "corpus" / "1M0.wav").write_bytes(b"RIFF")
    broken = in_this_process("check-data", recipe, "--json")
    assert broken.exit_code == 1
    assert any("1M0.wav" in p["message"] + p["where"] for p in json.loads(broken.stdout)["problems"])


def test_check_data_reads_a_corpus_from_its_folder(tmp_path):
    write_corpus(tmp_path)
    recipe = ROOT / "recipes/sounds/hparams/mfcc.yaml"
    done = in_this_process("check-data", recipe, "--data_folder", tmp_path, "--protocol", "session-out")
    assert done.exit_code == 0, done.stderr + done.stdout
    assert "24 utterances" in done.stdout
