"""The batches of each epoch: what is drawn depends on (seed, epoch) alone."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from toolkit.length_batches import LengthBatches
from toolkit.seeding import derive_seed


class EpochBatches(Sampler[list[int]]):
    """Batches of segment indices, drawn anew each epoch from (seed, epoch) alone.

    `set_epoch` chooses the epoch; `skip` leaves out the first batches of the next pass only (a resumed epoch).

    Args:
        classes: class index of each segment, [segments].
        batch_size: segments a batch; the last one may be smaller.
        seed: the run's.
        sampler: "shuffle" (every segment once) or "balanced" (drawn with replacement, every class equally likely).
        by_length: makes batches of like lengths, every segment once; then `batch_size` and `sampler` play no part.
    """

    def __init__(
        self,
        classes: Tensor,
        *,
        batch_size: int,
        seed: int,
        sampler: str = "shuffle",
        by_length: LengthBatches | None = None,
    ):
        self.classes, self.batch_size, self.seed, self.sampler = classes, batch_size, seed, sampler
        self.by_length = by_length
        self.epoch, self.skip = 1, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next pass gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.by_length) if self.by_length is not None else -(-len(self.classes) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        skip, self.skip = self.skip, 0
        yield from self._drawn()[skip:]

    def _drawn(self) -> list[list[int]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "batches", self.epoch))
        count = len(self.classes)
        if self.by_length is not None:
            return self.by_length.drawn(generator)
        if self.sampler == "shuffle":
            order = torch.randperm(count, generator=generator)
        else:
            weights = 1.0 / torch.bincount(self.classes)[self.classes].double()
            order = torch.multinomial(weights, count, replacement=True, generator=generator)
        return [batch.tolist() for batch in order.split(self.batch_size)]
