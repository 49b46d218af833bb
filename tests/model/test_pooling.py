import pytest
import torch

from toolkit.contracts import Seq
from toolkit.errors import ShapeError
from toolkit.model.pooling import mean_pooling, statistics_pooling
from toolkit_plugins.fusions.pooling import AttentivePooling, masked_softmax, weighted_statistics


def test_statistics_are_means_then_population_deviations():
    frames = torch.tensor([[[1.0, 10.0], [3.0, 10.0], [5.0, 16.0]]])
    expected = torch.tensor([[3.0, 12.0, (8 / 3) ** 0.5, 8**0.5]])
    torch.testing.assert_close(statistics_pooling(Seq(frames, torch.tensor([3]))), expected)


def test_statistics_leave_out_what_lies_beyond_the_length():
    frames = torch.tensor([[[1.0], [3.0], [float("nan")]], [[2.0], [float("inf")], [7.0]]])
    pooled = statistics_pooling(Seq(frames, torch.tensor([2, 1])))
    torch.testing.assert_close(pooled, torch.tensor([[2.0, 1.0], [2.0, 1e-4]]))


@pytest.mark.parametrize("pool", [mean_pooling, statistics_pooling])
def test_garbage_beyond_the_length_reaches_no_gradient(pool):
    frames = torch.tensor([[[1.0], [3.0], [float("nan")]]], requires_grad=True)
    pool(Seq(frames, torch.tensor([2]))).sum().backward()
    assert frames.grad.isfinite().all()
    assert frames.grad[0, 2] == 0


def test_a_single_frame_and_a_constant_channel_have_a_finite_gradient():
    frames = torch.full((2, 3, 1), 5.0, requires_grad=True)
    statistics_pooling(Seq(frames, torch.tensor([1, 3]))).sum().backward()
    assert frames.grad.isfinite().all()


def test_half_precision_frames_are_pooled_in_float32():
    frames = (1000 + torch.arange(8.0).reshape(1, 8, 1)).bfloat16()
    assert statistics_pooling(Seq(frames, torch.tensor([8]))).dtype == torch.float32


@pytest.mark.parametrize("length", [0, 4])
def test_a_length_without_meaning_is_refused(length):
    with pytest.raises(ShapeError, match=f"row 1 has length {length}; pooling needs 1 to 3"):
        mean_pooling(Seq(torch.ones(2, 3, 1), torch.tensor([3, length])))


def test_masked_softmax_sums_to_1_over_real_frames_and_is_0_elsewhere():
    scores = torch.tensor([[[0.0, 0.0, 50.0]], [[1.0, 2.0, 3.0]]])
    weights = masked_softmax(scores, torch.tensor([[True, True, False], [True, True, True]]))
    torch.testing.assert_close(weights[0, 0], torch.tensor([0.5, 0.5, 0.0]))
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 1))


def test_weighted_statistics_with_equal_weights_are_plain_statistics():
    torch.manual_seed(0)
    frames = Seq(torch.randn(2, 5, 3) * 0.01 + 1000, torch.tensor([5, 4]))  # a mean far larger than its deviation
    weights = frames.mask[:, None, :] / frames.lengths[:, None, None]
    means, deviations = weighted_statistics(frames, weights)
    pooled = statistics_pooling(Seq(frames.values.double(), frames.lengths)).float()
    torch.testing.assert_close(torch.cat([means[:, 0], deviations[:, 0]], dim=1), pooled, rtol=1e-4, atol=1e-6)


def test_weighted_statistics_by_hand():
    frames = Seq(torch.tensor([[[0.0], [4.0], [99.0]]]), torch.tensor([2]))
    means, deviations = weighted_statistics(frames, torch.tensor([[[0.75, 0.25, 0.0], [0.0, 1.0, 0.0]]]))
    torch.testing.assert_close(means[0, :, 0], torch.tensor([1.0, 4.0]))
    torch.testing.assert_close(deviations[0, :, 0], torch.tensor([3**0.5, 1e-4]))


def test_every_head_of_attentive_pooling_has_weights_that_sum_to_1():
    torch.manual_seed(0)
    pool = AttentivePooling(channels=3, hidden=4, heads=2, statistics=True)
    frames = Seq(torch.randn(2, 5, 3), torch.tensor([5, 2]))
    weights = pool.weights(frames)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 2))
    assert (weights[1, :, 2:] == 0).all()
    assert pool(frames).shape == (2, pool.size) == (2, 12)


def test_attentive_pooling_of_one_frame_is_that_frame():
    pool = AttentivePooling(channels=3, heads=2)
    frame = torch.tensor([[[1.0, -2.0, 3.0]]])
    torch.testing.assert_close(pool(Seq(frame, torch.tensor([1]))), torch.cat([frame[0], frame[0]], dim=1))
