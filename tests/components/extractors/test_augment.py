import pytest
import torch

from toolkit.contracts import Seq
from toolkit_plugins.extractors.augment import Augment, random_masks, shift


def ones(*lengths: int, steps: int = 20, channels: int = 8) -> Seq:
    return Seq(torch.ones(len(lengths), steps, channels), torch.tensor(lengths))


def test_nothing_is_masked_outside_training():
    frames = ones(20, 12)
    augment = Augment(time=(2, 5), channels=(2, 3), noise=1.0, time_shift=0.5)
    assert augment.eval()(frames) is frames


def test_defaults_change_nothing_in_training_and_draw_nothing():
    frames = ones(20, 12)
    before = torch.get_rng_state()
    assert torch.equal(Augment().train()(frames).values, frames.values)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_decides_and_rows_differ():
    augment = Augment(time=(2, 6), channels=(1, 4), noise=0.1, time_shift=0.1).train()
    torch.manual_seed(1)
    first = augment(ones(20, 20)).values
    torch.manual_seed(1)
    assert torch.equal(augment(ones(20, 20)).values, first)
    assert not torch.equal(augment(ones(20, 20)).values, first)
    assert not torch.equal(first[0], first[1])


def test_time_masks_hide_whole_frames_and_channel_masks_whole_channels():
    torch.manual_seed(0)
    hidden = Augment(time=(1, 9)).train()(ones(*[20] * 50)).values == 0
    assert bool((hidden.all(dim=2) == hidden.any(dim=2)).all())
    assert int(hidden.any(dim=2).sum(dim=1).max()) == 9
    hidden = Augment(channels=(1, 3)).train()(ones(*[20] * 50)).values == 0
    assert bool((hidden.all(dim=1) == hidden.any(dim=1)).all())
    assert int(hidden.any(dim=1).sum(dim=1).max()) == 3


def test_masked_values_become_the_fill():
    torch.manual_seed(0)
    out = Augment(time=(1, 9), fill=-80.0).train()(ones(*[20] * 9)).values
    assert set(out.unique().tolist()) == {-80.0, 1.0}


def test_a_mask_lies_within_the_real_frames_and_leaves_half_of_them():
    torch.manual_seed(0)
    lengths = torch.tensor([1, 4, 10, 20]).repeat(500)
    masks = random_masks(20, lengths, 1, 100, longest=0.5)
    beyond = torch.arange(20) >= lengths[:, None]
    assert not bool((masks & beyond).any())
    assert [int(masks[i::4].sum(dim=1).max()) for i in range(4)] == [0, 2, 5, 10]


def test_widths_are_uniform_from_zero_to_the_size():
    torch.manual_seed(0)
    width = random_masks(50, torch.full((6_000,), 50), 1, 5).sum(dim=1)
    assert torch.bincount(width).tolist() == pytest.approx([1_000] * 6, rel=0.15)


def test_every_step_is_hidden_about_as_often_in_the_middle():
    torch.manual_seed(0)
    often = random_masks(30, torch.full((20_000,), 30), 1, 4).float().mean(dim=0)[4:-4]
    assert float(often.max() / often.min()) < 1.2


def test_noise_has_the_deviation_that_was_asked_for():
    torch.manual_seed(0)
    out = Augment(noise=0.5).train()(ones(*[20] * 100)).values - 1
    assert float(out.std()) == pytest.approx(0.5, rel=0.05)


def test_a_shift_rolls_the_real_frames_of_each_row_and_no_farther_than_asked():
    torch.manual_seed(0)
    lengths = torch.tensor([10, 6]).repeat(200)
    frames = torch.arange(12.0).repeat(400, 1)[:, :, None]
    out = shift(frames, lengths, 0.3)[:, :, 0]
    found = {10: set(), 6: set()}
    for row, length in zip(out.tolist(), lengths.tolist(), strict=True):
        by = -int(row[0]) % length
        assert row == [(t - by) % length for t in range(length)] + list(range(length, 12))
        found[length].add(by if by <= length // 2 else by - length)
    assert found == {10: {-3, -2, -1, 0, 1, 2, 3}, 6: {-2, -1, 0, 1, 2}}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("time_masks", {"time": (-1, 1)}),
        ("time_mask_frames", {"time": (1, -1)}),
        ("channel_masks", {"channels": (-1, 1)}),
        ("channel_mask_size", {"channels": (1, -1)}),
        ("noise", {"noise": -1}),
    ],
)
def test_negative_numbers_are_refused_by_name(name, settings):
    with pytest.raises(ValueError, match=f"{name} is -1; it has to be at least 0"):
        Augment(**settings)
