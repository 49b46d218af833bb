"""Batches follow from seed and epoch alone; each row belongs to one rank, and all ranks see the same batches."""

from itertools import chain

import pytest
import torch

from toolkit.data.batches import EpochBatches, LengthBatches

CLASSES = torch.tensor([0, 1, 0, 1, 1, 0, 1])


def batches_of(ranks: int) -> list[EpochBatches]:
    """Seven segments in batches of three: three, three and one."""
    targets = {"label": CLASSES}
    return [
        EpochBatches(CLASSES, batch_size=3, seed=1, targets=targets, rank=rank, ranks=ranks) for rank in range(ranks)
    ]


def test_every_segment_comes_once_an_epoch_in_an_order_of_seed_and_epoch():
    batches = EpochBatches(torch.zeros(10, dtype=torch.int64), batch_size=4, seed=1)
    first = list(batches)
    assert sorted(chain.from_iterable(first)) == list(range(10)) and [len(b) for b in first] == [4, 4, 2]
    torch.manual_seed(99)  # the global generator plays no part
    assert list(batches) == first
    batches.set_epoch(2)
    assert list(batches) != first
    assert list(EpochBatches(torch.zeros(10, dtype=torch.int64), batch_size=4, seed=2)) != first


def test_balanced_batches_draw_every_class_equally_often():
    classes = torch.tensor([0] * 900 + [1] * 100)
    drawn = list(chain.from_iterable(EpochBatches(classes, batch_size=64, seed=1, sampler="balanced")))
    share = classes[torch.tensor(drawn)].float().mean().item()
    assert len(drawn) == 1000
    assert share == pytest.approx(0.5, abs=0.06)  # 4 standard deviations


def test_batches_by_length_are_drawn_by_seed_and_epoch_and_resumed_like_others():
    by_length = LengthBatches(list(range(1, 31)), limit=60, most=8)
    batches = EpochBatches(torch.zeros(30, dtype=torch.int64), batch_size=4, seed=1, by_length=by_length)
    first = list(batches)
    assert len(first) == len(batches) == len(by_length)
    assert sorted(chain.from_iterable(first)) == list(range(30))
    batches.set_epoch(2)
    second = list(batches)
    assert second != first and len(second) == len(first)
    batches.skip = 3
    assert list(batches) == second[3:]


def test_every_row_of_a_batch_belongs_to_one_rank():
    (alone,) = batches_of(1)
    whole = list(alone)
    first, second = map(list, batches_of(2))
    assert [sorted(a + b) for a, b in zip(first[:2], second[:2], strict=True)] == [sorted(batch) for batch in whole[:2]]
    assert first[2] == whole[2]


def test_a_rank_without_a_row_gets_a_spare_one_and_knows_it():
    rows = batches_of(2)[1]
    given = list(rows)
    assert len(given) == len(rows) == 3
    assert [rows.has_rows(step) for step in (1, 2, 3)] == [True, True, False]
    assert given[2] == list(batches_of(2)[0])[2]


def test_all_ranks_know_the_targets_of_the_whole_batch():
    rows = batches_of(3)
    batches = [list(one) for one in rows]
    for step in (1, 2, 3):
        first, *others = (one.whole(step)["label"].tolist() for one in rows)
        assert all(other == first for other in others)
        assert first[1:2] == CLASSES[batches[1][step - 1]].tolist() or len(first) == 1


def test_a_resumed_epoch_goes_on_with_the_batches_and_their_numbers():
    rows, again = batches_of(2)[1], batches_of(2)[1]
    whole = list(rows)
    again.skip = 2
    assert list(again) == whole[2:]
    assert not again.has_rows(3)
    assert list(again) == whole  # left out once
