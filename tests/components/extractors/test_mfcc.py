import json

import pytest
import torch

from toolkit.contracts import Seq
from toolkit.testing import assert_contract
from toolkit_plugins.extractors.masked_layers import BiLstm, MaskedBatchNorm, MaskedConvolutions
from toolkit_plugins.extractors.mfcc import Mfcc

SMALL = {"n_mfcc": 13, "n_mels": 40, "n_fft": 512, "hidden": 6}
VARIANTS = {
    "reference": {},
    "standardize": {"normalize": "standardize", "deltas": True},
    "raw": {"normalize": "none", "encoder": "none"},
    "utterance": {"normalize": "utterance"},
    "one layer": {"layers": 1, "normalize": "standardize"},
    "convolutions": {
        "convolutions": [7, 5],
        "convolution_stride": 2,
        "convolution_dropout": 0.3,
        "normalize": "standardize",
        "deltas": True,
    },
    "convolutions alone": {"convolutions": [7], "encoder": "none", "normalize": "standardize"},
    "batch norm": {"convolutions": [7, 5], "convolution_norm": "batch", "normalize": "standardize"},
}
each_variant = pytest.mark.parametrize("args", VARIANTS.values(), ids=VARIANTS)


def waves(*lengths: int, seed: int = 0) -> Seq:
    values = 0.1 * torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(seed))
    return Seq(values, torch.tensor(lengths)).zeroed()


def build(**args) -> Mfcc:
    torch.manual_seed(0)
    extractor = Mfcc(**{**SMALL, **args})
    if extractor.fits:
        extractor.fit([extractor.features(waves(8_000, 5_000, seed=7))])
    return extractor.eval()


def test_the_defaults_are_the_reference_systems():
    extractor = Mfcc().eval()
    out = extractor(waves(48_000))
    assert out.values.shape == (1, 300, 512)
    assert extractor.channels == 512 and extractor.frame_count(48_000) == 300
    assert extractor.fixed_samples is None and extractor.pretrained is None and not extractor.random_backbone
    sizes = [(layer.input_size, layer.hidden_size, layer.bidirectional) for layer in extractor.encoder.layers]
    assert sizes == [(40, 256, True), (512, 256, True)]
    assert extractor.encoder.dropout.p == 0.5


@each_variant
def test_it_keeps_the_contract(args):
    assert_contract("extractor", Mfcc, {**SMALL, **args}, segment_samples=4_000)


def test_deltas_triple_the_channels_and_start_with_the_coefficients():
    plain = build(encoder="none", normalize="none").features(waves(8_000)).values
    with_deltas = build(encoder="none", normalize="none", deltas=True).features(waves(8_000)).values
    assert with_deltas.shape == (1, 50, 39)
    assert torch.equal(with_deltas[:, :, :13], plain)


def test_each_frame_gets_length_one():
    out = build(encoder="none")(waves(8_000)).values
    torch.testing.assert_close(out.norm(dim=2), torch.ones(1, 50))


def test_standardize_is_fitted_on_real_frames_alone():
    extractor = build(normalize="standardize", encoder="none")
    features = extractor.features(waves(8_000, 5_000, seed=7))
    real = extractor.encode(features).values[features.mask]
    torch.testing.assert_close(real.mean(dim=0), torch.zeros(13), rtol=0, atol=1e-4)
    torch.testing.assert_close(real.std(dim=0, correction=0), torch.ones(13))


def test_utterance_normalises_each_segment_by_itself_and_takes_out_its_channel():
    extractor = build(normalize="utterance", encoder="none")
    features = extractor.features(waves(8_000, 5_000, seed=7))
    out = extractor.encode(features).values
    for row, length in zip(out, features.lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:length].mean(dim=0), torch.zeros(13), rtol=0, atol=1e-4)
        torch.testing.assert_close(row[:length].std(dim=0, correction=0), torch.ones(13), rtol=1e-4, atol=0)
    filtered = Seq(2 * features.values + torch.arange(13.0), features.lengths)  # a channel adds to cepstra
    torch.testing.assert_close(extractor.encode(filtered).values, out, rtol=1e-3, atol=1e-3)


def test_only_standardize_asks_to_be_fitted():
    assert [build(normalize=n).fits for n in ("frame_l2", "standardize", "utterance")] == [False, True, False]


def test_front_end_args_are_plain_and_name_what_features_depend_on():
    args = build(hop=200, deltas=True).front_end_args
    assert json.loads(json.dumps(args)) == args
    assert args["hop"] == 200 and args["deltas"] is True and args["sample_rate"] == 16_000
    assert "hidden" not in args
    assert build().front_end_args == build(hidden=9, normalize="none").front_end_args
    for changed in ({"n_mfcc": 12}, {"n_mels": 41}, {"n_fft": 500}, {"preemphasis": 0.5}, {"sample_rate": 8_000}):
        assert build(**changed).front_end_args != build().front_end_args


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"hop": 0}, "hop is 0; it has to be at least 1"),
        ({"n_mfcc": 41}, "n_mfcc is 41; 40 mel bands"),
        ({"dropout": 1.0}, "dropout is 1.0; it has to be at least 0 and less than 1"),
        ({"preemphasis": -0.1}, "preemphasis is -0.1"),
        ({"convolutions": [8, 0]}, "convolutions is"),
        ({"convolution_kernel": 4}, "convolution_kernel is 4; it has to be odd"),
    ],
)
def test_bad_arguments_are_refused_by_name(args, message):
    with pytest.raises(ValueError, match=message):
        Mfcc(**{**SMALL, **args})


