"""`toolkit experiment` and `toolkit status` as they are used: trained once, killed, continued, failing in parts."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from several_ranks import fork_workers
from small_system import write_recipe
from trained_model import predictions_by_fold

from toolkit.cli.main import main
from toolkit.errors import ExperimentError
from toolkit.experiment import engine
from toolkit.experiment.cells import Records
from toolkit.experiment.plan import read_plan
from toolkit.report.evidence import Evidence
from toolkit.report.tables.provenance import run_table
from toolkit.training.predictions import read_csv

RUN = [sys.executable, "-m", "toolkit"]


@pytest.fixture
def recipes(tmp_path):
    """Two small systems of one corpus."""
    first = write_recipe(tmp_path)
    second = first.with_name("wide.yaml")
    second.write_text("extends: small.yaml\nmodel: {fusion: {args: {dim: 12}}}\n")
    return [str(first), str(second)]


def start(recipes, folder, *options):
    command = [*RUN, "experiment", *recipes, "--output", str(folder), "--threads", "1", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.fixture
def run_here(monkeypatch):
    """Run the command in this process, whose workers need not import everything first."""
    for name, value in fork_workers().items():
        monkeypatch.setitem(engine.SETTINGS, name, value)

    def run_here(recipes, folder, *options):
        words = ["experiment", *recipes, "--output", str(folder), "--threads", "1", *options]
        done = CliRunner().invoke(main, words, prog_name="toolkit")
        return done.exit_code, done.stdout, done.stderr

    return run_here


def status(folder):
    return CliRunner().invoke(main, ["status", str(folder)])


def table(folder):
    """The predictions of each cell, by the name of its run without the hash."""
    return {r.folder.name.rpartition("-")[0]: (r.folder / "predictions.csv").read_bytes() for r in runs(folder)}


def runs(folder):
    return Evidence(folder).runs


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def cell_states(folder):
    plan = read_plan(folder)
    return Counter(c.state for c in Records(folder).progress(plan, alive=True))


def running_pids(folder):
    records = [json.loads(path.read_text()) for path in folder.glob("cells/*.json")]
    return [record["pid"] for record in records if record["state"] == "running" and record["run"]]


def test_all_cells_are_trained_once_and_the_same_command_trains_nothing(recipes, tmp_path, run_here):
    folder = tmp_path / "experiment"
    code, out, err = run_here(recipes, folder, "--seeds", "1,2", "--folds", "S1,S3", "--jobs", "2")
    assert code == 0, err
    assert "8 cells: small, wide; folds S1, S3 of session-out; seeds 1,2" in err
    assert "8 of 8 cells done" in out and "[8/8]" in err and "epoch" not in err
    found = {(r.cell.system, r.cell.fold, r.cell.seed): r.results["n_utterances"] for r in runs(folder)}
    assert found == {(s, f, seed): 8 for s in ("small", "wide") for f in ("S1", "S3") for seed in (1, 2)}
    rows = read_csv(runs(folder)[0].folder / "predictions.csv")
    assert {row["gender"] for row in rows} == {"F", "M"} and {row["seconds"] for row in rows} == {"0.250", "0.400"}

    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*")}
    code, out, err = run_here(recipes, folder, "--folds", "S1", "--training.checkpoint_minutes", "1")
    assert code == 0 and "2 of 2 cells done" in out
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*")} == before, "nothing was trained"
    assert len(runs(folder)) == 8, "cells of earlier commands are kept"

    code, out, err = run_here(recipes[:1], folder, "--folds", "S1", "--training.epochs", "1")
    assert code == 0 and "small: the tables leave out 4 cells with other settings or code" in err
    assert len(list((folder / "runs").iterdir())) == 9, "a changed setting is a new run"

    shown = status(folder).stdout
    assert "5 of 5 cells done" in shown and "small: the tables leave out 4 cells with other settings or code" in shown
    said = {row["fact"]: row["value"] for row in run_table(Evidence(folder)).rows}
    assert said["Left out"].startswith("small: the tables leave out 4 cells")
    assert "No process runs this experiment." in shown


def test_a_cell_that_fails_is_recorded_and_tried_again_and_the_others_go_on(recipes, tmp_path, run_here, monkeypatch):
    folder = tmp_path / "experiment"
    broken = Path(recipes[0]).with_name("broken.yaml")
    broken.write_text("extends: small.yaml\nmodel: {levels: {mfcc: {args: {n_mfcc: 99}}}}\n")
    code, out, err = run_here([*recipes[:1], str(broken)], folder, "--folds", "S1", "--training.epochs", "1")
    assert code == 1 and "Failed: 1." in err and "n_mfcc" in out
    found = Evidence(folder)
    assert [r.cell.system for r in found.runs] == ["small"]
    ((cell, error),) = found.failures.items()
    assert cell == ("broken", "session-out", "S1", 1) and "n_mfcc" in error
    assert "Traceback" not in out + err and "Next: toolkit report" in err
    code, _, err = run_here([str(broken)], tmp_path / "other", "--folds", "S1")
    assert code == 1 and "Failed: 1." in err and "Next" not in err, "there is nothing to report"

    lost = Mock(run=lambda function, tasks: [[(task, ExperimentError("its worker died")) for task in tasks]])
    monkeypatch.setattr(engine.WorkerOptions, "workers", lambda options, tasks: nullcontext(lost))
    code, out, _ = run_here(recipes[1:], folder, "--folds", "S1", "--training.epochs", "1")
    assert code == 1 and "wide  session-out  fold S1  seed 1  failed: its worker died" in out


def kill_a_worker(folder):
    """Kill the first process that trains a cell, as soon as it does."""
    wait_for(lambda: any(Path(f"/proc/{pid}").exists() for pid in running_pids(folder)))
    os.kill(next(pid for pid in running_pids(folder) if Path(f"/proc/{pid}").exists()), signal.SIGKILL)


def test_a_killed_experiment_ends_with_the_table_of_an_undisturbed_one(recipes, tmp_path, run_here):
    settings, killed = ("--training.epochs=8", "--training.checkpoint_steps=1"), tmp_path / "killed"
    undisturbed = predictions_by_fold(Path(recipes[0]), tmp_path / "undisturbed", "S1,S2", *settings)

    options = ("--folds", "S1,S2", *settings)
    process = start(recipes[:1], killed, *options)
    wait_for(lambda: any(killed.glob("runs/*/epochs.csv")))
    workers = running_pids(killed)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=20)
    assert not Records(killed).are_written() and cell_states(killed)["done"] < 2
    shown = status(killed).stdout
    assert "interrupted: " in shown and " of 8 epochs" in shown

    killer = threading.Thread(target=kill_a_worker, args=(killed,))
    killer.start()
    code, _, err = run_here(recipes[:1], killed, *options)
    killer.join()
    assert code == 0, err
    assert "killed by signal 9" in err
    assert table(killed) == undisturbed and len(undisturbed) == 2
    assert any("Resumes in epoch" in path.read_text() for path in killed.glob("cells/*.log"))


def test_two_terminals_train_no_cell_twice(recipes, tmp_path, run_here):
    folder = tmp_path / "experiment"
    other = start(recipes[:1], folder, "--folds", "S1,S2")
    wait_for(lambda: any(folder.glob("cells/*.json")))
    code, _, err = run_here(recipes[:1], folder, "--folds", "S1,S2")
    assert code == 0 and "Another process runs this experiment" in err, err
    code, _, err = finish(other)
    assert code == 0 and "Another process runs this experiment" not in err, err
    logs = [path.read_text() for path in folder.glob("cells/*.log")]
    assert [text.count("epoch   1 ") for text in logs] == [1, 1]


def test_protocols_of_one_training_are_trained_once(recipes, tmp_path, run_here):
    folder = tmp_path / "experiment"
    options = ("--protocol", "loso,loso-test-epoch,loso-as-published", "--folds", "1F")
    code, out, err = run_here(recipes[:1], folder, *options)
    assert code == 0, err
    assert "NOTE: loso-test-epoch: the epoch was chosen on the test speaker (1 of 3 cells)" in out
    logs = {path.name.split("-seed")[0]: path.read_text() for path in folder.glob("cells/*.log")}
    assert "Trained already" in logs["small-loso-test-epoch-1F"]
    assert [name for name, text in sorted(logs.items()) if "epoch   1 " in text] == [
        "small-loso-1F",
        "small-loso-as-published-1F",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "3"], "--seed is for one run: this command takes --seeds."),
        (["--seeds", "one"], "'--seeds': whole numbers from 0 with commas between them are needed, not 'one'."),
        (["--folds", "S9"], "No fold is called 'S9'"),
        (["--resource", "GPU=1"], "--resource is for the workers of a Dask cluster"),
        (["--resource", "GPU=0", "--scheduler", "tcp://x:1"], "'--resource': 0.0 is not in the range x>0"),
        (
            ["--resource", "GPU", "--scheduler", "tcp://x:1"],
            "'--resource': NAME=AMOUNT is needed, each name once, not 'GPU'",
        ),
        (["--scheduler", "tcp://x:1", "--jobs", "2"], "--jobs and --gpus are for this machine"),
        (["--gpus", "0,1", "--jobs", "3"], "--gpus names 2 and --jobs is 3"),
        (["--gpus", "7,x"], "--gpus: this machine has no GPU '"),
        (["--gpus", "7,8"], "--gpus: this machine has no GPU '"),
        (["--training.epoch", "3"], "--training.epoch: a recipe has no such key. Did you mean"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_made(recipes, tmp_path, monkeypatch, options, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,8")  # which torch does not find
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    done = CliRunner().invoke(main, ["experiment", *recipes, "--output", str(tmp_path / "experiment"), *options])
    assert done.exit_code == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "experiment").exists()


def test_the_folder_of_a_search_is_refused(recipes, tmp_path):
    (tmp_path / "search" / "trials").mkdir(parents=True)
    done = CliRunner().invoke(main, ["experiment", *recipes, "--output", str(tmp_path / "search")])
    assert done.exit_code == 2 and "search holds a search of `toolkit tune`: choose another --output." in done.stderr


def test_status_of_a_folder_without_an_experiment_says_so(tmp_path):
    done = status(tmp_path)
    assert done.exit_code == 2 and "holds no experiment (experiment.json is missing)" in done.stderr
