"""Draws that a resumed run repeats: seeds from keys, and the batches of each epoch from (seed, epoch) alone."""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

REACH = 1.1  # how much longer a row may be than the one whose place it takes


def derive_seed(*key: object) -> int:
    """A 63-bit seed that depends on every part of the key and on nothing else."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_all(*key: object) -> None:
    """Seed torch (all devices), numpy and random from a key."""
    seed = derive_seed(*key)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class LengthBatches:
    """Batches of rows of similar length; the number and sizes of the batches do not depend on the random draw.

    A draw multiplies each length by a random factor of 1 to `reach`, sorts the rows by the products, and cuts them at
    the same places. The row at a place is then never longer than `reach` times the one that is there without a draw.
    The sizes of the batches allow for that: no draw has a number of rows times their longest above `limit`.
    """

    def __init__(self, lengths: Sequence[int], *, limit: float, most: int, reach: float = REACH):
        self.lengths, self.reach = torch.as_tensor(lengths, dtype=torch.float64), reach
        longest = (self.lengths.sort().values * reach).clamp_max(self.lengths.max()).tolist()
        self.sizes: list[int] = []  # of batches from the shortest rows on; filled from the longest
        stop = len(longest)
        while stop:
            self.sizes.insert(0, min(most, stop, max(1, int(limit // longest[stop - 1]))))
            stop -= self.sizes[0]

    def __len__(self) -> int:
        return len(self.sizes)

    def in_order(self) -> list[list[int]]:
        """The batches from the shortest rows to the longest, without a draw."""
        return self._cut(self.lengths)

    def drawn(self, generator: torch.Generator) -> list[list[int]]:
        """Batches with random neighbours, in random order; every row once."""
        factors = 1 + (self.reach - 1) * torch.rand(len(self.lengths), generator=generator, dtype=torch.float64)
        batches = self._cut(self.lengths * factors)
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _cut(self, keys: Tensor) -> list[list[int]]:
        return [batch.tolist() for batch in keys.argsort(stable=True).split(self.sizes)]


class Draw(int):
    """The index of a segment with the place where it was drawn, which keys its random numbers."""

    def __new__(cls, index: int, *place: int) -> "Draw":
        """A segment at a place: epoch, step, and row in the batch of all ranks."""
        draw = super().__new__(cls, index)
        draw.place = place
        return draw


@dataclass(eq=False)
class EpochBatches(Sampler[list[Draw]]):
    """One rank's rows of the training batches, which are drawn for each epoch from (seed, epoch) alone.

    `skip` leaves out the first batches of the next pass only (a resumed epoch). A rank takes part in every step: if a
    batch has no row for it, it gets the first row, another rank's, as a spare that must not count.
    """

    classes: Tensor  # class index of each segment, [segments]
    _: KW_ONLY
    batch_size: int  # of all ranks; the last one may be smaller
    seed: int
    sampler: str = "shuffle"  # every segment once, or "balanced": with replacement, every class equally likely
    by_length: LengthBatches | None = None  # of similar lengths, every segment once; replaces size and sampler
    targets: Mapping[str, Tensor] = field(default_factory=dict)  # for `whole`: name -> segments' classes or UNKNOWN
    rank: int = 0
    ranks: int = 1
    epoch: int = field(default=1, init=False)
    skip: int = field(default=0, init=False)
    _batches: list[list[int]] = field(default_factory=list, init=False)  # of the epoch, all ranks' rows

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next pass yields."""
        self.epoch = epoch

    def whole(self, step: int) -> dict[str, Tensor]:
        """The targets of all rows of the epoch's batch `step`, from 1: name -> [rows]."""
        return {name: classes[self._batches[step - 1]] for name, classes in self.targets.items()}

    def has_rows(self, step: int) -> bool:
        """Whether this rank has a row in the epoch's batch `step`, or only a spare."""
        return self.rank < len(self._batches[step - 1])

    def __len__(self) -> int:
        return len(self.by_length) if self.by_length is not None else -(-len(self.classes) // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        skip, self.skip, self._batches = self.skip, 0, self._drawn()
        for step, batch in enumerate(self._batches[skip:], start=skip + 1):
            rows = [Draw(index, self.epoch, step, row) for row, index in enumerate(batch)]
            yield rows[self.rank :: self.ranks] or rows[:1]

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
