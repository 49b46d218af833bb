"""Every row and every batch is one rank's, and all ranks see the same batches."""

import torch

from toolkit.data.batches import EpochBatches
from toolkit.data.rank_batches import BatchShares, RowShares

CLASSES = torch.tensor([0, 1, 0, 1, 1, 0, 1])


def shares_of(ranks: int) -> list[RowShares]:
    """Seven segments in batches of three: three, three and one."""
    return [
        RowShares(EpochBatches(CLASSES, batch_size=3, seed=1), {"label": CLASSES}, rank=rank, ranks=ranks)
        for rank in range(ranks)
    ]


def test_every_row_of_a_batch_is_one_ranks():
    (alone,) = shares_of(1)
    whole = list(alone)
    first, second = map(list, shares_of(2))
    assert [sorted(a + b) for a, b in zip(first[:2], second[:2], strict=True)] == [sorted(batch) for batch in whole[:2]]
    assert first[2] == whole[2]


def test_a_rank_without_a_row_gets_a_spare_one_and_knows_it():
    rows = shares_of(2)[1]
    given = list(rows)
    assert len(given) == len(rows) == 3
    assert [rows.has_rows(step) for step in (1, 2, 3)] == [True, True, False]
    assert given[2] == list(shares_of(2)[0])[2]


def test_all_ranks_know_the_targets_of_the_whole_batch():
    rows = shares_of(3)
    batches = [list(share) for share in rows]
    for step in (1, 2, 3):
        one, *others = (share.whole(step)["label"].tolist() for share in rows)
        assert all(other == one for other in others)
        assert one[1:2] == CLASSES[batches[1][step - 1]].tolist() or len(one) == 1


def test_a_resumed_epoch_goes_on_with_the_batches_and_their_numbers():
    rows, again = shares_of(2)[1], shares_of(2)[1]
    whole = list(rows)
    again.skip = 2
    assert list(again) == whole[2:]
    assert not again.has_rows(3)
    assert list(again) == whole  # left out once


def test_epochs_have_their_own_batches():
    rows = shares_of(2)[0]
    first = list(rows)
    rows.set_epoch(2)
    assert list(rows) != first


def test_every_batch_of_an_evaluation_is_one_ranks():
    batches = [[0, 1], [2, 3], [4, 5], [6, 7], [8]]
    shares = [BatchShares(batches, rank=rank, ranks=3) for rank in range(3)]
    assert [list(share) for share in shares] == [[[0, 1], [6, 7]], [[2, 3], [8]], [[4, 5]]]
    assert [len(share) for share in shares] == [2, 2, 1]
    assert [list(BatchShares(batches[:1], rank=rank, ranks=2)) for rank in range(2)] == [[[0, 1]], []]
