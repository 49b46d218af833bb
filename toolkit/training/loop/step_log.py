"""What training steps leave on the device until it is read: losses, and whether optimizer steps were taken."""

from typing import NamedTuple

import torch
from torch import Tensor

from toolkit.distributed import ranks, summed

READ_EVERY = 20  # batches


class StepsRead(NamedTuple):
    """What was read.

    Args:
        losses: of each batch its number in the epoch and its loss.
        taken: of each optimizer step whether it was taken.
    """

    losses: list[tuple[int, float]]
    taken: list[bool]


class StepLog:
    """Collects scalars without looking at them: a look waits until the device has computed all that it was given.

    >>> log = StepLog()
    >>> log.add_loss(1, torch.tensor(0.5))
    >>> log.add_step(torch.tensor(True))
    >>> log.due, log.read(), log.read()
    (False, StepsRead(losses=[(1, 0.5)], taken=[True]), StepsRead(losses=[], taken=[]))
    """

    def __init__(self):
        self._losses: list[tuple[int, Tensor]] = []
        self._taken: list[Tensor] = []

    def add_loss(self, batch: int, loss: Tensor) -> None:
        """Keep a batch's loss: its number in the epoch, from 1; 0-d."""
        self._losses.append((batch, loss))

    def add_step(self, taken: Tensor) -> None:
        """Keep whether an optimizer step was taken: 0-d bool, the same on all ranks."""
        self._taken.append(taken)

    @property
    def due(self) -> bool:
        """Whether so much is there that it should be read."""
        return len(self._losses) >= READ_EVERY

    def read(self) -> StepsRead:
        """Wait for the device, hand over what is there and forget it; losses are means over the ranks."""
        numbers = [number for number, _ in self._losses]
        losses, taken = [loss for _, loss in self._losses], self._taken
        self._losses, self._taken = [], []
        means = (summed(torch.stack(losses).double()) / ranks()).tolist() if losses else []
        return StepsRead(list(zip(numbers, means, strict=True)), torch.stack(taken).tolist() if taken else [])
