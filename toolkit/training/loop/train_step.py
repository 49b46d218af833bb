"""What a training step computes: a system with its objective as one module; for several ranks, and compiled."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from toolkit.data.segments import Batch
from toolkit.errors import ToolkitError, one_line
from toolkit.model.system import System
from toolkit.training.loop.objective import Objective, Targets

# Buffers are not broadcast before each batch: those that move are the same on all ranks, or averaged after the step.
# torch 2.14 has another name for it and warns of the old one.
NAMES = ("forward_sync_buffers", "broadcast_buffers")
LEAVE_BUFFERS = {next(n for n in NAMES if n in signature(DistributedDataParallel.__init__).parameters): False}


class TrainStep(nn.Module):
    """A batch -> its loss, by a system that is trained and an objective that is minimised."""

    def __init__(self, system: System, objective: Objective):
        super().__init__()
        self.system, self.objective = system, objective

    def forward(self, batch: Batch, targets: Targets, whole: Targets | None = None) -> Tensor:
        """The loss, a scalar; among several ranks, their mean is the loss of all rows.

        Args: batch on the device; its targets on the CPU, where looking at them is free; whole: those of all ranks.
        """
        return self.objective(self.system(batch.inputs, batch.covariates, batch.mix), targets, whole, batch.mix)


def on_ranks(step: TrainStep) -> DistributedDataParallel:
    """The same step, whose gradients all ranks average; its parameters become those of rank 0.

    A step may leave out parameters on some rank: a layer that is dropped, a loss without a row. DDP searches for them.
    """
    return DistributedDataParallel(step, **LEAVE_BUFFERS, find_unused_parameters=True)


def compile_system(system: System, *, backend: str = "inductor") -> None:
    """Let the levels' `encode` and the fusion run as compiled code in training; parameters keep their names.

    Front ends, heads and losses are not compiled, nor levels with recurrent layers, which torch.compile leaves out, nor
    anything in eval() mode. Where segments have one length, each batch size is compiled by itself, so that
    the result does not depend on which size came first. Elsewhere one code serves all lengths.
    """
    settings = {"dynamic": system.fixed_samples is None, "backend": backend}
    if backend == "inductor" and "deterministic" in torch._inductor.list_options():
        settings["options"] = {"deterministic": True}  # kernels are not chosen by their time, which differs by the run
    for name, level in system.levels.items():
        if any(isinstance(module, nn.RNNBase) for module in level.modules()):
            continue
        level.encode = _compiled_in_training(level, level.encode, f"level {name!r}", settings)
    system.fusion.forward = _compiled_in_training(system.fusion, system.fusion.forward, "the fusion", settings)


def _compiled_in_training(part: nn.Module, function: Callable, name: str, settings: dict[str, Any]) -> Callable:
    from torch._dynamo.exc import TorchDynamoException  # torch imports it with the first use of its compiler

    compiled = torch.compile(function, **settings)

    @wraps(function)
    def run(*args: Any) -> Any:
        if not part.training:
            return function(*args)
        try:
            return compiled(*args)
        except TorchDynamoException as error:
            reason = one_line(getattr(error, "inner_exception", error))
            raise ToolkitError(
                f"training.compile: torch.compile fails on {name} here ({reason}). Set training.compile to false."
            ) from error

    return run
