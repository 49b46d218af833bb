"""Two processes train one system: they compute what one process does, resume to the bit, and end with one line."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from several_ranks import on_ranks
from small_system import write_recipe

SETTINGS = """\
    gender: {plugin: linear, on: fused, target: gender}
  losses:
    classification: {plugin: cross_entropy, on: [emotion, level], args: {class_weights: [0.5, 2.0]}}
    guess: {plugin: cross_entropy, on: gender, weight: 0.3}
    center: {plugin: center, on: fused, weight: 0.1}
    spread: {plugin: center, on: mfcc, weight: 0.01, args: {reduction: sum}}
"""
WITHOUT_GRADIENT = "fusion.pool.mfcc.score.2.bias"  # before a softmax: Adam follows the sign of rounding errors there
WITHOUT_DROPOUT = ("--model.fusion.args.dropout=0", "--model.heads.emotion.args.dropout=0")


FITTED = """\
extends: small.yaml
model:
  heads: {emotion: {plugin: discriminant, on: fused}, level: null}
  losses: {center: null}
training: {epochs: 0}
"""


def write_uneven_recipe(folder: Path) -> Path:
    """Nine training segments in batches of four: the last one has a single row. Genders are not all known."""
    recipe = write_recipe(folder)
    text = recipe.read_text()
    start, end = text.index("  losses:"), text.index("predict_from")
    recipe.write_text(text[:start] + SETTINGS + text[end:])
    manifest = folder / "corpus" / "manifest.csv"
    rows = manifest.read_text().splitlines()
    rows = [row for row in rows if not row.startswith(("3F0", "2M1"))]  # seven to validate, seven to train
    manifest.write_text("\n".join(row.replace(",F,", ",,") if row[:2] in ("3F", "1F") else row for row in rows) + "\n")
    return recipe


def train(recipe: Path, output: Path, overrides: tuple[str, ...], kill_at: dict[int, int] | None = None) -> None:
    """Train and write the losses of all batches; `kill_at`: rank -> the optimizer step at which it dies of SIGKILL."""
    from toolkit.distributed import rank, ranks, summed
    from toolkit.training.launch import together
    from toolkit.training.loop import brain
    from toolkit.training.preparation import load_source, prepare
    from toolkit.training.run import Run

    losses, step, calls = [], brain.SystemBrain.optimizers_step, iter(range(1, 10_000))

    def keeping(values):
        total = summed(values)
        losses.extend((total / ranks()).tolist())
        return total

    def dying(self):
        if next(calls) == (kill_at or {}).get(rank()):
            os.kill(os.getpid(), signal.SIGKILL)
        step(self)

    brain.summed, brain.SystemBrain.optimizers_step = keeping, dying
    with together(), (output.parent / f"{output.name}.log").open("a") as log:
        source = load_source(recipe, [*overrides, f"--output_folder={output}"])
        folder = Run(prepare(source), say=lambda line: print(line, file=log, flush=True)).train().parent
        (folder / f"losses-{rank()}.json").write_text(json.dumps(losses))


def run_folder(output: Path) -> Path:
    (results,) = output.glob("*/results.json")
    return results.parent


def state(folder: Path, name: str) -> dict:
    (path,) = folder.glob(f"checkpoints/*/{name}.ckpt")
    return torch.load(path, weights_only=True)


def predictions(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    return write_uneven_recipe(tmp_path_factory.mktemp("together"))


@pytest.fixture(scope="module", params=[(), ("--training.accumulate=2", "--training.optimizer.name=sgd")])
def one_and_two(request, recipe) -> tuple[Path, Path]:
    """A run of one process and one of two, with nothing drawn at random within a step."""
    overrides = (*WITHOUT_DROPOUT, "--training.epochs=7", *request.param)
    found = []
    for ranks in (1, 2):
        output = recipe.parent / f"{ranks}-{len(request.param)}"
        assert on_ranks(train, recipe, output, overrides, ranks=ranks) == [0] * ranks
        found.append(run_folder(output))
    return found[0], found[1]


def test_two_processes_have_the_same_losses_as_one(one_and_two):
    one, two = (json.loads((folder / "losses-0.json").read_text()) for folder in one_and_two)
    assert len(one) == len(two) == 21  # batches of four, four and one, in seven epochs
    assert np.abs(np.subtract(one, two)).max() < 1e-5
    assert json.loads((one_and_two[1] / "losses-1.json").read_text()) == two


def test_two_processes_have_the_same_weights_and_centers_as_one(one_and_two):
    for name in ("system", "objective"):
        one, two = (state(folder, name) for folder in one_and_two)
        assert one.keys() == two.keys()
        for key, value in one.items():
            if key not in WITHOUT_GRADIENT:
                assert torch.allclose(two[key], value, atol=2e-5), key
    assert {key for key, value in two.items() if value.any()} >= {"losses.center.centers", "losses.spread.centers"}


def test_two_processes_evaluate_every_utterance_once_as_one_does(one_and_two):
    one, two = (predictions(folder) for folder in one_and_two)
    assert [row["id"] for row in one] == [row["id"] for row in two] and len(one) == 8
    for a, b in zip(one, two, strict=True):
        assert a["predicted"] == b["predicted"]
        assert float(a["p_tone"]) == pytest.approx(float(b["p_tone"]), abs=1e-5)
    curves = [
        [[row[c] for c in ("valid_wa", "valid_ua", "test_wa", "test_ua")] for row in csv.DictReader(file)]
        for file in [(folder / "epochs.csv").read_text().splitlines() for folder in one_and_two]
    ]
    assert curves[0] == curves[1]
    results = [json.loads((folder / "results.json").read_text()) for folder in one_and_two]
    assert [r["ranks"] for r in results] == [1, 2] and one_and_two[0].name == one_and_two[1].name


def test_killed_processes_go_on_to_the_same_bits(recipe):
    overrides = ("--training.epochs=4", "--training.checkpoint_steps=1")  # with dropout, which differs by rank
    whole, killed = recipe.parent / "whole", recipe.parent / "killed"
    assert on_ranks(train, recipe, whole, overrides) == [0, 0]
    assert on_ranks(train, recipe, killed, overrides, {0: 5, 1: 5}) == [-signal.SIGKILL] * 2
    assert on_ranks(train, recipe, killed, overrides) == [0, 0]
    assert (recipe.parent / "killed.log").read_text().count("Resumes in epoch 2 after step 1") == 1
    one, other = run_folder(whole), run_folder(killed)
    for name in ("system", "objective"):
        a, b = state(one, name), state(other, name)
        assert all(torch.equal(a[key], b[key]) for key in a), name
    assert predictions(one) == predictions(other)
    assert not list(killed.rglob("*.partial*"))


def fit_alone(recipe: Path, output: Path) -> None:
    """Train no epoch of a system whose weights are all frozen."""
    from toolkit.training import run
    from toolkit.training.launch import together
    from toolkit.training.preparation import load_source, prepare

    build = run.build_to_train
    run.build_to_train = lambda *args: build(*args).requires_grad_(False)
    with together():
        run.Run(prepare(load_source(recipe, [f"--output_folder={output}"])), say=lambda line: None).train()


def test_processes_that_only_fit_need_nothing_to_train(tmp_path):
    fitted = write_recipe(tmp_path).with_name("fitted.yaml")
    fitted.write_text(FITTED)
    assert on_ranks(fit_alone, fitted, tmp_path / "out") == [0, 0]
    assert json.loads((run_folder(tmp_path / "out") / "results.json").read_text())["ranks"] == 2


def command(recipe: Path, output: Path, *options: str, break_after_preparing: str | None = None) -> None:
    """`toolkit train` with its output in a file of the rank; can break a file of the corpus on the way."""
    from toolkit.cli.main import main
    from toolkit.training import run_data

    rank = os.environ["RANK"]
    if break_after_preparing is not None:
        prepared = run_data.RunData.__init__

        def breaking(self, *args, **kwargs):
            prepared(self, *args, **kwargs)
            (recipe.parent / "corpus" / break_after_preparing).write_bytes(b"RIFF")

        run_data.RunData.__init__ = breaking
    sys.stdout = sys.stderr = (output.parent / f"{output.name}-{rank}.err").open("w")
    given = ["--training.feature_cache_mb=0", "--training.epochs=1", *options]
    main(["train", str(recipe), f"--output_folder={output}", *given])


def printed(output: Path) -> list[str]:
    return [line for rank in (0, 1) for line in (output.parent / f"{output.name}-{rank}.err").read_text().splitlines()]


def break_for_all(recipe, output):
    command(recipe, output, break_after_preparing="3F1.wav")


def test_a_mistake_on_any_rank_ends_all_with_one_line(tmp_path):
    recipe = write_recipe(tmp_path)
    assert on_ranks(break_for_all, recipe, tmp_path / "out") == [2, 2]
    assert len([line for line in printed(tmp_path / "out") if "3F1.wav" in line]) == 1
    assert not [line for line in printed(tmp_path / "out") if "Traceback" in line]


def test_a_mistake_that_all_make_is_printed_once(tmp_path):
    recipe = write_recipe(tmp_path)
    recipe.write_text(recipe.read_text().replace("mlp", "mpl"))
    assert on_ranks(command, recipe, tmp_path / "out") == [2, 2]
    (line,) = printed(tmp_path / "out")
    assert "Did you mean 'mlp'?" in line


def seed_by_rank(recipe, output):
    command(recipe, output, f"--seed={os.environ['RANK']}")


def test_processes_with_different_recipes_are_refused(tmp_path):
    assert on_ranks(seed_by_rank, write_recipe(tmp_path), tmp_path / "out") == [2, 2]
    (line,) = printed(tmp_path / "out")
    assert "The processes would train different runs, small-session-out-S1-seed0-" in line and "S1-seed1-" in line
    assert not list((tmp_path / "out").rglob("results.json"))


def test_a_rank_that_dies_ends_the_others_with_one_line(recipe):
    output = recipe.parent / "dead"
    codes = on_ranks(die_on_rank_1, recipe, output)
    assert codes == [2, -signal.SIGKILL]
    last = printed(output)[-1]
    assert "Another process of this training is gone" in last and "goes on from the last checkpoint" in last
    assert not [line for line in printed(output) if "Traceback" in line]


def die_on_rank_1(recipe, output):
    from toolkit.distributed import rank
    from toolkit.training.loop import brain

    step = brain.SystemBrain.optimizers_step

    def dying(self):
        if rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        step(self)

    brain.SystemBrain.optimizers_step = dying
    command(recipe, output)


def test_torchrun_trains_one_run_that_rank_0_prints(recipe):
    """The whole command. Genders are not all known, so that some steps leave a head out."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train_py = Path(__file__).parents[2] / "recipes" / "iemocap" / "train.py"
    output = recipe.parent / "torchrun"
    options = ["--training.epochs=1", f"--output_folder={output}"]
    done = subprocess.run(
        [*torchrun, train_py, recipe, *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("WA %") == 1 and done.stderr.count("epoch   1") == 1
    assert "arning" not in done.stderr
    results = Path(done.stdout.splitlines()[-1])
    assert results.parent.parent == output and json.loads(results.read_text())["ranks"] == 2
