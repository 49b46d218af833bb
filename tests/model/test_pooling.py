import pytest
import torch

from toolkit.contracts import Seq
from toolkit.model.pooling import mean_pooling, statistics_pooling


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
