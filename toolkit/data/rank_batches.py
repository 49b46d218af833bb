"""Training batches of one of several ranks: a recipe's batch is that of all ranks, each takes every n-th row of it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor
from torch.utils.data import Sampler

from toolkit.corpus.targets import UNKNOWN
from toolkit.data.batches import EpochBatches
from toolkit.data.segments import Batch


class RankBatches(Sampler[list[int]]):
    """One rank's rows of every training batch.

    A rank takes part in every step. Where a batch has no row for it, it gets the first row, which is another rank's, as
    a spare that must not count.

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
        """The targets of all rows of the epoch's batch `step`, from 1: name -> [rows]."""
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


def unlabelled(batch: Batch) -> Batch:
    """A batch whose rows count in no loss."""
    return replace(batch, targets={name: t.new_full(t.shape, UNKNOWN) for name, t in batch.targets.items()})
