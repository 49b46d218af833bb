"""Bundles of real runs: they predict as the run did, without the run, a network or a checkpoint."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from small_bundle import edit_config, expected, predictions, train, with_gender

from toolkit.cli.main import main
from toolkit.contracts import Seq
from toolkit.corpus import read_manifest
from toolkit.errors import BundleError, CheckpointError, ToolkitError
from toolkit.inference.bundle import read_bundle
from toolkit.inference.bundle.config import Usage
from toolkit.inference.bundle.export import export_bundle
from toolkit.recipe.schema import AudioSpec
from toolkit_plugins.extractors.mfcc import Mfcc

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory) -> Path:
    return export_bundle(run, tmp_path_factory.mktemp("bundle") / "small")


@pytest.mark.parametrize("name", ["given", "given.zip"])
def test_a_bundles_system_predicts_the_test_part_as_the_run_did(name, run, tmp_path):
    path = export_bundle(run, tmp_path / name)
    assert path.is_dir() == (name == "given")
    found = predictions(path, run)
    assert np.abs(found - expected(run, read_bundle(path).usage.labels)).max() < 1e-6
    assert len(np.unique(found.round(6), axis=0)) > 1  # the answers differ, so that their order is seen


def test_a_covariate_equal_tails_and_a_head_on_two_embeddings_come_back(tmp_path):
    options = ["--audio.tail=equal", "--training.epochs=1", "--model.heads.emotion.on=[fused,mfcc]"]
    run = train(tmp_path, *options, change=with_gender("label"))
    path = export_bundle(run / "results.json", tmp_path / "b")
    usage = read_bundle(path).usage
    assert usage == Usage(
        labels=("noise", "tone"),
        audio=AudioSpec(sample_rate=16000, segment_seconds=0.3, tail="equal"),
        predict_from="emotion",
        covariates={"gender": ("F", "M")},
        confidence=usage.confidence,
    )
    assert np.abs(predictions(path, run) - expected(run, usage.labels)).max() < 1e-6
    card = (path / "README.md").read_text()
    assert "--covariate gender=F" in card and "Every recording needs its gender (F, M)." in card


def test_a_predicted_covariate_is_not_given(tmp_path):
    run = train(tmp_path, "--training.epochs=1", change=with_gender("predicted, level: mfcc"))
    path = export_bundle(run, tmp_path / "b")
    assert read_bundle(path).usage.covariates == {}
    assert np.abs(predictions(path, run) - expected(run, ("noise", "tone"))).max() < 1e-6
    assert "The gender is predicted from the audio." in (path / "README.md").read_text()


def test_a_shuffled_covariate_is_a_control_and_refused_before_any_note_is_printed(tmp_path):
    run = train(tmp_path, "--protocol=loso-as-published", "--training.epochs=1", change=with_gender("shuffled"))
    said = []
    with pytest.raises(BundleError, match=r"cannot be a bundle: .*gender\.source is shuffled: use label or"):
        export_bundle(run, tmp_path / "b", say=said.append)
    assert not (tmp_path / "b").exists() and not said


def test_a_bundle_holds_the_systems_state_and_not_that_of_the_losses(bundle):
    state = load_file(bundle / "model.safetensors")
    system = read_bundle(bundle).system
    assert set(state) == set(system.state_dict()) and not [name for name in state if "center" in name]
    assert any("deviation" in name for name in state)  # the scaler that was fitted
    assert not system.training and not any(module.training for module in system.modules())


def test_config_json_says_what_the_run_was(bundle, run):
    values = json.loads((bundle / "config.json").read_text())
    results = json.loads((run / "results.json").read_text())
    training = values["training"]
    for key in ("corpus", "protocol", "fold", "seed", "epoch", "epochs", "stamps", "versions", "parameters"):
        assert training[key] == results[key], key
    for key in ("wa", "ua", "macro_f1", "recall", "confusion", "n_utterances"):
        assert training["test"][key] == results[key], key
    assert training["utterances"] == {"train": 8, "valid": 8, "test": 8}
    assert training["speakers"] == {"train": 2, "valid": 2, "test": 2}
    level = values["model"]["levels"]["mfcc"]
    assert level["plugin"] == "audio-classification-toolkit:mfcc"
    assert level["args"]["hidden"] == 4 and level["args"]["deltas"] is False  # given, and a default
    assert str(run.parent) not in json.dumps(values)


def test_the_same_run_makes_the_same_bytes(run, tmp_path):
    one, other = export_bundle(run, tmp_path / "one.zip"), export_bundle(run, tmp_path / "other.ZIP")
    assert one.read_bytes() == other.read_bytes()


def test_the_example_of_the_page_runs(run, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "bundles.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shutil.copytree(run, tmp_path / re.search(r'export_bundle\("(.*?)"', code)[1])
    monkeypatch.chdir(tmp_path)
    space = {}
    exec(code, space)
    assert space["bundle"].path == Path("mfcc.zip")


def test_a_read_leaves_the_random_state_alone(bundle):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    read_bundle(bundle)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("name", ["taken", "taken.zip"])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_an_existing_target_is_left_as_it_is(name, kind, run, tmp_path):
    target = tmp_path / name
    if kind == "file":
        target.write_text("mine")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="exists already, and is left as it is"):
        export_bundle(run, target)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert kind != "file" or target.read_text() == "mine"


def test_a_full_disk_leaves_nothing_behind(run, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for name in ("b", "b.zip"):
        with pytest.raises(BundleError, match="No space left on device"):
            export_bundle(run, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_run_is_refused(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / run.name))
    (copy / "results.json").unlink()
    for path in (copy, copy / "results.json", tmp_path / "nowhere"):
        with pytest.raises(BundleError, match=r"is not the folder of a finished run \(it has no results\.json\)"):
            export_bundle(path, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_damaged_or_lost_checkpoint_is_refused(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / run.name))
    (checkpoint,) = (copy / "checkpoints").iterdir()
    (checkpoint / "system.ckpt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="No intact checkpoint of the best epoch"):
        export_bundle(copy, tmp_path / "b")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(BundleError, match="has no checkpoints"):
        export_bundle(copy, tmp_path / "b")


@pytest.mark.parametrize("name", ["predictions.csv", "validation.csv"])
def test_files_of_different_runs_are_refused(name, run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / run.name))
    text = (copy / name).read_text().splitlines()
    (copy / name).write_text("\n".join(text[:-1]) + "\n")
    with pytest.raises(ToolkitError, match="belong to different runs"):
        export_bundle(copy, tmp_path / "b")


def test_results_that_lack_a_key_are_one_line(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / run.name))
    results = json.loads((copy / "results.json").read_text())
    for key in results:
        (copy / "results.json").write_text(json.dumps({k: v for k, v in results.items() if k != key}))
        try:
            shutil.rmtree(export_bundle(copy, tmp_path / "b"))
        except ToolkitError as error:
            assert "results.json is damaged" in str(error) and "\n" not in str(error)


def test_a_run_that_shares_another_runs_training_has_its_own_epoch(tmp_path):
    """Under loso and loso-test-epoch one training keeps two checkpoints, in the folder of the first run."""
    for protocol in ("loso", "loso-test-epoch"):
        run = train(tmp_path, f"--protocol={protocol}", "--training.epochs=4")
        path = export_bundle(run, tmp_path / protocol)
        assert np.abs(predictions(path, run) - expected(run, ("noise", "tone"))).max() < 1e-6
    stamp = "loso-test-epoch: the epoch was chosen on the test speaker"
    assert read_bundle(path).usage.stamps == (stamp,)
    corpus = read_manifest(run / "manifest.csv")
    assert read_bundle(tmp_path / "loso").seen.shared(corpus) == (5, 20), "six speakers, and one only tested"
    assert read_bundle(path).seen.shared(corpus) == (6, 24), "that one chose the epoch"
    assert f"> NOTE: {stamp}" in (path / "README.md").read_text()


def test_code_that_changed_since_the_training_is_reported(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / run.name))
    results = json.loads((copy / "results.json").read_text())
    results["versions"]["audio-classification-toolkit"] = "0.0.1"
    (copy / "results.json").write_text(json.dumps(results))
    said = []
    export_bundle(copy, tmp_path / "b", say=said.append)
    assert len(said) == 1 and "trained with audio-classification-toolkit 0.0.1, exported with" in said[0]


def test_portable_args_that_do_not_fit_the_weights_are_found_before_anything_is_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Mfcc, "portable_args", lambda self: {"preemphasis": 0.0})
    with pytest.raises(BundleError, match="prediction for the trial sound"):
        export_bundle(run, tmp_path / "b")
    monkeypatch.setattr(Mfcc, "portable_args", lambda self: {"encoder": "none"})
    with pytest.raises(BundleError, match=r"model\.safetensors does not fit the system of its config\.json .*mfcc"):
        export_bundle(run, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_system_that_never_answers_twice_alike_is_refused_with_what_to_do(run, tmp_path, monkeypatch):
    encode = Mfcc.encode

    def dropped(self, features):
        frames = encode(self, features)
        return Seq(torch.nn.functional.dropout(frames.values, 0.9), frames.lengths)

    monkeypatch.setattr(Mfcc, "encode", dropped)
    with pytest.raises(BundleError, match="`toolkit check-plugin` finds a plugin that answers differently"):
        export_bundle(run, tmp_path / "b")


def test_the_command_prints_the_path_and_the_stamps(tmp_path):
    run = train(tmp_path, "--protocol=loso-as-published", "--training.epochs=1")

    def export(*words):
        return CliRunner().invoke(main, ["export", *map(str, words)], prog_name="toolkit")

    done = export(run, tmp_path / "given.zip")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'given.zip'}\n"
    assert done.stderr.startswith("NOTE: loso-as-published: the test speaker also validated")
    again = export(run / "results.json", tmp_path / "given.zip")
    assert (again.exit_code, again.stdout) == (2, "") and again.stderr.count("\n") == 1
    assert "exists already" in again.stderr


def test_a_bundle_that_cannot_be_used_is_refused_before_torch_is_imported(bundle, tmp_path):
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    edit_config(copy, lambda values: values.update(format_version=9))
    code = f"""
import sys
from toolkit.inference.bundle import read_bundle
from toolkit.errors import BundleError
try:
    read_bundle({str(copy)!r})
except BundleError as error:
    print(error)
sys.exit("torch" in sys.modules or "scipy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "format_version is 9" in done.stdout
