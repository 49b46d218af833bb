"""Every plugin that we declare keeps the contract, with small arguments."""

import json
import shutil
from functools import partial
from importlib import import_module

import pytest
import torch
from releases import FILES, make_release
from wav2vec2_checkpoints import CHECKPOINTS, SMALL, STABLE, save_checkpoint

from toolkit.contracts import Seq
from toolkit.testing import check_plugin
from toolkit_plugins.corpora.synthetic import Synthetic
from toolkit_plugins.extractors.wav2vec2 import Wav2Vec2

FAMILIES = ("extractors", "fusions", "heads", "losses", "augmentations", "corpora")
SPECS = [spec for f in FAMILIES for spec in import_module(f"toolkit_plugins.{f}").toolkit_register()]

RANDOM = {"source": "random", "config": SMALL}
SMALL_WHISPER = {"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 24}
# (kind, name) -> arguments to try; a plugin that is not here is tried with its defaults. The tests of whisper, mfcc,
# spectrogram, nlinear and dlinear try more.
CASES = {
    ("extractor", "wav2vec2"): [
        RANDOM,
        RANDOM | {"architecture": "wavlm", "layer": "weighted"},
        RANDOM | {"architecture": "hubert", "tune": "top", "top_layers": 1, "layer": "weighted"},
        RANDOM | {"architecture": "wavlm", "tune": "top", "top_layers": 3},
        RANDOM | {"tune": "frozen", "layer": "weighted", "preemphasis": 0.97},
        RANDOM | {"tune": "frozen", "config": SMALL | STABLE},
        RANDOM | {"freeze_convolutions": True, "dropout": 0.3, "layerdrop": 0.1},
        RANDOM | {"spec_augment": True, "gradient_checkpointing": True},
    ],
    ("extractor", "whisper"): [{"source": "random", "config": SMALL_WHISPER}],
    ("extractor", "mfcc"): [
        {"hidden": 8, "n_fft": 512, "n_mels": 32, "n_mfcc": 12},
        {"encoder": "none", "normalize": "none", "n_fft": 512, "n_mels": 32, "n_mfcc": 12},
    ],
    ("extractor", "spectrogram"): [
        {"weights": "random", "image_size": [63, 95], "pool": [1, 2]},
        {"weights": "random", "image_size": [63, 63], "pool": [1, 1], "freeze": True},
    ],
    ("extractor", "functionals"): [{"n_mels": 20, "n_mfcc": 8}],
    ("extractor", "nlinear"): [{"steps": 5}],
    ("extractor", "dlinear"): [{"steps": 5}],
    ("fusion", "attention"): [{}, {"heads": 2, "statistics": True, "layer_norm": True}],
    ("corpus", "synthetic"): [{"utterances_per_speaker": 4, "min_seconds": 0.2, "max_seconds": 0.3}],
    ("loss", "cross_entropy"): [{}, {"class_weights": "balanced", "label_smoothing": 0.1}],
}


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """A folder in which every corpus finds something of its own."""
    folder = tmp_path_factory.mktemp("data")
    release = Synthetic(**CASES["corpus", "synthetic"][0]).prepare(folder)
    (folder / "IEMOCAP_full_release").symlink_to(release / "IEMOCAP_full_release")
    (folder / "manifest.csv").write_text("path,label\na.wav,dog\nb.wav,cat\n")
    (folder / "Actor_12").mkdir()
    (folder / "Actor_12" / "03-01-05-01-02-01-12.wav").touch()
    for name in FILES:
        make_release(name, folder)
    return folder


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # audformat with pandas 3
@pytest.mark.parametrize(
    ("spec", "args"),
    [
        pytest.param(spec, args, id=f"{spec.kind}-{spec.name}-{index}")
        for spec in SPECS
        for index, args in enumerate(CASES.get((spec.kind, spec.name), [{}]))
    ],
)
def test_a_first_party_plugin_keeps_the_contract(spec, args, request):
    module, _, attribute = spec.target.partition(":")
    cls = getattr(import_module(module), attribute)
    if spec.name == "audformat":
        pytest.importorskip("audformat")
        make_release("audformat", request.getfixturevalue("data_folder"))
    options = {"folder": request.getfixturevalue("data_folder")} if spec.kind == "corpus" else {}
    findings = check_plugin(spec.kind, cls, args, **options)
    assert [str(finding) for finding in findings if not finding.holds] == []


def test_every_case_is_of_a_declared_plugin():
    assert set(CASES) <= {(spec.kind, spec.name) for spec in SPECS}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoints_extractor_comes_back_from_its_portable_args_without_it(name, tmp_path):
    """With settings that differ from transformers' defaults, those of the preprocessor too."""
    folder = save_checkpoint(name, tmp_path / "checkpoint")
    (folder / "preprocessor_config.json").write_text('{"do_normalize": false}')
    make = partial(Wav2Vec2, source=str(folder), tune="frozen", layer="weighted", config={"layer_norm_eps": 1e-3})
    extractor = make()
    args = json.loads(json.dumps(make.keywords | extractor.portable_args()))
    shutil.rmtree(folder)
    again = Wav2Vec2(**args)
    again.load_state_dict(extractor.state_dict())
    wave = Seq(torch.randn(2, 4000), torch.tensor([4000, 2500]))
    assert torch.equal(again.eval()(wave).values, extractor.eval()(wave).values)
    assert again.front_end_args == extractor.front_end_args
