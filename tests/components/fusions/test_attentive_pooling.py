import torch

from toolkit.contracts import Seq
from toolkit.model.pooling import statistics_pooling
from toolkit_plugins.fusions.pooling import AttentivePooling, masked_softmax, weighted_statistics


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