def test_a_bilstm_without_padding_equals_the_packed_one():
    torch.manual_seed(0)
    lstm = BiLstm(5, hidden=4, layers=2, dropout=0.5).eval()
    frames = torch.randn(3, 9, 5)
    straight = lstm(Seq(frames, torch.tensor([9, 9, 9]))).values
    padded = torch.cat([frames, torch.randn(3, 2, 5)], dim=1)
    packed = lstm(Seq(padded, torch.tensor([9, 9, 9]))).values
    assert packed.shape == (3, 11, 8)
    torch.testing.assert_close(packed[:, :9], straight, rtol=1e-6, atol=1e-6)


def test_a_bilstm_is_torchs_of_so_many_layers():
    lstm = BiLstm(5, hidden=4, layers=2, dropout=0.5).eval()
    whole = torch.nn.LSTM(5, 4, 2, batch_first=True, bidirectional=True)
    layers = [layer.state_dict() for layer in lstm.layers]
    whole.load_state_dict({k.replace("_l0", f"_l{i}"): v for i, state in enumerate(layers) for k, v in state.items()})
    frames, lengths = torch.randn(3, 9, 5), torch.tensor([9, 4, 7])
    packed = torch.nn.utils.rnn.pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(whole(packed)[0], batch_first=True)
    torch.testing.assert_close(lstm(Seq(frames, lengths)).values, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("lengths", [[9, 9, 9], [9, 4, 7]])
def test_dropout_between_layers_follows_torchs_seed(lengths):
    lstm, frames = BiLstm(5, hidden=4, layers=2, dropout=0.5), Seq(torch.randn(3, 9, 5), torch.tensor(lengths))

    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return lstm(frames).values

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_convolutions_declare_their_frames(stride, kernel):
    stack = MaskedConvolutions(4, [6, 3], kernel=kernel, stride=stride)
    for frames in range(1, 20):
        out = stack(Seq(torch.randn(1, frames, 4), torch.tensor([frames])))
        assert out.values.shape == (1, stack.frame_count(frames), 3)
        assert out.lengths.tolist() == [stack.frame_count(frames)]


def test_batch_norm_trains_on_real_frames_alone():
    masked, plain = MaskedBatchNorm(3).train(), torch.nn.BatchNorm1d(3).train()
    frames, weights = 5 + 2 * torch.randn(2, 6, 3), torch.randn(10, 3)
    rows = torch.cat([frames[0], frames[1, :4]]).requires_grad_()
    frames[1, 4:] = float("nan")
    out, expected = masked(Seq(frames.requires_grad_(), torch.tensor([6, 4]))), plain(rows)
    found = torch.cat([out[0], out[1, :4]])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(masked.state_dict(), plain.state_dict())
    assert not out[1, 4:].any()
    for values in (found, expected):
        (weights * values).sum().backward()
    torch.testing.assert_close(torch.cat([frames.grad[0], frames.grad[1, :4]]), rows.grad)
    torch.testing.assert_close(masked.weight.grad, plain.weight.grad)
    assert not frames.grad[1, 4:].any()


def test_batch_norm_of_frames_in_bfloat16_counts_in_float32():
    masked, plain = MaskedBatchNorm(3).train(), torch.nn.BatchNorm1d(3).train()
    frames = (100 + torch.randn(2, 600, 3)).bfloat16()
    out = masked(Seq(frames, torch.tensor([600, 400])))
    expected = plain(torch.cat([frames[0], frames[1, :400]]).float())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(torch.cat([out[0], out[1, :400]]), expected.bfloat16())
    torch.testing.assert_close(masked.state_dict(), plain.state_dict())


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_waits_for_no_device(training):
    norm = MaskedBatchNorm(3).to("meta").train(training)  # which has no values to wait for
    out = norm(Seq(torch.ones(2, 4, 3, device="meta"), torch.ones(2, dtype=torch.int64, device="meta")))
    assert out.shape == (2, 4, 3)


@pytest.mark.parametrize("frames", [1, 2])
def test_batch_norm_takes_a_single_frame_in_training(frames):
    norm = MaskedBatchNorm(3).train()
    out = norm(Seq(torch.ones(1, frames, 3), torch.tensor([1]), full=frames == 1))
    torch.testing.assert_close(out[0, 0], torch.ones(3), rtol=1e-4, atol=0)
    assert norm.running_mean.tolist() == [0.0] * 3 and norm.running_var.tolist() == [1.0] * 3
    assert norm.num_batches_tracked == 0
