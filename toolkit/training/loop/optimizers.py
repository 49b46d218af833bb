"""Optimizers of a training, and a step that is taken or skipped without waiting for the device."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer

from toolkit.errors import RecipeError, one_line
from toolkit.model.system import System
from toolkit.plugins.signatures import check_arguments
from toolkit.recipe.locations import inside
from toolkit.recipe.training import OptimizerName, OptimizerSpec, ScheduleSpec, TrainingSpec
from toolkit.training.loop.objective import Objective
from toolkit.training.loop.schedules import Schedule

# Those whose skipped steps change nothing and whose saved state continues to the bit; tests try each of them.
CLASSES = {cls.__name__.lower(): cls for cls in vars(optim).values() if isinstance(cls, type)}
OPTIMIZERS: dict[str, type[Optimizer]] = {name: CLASSES[name] for name in get_args(OptimizerName)}
FUSED = ("adam", "adamw", "sgd")  # on a CPU and on a GPU
KEYS = {"lr": "learning_rate", "weight_decay": "weight_decay"}  # arguments that are keys beside `args`
GIVEN = ("params", "foreach", "fused", "capturable", "differentiable")  # arguments that the training loop sets


def build_optimizers(groups: Mapping[str, Sequence[nn.Parameter]], training: TrainingSpec) -> dict[str, Optimizer]:
    """One optimizer for each kind that the recipe names, with a parameter group for each part.

    Where they can be, they are fused: parameters and state are passed over once, and the device can skip a step.

    Args:
        groups: part -> its parameters.
        training: the recipe's settings, with the device.

    Returns:
        "optimizer-adamw" and so on -> the optimizer; `base_lr` of a group is its rate before the schedule.

    Raises:
        RecipeError: if an argument does not fit.
    """
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for name, parameters in groups.items():
        settings = training.group_settings(name)
        group = {"params": parameters, "base_lr": settings.learning_rate, **_options(settings)}
        by_kind.setdefault(settings.name, []).append(group)
    device = torch.device(training.device).type
    return {f"optimizer-{kind}": _build(kind, found, device) for kind, found in by_kind.items()}


def check_optimizers(training: TrainingSpec) -> None:
    """Check the arguments of a recipe's optimizers and of its schedule by a step on a parameter of their own.

    Raises:
        RecipeError: if an argument does not fit, with its location.
    """
    for settings in (training.optimizer, *map(training.group_settings, training.groups)):
        parameter = nn.Parameter(torch.zeros(1))
        parameter.grad = torch.zeros(1)
        options = _options(settings)
        with _refused("optimizer", settings):
            OPTIMIZERS[settings.name]([parameter], **options).step()
    with _refused("schedule", training.schedule):
        Schedule(training, total_steps=training.warmup_steps + 2).factor(training.warmup_steps + 1)


@contextmanager
def _refused(noun: str, spec: OptimizerSpec | ScheduleSpec) -> Iterator[None]:
    """Turn torch's error into one with the location of the arguments."""
    try:
        yield
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise RecipeError(f"{inside(spec.where, 'args')}: {noun} {spec.name!r}: {one_line(error)}") from None


def step_where(optimizer: Optimizer, taken: Tensor) -> None:
    """Take an optimizer's step where `taken` is True; otherwise leave parameters and state as they are.

    A fused optimizer decides on the device; for another one this waits for the device.

    Args: optimizer whose gradients are unscaled; taken 0-d bool.
    """
    if not all(group.get("fused") for group in optimizer.param_groups):
        if taken:
            optimizer.step()
        return
    optimizer.grad_scale, optimizer.found_inf = None, (~taken).float()  # what a GradScaler sets
    optimizer.step()
    del optimizer.grad_scale, optimizer.found_inf


def parameter_groups(system: System, objective: Objective) -> dict[str, list[nn.Parameter]]:
    """Parameters that are trained, by part: each level by its name, then covariates, fusion, heads, losses."""
    parts: dict[str, nn.Module] = {**system.levels, "covariates": system.covariates, "fusion": system.fusion}
    parts |= {"heads": system.heads, "losses": objective}
    groups = {name: [p for p in part.parameters() if p.requires_grad] for name, part in parts.items()}
    return {name: parameters for name, parameters in groups.items() if parameters}


def _options(settings: OptimizerSpec) -> dict[str, Any]:
    """A parameter group's options, as torch calls them."""
    for name in settings.args:
        if name in KEYS:
            location = inside(settings.where, "args", name)
            raise RecipeError(f"{location}: write it beside args: {inside(settings.where, KEYS[name]).path}.")
    cls, what = OPTIMIZERS[settings.name], f"optimizer {settings.name!r}"
    args = check_arguments(cls, settings.args, context=(*KEYS, *GIVEN), what=what, where=settings.where)
    return {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, **args}


def _build(kind: str, groups: Sequence[Mapping[str, Any]], device: str) -> Optimizer:
    if kind not in FUSED:
        return OPTIMIZERS[kind](groups)
    # A fused SGD leaves its momentum uninitialised where its first step is skipped (torch 2.14).
    fused = device in ("cpu", "cuda") and not any(group.get("momentum") for group in groups)
    return OPTIMIZERS[kind](groups, fused=fused)
