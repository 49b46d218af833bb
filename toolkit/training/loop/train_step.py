"""The computation of a training step: a system with its objective as one module, for several ranks or compiled."""

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


class TrainStep(nn.Module):
    """Computes the loss of a batch: the system's output, then the objective."""

    def __init__(self, system: System, objective: Objective):
        super().__init__()
        self.system, self.objective = system, objective

    def forward(self, batch: Batch, targets: Targets, whole: Targets | None = None) -> Tensor:
        """The loss, a scalar, of a batch on the device, and targets on the CPU; `whole`: those of all ranks' rows."""
        return self.objective(self.system(batch.inputs, batch.covariates, batch.mix), targets, whole, batch.mix)


def on_ranks(step: TrainStep) -> DistributedDataParallel:
    """The same step with gradients averaged over the ranks; its parameters become those of rank 0, its buffers do not.

    On some rank a step may not use all parameters (a dropped layer, a loss without rows): DDP searches for unused ones.
    """
    # torch 2.14 has a new name for the option and warns of the old one
    known = signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    return DistributedDataParallel(step, find_unused_parameters=True, **{buffers: False})


def compile_system(system: System, *, backend: str = "inductor") -> None:
    """Compile the fusion and the `encode` of levels without recurrent layers for training, and nothing in eval() mode.

    If all segments have one length, each batch size is compiled separately, so that the result does not depend on which
    size came first. Otherwise the same code serves all lengths.
    """
    settings = {"dynamic": system.fixed_samples is None, "backend": backend}
    if backend == "inductor" and "deterministic" in torch._inductor.list_options():
        settings["options"] = {"deterministic": True}  # kernels chosen by timing would differ between runs
    for name, level in system.levels.items():
        if any(isinstance(module, nn.RNNBase) for module in level.modules()):
            continue
        level.encode = _compiled_in_training(level, level.encode, f"level {name!r}", settings)
    system.fusion.forward = _compiled_in_training(system.fusion, system.fusion.forward, "the fusion", settings)


def _compiled_in_training(part: nn.Module, function: Callable, name: str, settings: dict[str, Any]) -> Callable:
    from torch._dynamo.exc import TorchDynamoException  # torch, too, imports it when first compiling

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
