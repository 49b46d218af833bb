"""Every row belongs to one rank, and all ranks see the same batches."""

import torch

from toolkit.data.batches import EpochBatches

CLASSES = torch.tensor([0, 1, 0, 1, 1, 0, 1])


def batches_of(ranks: int) -> list[EpochBatches]:
    """Seven segments in batches of three: three, three and one."""
    targets = {"label": CLASSES}
    return [
        EpochBatches(CLASSES, batch_size=3, seed=1, targets=targets, rank=rank, ranks=ranks) for rank in range(ranks)
    ]


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


def test_epochs_have_their_own_batches():
    rows = batches_of(2)[0]
    first = list(rows)
    rows.set_epoch(2)
    assert list(rows) != first
