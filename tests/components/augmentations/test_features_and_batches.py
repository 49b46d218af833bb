"""Augmentations of features and batches, in numbers that can be checked by hand."""

import pytest
import torch

from toolkit.contracts import Mix, Seq
from toolkit_plugins.augmentations.feature_noise import FeatureNoise
from toolkit_plugins.augmentations.masks import FreqMask, TimeMask, masked
from toolkit_plugins.augmentations.mixup import Mixup, mixed


def drawn(augmentation, values, count=300):
    """Its results for the same values, again and again."""
    return torch.stack([augmentation.change(values, torch.Generator().manual_seed(seed)) for seed in range(count)])


def fitted(augmentation, mean=5.0, deviation=2.0, channels=8):
    values = torch.tensor([mean - deviation, mean + deviation])[None, :, None].expand(1, 2, channels)
    augmentation.fit([Seq(values, torch.tensor([2]))])
    return augmentation


def test_masked_values_are_the_fill():
    values = masked(torch.ones(3, 2), 1, 2, torch.tensor([7.0, 8.0]), axis=0)
    assert values.tolist() == [[1, 1], [7, 8], [1, 1]]
    assert masked(torch.ones(1, 3), 1, 3, torch.tensor(0.0), axis=1).tolist() == [[1, 0, 0]]


def test_time_masks_hide_whole_frames_by_the_training_mean_and_never_more_than_half():
    hidden = drawn(fitted(TimeMask(masks=1, frames=99)), torch.ones(20, 8)) == 5.0
    assert bool((hidden.all(dim=2) == hidden.any(dim=2)).all())
    assert hidden.any(dim=2).sum(dim=1).unique().tolist() == list(range(11))
    assert not drawn(fitted(TimeMask()), torch.ones(1, 8)).eq(5.0).any()


def test_frequency_masks_hide_neighbouring_channels_everywhere():
    hidden = drawn(fitted(FreqMask(masks=1, channels=3)), torch.ones(20, 8)) == 5.0
    assert bool((hidden.all(dim=1) == hidden.any(dim=1)).all())
    widths = hidden.any(dim=1).sum(dim=1)
    assert torch.bincount(widths).tolist() == pytest.approx([75] * 4, rel=0.4)


def test_frequency_masks_leave_a_channel():
    hidden = drawn(fitted(FreqMask(masks=2, channels=8), channels=3), torch.ones(20, 3)) == 5.0
    assert hidden.all(dim=1).sum(dim=1).unique().tolist() == [0, 1, 2]


def test_a_minimum_fills_with_the_segments_least_value():
    mask = TimeMask(masks=3, frames=9, fill="minimum")
    values = torch.ones(20, 8)
    values[3, 4] = -80.0
    assert set(drawn(mask, values).unique().tolist()) == {-80.0, 1.0}


def test_noise_is_in_proportion_to_the_channels_deviation():
    found = drawn(fitted(FeatureNoise(deviation=0.5)), torch.zeros(20, 8))
    assert float(found.std()) == pytest.approx(1.0, rel=0.05)


def test_a_constant_channel_gets_no_noise():
    found = drawn(fitted(FeatureNoise(deviation=0.5), mean=-80.0, deviation=0.0), torch.full((20, 8), -80.0))
    assert found.unique().tolist() == [-80.0]


def test_rows_are_mixed_where_both_are_real():
    seq = Seq(torch.tensor([[[4.0], [4.0]], [[8.0], [float("nan")]]]), torch.tensor([2, 1]))
    found = mixed(seq, Mix(torch.tensor([1, 0]), 0.75))
    assert found.values[0, :, 0].tolist() == [5.0, 4.0] and float(found.values[1, 0]) == 7.0


def test_shares_are_those_of_a_beta_distribution_and_the_larger_one_is_a_rows_own():
    one = {"x": Seq(torch.zeros(2, 1, 1), torch.tensor([1, 1]))}
    mixup = Mixup(alpha=1.0)
    shares = torch.tensor([mixup.mix(one, torch.Generator().manual_seed(seed))[1].share for seed in range(1000)])
    # Beta(1, 1) is uniform: of the larger share, from a half to 1
    assert float(shares.min()) >= 0.5 and float(shares.mean()) == pytest.approx(0.75, abs=0.02)


def test_the_smallest_alpha_mixes_hardly_anything():
    """Under Beta(0.001, 0.001), the chance of a share from 0.01 to 0.99 is about 0.001 times log(99), 0.5 %."""
    one = {"x": Seq(torch.zeros(2, 1, 1), torch.tensor([1, 1]))}
    shares = [Mixup(alpha=1e-3).mix(one, torch.Generator().manual_seed(seed))[1].share for seed in range(400)]
    assert sum(share < 0.99 for share in shares) < 10
