"""Whisper's encoder: the oracle is transformers' own on an input of 30 s; shorter ones are exact under padding."""

import json
import math
import os
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from toolkit.contracts import Seq
from toolkit.errors import PluginError, RecipeError
from toolkit.model.allowance import Allowance
from toolkit.testing import assert_contract
from toolkit_plugins.extractors.whisper import Whisper

SMALL = {"d_model": 16, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 24}
DECODER = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 24, "vocab_size": 60}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
TINY = Path(os.environ.get("WHISPER_TINY_EN") or Path(__file__).parents[4] / "shared" / "models" / "whisper-tiny.en")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def config():
    return WhisperConfig(**SMALL, **DECODER, **TOKENS, max_target_positions=8)


def save(folder, cls, *, half=False):
    torch.manual_seed(1)
    model = cls(config())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    (model.half() if half else model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save(tmp_path_factory.mktemp("whisper"), WhisperForConditionalGeneration)


def random_model(**args):
    torch.manual_seed(0)
    return Whisper(source="random", config=SMALL, **args)


def waves(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = 0.1 * torch.randn(len(lengths), max(lengths), generator=generator)
    return Seq(values, torch.tensor(lengths)).zeroed()


def error_of(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@torch.no_grad()
@pytest.mark.parametrize("samples", [480_000, 479_000])
def test_an_input_of_30_s_gives_what_transformers_gives(checkpoint, samples):
    oracle = WhisperEncoder.from_pretrained(checkpoint, key_mapping={r"^model\.encoder\.": ""}).eval()
    wave = waves(samples)
    inputs = WhisperFeatureExtractor()(wave.values[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    mel = Whisper(source=str(checkpoint), tune="all").eval().features(wave)
    assert error_of(mel.values, inputs.input_features.transpose(1, 2)) < 1e-4
    attended = []
    for each in oracle.layers:
        each.self_attn.register_forward_hook(lambda part, given, output: attended.append(output[0]))
    states = oracle(inputs.input_features, output_hidden_states=True)
    normed = torch.cat([*states.hidden_states[1:3], oracle.layers[2](states.hidden_states[2], None)], dim=2)
    both = [part for pair in zip(attended, normed.split(16, dim=2), strict=False) for part in pair]
    cases = [("last", states.last_hidden_state), (2, states.hidden_states[2])]
    for layer, expected in [*cases, ("all", normed), ("sublayers", torch.cat(both, dim=2))]:
        for tune in ("all", "frozen"):
            found = Whisper(source=str(checkpoint), layer=layer, tune=tune).eval()(wave)
            assert found.lengths.tolist() == [1500] and error_of(found.values, expected) < 1e-4


@pytest.mark.parametrize("layer", ["last", "all", "sublayers", "weighted", 2])
def test_adapters_change_nothing_at_first_and_are_merged_without_a_trace(layer, monkeypatch):
    wave = waves(4000, 3000)
    plain, level = random_model(layer=layer).eval(), random_model(layer=layer, tune="lora", lora_rank=2).eval()
    with torch.no_grad():
        expected = plain(wave).values
        assert error_of(level(wave).values, expected) < 1e-5
    trained = {name for name, p in level.named_parameters() if p.requires_grad}
    layers = 2 if layer == 2 else 3
    assert len([name for name in trained if "lora_" in name]) == layers * 6 * 2  # six linear layers, two matrices each
    assert trained - {"layer_weights"} == {name for name in trained if "lora_" in name}
    assert level.features(wave).values.shape[2] == 16  # what enters the first layer is all that is cached
    with torch.no_grad():
        for name, parameter in level.named_parameters():
            parameter.add_(0.1 if "lora_B" in name else 0.0)
        adapted = level(wave).values
        level.merge()
        monkeypatch.setitem(sys.modules, "peft", None)  # an import of it fails
        args = {"layer": layer, "tune": "lora", "lora_rank": 2, "config": SMALL} | level.portable_args()
        again = Whisper(**args).eval()
        again.load_state_dict(level.state_dict())
        assert error_of(adapted, expected) > 1e-3
        assert error_of(again(wave).values, adapted) < 1e-5 and error_of(level(wave).values, adapted) < 1e-5


def test_a_random_model_is_built_without_the_layers_above_the_one_that_is_read():
    with Allowance(tensors=200):
        level = Whisper(source="random", config=SMALL | {"encoder_layers": 300}, layer=2)
    assert len(level.layers) == 2 and level.portable_args()["config"]["encoder_layers"] == 300
    with pytest.raises(ValueError, match="layer is 4; this model has 3 layers"):
        random_model(layer=4)


def test_what_is_wrong_with_adapters_is_one_line(monkeypatch):
    with pytest.raises(RecipeError, match="no linear layer 'q_pro' can have an adapter here"):
        random_model(tune="lora", lora_targets=["q_pro"])
    with pytest.raises(ValueError, match="lora_rank is 0; it has to be at least 1"):
        random_model(tune="lora", lora_rank=0)
    for alpha in (0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"lora_alpha is {alpha}; it has to be a number above 0"):
            random_model(tune="lora", lora_alpha=alpha)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(PluginError, match=re.escape("pip install 'audio-classification-toolkit[lora]'")):
        random_model(tune="lora")


@torch.no_grad()
def test_a_short_input_has_the_front_end_of_one_that_silence_fills_to_30_s(checkpoint):
    wave = waves(16_000)
    expected = WhisperFeatureExtractor()(wave.values[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    mel = Whisper(source=str(checkpoint), tune="all").features(wave)
    assert mel.lengths.tolist() == [150]  # 1 s and half a second of silence
    assert error_of(mel.values, expected.input_features.transpose(1, 2)[:, :150]) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("tune", [{"tune": "frozen"}, {"tune": "all"}, {"tune": "top", "top_layers": 1}])
@pytest.mark.parametrize("layer", ["last", "weighted", "all", "sublayers", 1, 3])
def test_a_row_of_a_padded_batch_comes_out_as_it_does_alone(tune, layer):
    extractor = random_model(layer=layer, **tune).eval()
    wave = waves(8000, 5000, 1234, 1)
    together = extractor(wave)
    for row, length in enumerate(wave.lengths.tolist()):
        alone = extractor(Seq(wave.values[row : row + 1, :length], torch.tensor([length]), full=True))
        assert together.lengths[row] == alone.lengths[0] == extractor.frame_count(length)
        assert error_of(together.values[row, : alone.values.shape[1]], alone.values[0]) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("layer", ["last", "weighted", "all", "sublayers", 2])
def test_what_is_frozen_changes_no_value(layer):
    wave, values = waves(8000, 5000), []
    for tune in ({"tune": "all"}, {"tune": "top", "top_layers": 1}, {"tune": "frozen"}):
        values.append(random_model(layer=layer, **tune).eval()(wave).values)
    assert error_of(values[1], values[0]) < 1e-6 and error_of(values[2], values[0]) < 1e-6


@torch.no_grad()
@pytest.mark.parametrize("args", [{"tune": "frozen"}, {"tune": "top", "top_layers": 1}, {"tune": "lora"}])
def test_dropout_reaches_nothing_that_is_frozen(args):
    dropped, plain = (random_model(dropout=dropout, **args).train() for dropout in (0.5, 0.0))
    assert torch.equal(dropped.features(waves(16_000)).values, plain.features(waves(16_000)).values)
    trained = random_model(dropout=0.5, tune="all", layer=1).train()
    assert not torch.equal(trained(waves(16_000)).values, trained(waves(16_000)).values)


@pytest.mark.parametrize(
    "args",
    [
        {"layer": "weighted", "dropout": 0.1},
        {"layer": "last", "tune": "all", "gradient_checkpointing": True},
        {"layer": "all", "tune": "top", "top_layers": 1},
        {"layer": "sublayers", "tune": "all", "gradient_checkpointing": True},
        {"layer": 2, "tune": "top", "top_layers": 2},
    ],
)
def test_it_keeps_the_contract(args):
    assert_contract("extractor", Whisper, {"source": "random", "config": SMALL} | args)


@pytest.mark.parametrize("cls", [WhisperForConditionalGeneration, WhisperModel, WhisperEncoder])
def test_folders_of_the_whole_model_and_of_the_encoder_alone_are_read(tmp_path, checkpoint, cls):
    extractor = Whisper(source=str(save(tmp_path, cls)))
    stored = load_file(tmp_path / "model.safetensors")
    name = next(name for name in stored if name.endswith("layers.2.fc1.weight") and "decoder" not in name)
    assert torch.equal(extractor.model.layers[2].fc1.weight, stored[name])
    assert extractor.pretrained == str(tmp_path) and not extractor.random_backbone


def test_the_decoder_is_never_read(tmp_path, checkpoint):
    tensors = load_file(checkpoint / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if "decoder" not in k}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((checkpoint / "config.json").read_text())
    whole, part = Whisper(source=str(checkpoint)), Whisper(source=str(tmp_path))
    assert not [name for name in whole.state_dict() if "decoder" in name]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), part.parameters(), strict=True))


def test_weights_in_half_precision_become_float32(tmp_path):
    extractor = Whisper(source=str(save(tmp_path, WhisperModel, half=True)))
    assert {p.dtype for p in extractor.parameters()} == {torch.float32}


def test_a_model_with_too_few_positions_for_a_segment_is_refused():
    settings = {"source": "random", "config": SMALL | {"max_source_positions": 100}}  # of 20 ms each, 2 s
    with pytest.raises(ValueError, match=r"positions is 100; segments of 3 s .* need 175: raise it, or lower audio\."):
        Whisper(**settings)
    fits = Whisper(**settings, segment_samples=24_000).eval()  # 1.5 s, and half a second of silence
    assert fits(waves(24_000)).values.shape == (1, 75, 3 * 16)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"segment_samples": 480_001}, "Whisper takes 30 s at most; segments have 30.0001 s: set"),
        ({"sample_rate": 8000}, "Whisper takes audio at 16000 Hz; audio.sample_rate is 8000"),
        ({"layer": 4}, "layer is 4; this model has 3 layers, so 1 to 3"),
        ({"tune": "top", "top_layers": 4}, "top_layers is 4; 3 layers are used, so 1 to 3"),
        ({"tune": "frozen", "top_layers": 1}, "goes with tune: top only"),
    ],
)
def test_arguments_out_of_range_are_refused(args, message):
    with pytest.raises(ValueError, match=message):
        random_model(**args)


