"""What a loss counts for on one of several ranks, so that the ranks' mean is the loss of all rows."""

from collections.abc import Mapping

from torch import Tensor

from toolkit.contracts import Loss
from toolkit.corpus.targets import known
from toolkit.distributed import ranks


class RankLoss:
    """Calls losses on one rank's rows of a batch.

    A loss divides the sum over its rows by a denominator, D. A rank's value times D(its rows) is its sum; that of all
    ranks divided by D(all rows) is the loss of all. DistributedDataParallel takes the mean of gradients, so that each
    value is also multiplied by the number of ranks.

    Args:
        targets: name -> class indices of all ranks' rows, UNKNOWN where one is not known: [rows], on the CPU.
    """

    def __init__(self, targets: Mapping[str, Tensor]):
        self.targets = targets

    def __call__(self, loss: Loss, inputs: Tensor, classes: Tensor, target: str) -> Tensor | None:
        """The value of a loss; arguments are those of `toolkit.training.loop.objective.plain_loss`.

        Returns: scalar; None if no rank has a row.
        """
        of_all = self.targets[target]
        of_all = of_all[known(of_all)]
        if not len(of_all):
            return None
        if not len(classes):
            return inputs.sum()  # of no rows: a zero whose gradient DDP waits for
        own = loss.denominator(classes)
        if own is None:  # the loss is a sum
            return loss(inputs, classes) * ranks()
        return loss(inputs, classes) * (ranks() * own / loss.denominator(of_all.to(own.device, non_blocking=True)))
