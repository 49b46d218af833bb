import json

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor
from wav2vec2_checkpoints import CHECKPOINTS, STABLE, random_model, save_checkpoint

from toolkit.contracts import Seq
from toolkit.model.allowance import Allowance
from toolkit_plugins.extractors import frontends
from toolkit_plugins.extractors import wav2vec2_steps as steps
from toolkit_plugins.extractors.wav2vec2 import Wav2Vec2


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save_checkpoint(name, tmp_path_factory.mktemp(name)) for name in CHECKPOINTS}


def waves(*lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = 0.1 * torch.randn(len(lengths), max(lengths), generator=generator) + 0.02
    return Seq(values, torch.tensor(lengths)).zeroed()


def error_of(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_adapter_learns_and_is_merged(folders, name):
    """WavLM's attention reads its weights past any adapter, so it gets none."""
    level, wave = Wav2Vec2(source=str(folders[name]), tune="lora", lora_rank=2).eval(), waves(4000, 3000)
    level(wave).values.square().sum().backward()
    adapters = {key: p for key, p in level.named_parameters() if "lora_B" in key}
    assert len(adapters) == len(level.layers) * (2 if "wavlm" in name else 6)
    assert all(p.grad is not None and p.grad.count_nonzero() for p in adapters.values())
    with torch.no_grad():
        for parameter in adapters.values():
            parameter.add_(0.1)
        adapted = level(wave).values
        level.merge()
        assert not any("lora" in key for key in level.state_dict())
        assert error_of(level(wave).values, adapted) < 1e-5


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_layer_parameters_are_all_but_the_weighted_sum_and_the_final_norm(folders, name):
    level = Wav2Vec2(source=str(folders[name]), layer="weighted")
    layers = level.layer_parameters()
    assert len(layers) == 1 + len(level.layers)
    inside = {id(p) for layer in layers for p in layer}
    outside = {key for key, p in level.named_parameters() if id(p) not in inside}
    norm = {"model.encoder.layer_norm.weight", "model.encoder.layer_norm.bias"}
    assert outside == {"layer_weights"} | (norm if level.model.config.do_stable_layer_norm else set())


@torch.no_grad()
@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_model_cut_at_a_layer_comes_back_without_the_layers_above(folders, name, layer):
    level, wave = Wav2Vec2(source=str(folders[name]), tune="frozen", layer=layer).eval(), waves(4000, 3000)
    args = {"tune": "frozen", "layer": layer} | level.portable_args()
    again = Wav2Vec2(**args).eval()
    again.load_state_dict(level.state_dict())
    assert torch.equal(again(wave).values, level(wave).values)
    assert again.front_end_args == level.front_end_args and again.portable_args() == level.portable_args()
    with Allowance(tensors=300):
        Wav2Vec2(**args | {"config": args["config"] | {"num_hidden_layers": 100}})


class TestExactUnderPadding:
    @pytest.mark.parametrize("name", CHECKPOINTS)
    @torch.no_grad()
    def test_a_padded_row_equals_transformers_own_model_on_the_lone_signal(self, folders, name):
        cls = CHECKPOINTS[name][0]
        extractor = Wav2Vec2(source=str(folders[name])).eval()
        oracle = cls.from_pretrained(folders[name]).eval()
        normaliser = Wav2Vec2FeatureExtractor()
        wave = waves(8000, 5000, 1234, 400)
        padded = extractor(wave)
        for index, length in enumerate(wave.lengths.tolist()):
            signal = wave.values[index, :length].numpy()
            inputs = normaliser(signal, sampling_rate=16_000, return_tensors="pt").input_values
            expected = oracle(inputs).last_hidden_state[0]
            assert padded.lengths[index] == len(expected)
            assert error_of(padded.values[index, : len(expected)], expected) < 1e-5

    @pytest.mark.parametrize("name", ["wav2vec2-group", "wav2vec2-layer"])
    @torch.no_grad()
    def test_padding_does_change_a_row_in_transformers_own_model_with_group_norm_alone(self, folders, name):
        """The oracle can tell: with the mask that transformers documents, the base model is off by far more."""
        oracle = CHECKPOINTS[name][0].from_pretrained(folders[name]).eval()
        wave = waves(8000, 3000)
        masked = oracle(wave.values, attention_mask=wave.mask.long()).last_hidden_state[1]
        expected = oracle(wave.values[1:, :3000]).last_hidden_state[0]
        error = error_of(masked[: len(expected)], expected)
        assert error > 1e-3 if name == "wav2vec2-group" else error < 1e-5

    def test_normalisation_is_the_one_of_transformers_feature_extractor(self):
        wave = waves(900, 500, 77)
        found = frontends.normalise(wave)
        for index, length in enumerate(wave.lengths.tolist()):
            signal = wave.values[index, :length].numpy()
            expected = Wav2Vec2FeatureExtractor()(signal, sampling_rate=16_000).input_values[0]
            np.testing.assert_allclose(found.values[index, :length], expected, atol=2e-6)
            assert not found.values[index, length:].any()

    def test_masked_group_norm_of_full_rows_is_torchs_group_norm(self):
        norm = torch.nn.GroupNorm(2, 6)
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
        x = torch.randn(3, 6, 11) * 2 + 5
        torch.testing.assert_close(steps.masked_group_norm(x, torch.full((3,), 11), norm), norm(x))

    def test_masked_group_norm_takes_its_statistics_from_real_frames(self):
        norm = torch.nn.GroupNorm(1, 1, eps=0.0)
        x = torch.tensor([[[1.0, 3.0, 100.0]]])
        found = steps.masked_group_norm(x, torch.tensor([2]), norm)  # mean 2, deviation 1
        torch.testing.assert_close(found[0, 0, :2], torch.tensor([-1.0, 1.0]))

    def test_gradients_of_masked_group_norm_are_torchs_on_the_lone_row(self):
        norm = torch.nn.GroupNorm(4, 4).double()
        x = torch.randn(1, 4, 9, dtype=torch.float64, requires_grad=True)
        weights = torch.randn(1, 4, 6)
        norm.weight.data.normal_()
        found = torch.autograd.grad((norm(x[:, :, :6]) * weights).sum(), x)[0]
        masked = steps.masked_group_norm(x, torch.tensor([6]), norm)[:, :, :6]
        torch.testing.assert_close(torch.autograd.grad((masked * weights).sum(), x)[0], found, rtol=1e-4, atol=1e-5)

    def test_a_sample_makes_a_frame(self):
        extractor = random_model().eval()
        output = extractor(waves(1, 399))
        assert output.lengths.tolist() == [1, 1] and output.values.isfinite().all()


class TestFrames:
    def test_three_seconds_are_149_frames(self):
        extractor = random_model()
        assert [extractor.frame_count(n) for n in (48_000, 16_000, 400, 1)] == [149, 49, 1, 1]

    def test_other_convolutions_have_another_minimum(self):
        extractor = random_model(
            config={"conv_kernel": [10, 3], "conv_stride": [5, 2], "conv_dim": [8, 8], "num_feat_extract_layers": 2}
        )
        assert extractor.minimum_samples == 20  # (3 - 1) * 5 + 10
        assert extractor.frame_count(40) == 3  # (40 - 10) // 5 + 1 = 7; (7 - 3) // 2 + 1 = 3


class TestWeightedLayers:
    @pytest.mark.parametrize("name", ["wav2vec2-group", "wav2vec2-stable", "wavlm-stable"])
    @torch.no_grad()
    def test_states_are_the_inputs_of_all_layers_and_the_last_output(self, folders, name):
        extractor = Wav2Vec2(source=str(folders[name]), layer="weighted").eval()
        oracle = CHECKPOINTS[name][0].from_pretrained(folders[name]).eval()
        wave = waves(4000)
        output = oracle(frontends.normalise(wave).values, output_hidden_states=True)
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        assert len(states) == 4
        torch.testing.assert_close(extractor(wave).values, sum(states) / 4, rtol=1e-4, atol=1e-5)
        extractor.layer_weights.copy_(torch.tensor([0.0, 0.0, 0.0, 50.0]))
        torch.testing.assert_close(extractor(wave).values, states[-1], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("name", CHECKPOINTS)
    @torch.no_grad()
    def test_all_and_a_number_are_transformers_own_states(self, folders, name):
        oracle = CHECKPOINTS[name][0].from_pretrained(folders[name]).eval()
        wave = waves(4000)
        normal = frontends.normalise(wave).values
        output = oracle(normal, output_hidden_states=True)
        states = [*output.hidden_states[1:-1], output.last_hidden_state]
        found = Wav2Vec2(source=str(folders[name]), layer="all").eval()(wave).values
        assert error_of(found, torch.cat(states, dim=2)) < 1e-4
        for tune in ("frozen", "lora", "all"):
            second = Wav2Vec2(source=str(folders[name]), layer=2, tune=tune).eval()
            assert len(second.layers) == 2 and error_of(second(wave).values, states[1]) < 1e-4

    @pytest.mark.parametrize("name", ["wav2vec2-group", "hubert-stable", "wavlm-group"])
    @pytest.mark.parametrize("layer", ["last", "weighted", "all", 3])
    @torch.no_grad()
    def test_what_is_tuned_does_not_change_the_output(self, folders, name, layer):
        source, wave = str(folders[name]), waves(4000, 2500)
        expected = Wav2Vec2(source=source, layer=layer).eval()(wave).zeroed().values
        for args in (
            {"tune": "frozen"},
            {"tune": "top", "top_layers": 1},
            {"tune": "top", "top_layers": 3},
            {"tune": "lora", "lora_rank": 2},
            {"freeze_convolutions": True},
            {"gradient_checkpointing": True},
        ):
            found = Wav2Vec2(source=source, layer=layer, **args).eval()(wave).zeroed().values
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


class TestWhatIsTrained:
    def trained(self, extractor):
        return {name for name, p in extractor.named_parameters() if p.requires_grad}

    def test_all_is_everything(self):
        extractor = random_model()
        assert self.trained(extractor) == {name for name, _ in extractor.named_parameters()}

    def test_frozen_is_nothing_but_the_weights_of_layers(self):
        assert self.trained(random_model(tune="frozen")) == set()
        assert self.trained(random_model(tune="frozen", layer="weighted")) == {"layer_weights"}

    def test_top_is_the_top_layers(self):
        trained = self.trained(random_model(tune="top", top_layers=2))
        assert {name.split(".")[3] for name in trained} == {"1", "2"}
        assert all(name.startswith("model.encoder.layers.") for name in trained)

    def test_top_is_with_the_last_norm_of_stable_models(self):
        trained = self.trained(random_model(tune="top", top_layers=1, config=STABLE))
        assert {n for n in trained if "layers" not in n} == {
            "model.encoder.layer_norm.weight",
            "model.encoder.layer_norm.bias",
        }

    def test_features_hold_what_is_frozen_from_below(self):
        wave = waves(4000)
        shapes = [
            list(random_model(**args).features(wave).values.shape)
            for args in (
                {},
                {"freeze_convolutions": True},
                {"tune": "frozen"},
                {"tune": "frozen", "layer": "weighted"},
                {"tune": "top", "top_layers": 1, "layer": "weighted"},
            )
        ]
        assert shapes == [[1, 4000, 1], [1, 12, 8], [1, 12, 16], [1, 12, 64], [1, 12, 48]]

    def test_a_new_extractor_is_frozen_before_train_is_called(self):
        extractor = random_model(tune="top", top_layers=1)
        assert extractor.training and not extractor.model.encoder.layers[0].training
        assert extractor.model.encoder.layers[2].training

    def test_dropout_argument_reaches_every_dropout_of_the_layers(self):
        layer = random_model(dropout=0.25).model.encoder.layers[0]
        found = layer.dropout.p, layer.feed_forward.intermediate_dropout.p, layer.attention.dropout
        assert found == (0.25, 0.25, 0.25)

    def test_a_dropout_that_config_gives_otherwise_is_refused(self):
        with pytest.raises(ValueError, match=r"dropout is 0\.25, and attention_dropout in config 0\.0: leave one out"):
            random_model(dropout=0.25, config={"attention_dropout": 0.0})
        stored = random_model(dropout=0.25).portable_args()["config"]  # a bundle holds both
        assert random_model(dropout=0.25, config=stored).portable_args()["config"] == stored

    def test_layerdrop_skips_layers_in_training_only(self):
        extractor = random_model(layerdrop=0.999, layer="weighted", dropout=0.0)
        wave = steps.lengthen(frontends.normalise(waves(4000)), 400)
        entry = steps.embed(extractor.model, steps.convolve(extractor.model, wave))
        torch.manual_seed(0)
        states = steps.transform(extractor.train().model, entry, 0, 3, layerdrop=0.999)
        assert all(torch.equal(state, entry.values) for state in states)
        states = steps.transform(extractor.eval().model, entry, 0, 3, layerdrop=0.999)
        assert not torch.equal(states[0], entry.values)


class TestSpecAugment:
    def test_spans_lie_inside_the_real_frames(self):
        torch.manual_seed(0)
        lengths = torch.tensor([100, 40, 10, 9])
        hidden = steps.spec_augment_spans(lengths, frames=100, probability=0.5, span=10, at_least=2)
        assert hidden.shape == (4, 100)
        assert not (hidden & (torch.arange(100) >= lengths[:, None])).any()
        assert hidden[0].sum() >= 10 and hidden[1].sum() >= 10
        assert hidden[2].sum() == 10 and hidden[3].sum() == 0  # one span fills a row of 10, none fits in 9

    def test_about_the_asked_share_is_hidden(self):
        torch.manual_seed(0)
        lengths = torch.full((200,), 500)
        hidden = steps.spec_augment_spans(lengths, frames=500, probability=0.05, span=10, at_least=0)
        assert 0.04 < hidden.float().mean() < 0.05  # spans overlap now and then

    def test_segments_shorter_than_a_span_train(self):
        extractor = random_model(spec_augment=True).train()
        assert extractor(waves(1000)).lengths.tolist() == [2]

    def test_it_changes_training_and_not_evaluation(self):
        extractor, plain = (random_model(spec_augment=flag, dropout=0.0) for flag in (True, False))
        plain.load_state_dict(extractor.state_dict(), strict=False)
        wave = waves(8000)
        assert torch.equal(extractor.eval()(wave).values, plain.eval()(wave).values)
        assert not torch.equal(extractor.train()(wave).values, plain.train()(wave).values)

    def test_without_it_there_is_no_masking_vector_that_nothing_trains(self):
        assert "model.masked_spec_embed" not in random_model().state_dict()
        assert "model.masked_spec_embed" in random_model(spec_augment=True).state_dict()


class TestFrontEndArgs:
    def test_nothing_frozen_needs_no_weights(self):
        assert random_model().front_end_args == random_model().front_end_args
        assert "weights" not in random_model().front_end_args

    def test_a_frozen_part_is_identified_by_its_weights(self, folders):
        source = str(folders["wav2vec2-group"])
        one, other = (Wav2Vec2(source=source, tune="frozen").front_end_args for _ in range(2))
        assert one == other and len(one["weights"]) == 64
        assert random_model(tune="frozen").front_end_args != random_model(tune="frozen").front_end_args

    def test_loading_a_state_changes_the_identity(self):
        one, other = random_model(tune="frozen"), random_model(tune="frozen")
        assert one.front_end_args != other.front_end_args
        torch.nn.ModuleList([other]).load_state_dict(torch.nn.ModuleList([one]).state_dict())
        assert one.front_end_args == other.front_end_args

    def test_every_argument_that_changes_features_is_in_it(self, folders):
        source = str(folders["wav2vec2-group"])
        variants = [
            {},
            {"preemphasis": 0.97},
            {"normalize": False},
            {"freeze_convolutions": True},
            {"tune": "frozen"},
            {"tune": "frozen", "layer": "weighted"},
            {"tune": "top", "top_layers": 1},
        ]
        seen = [json.dumps(Wav2Vec2(source=source, **v).front_end_args, sort_keys=True) for v in variants]
        assert len(set(seen)) == len(seen)


class TestFrontEnd:
    def test_preemphasis_comes_before_the_normalisation_and_keeps_the_first_sample(self):
        wave = waves(600, 450)
        found = random_model(preemphasis=0.5, normalize=False).features(wave).values[0, :3, 0]
        x = wave.values[0]
        torch.testing.assert_close(found, torch.stack([x[0], x[1] - 0.5 * x[0], x[2] - 0.5 * x[1]]))


class TestArguments:
    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ({"layer": 4}, "layer is 4; this model has 3 layers, so 1 to 3"),
            ({"tune": "top"}, "top_layers is 0; 3 layers are used, so 1 to 3"),
            ({"tune": "top", "top_layers": 4}, "top_layers is 4; 3 layers are used"),
            ({"top_layers": 2}, "goes with tune: top only"),
            ({"layerdrop": 1.0}, "layerdrop is 1.0"),
            ({"dropout": -0.1}, "dropout is -0.1"),
            ({"preemphasis": 1.5}, "preemphasis is 1.5"),
            ({"spec_augment": True, "tune": "frozen"}, "needs tune: all"),
            ({"config": {"mask_time_prob": 0.5}}, "config may not hold mask_time_prob"),
        ],
    )
    def test_a_wrong_value_names_the_argument(self, args, message):
        with pytest.raises(ValueError, match=message):
            random_model(**args)
