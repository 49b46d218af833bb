"""Optimizers of a training, and a step that is taken or skipped without asking the device which."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from toolkit.model.system import System
from toolkit.recipe.training import TrainingSpec
from toolkit.training.loop.objective import Objective

OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def build_optimizers(groups: Mapping[str, Sequence[nn.Parameter]], training: TrainingSpec) -> dict[str, Optimizer]:
    """One optimizer for each kind that the recipe names, with a parameter group for each part.

    On a CPU or a GPU they are fused: parameters and state are passed over once, and the device can leave a step out.

    Args:
        groups: part -> its parameters.
        training: the recipe's settings, with the device.

    Returns:
        "optimizer-adamw" and so on -> the optimizer; `base_lr` of a group is its rate before the schedule.
    """
    by_kind: dict[str, list[dict]] = {}
    for name, parameters in groups.items():
        settings = training.group_settings(name)
        group = {"params": parameters, "base_lr": settings.learning_rate, "lr": settings.learning_rate}
        by_kind.setdefault(settings.name, []).append({**group, "weight_decay": settings.weight_decay})
    fused = torch.device(training.device).type in ("cpu", "cuda")
    return {f"optimizer-{kind}": OPTIMIZERS[kind](found, fused=fused) for kind, found in by_kind.items()}


def step_where(optimizer: Optimizer, taken: Tensor) -> None:
    """Take an optimizer's step where `taken` is True; otherwise leave parameters and state as they are.

    A fused optimizer decides on the device; for another one this looks.

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
    parts: dict[str, nn.Module] = dict(system.levels.items())
    parts |= {
        "covariates": system.covariates,
        "fusion": system.fusion,
        "heads": system.heads,
        "losses": objective,
    }
    groups = {name: [p for p in part.parameters() if p.requires_grad] for name, part in parts.items()}
    return {name: parameters for name, parameters in groups.items() if parameters}


def learning_rate_factor(step: int, *, schedule: str, warmup_steps: int, total_steps: int) -> float:
    """The factor for optimizer step `step` (from 0): a linear warm-up, then constant or a decay towards 0.

    >>> [learning_rate_factor(s, schedule="linear", warmup_steps=2, total_steps=6) for s in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    >>> round(learning_rate_factor(4, schedule="cosine", warmup_steps=2, total_steps=6), 6)
    0.5
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    return 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
