"""A run killed at any moment and started again ends with the same bits as one that was left alone."""

import csv
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from several_ranks import CONTEXT
from small_system import PROBED, write_recipe

OVERRIDES = ["--training.checkpoint_steps=2", "--training.accumulate=2", "--training.epochs=3"]


def run_in_child(recipe: Path, output: Path, kill_at: tuple[str, int] | None, workers: int, threads: int) -> None:
    """Train; with `kill_at`, die of SIGKILL at the nth call of a function."""
    from toolkit.training import predictions
    from toolkit.training.loop import brain, checkpoints
    from toolkit.training.preparation import load_source, prepare
    from toolkit.training.run import Run

    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    points = {
        "step": (brain.SystemBrain, "optimizers_step"),
        "evaluation": (brain.SystemBrain, "evaluate_batch"),
        "save": (checkpoints, "save_state"),
        "flush": (checkpoints, "flush"),
        "results": (predictions, "library_versions"),  # after the other files
    }
    if kill_at is not None:
        owner, name = points[kill_at[0]]
        original, calls = getattr(owner, name), iter(range(1, 10_000))

        def dying(*args, **kwargs):
            if next(calls) == kill_at[1]:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(owner, name, dying)
    with (output.parent / f"{output.name}.log").open("a") as log:
        source = load_source(recipe, [*OVERRIDES, f"--output_folder={output}", f"--training.workers={workers}"])
        Run(prepare(source), say=lambda line: print(line, file=log, flush=True)).train()


def train(recipe: Path, output: Path, kill_at: tuple[str, int] | None = None, *, workers=0, threads=1) -> int | None:
    process = CONTEXT.Process(target=run_in_child, args=(recipe, output, kill_at, workers, threads))
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("resume")
    recipe = write_recipe(folder)
    assert train(recipe, folder / "undisturbed") == 0
    return recipe, run_folder(folder / "undisturbed")


def run_folder(output: Path) -> Path:
    (results,) = output.glob("*/results.json")
    return results.parent


def assert_same_run(one: Path, other: Path) -> None:
    found = [{path.name: path for path in run.glob("checkpoints/*/*.ckpt")} for run in (one, other)]
    names = [name for name in found[0] if name.startswith(("system", "live", "average", "objective", "optimizer-"))]
    assert len(names) >= 3 and found[0].keys() == found[1].keys()
    for name in names:
        assert equal(*(torch.load(files[name], weights_only=True) for files in found)), name
    for name in ("predictions.csv", "recipe.yaml", "manifest.csv"):
        texts = [(run / name).read_text().replace(str(run.parent), "") for run in (one, other)]
        assert texts[0].replace("workers: 1", "workers: 0") == texts[1].replace("workers: 1", "workers: 0")
    without_seconds = [json.loads((run / "results.json").read_text()) | {"seconds": 0} for run in (one, other)]
    for found in without_seconds:
        found["probe"] = found["probe"] and found["probe"] | {"seconds": 0}
    assert without_seconds[0] == without_seconds[1]
    for path in one.glob("*.csv"):
        rows = [list(csv.DictReader((run / path.name).read_text().splitlines())) for run in (one, other)]
        without_seconds = [[row | {"seconds": 0} for row in found] for found in rows]
        assert path.name == "manifest.csv" or without_seconds[0] == without_seconds[1]


