"""Bundles of real runs: they predict as the run did, without the run, a network or a checkpoint."""

import csv
import importlib
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from small_bundle import edit_config, train, with_gender, with_levels
from small_system import PROBED, write_recipe
from throwaway import good, install
from torchvision.models import alexnet
from wav2vec2_checkpoints import SMALL, save_checkpoint

import toolkit
from toolkit.cli.main import main
from toolkit.contracts import Seq
from toolkit.corpus import read_manifest
from toolkit.errors import BundleError, CheckpointError, ToolkitError
from toolkit.inference.bundle import read_bundle
from toolkit.inference.bundle.config import Usage
from toolkit.inference.bundle.export import export_bundle
from toolkit.inference.predict.recordings import Recording
from toolkit.plugins.registry import default_registry
from toolkit.recipe.schema import AudioSpec
from toolkit.statistics.calibration import at_temperature
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run
from toolkit_plugins.extractors.mfcc import Mfcc
from toolkit_plugins.extractors.spectrogram import Spectrogram
from toolkit_plugins.extractors.wav2vec2 import Wav2Vec2

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def bundle(run, tmp_path_factory) -> Path:
    return export_bundle(run, tmp_path_factory.mktemp("bundle") / "small")


def rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))


def predictions(path: Path, run: Path) -> np.ndarray:
    """The probabilities that a bundle gives the test part, in the order of predictions.csv: [utterances, classes]."""
    model, of = toolkit.load(path, device="cpu"), {u.id: u for u in read_manifest(run / "manifest.csv")}
    utterances = [of[row["id"]] for row in rows(run)]
    recordings = [
        Recording(u.path, u.start, u.end, {name: u.value(name) for name in model.usage.covariates}) for u in utterances
    ]
    found = np.array([list(found.probabilities.values()) for found in model.predict_many(recordings)])
    return at_temperature(found, 1 / model.usage.confidence.temperature)


def expected(run: Path, labels: tuple[str, ...]) -> np.ndarray:
    return np.array([[float(row[f"p_{label}"]) for label in labels] for row in rows(run)])


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
    assert "The gender is guessed from the audio." in (path / "README.md").read_text()


def test_a_shuffled_covariate_is_a_control_and_refused_before_any_note_is_printed(tmp_path):
    run = train(tmp_path, "--protocol=loso-as-published", "--training.epochs=1", change=with_gender("shuffled"))
    said = []
    with pytest.raises(BundleError, match=r"cannot be a bundle: .*gender\.source is shuffled: such values exist only"):
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
    for path in (copy, copy / "results.json"):
        with pytest.raises(BundleError, match=r"is not finished \(it has no results\.json\)"):
            export_bundle(path, tmp_path / "b")
    with pytest.raises(BundleError, match="No run at"):
        export_bundle(tmp_path / "nowhere", tmp_path / "b")
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


@pytest.fixture
def no_network(monkeypatch):
    """The test fails if anything looks up a name or opens a connection."""

    def refuse(*args, **options):
        pytest.fail(f"the network is asked for {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("try_to_load_from_cache", "snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(f"huggingface_hub.{name}", refuse)


LEVELS = """\
    wav2vec2: {plugin: wav2vec2, args: {source: %s, tune: frozen, layer: weighted}}
    spectrogram: {plugin: spectrogram, args: {weights: %s, image_size: [63, 63], pool: [1, 1]}}
"""


def test_a_bundle_loads_without_the_checkpoint_that_its_training_started_from(tmp_path, no_network):
    folder = save_checkpoint("wav2vec2-layer", tmp_path / "ada" / "w2v")
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    torch.save(alexnet().state_dict(), tmp_path / "ada" / "alexnet.pth")
    change = with_levels(LEVELS % (folder, tmp_path / "ada" / "alexnet.pth"))
    run = train(tmp_path, "--training.epochs=1", change=change)
    trained = {
        "wav2vec2": Wav2Vec2(source=str(folder), tune="frozen", layer="weighted").front_end_args,
        "spectrogram": Spectrogram(segment_samples=4800, weights="random").front_end_args,
    }
    path = export_bundle(run, tmp_path / "b.zip")
    shutil.rmtree(tmp_path / "ada")
    read = read_bundle(path)
    assert np.abs(predictions(path, run) - expected(run, ("noise", "tone"))).max() < 1e-6
    assert {name: level.front_end_args for name, level in read.system.levels.items()} == trained
    assert read.system.pretrained["wav2vec2"] == "w2v"  # and not the path on its maker's disk
    assert read.system.pretrained["spectrogram"].startswith("alexnet.pth sha256:")
    assert read.system.random_backbones == []


def test_random_weights_instead_of_pre_trained_ones_are_reported(tmp_path):
    level = f"    wav2vec2: {{plugin: wav2vec2, args: {{source: random, config: {json.dumps(SMALL)}}}}}"
    run = train(tmp_path, "--training.epochs=1", change=with_levels(level))
    said = []
    path = export_bundle(run, tmp_path / "b", say=said.append)
    stamp = "random weights instead of pre-trained ones: wav2vec2"
    assert said == [f"NOTE: {stamp}"]
    read = read_bundle(path)
    assert read.usage.stamps == (stamp,) and read.system.random_backbones == ["wav2vec2"]
    card = (path / "README.md").read_text()
    assert stamp in card and "Levels with random weights instead of their usual pre-trained ones: wav2vec2." in card


def test_code_that_changed_since_the_training_is_reported(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / run.name))
    results = json.loads((copy / "results.json").read_text())
    results["versions"]["audio-classification-toolkit"] = "0.0.1"
    (copy / "results.json").write_text(json.dumps(results))
    said = []
    export_bundle(copy, tmp_path / "b", say=said.append)
    assert len(said) == 1 and "trained with audio-classification-toolkit 0.0.1, exported with" in said[0]


