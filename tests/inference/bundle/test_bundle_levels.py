"""Bundles of levels with pre-trained weights, of plugins of other distributions, and of adapters."""

import importlib
import json
import logging
import shutil
import socket
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_bundle import expected, predictions, train, with_levels
from small_system import PROBED, write_recipe
from throwaway import good, install
from torchvision.models import alexnet
from wav2vec2_checkpoints import SMALL, save_checkpoint

from toolkit.errors import BundleError
from toolkit.inference.bundle import read_bundle
from toolkit.inference.bundle.export import export_bundle
from toolkit.plugins.registry import default_registry
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run
from toolkit_plugins.extractors.spectrogram import Spectrogram
from toolkit_plugins.extractors.wav2vec2 import Wav2Vec2


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


def test_adapters_are_merged_so_that_a_bundle_needs_no_peft(tmp_path, monkeypatch):
    write_recipe(tmp_path)
    recipe = tmp_path / "adapted.yaml"
    recipe.write_text(PROBED.replace("tune: all", "tune: lora\n        lora_rank: 2"))
    source = load_source(recipe, ["--training.epochs=1", "--training.probe.epochs=0"])
    run = Run(prepare(source), say=lambda line: None).train().parent
    path = export_bundle(run, tmp_path / "bundle")
    assert not any("lora" in name for name in load_file(path / "model.safetensors"))
    monkeypatch.setitem(sys.modules, "peft", None)  # an import of it fails
    np.testing.assert_allclose(predictions(path, run), expected(run, ("noise", "tone")), atol=1e-5)
