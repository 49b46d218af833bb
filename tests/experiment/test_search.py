"""`toolkit tune`: what is refused, what is found, what a kill leaves; trials end before the test part."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import optuna
import pytest
from click.testing import CliRunner
from optuna.samplers import RandomSampler
from small_system import write_recipe

from toolkit.cli.main import main
from toolkit.errors import ExperimentError, ToolkitError
from toolkit.experiment import search as search_module
from toolkit.experiment.engine import WorkerOptions
from toolkit.experiment.search import Search
from toolkit.files import locked
from toolkit.recipe.loading import load_recipe

SPACE = "training.optimizer.learning_rate: {low: 1.0e-6, high: 1.0e-1, log: true}\ntraining.batch_size: [4, 8]\n"


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A recipe that learns nothing at its own rate, and a space that holds better ones."""
    recipe = write_recipe(tmp_path_factory.mktemp("planted"))
    recipe.write_text(recipe.read_text().replace("learning_rate: 0.01", "learning_rate: 1.0e-6"))
    (recipe.parent / "space.yaml").write_text(SPACE)
    return recipe


def words(recipe, output, *more):
    options = {"--search": recipe.parent / "space.yaml", "--trials": 8, "--output": output, "--threads": 1}
    return ["tune", str(recipe), *(str(word) for option in options.items() for word in option), *more]


def run_here(function, arguments):
    """Run calls in this process, one at a time, as workers do elsewhere."""
    for argument in arguments:
        try:
            function(argument)
        except ToolkitError as error:
            yield [(argument, error)]
        else:
            yield [(argument, None)]


def set_workers(monkeypatch, run):
    monkeypatch.setattr(WorkerOptions, "workers", lambda options, tasks: nullcontext(Mock(run=run)))


@pytest.fixture
def here(monkeypatch):
    set_workers(monkeypatch, run_here)
    monkeypatch.setattr("toolkit.hardware.give_back", lambda: None)  # looks at all objects of pytest's process


def trials_in(folder):
    """The trials of a search's folder."""
    storage = f"sqlite:///{folder / 'study.db'}"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).get_trials()


def told(trials):
    return [(t.params, t.state.name, t.values, t.intermediate_values) for t in trials]


def test_a_killed_search_goes_on_as_if_undisturbed_and_finds_the_planted_setting(planted, tmp_path, here):
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "killed"
    assert CliRunner().invoke(main, words(planted, undisturbed)).exit_code == 0
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "toolkit", *words(planted, folder)]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    end = time.monotonic() + 120
    while len(list(folder.glob("runs/*/epochs.csv"))) < 3:  # two trials have ended, and the third is under way
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)  # its worker, too
    process.wait()
    before = trials_in(folder)
    assert before[-1].state.name == "RUNNING" and 3 <= len(before) < 8
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/results.json")}
    done = CliRunner().invoke(main, words(planted, folder))
    assert done.exit_code == 0, done.output
    trials = trials_in(folder)
    assert trials[: len(before) - 1] == before[:-1], "what had ended is told once"
    assert kept and {path: path.stat().st_mtime_ns for path in kept} == kept, "and run once"
    assert told(trials) == told(trials_in(undisturbed))
    assert len(trials) == 8 and {t.state.name for t in trials} <= {"COMPLETE", "PRUNED"}
    assert len({t.params["training.optimizer.learning_rate"] for t in trials}) == 8, "nothing is drawn twice"
    best = Path(done.stdout.splitlines()[-1])
    recipe = load_recipe(best)
    assert recipe.training.optimizer.learning_rate > 1e-4 and recipe.model == load_recipe(planted).model
    page = (folder / "search.md").read_text()
    assert re.search("8 trials: .*[1-8] completed", page) and best.read_text().startswith("# 8 trials: ")
    assert "S1" in best.read_text().splitlines()[1], "the folds that chose it"
    assert "8 trials: " in page and page.count("\n| ") == 10 and (folder / "search.png").stat().st_size > 1000

    results = [json.loads(path.read_text()) for path in folder.glob("runs/*/results.json")]
    assert {r["tested"] for r in results} == {False} and not {"wa", "ua", "confusion"} & {k for r in results for k in r}
    left = [*folder.glob("runs/*/predictions.csv"), *folder.glob("runs/*/checkpoints")]
    assert not left
    assert all("test" not in path.read_text() for path in folder.glob("runs/*/epochs.csv"))