def test_a_bundle_names_the_other_distribution_that_it_needs(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("toolkit"), "propagate", True)
    installed = tmp_path / "installed"
    target = "broken_extractors:GoodExtractor"  # not broken
    install(installed, "my-levels", good("extractor", "magnitude", target), version="1.2")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(installed)
        default_registry.cache_clear()
        level = with_levels("    wav2vec2: {plugin: magnitude, args: {hop: 80}}")
        run = train(tmp_path, "--training.epochs=1", change=level)
        path = export_bundle(run, tmp_path / "b")
        read = read_bundle(path)
        assert read.config.distributions["my-levels"] == "1.2" and len(read.config.distributions) == 2
        assert read.config.model.levels["wav2vec2"].plugin == "my-levels:magnitude"
        assert np.abs(predictions(path, run) - expected(run, ("noise", "tone"))).max() < 1e-6
        caplog.clear()
        (installed / "my_levels-1.2.dist-info").rename(installed / "my_levels-1.3.dist-info")
        metadata = installed / "my_levels-1.3.dist-info" / "METADATA"
        metadata.write_text(metadata.read_text().replace("1.2", "1.3"))
        importlib.invalidate_caches()
        read_bundle(path)
        assert set(caplog.messages) == {"small: exported with my-levels 1.2, but 1.3 is installed here."}
    default_registry.cache_clear()
    with pytest.raises(BundleError, match=r"It needs extractor 'magnitude' of my-levels 1\.2, which is not installed"):
        read_bundle(path)


def test_portable_args_that_do_not_fit_the_weights_are_found_before_anything_is_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Mfcc, "portable_args", lambda self: {"preemphasis": 0.0})
    with pytest.raises(BundleError, match="prediction for the trial sound"):
        export_bundle(run, tmp_path / "b")
    monkeypatch.setattr(Mfcc, "portable_args", lambda self: {"encoder": "none"})
    with pytest.raises(
        BundleError, match=r"model\.safetensors: \S+mfcc\S+ is float32 .*; the system of its config\.json has"
    ):
        export_bundle(run, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_system_that_never_answers_twice_alike_is_refused_with_what_to_do(run, tmp_path, monkeypatch):
    encode = Mfcc.encode

    def dropped(self, features):
        frames = encode(self, features)
        return Seq(torch.nn.functional.dropout(frames.values, 0.9), frames.lengths)

    monkeypatch.setattr(Mfcc, "encode", dropped)
    with pytest.raises(BundleError, match="gives another result at each call: `toolkit check-plugin` finds which"):
        export_bundle(run, tmp_path / "b")


def test_adapters_are_merged_so_that_a_bundle_needs_no_peft(tmp_path, monkeypatch):
    write_recipe(tmp_path)
    recipe = tmp_path / "adapted.yaml"
    recipe.write_text(PROBED.replace("tune: all", "tune: lora\n        lora_rank: 2"))
    source = load_source(recipe, ["--training.epochs=1", "--training.probe.epochs=0"])
    run = Run(prepare(source), say=lambda line: None).train().parent
    path = export_bundle(run, tmp_path / "bundle")
    assert not any("lora" in name for name in load_file(path / "model.safetensors"))
    monkeypatch.setitem(sys.modules, "peft", None)  # an import of it fails
    expected = [[float(row[f"p_{label}"]) for label in ("noise", "tone")] for row in rows(run)]
    np.testing.assert_allclose(predictions(path, run), expected, atol=1e-5)


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
