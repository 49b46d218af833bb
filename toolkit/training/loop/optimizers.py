"""Optimizers, learning-rate schedules, averages of weights; a step is taken or skipped without asking the device."""

import math
from copy import deepcopy
from typing import Any, get_args

import torch
from torch import Tensor, nn, optim
from torch.optim import Optimizer, lr_scheduler

from toolkit.errors import RecipeError, one_line
from toolkit.model.system import System
from toolkit.plugins.signatures import check_arguments
from toolkit.recipe.training import AverageSpec, OptimizerName, OptimizerSpec, TrainingSpec
from toolkit.training.loop.objective import Objective

CLASSES = {cls.__name__.lower(): cls for cls in vars(optim).values() if isinstance(cls, type)}
# Skipped steps of these change nothing, and their saved state continues to the bit; tests try each of them.
OPTIMIZERS: dict[str, type[Optimizer]] = {name: CLASSES[name] for name in get_args(OptimizerName)}
FUSED = ("adam", "adamw", "sgd")  # those with a fused form for the CPU and the GPU
KEYS = {"lr": "learning_rate", "weight_decay": "weight_decay"}  # torch's arguments that a recipe gives beside `args`
# Arguments that the training loop sets.
OPTIMIZER_GIVEN = ("params", "foreach", "fused", "capturable", "differentiable")
SCHEDULE_GIVEN = ("optimizer", "decay_steps", "last_epoch")


def build_optimizers(system: System, objective: Objective, training: TrainingSpec) -> dict[str, Optimizer]:
    """One optimizer for each kind that the recipe names, under "optimizer-adamw" and so on; fused if possible.

    A fused one passes over parameters and state once, and the device can skip a step.
    """
    built, supported = {}, torch.device(training.device).type in ("cpu", "cuda")
    for kind, groups in parameter_groups(system, objective, training).items():
        # A fused SGD leaves its momentum uninitialised if its first step is skipped (torch 2.14).
        fused = {"fused": supported and not any(group.get("momentum") for group in groups)} if kind in FUSED else {}
        built[f"optimizer-{kind}"] = OPTIMIZERS[kind](groups, **fused)
    return built


def parameter_groups(system: System, objective: Objective, training: TrainingSpec) -> dict[str, list[dict[str, Any]]]:
    """Kind of optimizer -> groups of parameters with their options. Raises: RecipeError if one does not fit.

    With a `layer_decay` a level's rate falls from its top layer down; parameters outside all layers have the top's.
    """
    parts: dict[str, nn.Module] = {**system.levels, "covariates": system.covariates, "fusion": system.fusion}
    parts |= {"heads": system.heads, "losses": objective}
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for name, part in parts.items():
        settings = training.group_settings(name)
        options = _options(settings)
        decay = training.groups[name].layer_decay if name in training.groups else 1.0
        layers = part.layer_parameters() if name in system.levels and decay != 1.0 else ()
        depth = {id(p): d for d, layer in enumerate(reversed(layers)) for p in layer}
        by_depth: dict[int, list[nn.Parameter]] = {}
        for parameter in (p for p in part.parameters() if p.requires_grad):
            by_depth.setdefault(depth.get(id(parameter), 0), []).append(parameter)
        if by_depth and decay != 1.0 and not layers:
            raise RecipeError(f"training.groups.{name}.layer_decay: {name} has no layers of pre-trained weights.")
        for d, parameters in sorted(by_depth.items()):
            group = {"params": parameters, "base_lr": settings.learning_rate * decay**d, **options}
            by_kind.setdefault(settings.name, []).append(group)
    return by_kind


def step_where(optimizer: Optimizer, taken: Tensor) -> None:
    """Take an optimizer's step if `taken` is True; otherwise leave parameters and state as they are.

    A fused optimizer decides on the device; any other waits for the device. Gradients must be unscaled already.
    """
    if not all(group.get("fused") for group in optimizer.param_groups):
        if taken:
            optimizer.step()
        return
    optimizer.grad_scale, optimizer.found_inf = None, (~taken).float()  # as a GradScaler sets them
    optimizer.step()
    del optimizer.grad_scale, optimizer.found_inf


def _options(settings: OptimizerSpec) -> dict[str, Any]:
    """A parameter group's options, under torch's names."""
    for name in settings.args:
        if name in KEYS:
            location = settings.where.child("args", name)
            raise RecipeError(f"{location}: write it beside args: {settings.where.child(KEYS[name]).path}.")
    cls, what = OPTIMIZERS[settings.name], f"optimizer {settings.name!r}"
    args = check_arguments(cls, settings.args, context=(*KEYS, *OPTIMIZER_GIVEN), what=what, where=settings.where)
    return {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, **args}