def test_a_trial_that_was_killed_while_it_was_drawn_has_failed(planted, tmp_path, here, monkeypatch):
    draw = RandomSampler.sample_independent
    few = ("--trials", "2", "--sampler", "random")

    def interrupted(sampler, study, trial, *which):
        if trial.params:
            raise KeyboardInterrupt
        return draw(sampler, study, trial, *which)

    with monkeypatch.context() as patch:
        patch.setattr(RandomSampler, "sample_independent", interrupted)
        assert CliRunner().invoke(main, words(planted, tmp_path, *few)).exit_code == 130
    done = CliRunner().invoke(main, words(planted, tmp_path, *few))
    assert done.exit_code == 0 and "trial 0  its process ended while it was drawn" in done.stderr, done.output
    assert [trial.state.name for trial in trials_in(tmp_path)] == ["FAIL", "COMPLETE"]


def test_a_search_of_all_settings_ends_when_all_are_tried(planted, tmp_path, here):
    (planted.parent / "all.yaml").write_text("training.batch_size: [4, 8]\nmodel.fusion.args.dim: {low: 4, high: 5}\n")
    options = ["--search", str(planted.parent / "all.yaml"), "--sampler", "bruteforce", "--pruner", "nop"]
    done = CliRunner().invoke(main, words(planted, tmp_path, *options), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = trials_in(tmp_path)
    assert {trial.state.name for trial in found} == {"COMPLETE"} and len({str(trial.params) for trial in found}) == 4
    assert len(found) == 4, "of 8"
    assert CliRunner().invoke(main, words(planted, tmp_path, *options)).exit_code == 0
    assert trials_in(tmp_path) == found, "a repetition draws none again"


def test_trials_of_the_same_settings_are_trained_once_and_have_the_same_scores(planted, tmp_path, here):
    planted.with_name("two.yaml").write_text("training.batch_size: [4, 8]\n")
    options = ["--search", str(planted.with_name("two.yaml")), "--sampler", "random", "--pruner", "nop"]
    done = CliRunner().invoke(main, words(planted, tmp_path, *options, "--trials", "4"))
    assert done.exit_code == 0, done.output
    scores = {(trial.params["training.batch_size"], trial.value) for trial in trials_in(tmp_path)}
    assert len(scores) == len(list(tmp_path.glob("runs/*"))) <= 2


def test_after_a_failed_trial_qmc_draws_other_settings(planted, tmp_path, here, monkeypatch):
    failing = lambda function, arguments: ([(one, ExperimentError("no memory"))] for one in arguments)  # noqa: E731
    set_workers(monkeypatch, failing)
    done = CliRunner().invoke(main, words(planted, tmp_path, "--sampler", "qmc", "--trials", "3"))
    assert "No trial has a score" in done.stderr, done.output
    assert len({t.params["training.optimizer.learning_rate"] for t in trials_in(tmp_path)}) == 3


def test_a_trial_that_another_process_tells_meanwhile_is_left_alone(planted, tmp_path, here, monkeypatch):
    assert CliRunner().invoke(main, words(planted, tmp_path, "--trials", "1")).exit_code == 0
    storage, hold = f"sqlite:///{tmp_path / 'study.db'}", Search._hold
    other = optuna.load_study(study_name=optuna.get_all_study_names(storage)[0], storage=storage)
    other.ask(other.trials[0].distributions)

    def told_meanwhile(search, number):
        other.tell(1, 1.5)
        return hold(search, number)

    monkeypatch.setattr(Search, "_hold", told_meanwhile)
    done = CliRunner().invoke(main, words(planted, tmp_path, "--trials", "2"), catch_exceptions=False)
    assert done.exit_code == 0 and [trial.value for trial in trials_in(tmp_path)][1:] == [1.5]


def test_weights_that_another_process_trains_for_a_trial_of_its_own_are_left(planted, tmp_path, here, monkeypatch):
    run_folders = []

    def failing(function, arguments):
        for argument in arguments:
            function(argument)
            (run,) = tmp_path.glob("runs/*")
            (run / "checkpoints" / "here").mkdir(parents=True)
            run_folders.append(run)
            with locked(run / "lock", wait=False):
                yield [(argument, ExperimentError("no memory"))]

    set_workers(monkeypatch, failing)
    CliRunner().invoke(main, words(planted, tmp_path, "--trials", "1"))
    assert (run_folders[0] / "checkpoints" / "here").is_dir()


def test_the_page_has_the_stamps_of_its_trials_even_if_a_run_is_damaged_later(planted, tmp_path, here, monkeypatch):
    real = search_module.read_results
    stamped = lambda path, trials: {**real(path, trials=trials), "stamps": ["made of noise"]}  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(search_module, "read_results", stamped)
        assert CliRunner().invoke(main, words(planted, tmp_path, "--trials", "1")).exit_code == 0
    page = (tmp_path / "search.md").read_text()
    next(tmp_path.glob("runs/*/results.json")).write_text("{")
    assert CliRunner().invoke(main, words(planted, tmp_path, "--trials", "1")).exit_code == 0
    assert "NOTE: made of noise" in page and (tmp_path / "search.md").read_text() == page


def test_the_folder_of_an_experiment_or_of_another_search_is_refused(planted, tmp_path, here):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "experiment.json").write_text("{}")
    done = CliRunner().invoke(main, words(planted, tmp_path / "experiment"))
    assert done.exit_code == 2 and "experiment holds an experiment: choose another --output." in done.stderr
    assert CliRunner().invoke(main, words(planted, tmp_path / "out", "--trials", "1")).exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    done = CliRunner().invoke(main, words(planted, tmp_path / "out", "--folds", "S2", "--trials", "1"))
    assert done.exit_code == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "out holds another search, small-" in done.stderr and "choose another --output." in done.stderr
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--sampler", "bruteforce", "FloatDistribution.step must be given for BruteForceSampler"),
        ("--storage", "nonsense://x", "The storage nonsense://x cannot be used ("),
    ],
)
def test_a_sampler_or_a_storage_that_does_not_suit_is_one_line(planted, tmp_path, here, option, value, message):
    done = CliRunner().invoke(main, words(planted, tmp_path / "out", option, value))
    assert done.exit_code == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_trial_goes_on_after_its_scheduler_was_lost(planted, tmp_path, here, monkeypatch):
    def lost(function, arguments):
        next(arguments)
        raise ExperimentError("The Dask scheduler was lost: run the same command again.")

    with monkeypatch.context() as patch:
        set_workers(patch, lost)
        done = CliRunner().invoke(main, words(planted, tmp_path, "--trials", "1"))
    assert done.exit_code == 2 and done.stderr.endswith("was lost: run the same command again.\n")
    (before,) = trials_in(tmp_path)
    assert before.state.name == "RUNNING"
    assert CliRunner().invoke(main, words(planted, tmp_path, "--trials", "1")).exit_code == 0
    assert [(trial.params, trial.state.name) for trial in trials_in(tmp_path)] == [(before.params, "COMPLETE")]


