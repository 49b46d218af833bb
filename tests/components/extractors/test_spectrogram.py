import json
import logging
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from toolkit.contracts import Seq
from toolkit.testing import assert_contract
from toolkit_plugins.extractors import alexnet
from toolkit_plugins.extractors.spectrogram import Spectrogram, image

SMALL = {"weights": "random", "segment_samples": 16_000, "image_size": [63, 95], "pool": [1, 2]}
VARIANTS = {
    "plain": {},
    "all parts": {"normalization": "batch", "normalize": "utterance", "dropout": 0.2},
}


def waves(*levels: float, samples: int = 16_000) -> Seq:
    noise = torch.randn(len(levels), samples, generator=torch.Generator().manual_seed(0))
    rising = torch.linspace(0.01, 1, samples)
    return Seq(noise * rising * torch.tensor(levels)[:, None], torch.full((len(levels),), samples))


def build(**args) -> Spectrogram:
    torch.manual_seed(0)
    extractor = Spectrogram(**{**SMALL, **args})
    if extractor.fits:
        extractor.fit([extractor.features(waves(0.1, 0.2, 0.3))])
    return extractor.eval()


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))

    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A file with the convolutions of an AlexNet, named as in torchvision."""
    torch.manual_seed(5)
    layers, _ = alexnet.build("random")
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save({f"features.{name}": value for name, value in layers.state_dict().items()}, path)
    return path


def test_the_defaults_are_the_reference_systems():
    extractor = Spectrogram(weights="random").eval()
    features = extractor.features(waves(0.1, samples=48_000))
    assert features.values.shape == (1, 300, 200)
    out = extractor.encode(features)
    assert out.values.shape == (1, 6, 1536) and out.lengths.tolist() == [6]
    assert extractor.channels * extractor.frame_count(48_000) == 9216
    assert extractor.fixed_samples == 48_000 and extractor.fits


@pytest.mark.parametrize("args", VARIANTS.values(), ids=VARIANTS)
def test_it_keeps_the_contract(args):
    assert_contract("extractor", Spectrogram, {**SMALL, **args}, segment_samples=SMALL["segment_samples"])


def test_the_layers_are_torchvisions_alexnet():
    theirs = torchvision.models.AlexNet(num_classes=1).eval()
    layers, _ = alexnet.build("random")
    layers.load_state_dict(theirs.features.state_dict())
    pictures = torch.randn(2, 3, 224, 224)
    torch.testing.assert_close(layers(pictures), theirs.features(pictures))


def test_frames_are_the_columns_of_the_averaged_map():
    extractor = build(image_size=[256, 384], pool=[6, 6])
    features = extractor.features(waves(0.1))
    picture = image(extractor.scaler(features.values), (256, 384))
    maps = nn.AdaptiveAvgPool2d((6, 6))(extractor.backbone(picture))  # [1, 256, 6, 6]
    frame = extractor.encode(features).values[0, 2].reshape(256, 6)
    torch.testing.assert_close(frame, maps[0, :, :, 2])


def test_a_flipped_image_has_its_high_frequencies_at_the_top():
    upright = build(image_size=[64, 96], pool=[1, 1])
    flipped = build(image_size=[64, 96], pool=[1, 1], flip=True)
    flipped.load_state_dict(upright.state_dict())
    pictures = []
    for extractor in (upright, flipped):
        extractor.backbone.register_forward_pre_hook(lambda _, args: pictures.append(args[0]))
        extractor.encode(extractor.features(waves(0.1)))
    torch.testing.assert_close(pictures[1], pictures[0].flip(2))


@pytest.mark.parametrize("size", [[63, 63], [64, 96], [128, 192], [256, 384], [200, 301]])
def test_the_size_of_the_last_map_is_known_beforehand(size):
    layers, _ = alexnet.build("random")
    assert layers(torch.zeros(1, 3, *size)).shape[2:] == alexnet.map_size(size)


def test_an_image_shows_frequency_over_time_in_imagenets_colours():
    scaled = torch.zeros(1, 4, 6)
    scaled[0, 3, 0] = 1.0  # the last frame, the lowest bin
    picture = image(scaled, (6, 4))
    assert picture.shape == (1, 3, 6, 4)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(picture[0, :, 0, 3], (1 - mean) / deviation)
    torch.testing.assert_close(picture[0, :, 5, 0], -mean / deviation)


def test_fit_scales_each_bin_of_the_training_part_to_zero_and_one():
    extractor = build()
    scaled = extractor.scaler(extractor.features(waves(0.1, 0.2, 0.3)).values)
    torch.testing.assert_close(scaled.amin(dim=(0, 1)), torch.zeros(200))
    torch.testing.assert_close(scaled.amax(dim=(0, 1)), torch.ones(200))


def test_shorter_audio_is_filled_with_silence_and_garbage_changes_nothing():
    extractor, wave = build(), waves(0.3, 0.2)
    short = Seq(wave.values, torch.tensor([16_000, 9_000]))
    padded = Seq(short.zeroed().values, wave.lengths)
    assert torch.equal(extractor(short.filled(float("nan"))).values, extractor(padded).values)
    assert extractor.features(padded).values[1, 60:].eq(-80).all()


@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_frozen_convolutions_stay_as_they_are_in_training(normalization):
    extractor = build(freeze=True, normalization=normalization)
    expected = extractor(waves(0.2, 0.3)).values
    out = extractor.train()(waves(0.2, 0.3)).values
    assert not extractor.backbone.training and not out.requires_grad
    assert torch.equal(out, expected)
    assert torch.equal(extractor(waves(0.2, 0.3)).values, expected)
    assert not [p for p in extractor.parameters() if p.requires_grad]


@pytest.mark.parametrize("freeze", [False, True])
def test_a_probe_freezes_pretrained_convolutions_and_not_their_batch_norm(weights, freeze):
    extractor = Spectrogram(**{**SMALL, "weights": str(weights), "normalization": "batch", "freeze": freeze})
    before = [p.requires_grad for p in extractor.parameters()]
    extractor.set_frozen(True)
    trained = {type(layer) for layer in extractor.backbone if any(p.requires_grad for p in layer.parameters())}
    assert trained == (set() if freeze else {nn.BatchNorm2d})
    extractor.set_frozen(False)
    assert [p.requires_grad for p in extractor.parameters()] == before == [not freeze] * len(before)


def test_weights_come_from_a_file_and_are_named(weights, tmp_path):
    extractor = Spectrogram(**{**SMALL, "weights": str(weights)})
    assert extractor.pretrained.startswith("mine.pth sha256:") and not extractor.random_backbone
    state = torch.load(weights, weights_only=True)
    assert torch.equal(extractor.backbone[0].weight, state["features.0.weight"])
    save_file({name.removeprefix("features."): value for name, value in state.items()}, tmp_path / "bare.safetensors")
    other = Spectrogram(**{**SMALL, "weights": str(tmp_path / "bare.safetensors"), "normalization": "batch"})
    assert torch.equal(other.backbone[0].weight, extractor.backbone[0].weight)
    assert isinstance(other.backbone[1], nn.BatchNorm2d) and other.pretrained.startswith("bare.safetensors")


def test_random_weights_are_not_called_pretrained():
    extractor = Spectrogram(**SMALL)
    assert extractor.pretrained is None and not extractor.random_backbone


def test_unreachable_imagenet_weights_become_random_ones_with_a_warning(no_network, caplog, capsys):
    with caplog.at_level(logging.WARNING, logger="toolkit"):
        extractor = Spectrogram(**{**SMALL, "weights": "imagenet"})
    assert extractor.pretrained is None and extractor.random_backbone
    extractor.set_frozen(True)  # a probe does what it does with the weights that these stand in for
    assert not extractor.backbone[0].weight.requires_grad
    assert "RANDOM" in caplog.text and "no route to host" in caplog.text and str(no_network) in caplog.text
    assert capsys.readouterr().out == ""


def test_imagenet_weights_in_torchs_cache_need_no_network(no_network, weights):
    no_network.mkdir(parents=True)
    (no_network / "alexnet-owt-7be5be79.pth").write_bytes(weights.read_bytes())
    extractor = Spectrogram(**{**SMALL, "weights": "imagenet"})
    assert extractor.pretrained == "torchvision AlexNet_Weights.IMAGENET1K_V1" and not extractor.random_backbone


def test_a_damaged_cache_is_an_error_not_random_weights(no_network):
    no_network.mkdir(parents=True)
    (no_network / "alexnet-owt-7be5be79.pth").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"alexnet-owt-7be5be79\.pth is not a readable state dict"):
        Spectrogram(**{**SMALL, "weights": "imagenet"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", b"not a file of torch", "is not a readable state dict"),
        ("a.safetensors", b"neither of these", "is not a readable state dict"),
        ("empty.pth", b"", "is not a readable state dict"),
    ],
)
def test_a_damaged_file_of_weights_is_an_error(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Spectrogram(**{**SMALL, "weights": str(tmp_path / name)})


def test_weights_of_another_network_are_an_error(tmp_path, weights):
    state = torch.load(weights, weights_only=True)
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save({**state, "features.3.weight": torch.zeros(3)}, tmp_path / "shape.pth")
    torch.save({**state, "features.3.bias": torch.full((192,), float("nan"))}, tmp_path / "nan.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, message in {
        "other.pth": "has no 'features.0.weight': not AlexNet's weights",
        "shape.pth": r"'features.3.weight' in .* is \[3\], AlexNet's is \[192, 64, 5, 5\]",
        "nan.pth": r"'features.3.bias' in .* holds values that are not finite",
        "list.pth": "holds a list, not a state dict",
    }.items():
        with pytest.raises(ValueError, match=message):
            Spectrogram(**{**SMALL, "weights": str(tmp_path / name)})


def test_a_file_that_would_run_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="is not a readable state dict"):
        Spectrogram(**{**SMALL, "weights": str(tmp_path / "trap.pth")})
    assert not (tmp_path / "ran").exists()


def test_front_end_args_are_plain_and_name_what_features_depend_on():
    args = build().front_end_args
    assert json.loads(json.dumps(args)) == args
    assert build(pool=[1, 1], image_size=[64, 64], freeze=True).front_end_args == args
    for changed in ({"n_fft": 900}, {"window": 600}, {"hop": 200}, {"bins": 100}, {"segment_samples": 8_000}):
        assert Spectrogram(**{**SMALL, **changed}).front_end_args != args


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"window": 801}, "window is 801; it cannot be longer than n_fft, 800"),
        ({"bins": 402}, "bins is 402; n_fft 800 gives no more than 401"),
        ({"image_size": [62, 96]}, r"image_size is \[62, 96\]"),
        ({"image_size": [96]}, r"image_size is \[96\]"),
        ({"image_size": [256, 384], "pool": [8, 6]}, r"gives maps from \[1, 1\] to \[7, 11\]"),
        ({"pool": [0, 1]}, r"pool is \[0, 1\]"),
        ({"weights": "imagnet"}, r"weights is 'imagnet'.*Did you mean 'imagenet'\?"),
        ({"dropout": 2}, "dropout is 2"),
        ({"hop": 0}, "hop is 0; it has to be at least 1"),
    ],
)
def test_bad_arguments_are_refused_by_name(args, message):
    with pytest.raises(ValueError, match=message):
        Spectrogram(**{**SMALL, **args})