def equal(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def test_two_undisturbed_runs_are_equal(undisturbed, tmp_path):
    recipe, expected = undisturbed
    assert train(recipe, tmp_path / "again") == 0
    assert_same_run(run_folder(tmp_path / "again"), expected)


@pytest.mark.parametrize(
    "kills",
    [
        [("step", 1)],
        [("step", 5), ("step", 2)],
        [("save", 2), ("flush", 3)],
        [("flush", 8), ("flush", 9)],
        [("evaluation", 3), ("save", 9)],
        [("results", 1), ("step", 4)],
    ],
    ids=lambda kills: "-then-".join(f"{point}{count}" for point, count in kills),
)
def test_a_killed_run_ends_with_the_same_bits(undisturbed, tmp_path, kills):
    recipe, expected = undisturbed
    output = tmp_path / "killed"
    codes = [train(recipe, output, kill) for kill in kills]
    trained = ("results", 1) in kills  # the next process finds no step left in which it could die
    assert codes == [-signal.SIGKILL, 0 if trained else -signal.SIGKILL][: len(kills)]
    assert train(recipe, output) == 0
    assert_same_run(run_folder(output), expected)


def test_a_killed_run_with_other_optimizers_a_schedule_and_an_average_ends_with_the_same_bits(tmp_path):
    recipe = write_recipe(tmp_path)
    mixed = tmp_path / "mixed.yaml"
    mixed.write_text(
        "extends: small.yaml\ntraining:\n  optimizer: {name: sgd, args: {momentum: 0.9}}\n"
        "  groups: {mfcc: {name: radam}, heads: {name: rmsprop, args: {centered: true}}}\n"
        "  schedule: {name: cosine_restarts, args: {T_0: 2}}\n  average: {name: ema, start: 0}\n"
    )
    assert recipe.name == "small.yaml" and train(mixed, tmp_path / "undisturbed") == 0
    assert train(mixed, tmp_path / "killed", ("step", 4)) == -signal.SIGKILL
    assert train(mixed, tmp_path / "killed") == 0
    assert_same_run(run_folder(tmp_path / "killed"), run_folder(tmp_path / "undisturbed"))


@pytest.mark.parametrize("kill", [("step", 3), ("evaluation", 4), ("step", 6)], ids=lambda kill: f"{kill[0]}{kill[1]}")
def test_a_run_of_two_phases_is_resumed_in_either(probed, tmp_path, kill):
    recipe, expected = probed
    assert train(recipe, tmp_path / "killed", kill) == -signal.SIGKILL
    assert train(recipe, tmp_path / "killed") == 0
    assert_same_run(run_folder(tmp_path / "killed"), expected)


@pytest.fixture(scope="module")
def probed(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("probed")
    write_recipe(folder)
    recipe = folder / "probed.yaml"
    recipe.write_text(PROBED)
    assert train(recipe, folder / "undisturbed") == 0
    return recipe, run_folder(folder / "undisturbed")


def test_a_killed_run_with_augmentations_ends_with_the_same_bits_as_one_with_workers(tmp_path):
    write_recipe(tmp_path)
    augmented = tmp_path / "augmented.yaml"
    augmented.write_text(
        "extends: small.yaml\naugmentations:\n  noise: {plugin: noise, p: 0.5}\n"
        "  mask: {plugin: time_mask, p: 0.9, args: {frames: 9}}\n  mixup: {plugin: mixup, p: 0.7}\n"
    )
    assert train(augmented, tmp_path / "undisturbed", workers=1) == 0
    assert train(augmented, tmp_path / "killed", ("step", 4)) == -signal.SIGKILL
    assert train(augmented, tmp_path / "killed") == 0
    assert_same_run(run_folder(tmp_path / "killed"), run_folder(tmp_path / "undisturbed"))


def test_a_resumed_run_says_from_where_and_keeps_its_number_of_threads(undisturbed, tmp_path):
    recipe, expected = undisturbed
    output = tmp_path / "killed"
    assert train(recipe, output, ("step", 4)) == -signal.SIGKILL
    assert train(recipe, output, threads=2) == 0
    assert_same_run(run_folder(output), expected)  # its threads, too
    # 10 segments in batches of 4 are 3 batches and, accumulating 2, 2 steps: the fourth one ends epoch 2
    assert "Resumes in epoch 2 after step 2, with 1 thread as before" in (tmp_path / "killed.log").read_text()
    assert train(recipe, output) == 0
    assert "This run is finished; nothing is trained" in (tmp_path / "killed.log").read_text()


@pytest.mark.parametrize(("run", "kill"), [("undisturbed", ("results", 1)), ("probed", ("step", 5))])
def test_a_run_that_was_killed_after_a_phase_keeps_its_number_of_threads(run, kill, tmp_path, request):
    recipe, expected = request.getfixturevalue(run)
    assert train(recipe, tmp_path / "killed", kill) == -signal.SIGKILL
    assert train(recipe, tmp_path / "killed", threads=2) == 0
    assert_same_run(run_folder(tmp_path / "killed"), expected)
