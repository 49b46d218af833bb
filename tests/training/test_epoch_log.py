"""Trackers get what epochs.csv has, go on where a run is resumed, and never end a training."""

import csv
import json
import sys

import pytest
from fake_trackers import FakeTracker
from small_system import write_recipe

from toolkit.errors import RecipeError
from toolkit.training.epoch_log import EpochLog
from toolkit.training.loop.history import History
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run
from toolkit.training.run_folder import RunFolder

BOTH = "--training.loggers=[mlflow, wandb]"


@pytest.fixture
def trackers(monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return [FakeTracker(monkeypatch, name) for name in ("mlflow", "wandb")]


def make(folder, *overrides, said=None) -> Run:
    recipe = folder / "small.yaml"
    source = load_source(recipe if recipe.exists() else write_recipe(folder), ["--training.epochs=2", *overrides])
    return Run(prepare(source), say=[].append if said is None else said.append)


def curve(folder) -> list[dict[str, float]]:
    rows = csv.DictReader((folder / "epochs.csv").read_text().splitlines())
    return [{name.replace("_", "/", 1): float(value) for name, value in row.items() if value} for row in rows]


def test_both_get_every_epoch_under_the_names_of_the_run_and_its_recipe(trackers, tmp_path):
    run = make(tmp_path, BOTH)
    folder = run.train().parent
    for tracker in trackers:
        (tracked,) = tracker.runs.values()
        assert [pytest.approx(row) for row in curve(folder)] == tracked.rows and len(tracked.rows) == 2
        assert tracked.options["name"] == folder.name
        assert tracked.options.get("config", tracked.options.get("recipe.json")) == run.recipe.as_dict()
    assert [run.ended for tracker in trackers for run in tracker.runs.values()] == [["FINISHED"], [0]]
    assert trackers[1].runs["id0"].options["project"] == "audio-classification-toolkit"
    assert not (folder / "tensorboard").exists()


def test_a_line_says_whether_an_epoch_has_a_train_loss(tmp_path):
    run, said = make(tmp_path, "--training.loggers=[]"), []
    log, history = EpochLog(RunFolder(tmp_path, writes=False), run.recipe, said.append), History((), run.training)
    for epoch, loss in ((0, None), (1, 0.5), (2, None)):
        history.rows = [{"epoch": epoch, "train_loss": loss, "valid_wa": 0.5, "seconds": 2.0}]
        log(history)
    assert [line.partition("  valid")[0].split("  ")[-1] for line in said] == [
        "fitted",
        "train loss 0.5000",
        "no finite train loss",
    ]


def test_a_resumed_run_goes_on_in_the_same_tracked_runs(trackers, tmp_path, monkeypatch):
    run = make(tmp_path, BOTH, "--training.epochs=3")

    def interrupt(line):
        if "epoch   3" in line:
            raise KeyboardInterrupt

    run.say = run.log.say = interrupt
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert [t.runs["id0"].ended for t in trackers] == [["KILLED"], [1]]
    assert json.loads((run.folder.path / "trackers.json").read_text()) == {"mlflow": "id0", "wandb": "id0"}
    folder = make(tmp_path, BOTH, "--training.epochs=3").train().parent
    assert folder == run.folder.path
    for tracker in trackers:
        assert list(tracker.runs) == ["id0"]
        assert [row["epoch"] for row in tracker.runs["id0"].rows] == [1, 2, 3]


@pytest.mark.parametrize("call", ["begin", "log"])
def test_a_tracker_that_fails_is_named_once_and_the_training_goes_on(call, trackers, tmp_path):
    said = []
    trackers[0].broken = call
    folder = make(tmp_path, BOTH, said=said).train().parent
    cause = "(ConnectionError: the server is away)"
    warning = f"WARNING: mlflow failed and receives nothing more from this training {cause}."
    assert [line for line in said if "WARNING" in line] == [warning]
    assert (folder / "results.json").exists() and len(trackers[1].runs["id0"].rows) == 2


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    expected = r"loggers: wandb is not installed: pip install 'audio-classification-toolkit\[wandb\]', or leave it out"
    with pytest.raises(RecipeError, match=expected):
        make(tmp_path, "--training.loggers=[wandb]")
    with pytest.raises(RecipeError, match=r"training.loggers.*'mlfow'.*Did you mean 'mlflow'"):
        make(tmp_path, "--training.loggers=[mlfow]")


def test_trackers_are_not_part_of_a_runs_identity_and_none_is_silent(trackers, tmp_path):
    said = []
    plain = make(tmp_path, "--training.loggers=[]", "--training.epochs=1", said=said)
    assert plain.folder.path == make(tmp_path, BOTH, "--training.epochs=1").folder.path
    folder = plain.train().parent
    assert not any(word in line.lower() for line in said for word in ("tensorboard", "mlflow", "wandb", "tracker"))
    assert not (folder / "tensorboard").exists() and not (folder / "trackers.json").exists()
    assert not any(tracker.runs for tracker in trackers)