class Constant(lr_scheduler.LambdaLR):
    """The full learning rate to the end."""

    def __init__(self, optimizer: Optimizer):
        super().__init__(optimizer, lambda step: 1.0)


class LinearDecay(lr_scheduler.LambdaLR):
    """A straight line from 1 to `end` at the end of the training."""

    def __init__(self, optimizer: Optimizer, decay_steps: int, end: float = 0.0):
        super().__init__(optimizer, lambda step: end + (1.0 - end) * (1.0 - min(step / decay_steps, 1.0)))


class CosineDecay(lr_scheduler.LambdaLR):
    """Half a cosine from 1 to `end` at the end of the training (Loshchilov and Hutter, 2017, without restarts)."""

    def __init__(self, optimizer: Optimizer, decay_steps: int, end: float = 0.0):
        wave = lambda step: 0.5 * (1.0 + math.cos(math.pi * min(step / decay_steps, 1.0)))  # noqa: E731
        super().__init__(optimizer, lambda step: end + (1.0 - end) * wave(step))


SCHEDULES: dict[str, type[lr_scheduler.LRScheduler]] = {
    "constant": Constant,
    "linear": LinearDecay,
    "cosine": CosineDecay,
    "step": lr_scheduler.StepLR,
    "exponential": lr_scheduler.ExponentialLR,
    "cosine_restarts": lr_scheduler.CosineAnnealingWarmRestarts,
}


class Schedule:
    """The factor of all learning rates at each optimizer step: a linear warm-up, then the recipe's schedule.

    One of torch's schedulers runs on a parameter of its own whose learning rate is 1. Its values depend on the step
    alone, so checkpoints do not hold it: a resumed run steps it to where it was.
    """

    def __init__(self, training: TrainingSpec, total_steps: int):
        spec, self.warmup_steps = training.schedule, training.warmup_steps
        cls = SCHEDULES[spec.name]
        args = check_arguments(cls, spec.args, context=SCHEDULE_GIVEN, what=f"schedule {spec.name!r}", where=spec.where)
        if cls in (LinearDecay, CosineDecay):
            args["decay_steps"] = max(total_steps - self.warmup_steps, 1)
        self._optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
        self._scheduler = cls(self._optimizer, **args)

    def factor(self, step: int) -> float:
        """The factor of optimizer step `step`, from 0; call it in the order of the steps."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        while self._scheduler.last_epoch < step - self.warmup_steps:
            self._optimizer.step()  # without effect: torch warns if only the scheduler is stepped
            self._scheduler.step()
        return self._optimizer.param_groups[0]["lr"]


def check_optimizers(training: TrainingSpec) -> None:
    """Try a recipe's optimizers and schedule. Raises: RecipeError if an argument does not fit, with its location."""
    for spec in (training.optimizer, *map(training.group_settings, training.groups), training.schedule):
        parameter, noun = nn.Parameter(torch.zeros(1)), "schedule" if spec is training.schedule else "optimizer"
        parameter.grad = torch.zeros(1)
        try:
            if noun == "optimizer":
                OPTIMIZERS[spec.name]([parameter], **_options(spec)).step()
            else:
                Schedule(training, total_steps=training.warmup_steps + 2).factor(training.warmup_steps + 1)
        except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
            raise RecipeError(f"{spec.where.child('args')}: {noun} {spec.name!r}: {one_line(error)}") from None


class Average:
    """The average of a module's weights: exponential ("ema") or equal ("swa", Izmailov et al., UAI 2018).

    An exponential average forgets faster early on, so that the first weights do not stay in it, unless `start` is 0:
    then the average begins with what the training starts from, which is worth keeping where that was fitted or
    pre-trained (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022). Buffers, such as running
    statistics, are copied from the last step.
    """

    def __init__(self, live: nn.Module, spec: AverageSpec):
        self.live, self.spec, self.count = live, spec, 0  # of steps or epochs in the average
        self.module = deepcopy(live).requires_grad_(False).eval()  # with the averaged weights
        for part in self.module.modules():
            if isinstance(part, nn.RNNBase):
                part.flatten_parameters()  # on a GPU the copy would be compacted in every call

    @torch.no_grad()
    def add(self, epoch: int) -> None:
        """Add the current weights, in epoch 0 those that the training starts from; before `start` they replace it."""
        kept = 0.0
        if epoch >= self.spec.start:
            early = self.count / (10 + self.count) if self.spec.start else float(self.count > 0)
            swa = self.count / (self.count + 1)
            kept = min(self.spec.decay, early) if self.spec.name == "ema" else swa
            self.count += 1
        torch._foreach_lerp_(list(self.module.parameters()), list(self.live.parameters()), 1.0 - kept)
        for old, new in zip(self.module.buffers(), self.live.buffers(), strict=True):
            old.copy_(new)

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint keeps besides the two modules."""
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a `state_dict`."""
        self.count = state["count"]
