"""Runs with the feature cache: the same bits with an empty, a half-filled and a full one."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from several_ranks import CONTEXT

from toolkit.data.cache.store import stored_front_ends
from toolkit.data.front_ends import FeatureFiles
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run

UTTERANCES = 24

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def computed(monkeypatch):
    """Front ends, one for each utterance whose features are computed to be stored."""
    calls, write = [], FeatureFiles.write

    def counted(files, utterance, rows):
        calls.append(files.folder.name)
        write(files, utterance, rows)

    monkeypatch.setattr(FeatureFiles, "write", counted)
    return calls


def run(recipe: Path, output: str, *overrides: str) -> Path:
    """Train into a folder beside the recipe; returns the run's."""
    source = load_source(recipe, [f"--output_folder={recipe.parent / output}", "--training.epochs=1", *overrides])
    return Run(prepare(source), say=lambda line: None).train().parent


def same_results(one: Path, other: Path) -> bool:
    assert one.name == other.name and one != other
    with np.load(one / "embeddings.npz") as a, np.load(other / "embeddings.npz") as b:
        embeddings = all(np.array_equal(a[name], b[name]) for name in a)
    return embeddings and (one / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_second_run_computes_nothing_and_ends_with_the_same_bits(recipe, computed, monkeypatch, precision):
    first = run(recipe, "a", f"--training.feature_precision={precision}", "--shared_audio=allow")
    assert len(computed) == UTTERANCES
    monkeypatch.setattr("soundfile.SoundFile.read", lambda *args, **options: pytest.fail("decoded"))
    options = ("--training.workers=1", "--shared_audio=allow")
    second = run(recipe, "b", f"--training.feature_precision={precision}", *options)
    assert len(computed) == UTTERANCES and same_results(first, second)


def test_folds_seeds_and_systems_share_what_is_stored(recipe, computed):
    run(recipe, "a")
    run(recipe, "a", "--seed=2", "--fold=S2", "--model.fusion.args.dim=4")
    assert len(computed) == UTTERANCES


def run_and_die(recipe: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    os.environ["TOOLKIT_CACHE"] = str(folder)
    write, calls = FeatureFiles.write, iter(range(1, 100))

    def dying(*args):
        if next(calls) == 14:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*args)

    FeatureFiles.write = dying
    run(recipe, "killed")


def test_a_run_after_one_that_was_killed_half_way_ends_with_the_same_bits(recipe, computed, own_cache):
    undisturbed = run(recipe, "a")
    shutil.rmtree(own_cache)
    process = CONTEXT.Process(target=run_and_die, args=(recipe, own_cache))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    computed.clear()
    assert same_results(undisturbed, run(recipe, "b"))
    assert len(computed) == UTTERANCES - 13


def test_a_test_that_is_read_from_an_earlier_training_does_not_depend_on_the_cache(recipe, computed):
    folder = run(recipe, "a")
    before = (folder / "predictions.csv").read_bytes()
    (folder / "results.json").unlink()
    for stored in stored_front_ends():
        stored.remove()
    computed.clear()
    run(recipe, "a")
    assert (folder / "predictions.csv").read_bytes() == before
    assert len(computed) == 16  # the validation part and the test part


def test_without_the_cache_a_run_rounds_alike_and_leaves_nothing(recipe, computed, own_cache):
    stored = run(recipe, "a", "--training.feature_precision=fp16")
    assert computed
    shutil.rmtree(own_cache)
    live = run(
        recipe, "a", "--training.feature_precision=fp16", "--training.feature_cache_mb=0", "--training.workers=1"
    )
    assert not own_cache.exists() and stored.name != live.name
    with np.load(stored / "embeddings.npz") as a, np.load(live / "embeddings.npz") as b:
        for name in ("fused", "mfcc"):
            assert np.allclose(a[name], b[name], atol=1e-3)


def test_settings_that_change_the_bits_change_the_runs_name(recipe):
    def name(*overrides):
        return Run(prepare(load_source(recipe, list(overrides)))).folder.path.name

    changed = ["--training.feature_precision=fp16", "--training.feature_cache_mb=0"]
    assert len({name(), *map(name, changed)}) == 3
