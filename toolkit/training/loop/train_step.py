"""What a training step runs: a system with its objective as one module, which DistributedDataParallel can wrap."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from toolkit.data.segments import Batch
from toolkit.distributed import gathered, ranks, summed
from toolkit.model.system import System
from toolkit.training.loop.objective import Objective

# Buffers are not broadcast before each batch: those that move are the same on all ranks, or averaged after the step.
# torch 2.14 has another name for it and warns of the old one.
NAMES = ("forward_sync_buffers", "broadcast_buffers")
LEAVE_BUFFERS = {next(n for n in NAMES if n in signature(DistributedDataParallel.__init__).parameters): False}


class Learner(nn.Module):
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
        return self.objective(self.system(batch.inputs, batch.covariates), targets, whole)


class SharedLearner:
    """A Learner whose gradients all ranks average; nothing but the Learner itself in a process alone.

    It is wrapped at the first batch, which shows whether every parameter takes part in a step: where one does not, DDP
    has to search the graph of each step for it.

    Args:
        learner: on its device.
        sometimes_unknown: whether a batch may hold no known class of some target, so that a loss is left out.
    """

    def __init__(self, learner: Learner, *, sometimes_unknown: bool):
        self.learner, self.sometimes_unknown = learner, sometimes_unknown
        self._wrapped: nn.Module | None = learner if ranks() == 1 else None

    def __call__(self, *batch: Any) -> Tensor:
        """The loss of a batch; arguments and value are a Learner's."""
        if self._wrapped is None:
            self._wrapped = DistributedDataParallel(
                self.learner,
                **LEAVE_BUFFERS,
                find_unused_parameters=any(gathered(self._leaves_out_parameters(*batch))),
            )
        return self._wrapped(*batch)

    def _leaves_out_parameters(self, *batch: Any) -> bool:
        return self.sometimes_unknown or leaves_out_parameters(self.learner, *batch)

    def no_sync(self, hold: bool) -> AbstractContextManager:
        """Within this context gradients stay with their rank, if `hold`: a later batch averages them with its own."""
        wrapped = isinstance(self._wrapped, DistributedDataParallel)
        return self._wrapped.no_sync() if hold and wrapped else nullcontext()

    @torch.no_grad()
    def average_statistics(self) -> None:
        """Give all ranks the mean of their running statistics: batch normalisation sees the rows of its own rank."""
        buffers = list(_running_statistics(self.learner)) if ranks() > 1 else []
        if buffers:
            means = summed(torch.cat([buffer.flatten() for buffer in buffers])) / ranks()
            for buffer, mean in zip(buffers, means.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_(mean.view_as(buffer))


def leaves_out_parameters(learner: Learner, *batch: Any) -> bool:
    """Whether a step may leave out parameters that are trained: by a look at the graph of a batch, and at what moves.

    A level may leave out layers at random, which it says; a loss with parameters may get no row on some rank.

    Args: learner; batch: what it is called with.
    """
    if any(level.leaves_out for level in learner.system.levels.values()):
        return True
    if any(parameter.requires_grad for parameter in learner.objective.parameters()):
        return True
    modes = {module: module.training for module in learner.modules()}
    try:
        reached = _parameters_before(learner.eval()(*batch))  # eval(): nothing is remembered of the batch
    finally:
        for module, training in modes.items():
            module.training = training
    return any(parameter.requires_grad and parameter not in reached for parameter in learner.parameters())


def _parameters_before(value: Tensor) -> set[Tensor]:
    """The parameters that a value's gradient reaches."""
    found, seen, todo = set(), set(), [value.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(node.variable)
        todo += [before for before, _ in node.next_functions]
    return found


def _running_statistics(module: nn.Module) -> Iterator[Tensor]:
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training and part.track_running_stats:
            yield from (part.running_mean, part.running_var)
