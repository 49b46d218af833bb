"""torch.compile over the parts of a system where a training step's time goes (`training.compile`)."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import nn

from toolkit.errors import ToolkitError, one_line
from toolkit.model.system import System


def compile_system(system: System, *, backend: str = "inductor") -> None:
    """Let the levels' `encode` and the fusion run as compiled code in training; parameters keep their names.

    Front ends, heads and losses are not compiled, nor levels with recurrent layers, which torch.compile leaves out, nor
    anything in eval() mode. Where segments have one length, each batch size is compiled by itself, so that
    the result does not depend on which size came first. Elsewhere one code serves all lengths.

    Args:
        system: on its device; changed in place.
        backend: torch.compile's.
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
