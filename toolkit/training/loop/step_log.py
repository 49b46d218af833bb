"""What training steps leave on the device until it is read: losses, and whether optimizer steps were taken."""

import torch
from torch import Tensor

from toolkit.distributed import ranks, summed

READ_EVERY = 20  # batches


class StepLog:
    """Collects scalars without reading them: reading waits until the device has computed all that it was given.

    >>> log = StepLog()
    >>> log.add_loss(torch.tensor(0.5))
    >>> log.add_step(torch.tensor(True))
    >>> log.due, log.read(), log.read()
    (False, ([0.5], [True]), ([], []))
    """

    def __init__(self):
        self._losses: list[Tensor] = []
        self._taken: list[Tensor] = []

    def add_loss(self, loss: Tensor) -> None:
        """Keep a batch's loss: 0-d."""
        self._losses.append(loss)

    def add_step(self, taken: Tensor) -> None:
        """Keep whether an optimizer step was taken: 0-d bool, the same on all ranks."""
        self._taken.append(taken)

    @property
    def due(self) -> bool:
        """Whether it is time to read."""
        return len(self._losses) >= READ_EVERY

    def read(self) -> tuple[list[float], list[bool]]:
        """Wait for the device, return what was collected and forget it.

        Returns: the losses of the last batches, means over the ranks; of each optimizer step whether it was taken.
        """
        losses, taken = self._losses, self._taken
        self._losses, self._taken = [], []
        means = (summed(torch.stack(losses).double()) / ranks()).tolist() if losses else []
        return means, torch.stack(taken).tolist() if taken else []
