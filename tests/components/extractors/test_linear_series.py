import inspect
import json

import pytest
import torch
from torch.nn import functional

from toolkit.contracts import Seq
from toolkit.testing import assert_contract
from toolkit_plugins.extractors.linear_series import DLinear, NLinear, dlinear, nlinear, series_decomposition

X = torch.tensor([[[1, 10], [2, 8], [4, 9], [7, 5]]], dtype=torch.float64)
W = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, -0.5, 1, 0]], dtype=torch.float64)
B = torch.tensor([0.05, -0.1], dtype=torch.float64)
W2 = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.float64)
B2 = torch.tensor([0, 1], dtype=torch.float64)

SMALL = {"segment_samples": 8_000, "steps": 12, "n_mels": 20, "n_mfcc": 8, "n_fft": 512, "window": 200}
VARIANTS = {
    "log_mel": {},
    "mfcc": {"series": "mfcc", "individual": True, "hidden": 5, "dropout": 0.2},
    "frames": {"series": "frames", "normalize": "none"},
    "individual": {"individual": True, "reference": "one"},
}
each_variant = pytest.mark.parametrize("args", VARIANTS.values(), ids=VARIANTS)
each_class = pytest.mark.parametrize("cls", [NLinear, DLinear])


def golden(rows) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float64)


def waves(*levels: float, samples: int = 8_000) -> Seq:
    noise = torch.randn(len(levels), samples, generator=torch.Generator().manual_seed(0))
    rising = torch.linspace(0.01, 1, samples)
    return Seq(noise * rising * torch.tensor(levels)[:, None], torch.full((len(levels),), samples))


def build(cls=NLinear, **args):
    torch.manual_seed(0)
    extractor = cls(**{**SMALL, **args})
    if extractor.fits:
        extractor.fit([extractor.features(waves(0.1, 0.2, 0.3))])
    return extractor.eval()


def test_nlinear_by_hand():
    torch.testing.assert_close(nlinear(X, W, B), golden([[4.55, 7.35], [3.4, 9.9]]))


def test_nlinear_with_one_map_for_each_channel_by_hand():
    out = nlinear(X, torch.stack([W, W2]), torch.stack([B, B2]))
    torch.testing.assert_close(out, golden([[4.55, 10], [3.4, 9]]))


def test_the_trend_by_hand():
    seasonal, trend = series_decomposition(X, 3)
    torch.testing.assert_close(trend, golden([[4 / 3, 28 / 3], [7 / 3, 9], [13 / 3, 22 / 3], [6, 19 / 3]]))
    torch.testing.assert_close(seasonal + trend, X)
    _, trend = series_decomposition(X, 25)
    torch.testing.assert_close(trend, golden([[3.56, 7.88], [3.8, 7.68], [4.04, 7.48], [4.28, 7.28]]))


@pytest.mark.parametrize(
    ("kernel", "expected"), [(3, [[19 / 12, 553 / 60], [2.9, 12.4]]), (25, [[4.07, 7.75], [4.28, 11]])]
)
def test_dlinear_by_hand(kernel, expected):
    torch.testing.assert_close(dlinear(X, W, B, W2, B2, kernel=kernel), golden(expected))


def test_a_trend_of_width_one_is_the_series():
    seasonal, trend = series_decomposition(X, 1)
    assert torch.equal(trend, X) and not seasonal.any()


@pytest.mark.parametrize(("kernel", "has"), [(0, "at least 1"), (2, "odd"), (24, "odd"), (-1, "at least 1")])
def test_an_even_kernel_is_an_error(kernel, has):
    with pytest.raises(ValueError, match=f"kernel is {kernel}; it has to be {has}"):
        DLinear(**SMALL, kernel=kernel)


def test_what_is_added_to_the_series_is_added_to_nlinears_answer():
    x, c = torch.randn(3, 4, 2, dtype=torch.float64), torch.randn(3, 1, 2, dtype=torch.float64)
    torch.testing.assert_close(nlinear(x + c, W, B), nlinear(x, W, B) + c)


def test_nlinears_last_step_carries_no_gradient():
    x = X.clone().requires_grad_()
    nlinear(x, W, B)[0, 0, 0].backward()
    torch.testing.assert_close(x.grad[0, :, 0], W[0])  # (W (x - last) + last): nothing through `last`


def test_dlinear_with_equal_weights_is_one_linear_map():
    x = torch.randn(3, 4, 2, dtype=torch.float64)
    expected = functional.linear(x.transpose(1, 2), W, B + B2).transpose(1, 2)
    torch.testing.assert_close(dlinear(x, W, B, W, B2, kernel=3), expected)


def test_the_modules_apply_the_functions_to_the_scaled_series():
    n, d = build(NLinear), build(DLinear, kernel=5)
    features = n.features(waves(0.2))
    scaled = n.scaler(features.values)
    expected = nlinear(scaled, n.linear[0].weight, n.linear[0].bias)
    torch.testing.assert_close(n.encode(features).values, expected)
    s, t = d.linear
    expected = dlinear(scaled, s.weight, s.bias, t.weight, t.bias, kernel=5)
    torch.testing.assert_close(d.encode(features).values, expected)


def test_the_defaults_map_300_frames_of_128_mels_to_96_steps():
    for cls in (NLinear, DLinear):
        extractor = cls()
        out = extractor(waves(0.1, samples=48_000))
        assert out.values.shape == (1, 96, 128) and out.lengths.tolist() == [96]
        assert {tuple(m.weight.shape) for m in extractor.linear} == {(96, 300)}
    assert DLinear().kernel == 25
    assert DLinear(individual=True).linear[1].weight.shape == (128, 96, 300)


@each_class
@each_variant
def test_it_keeps_the_contract(cls, args):
    assert_contract("extractor", cls, {**SMALL, **args}, segment_samples=SMALL["segment_samples"])


@each_class
@each_variant
def test_shorter_audio_is_filled_with_silence_and_garbage_changes_nothing(cls, args):
    extractor, wave = build(cls, **args), waves(0.3, 0.2)
    short = Seq(wave.values, torch.tensor([8_000, 5_000]))
    expected = extractor(Seq(short.zeroed().values, wave.lengths)).values
    assert torch.equal(extractor(short.filled(float("nan"))).values, expected)


def test_dlinear_takes_nlinears_arguments_and_a_kernel():
    n, d = inspect.signature(NLinear).parameters, inspect.signature(DLinear).parameters
    assert set(d) - set(n) == {"kernel"} and set(n) < set(d)
    with pytest.raises(TypeError, match="step"):
        DLinear(**SMALL, step=3)


def test_front_end_args_hold_what_the_chosen_series_depends_on():
    for series in ("log_mel", "mfcc", "frames"):
        args = build(series=series).front_end_args
        assert json.loads(json.dumps(args)) == args
        assert args == build(DLinear, series=series, kernel=3, steps=5, individual=True).front_end_args
    assert build().front_end_args == build(n_mfcc=7, window=300).front_end_args
    for changed in ({"n_mels": 21}, {"hop": 200}, {"reference": "one"}, {"n_fft": 600}, {"segment_samples": 9_000}):
        assert NLinear(**{**SMALL, **changed}).front_end_args != build().front_end_args
    assert "n_mels" not in build(series="frames").front_end_args


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"series": "mfcc", "n_mfcc": 21}, "n_mfcc is 21; 20 mel bands"),
        ({"steps": 0}, "steps is 0; it has to be at least 1"),
        ({"hidden": -1}, "hidden is -1"),
        ({"hop": 0}, "hop is 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(args, message):
    with pytest.raises(ValueError, match=message):
        NLinear(**{**SMALL, **args})