def test_a_setting_that_the_encoder_does_not_have_is_refused():
    with pytest.raises(RecipeError, match=r"has no setting 'encoder_layer'\. Did you mean 'encoder_layers'\?"):
        Whisper(source="random", config={"encoder_layer": 2})
    with pytest.raises(RecipeError, match="cannot be built from"):
        Whisper(source="random", config=SMALL | {"encoder_attention_heads": 3})


def test_a_folder_of_another_model_and_damaged_weights_are_one_line(tmp_path, checkpoint):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(RecipeError, match="is of model type 'wav2vec2'; the extractor whisper takes whisper"):
        Whisper(source=str(tmp_path))
    (tmp_path / "config.json").write_text((checkpoint / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(PluginError, match="cannot be read, the file may be truncated"):
        Whisper(source=str(tmp_path))
    tensors = load_file(checkpoint / "model.safetensors")
    save_file({"model.encoder.conv1.bias": tensors["model.encoder.conv1.bias"]}, tmp_path / "model.safetensors")
    with pytest.raises(PluginError, match=r"lacks weights of Whisper's encoder: conv1\.weight, conv2\.bias"):
        Whisper(source=str(tmp_path))
    with pytest.raises(PluginError, match="do not fit its configuration"):
        Whisper(source=str(checkpoint), config={"encoder_ffn_dim": 20})


@pytest.mark.skipif(not TINY.is_dir(), reason="needs whisper-tiny.en: set WHISPER_TINY_EN")
@torch.no_grad()
def test_real_weights_give_what_transformers_gives():
    oracle = WhisperEncoder.from_pretrained(TINY, key_mapping={r"^model\.encoder\.": ""}, dtype=torch.float32).eval()
    wave = waves(480_000)
    inputs = WhisperFeatureExtractor()(wave.values[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    found = Whisper(source=str(TINY), layer="last").eval()(wave).values
    own = oracle(inputs.input_features).last_hidden_state
    exact = oracle.double()(inputs.input_features.double()).last_hidden_state
    assert error_of(found, exact) < 2 * error_of(own, exact)  # float32 by another library: as near to float64 as theirs


def test_with_normalize_loudness_does_not_matter():
    torch.manual_seed(0)
    wave = 0.1 * torch.randn(1, 8_000)
    level = Whisper(source="random", config=SMALL, normalize=True).eval()
    loud, soft = (level(Seq(gain * wave, torch.tensor([8_000]))).values for gain in (1.0, 0.1))
    torch.testing.assert_close(soft, loud, rtol=1e-4, atol=1e-4)
    assert level(Seq(torch.zeros(1, 8_000), torch.tensor([8_000]))).values.isfinite().all()
