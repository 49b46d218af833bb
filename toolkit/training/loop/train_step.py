"""What a training step computes: a system with its objective as one module, which several ranks can wrap."""

from collections.abc import Mapping
from inspect import signature

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from toolkit.data.segments import Batch
from toolkit.model.system import System
from toolkit.training.loop.objective import Objective, plain_loss
from toolkit.training.loop.rank_loss import RankLoss

# Buffers are not broadcast before each batch: those that move are the same on all ranks, or averaged after the step.
# torch 2.14 has another name for it and warns of the old one.
NAMES = ("forward_sync_buffers", "broadcast_buffers")
LEAVE_BUFFERS = {next(n for n in NAMES if n in signature(DistributedDataParallel.__init__).parameters): False}


class TrainStep(nn.Module):
    """A batch -> its loss.

    Args:
        system: what is trained.
        objective: what is minimised.
    """

    def __init__(self, system: System, objective: Objective):
        super().__init__()
        self.system, self.objective = system, objective

    def forward(self, batch: Batch, targets: Mapping[str, Tensor], whole: Mapping[str, Tensor] | None = None) -> Tensor:
        """The loss.

        Args: batch on the device; targets name -> class indices [batch], on the CPU, where looking at them is free;
            whole: those of all ranks' rows, where several train together.
        Returns: scalar; among several ranks, their mean is the loss of all rows.
        """
        call = plain_loss if whole is None else RankLoss(whole)
        return self.objective(self.system(batch.inputs, batch.covariates), targets, call)


def on_ranks(step: TrainStep) -> DistributedDataParallel:
    """The same step, whose gradients all ranks average; its parameters become those of rank 0.

    A step may leave out parameters on some rank: a layer that is dropped, a loss without a row. DDP searches for them;
    for the 956 nodes of 12 transformer layers, the time that takes was not measurable.
    """
    return DistributedDataParallel(step, **LEAVE_BUFFERS, find_unused_parameters=True)
