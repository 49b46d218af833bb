"""Batches of rows of like lengths: little padding, a limit on what a batch holds, padding counted."""

from collections.abc import Sequence

import torch
from torch import Tensor

REACH = 1.1  # how much longer than another a row may be whose place it can take


class LengthBatches:
    """Rows sorted by length and cut into batches, whose number and sizes do not depend on what is drawn.

    To draw, each length is multiplied by a random factor of 1 to `reach`, rows are sorted by these, and cut at the same
    places. The row at a place is then never longer than `reach` times the one that stands there without drawing, which
    is what the batches' sizes allow for: none is above the limit, whatever is drawn.

    Args:
        lengths: of each row, 1 or more.
        limit: what a batch may hold, in the unit of the lengths: rows times the longest of them.
        most: rows of a batch, at most.
        reach: 1 draws nothing but the order of the batches.

    Raises:
        ValueError: if a row is longer than the limit.

    >>> batches = LengthBatches([4, 1, 2, 2, 9], limit=9, most=64, reach=1.0)
    >>> len(batches), batches.in_order()
    (3, [[1, 2], [3, 0], [4]])
    """

    def __init__(self, lengths: Sequence[int], *, limit: float, most: int, reach: float = REACH):
        self.lengths, self.reach = torch.as_tensor(lengths, dtype=torch.float64), reach
        if len(self.lengths) and self.lengths.max() > limit:
            raise ValueError(f"a row of {int(self.lengths.max())} is longer than a whole batch may be, {limit:g}")
        self.sizes = self._sizes(limit, most)

    def __len__(self) -> int:
        return len(self.sizes)

    def in_order(self) -> list[list[int]]:
        """The batches from the shortest rows to the longest, nothing drawn."""
        return self._cut(self.lengths)

    def drawn(self, generator: torch.Generator) -> list[list[int]]:
        """Batches of other neighbours in another order: every row once."""
        factors = 1 + (self.reach - 1) * torch.rand(len(self.lengths), generator=generator, dtype=torch.float64)
        batches = self._cut(self.lengths * factors)
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _cut(self, keys: Tensor) -> list[list[int]]:
        return [batch.tolist() for batch in keys.argsort(stable=True).split(self.sizes)]

    def _sizes(self, limit: float, most: int) -> list[int]:
        """How many rows each batch has, from the shortest; filled from the longest."""
        if not len(self.lengths):
            return []
        longest = (self.lengths.sort().values * self.reach).clamp_max(self.lengths.max()).tolist()
        sizes, stop = [], len(longest)
        while stop:
            size = min(most, stop, max(1, int(limit // longest[stop - 1])))
            sizes.append(size)
            stop -= size
        return sizes[::-1]
