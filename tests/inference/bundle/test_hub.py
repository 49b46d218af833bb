"""Bundles on a hub: pushed to one on loopback, fetched from it, and every refusal in one line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from huggingface_hub import constants
from small_bundle import train
from small_hub import small_hub

import toolkit
from toolkit.cli.main import main as cli
from toolkit.errors import BundleError
from toolkit.files import DISTRIBUTION
from toolkit.inference.bundle import read_bundle
from toolkit.inference.predict.evaluation import evaluate
from toolkit.model.hub import local_bundle
from toolkit.training.preparation import load_source, prepare
from toolkit.training.run import Run

NAME = "hf:me/emotions"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>'.*:DeprecationWarning")  # huggingface_hub's upload
OPTIONS = {"label_map": {}, "covariates": {}, "batch_size": 8, "device": "cpu"}


def command(*words: object):
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("run"), "--training.epochs=1")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with small_hub(tmp_path_factory.mktemp("cache")) as hub:
        yield hub


@pytest.fixture(scope="module")
def pushed(run, hub, tmp_path_factory) -> tuple[Path, str]:
    """The bundle that was pushed, and its name with the commit; an older commit had an ONNX model."""
    hub.commit("me/emotions", **{"model.onnx": b"old", ".gitattributes": b""})
    bundle = tmp_path_factory.mktemp("bundle") / "b.zip"
    done = command("export", run, bundle, "--push", "me/emotions", "--license", "mit")
    assert done.exit_code == 0, done.output
    path, name = done.stdout.splitlines()
    assert path == str(bundle)
    return bundle, name


def test_a_bundle_that_is_pushed_and_fetched_predicts_to_the_bit(run, hub, pushed, capsys):
    bundle, name = pushed
    commit, files = hub.files("me/emotions", "main")
    assert name == f"{NAME}@{commit}"
    assert set(files) == {".gitattributes", "config.json", "model.safetensors", "README.md", "seen.json"}
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000).astype(np.float32)
    before = toolkit.load(bundle, device="cpu").predict(wave, sample_rate=16_000).probabilities
    hub.commit("me/emotions", **{"modeling.py": b"raise SystemExit", "sub/config.json": b"{}"})
    found = read_bundle(NAME).path
    assert f"{NAME} is {NAME}@{found.name}\n" in capsys.readouterr().err
    assert found.name != commit and sorted(path.name for path in found.iterdir()) == sorted(
        set(files) - {".gitattributes"}
    )
    for again in (NAME, name):
        assert toolkit.load(again, device="cpu").predict(wave, sample_rate=16_000).probabilities == before
    assert not [line for line in hub.asked if "modeling" in line or "onnx" in line]


def test_results_name_the_commit(run, pushed):
    bundle, name = pushed
    found = evaluate(name, str(run.parents[1] / "corpus" / "manifest.csv"), **OPTIONS)
    assert found["bundle"] == name and "hf:" not in str(bundle)


def test_a_training_starts_from_a_fetched_bundle(run, hub, pushed):
    facts = json.loads(hub.files("me/emotions", "main")[1]["config.json"])["files"]["model.safetensors"]
    source = load_source(run / "recipe.yaml", [f"--training.init_from={pushed[1]}"])
    expected = f"Starts from {pushed[1].partition('@')[2]} (small sha256:{facts['sha256'][:16]})"
    assert Run(prepare(source), say=[].append).started.startswith(expected)


def test_without_a_network_the_cache_is_enough(pushed, monkeypatch):
    online = local_bundle(NAME)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert local_bundle(NAME) == online and local_bundle(f"{NAME}@{online.name}") == online
    for name in ("hf:me/other", f"{NAME}@v2"):
        with pytest.raises(BundleError, match=f"^{name}: it is not in the hub's cache, .*HF_HUB_OFFLINE"):
            local_bundle(name)


def test_no_network_is_one_line(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BundleError, match=r"not in the hub's cache, and the hub cannot be reached \(ConnectError"):
        local_bundle("hf:me/nowhere")


def test_a_gated_and_a_missing_repository_are_refused(hub):
    hub.commit("me/gated", **{"config.json": b"{}"})
    hub.gated.add("me/gated")
    with pytest.raises(BundleError, match=r"^hf:me/gated: it is gated: agree to the terms on its page; `hf "):
        read_bundle("hf:me/gated")
    with pytest.raises(BundleError, match=r"^hf:me/emotion: it is not on the hub, or it is private: check the name"):
        read_bundle("hf:me/emotion")
    with pytest.raises(BundleError, match=r"^hf:me/gated@v2: the hub has it, but not this revision"):
        read_bundle("hf:me/gated@v2")


@pytest.mark.parametrize("name", ["hf:", "hf:emotions", "hf:a/b/c", "hf:a b/c", "hf:a/b@", "hf:é/b", "hf:a/b@x\n"])
def test_an_impossible_name_is_refused_before_the_network(name):
    with pytest.raises(BundleError, match="hf:USER/NAME or hf:USER/NAME@REVISION is needed"):
        local_bundle(name)


def test_other_models_are_refused_before_their_weights_are_fetched(hub):
    commit = hub.commit("me/wav2vec2", **{"config.json": b'{"model_type": "wav2vec2"}', "model.safetensors": b"0"})
    with pytest.raises(BundleError, match=r"^hf:me/wav2vec2 is not a bundle: it has no config.json of one"):
        read_bundle("hf:me/wav2vec2")
    hub.commit("me/empty", **{"weights.bin": b"0"})
    with pytest.raises(BundleError, match=r"^hf:me/empty is not a bundle: it has no config.json"):
        read_bundle("hf:me/empty")
    fetched = [line for line in hub.asked if re.match("GET /me/(wav2vec2|empty)/resolve/", line)]
    assert fetched == [f"GET /me/wav2vec2/resolve/{commit}/config.json"]


def test_a_forged_file_is_found_and_named_by_its_repository(hub, pushed):
    _, files = hub.files("me/emotions", pushed[1].partition("@")[2])
    hub.commit("me/forged", **files | {"README.md": files["README.md"] + b"!"})
    with pytest.raises(BundleError, match=r"^hf:me/forged: README.md is not the file that was exported"):
        read_bundle("hf:me/forged")


@pytest.mark.parametrize(
    ("words", "token", "line"),
    [
        (["--push", "emotions"], None, "hf:emotions is not a bundle on the hub: hf:USER/NAME"),
        ([], None, "Missing BUNDLE, or --push USER/NAME"),
        (["hf:me/emotions"], None, "hf:me/emotions is a name on the hub: --push me/emotions pushes there"),
        (["--push", "me/denied"], "hf_other", "hf:me/denied: the hub refuses it: `hf auth login` or HF_TOKEN"),
        (["--push", "me/licence", "--license", "whatever"], None, '"license" must be one of'),
    ],
)
def test_what_cannot_be_pushed_is_one_line(run, hub, words, token, line, monkeypatch):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    done = command("export", run, *words)
    assert done.exit_code == 2 and line in done.stderr and done.stderr.count("\n") == 1 + done.stderr.count("NOTE")
    assert ("--license" in words) == ("me/licence" in hub.private), "a repository that is made is private"


def test_the_card_is_what_the_hub_reads(hub, pushed):
    from huggingface_hub import ModelCard

    _, files = hub.files("me/emotions", pushed[1].partition("@")[2])
    data = ModelCard(files["README.md"].decode()).data
    fields = data.to_dict()
    test = json.loads(files["config.json"])["training"]["test"]
    assert [fields[name] for name in ("license", "pipeline_tag", "library_name")] == [
        "mit",
        "audio-classification",
        DISTRIBUTION,
    ]
    assert data.tags == ["audio-classification", "manifest", "mfcc"] and data.base_model is None
    found = {result.metric_type: result for result in data.eval_results}
    assert found["accuracy"].metric_value == test["wa"] and found["recall"].metric_value == test["ua"]
    assert found["f1"].metric_value == test["macro_f1"] and found["f1"].dataset_split == "test"
    assert found["f1"].dataset_args == {"protocol": "session-out", "fold": "S1", "seed": 1, "notes": []}
    assert b"Weights: mit." in files["README.md"]