def test_no_audio_of_the_test_part_is_read(planted, tmp_path, here):
    recipe = write_recipe(tmp_path)
    (recipe.parent / "space.yaml").write_text(SPACE)
    for file in (tmp_path / "corpus").glob("1*.wav"):  # session S1, which tests in the first fold
        file.unlink()
    done = CliRunner().invoke(main, words(recipe, tmp_path / "search", "--trials", "1"))
    assert done.exit_code == 0, done.output


def test_the_best_recipe_is_read_in_a_folder_that_is_a_link(planted, tmp_path, here):
    (tmp_path / "elsewhere" / "search").mkdir(parents=True)
    (planted.parent / "search").symlink_to(tmp_path / "elsewhere" / "search")
    done = CliRunner().invoke(main, words(planted, planted.parent / "search", "--trials", "1"))
    assert done.exit_code == 0 and load_recipe(done.stdout.splitlines()[-1]).model == load_recipe(planted).model


def test_options_of_one_run_are_refused(planted, tmp_path):
    done = CliRunner().invoke(main, words(planted, tmp_path / "out", "--fold", "S2"))
    assert done.exit_code == 2 and "--fold is for one run: this command takes --folds." in done.stderr


def test_a_pruned_trial_ends_early_and_a_failed_one_is_counted(planted, tmp_path, here, monkeypatch):
    monkeypatch.setattr(optuna.pruners.NopPruner, "prune", lambda pruner, study, trial: trial.number < 2)
    space = planted.with_name("bands.yaml")
    # either suits the recipe, but 14 bands cannot give 16 coefficients
    space.write_text("model.levels.mfcc.args.n_mels: [20, 14]\nmodel.levels.mfcc.args.n_mfcc: [13, 16]\n")
    options = ["--search", str(space), "--trials", "4", "--pruner", "nop", "--sampler", "random", "--folds", "S1,S2"]
    done = CliRunner().invoke(main, words(planted, tmp_path, *options))
    lines = [line.split("  ") for line in done.stderr.splitlines() if line.startswith("trial ")]
    found = {
        int(name.split()[1]): (how, setting.endswith("n_mels 14, model.levels.mfcc.args.n_mfcc 16"))
        for name, how, setting in lines
    }
    assert done.exit_code == 0 and sorted(found) == list(range(4)), done.output
    for number, (how, failing) in found.items():
        assert how.startswith("model.levels.mfcc" if failing else "pruned after epoch 1" if number < 2 else "WA + UA ")
    ends = {how.split()[0] for how, _ in found.values()}
    assert len(ends) == 3, "each of the three ways to end is among them"
    assert len(list(tmp_path.glob("runs/*/results.json"))) == 2, "one setting has a score, on two folds"
    assert not list(tmp_path.glob("runs/*/*/*/*.ckpt")), "no trial leaves weights"


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            "training.optimizer.learning_rat: [1, 2]",
            "line 1: a recipe has no such key. Did you mean 'training.optimizer.l",
        ),
        (
            "\ntraining.batch_size: {low: 0, high: 4}",
            "batch_size in space.yaml, line 2: must be at least 1, not 0",
        ),
        ("training.optimizer: [{learning_rate: -1}]", "line 1: training.optimizer.learning_rate: must be at least 0"),
        ("model.fusion.args.dimm: [8]", "line 1: fusion 'attention' has no argument 'dimm'. Did you mean 'dim'"),
        ("training.batch_size: {low: 4, hi: 8}", "it names 'hi', .* Did you mean 'high'"),
        ("training.batch_size: {low: 4}", "'high' is missing"),
        ("training.batch_size: {low: 4, high: 8, log: please}", "'please' is text; true or false is needed"),
        ("{}", "names no key that is searched"),
        ("training.batch_size: 4", "a list of choices, or a range such as"),
        ("training.batch_size: {low: 8, high: 4}", "low <= high"),
        ("training.batch_size: {low: 4, high: 8, step: 0.5}", "4.5 is a number; a whole number is needed"),
        ("seed: [1, 2]", "it names 'seed', an unknown part of a recipe that can be searched"),
    ],
)
def test_a_wrong_space_is_one_line_before_the_first_trial(planted, tmp_path, space, message):
    planted.with_name("space.yaml").write_text(space + "\n")
    try:
        done = CliRunner().invoke(main, words(planted, tmp_path / "out"))
    finally:
        planted.with_name("space.yaml").write_text(SPACE)
    assert done.exit_code == 2 and len(done.stderr.strip().splitlines()) == 1
    assert re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_protocol_that_validates_on_the_test_part_is_refused(planted, tmp_path):
    done = CliRunner().invoke(main, words(planted, tmp_path / "out", "--protocol", "loso-test-epoch"))
    assert done.exit_code == 2 and "Protocol loso-test-epoch validates on the test part" in done.stderr
