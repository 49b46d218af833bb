"""Which rows and batches are whose, where several ranks train together.

A recipe's batch is the batch of all ranks: each takes every n-th row of it. An evaluation's batches stay whole: each
rank takes every n-th one.

>>> list(BatchShares([[0, 1], [2, 3], [4]], rank=0, ranks=2))
[[0, 1], [4]]
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from torch import Tensor
from torch.utils.data import Sampler

from toolkit.corpus.targets import unknown_like
from toolkit.data.batches import EpochBatches
from toolkit.data.segments import Batch


class RowShares(Sampler[list[int]]):
    """One rank's rows of every training batch.

    A batch with fewer rows than ranks has none for some; these get its first row, which is somebody else's, as a spare
    that has to count nowhere: a rank without a row could not take part in the step.

    Args:
        batches: of all ranks.
        targets: target name -> class index of each segment, UNKNOWN where it is not known.
        rank: whose rows.
        ranks: their number; with 1, batches stay as they are.
    """

    def __init__(self, batches: EpochBatches, targets: Mapping[str, Tensor], *, rank: int, ranks: int):
        self.batches, self.targets, self.rank, self.ranks = batches, dict(targets), rank, ranks
        self.skip = 0
        self._given: dict[int, list[int]] = {}

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next pass gives."""
        self.batches.set_epoch(epoch)

    def whole(self, step: int) -> dict[str, Tensor]:
        """The targets of all rows of the epoch's batch `step`, from 1, whosever they are: name -> [rows]."""
        return {name: classes[self._given[step]] for name, classes in self.targets.items()}

    def has_rows(self, step: int) -> bool:
        """Whether this rank has a row in the epoch's batch `step`, or only a spare."""
        return self.rank < len(self._given[step])

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        self.batches.skip, first, self.skip = self.skip, self.skip + 1, 0
        self._given = {}
        for step, batch in enumerate(self.batches, start=first):
            self._given[step] = batch
            yield batch[self.rank :: self.ranks] or batch[:1]


class BatchShares(Sampler[list[int]]):
    """One rank's batches of an evaluation.

    Args:
        batches: of all ranks.
        rank: whose batches.
        ranks: their number.
    """

    def __init__(self, batches: Sequence[list[int]], *, rank: int, ranks: int):
        self.batches, self.rank, self.ranks = batches, rank, ranks

    def __len__(self) -> int:
        return len(range(self.rank, len(self.batches), self.ranks))

    def __iter__(self) -> Iterator[list[int]]:
        return islice(iter(self.batches), self.rank, None, self.ranks)


def unlabelled(batch: Batch) -> Batch:
    """A batch whose rows count in no loss."""
    return replace(batch, targets={name: unknown_like(t) for name, t in batch.targets.items()})
