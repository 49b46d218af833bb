"""Learning-rate schedules: a factor for each optimizer step, by torch's own schedulers.

>>> from toolkit.recipe.training import ScheduleSpec
>>> schedule = Schedule(TrainingSpec(schedule=ScheduleSpec(name="linear"), warmup_steps=2), total_steps=6)
>>> [schedule.factor(step) for step in range(6)]
[0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
"""

import math

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from toolkit.plugins.signatures import check_arguments
from toolkit.recipe.training import TrainingSpec

GIVEN = ("optimizer", "decay_steps", "last_epoch")  # what the training loop sets


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
        super().__init__(
            optimizer,
            lambda step: end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * min(step / decay_steps, 1.0))),
        )


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

    A scheduler is stepped on a parameter of its own whose learning rate is 1. Its values depend on nothing but the
    number of the step, so that checkpoints do not hold it: a resumed run steps it to where it was.

    Args:
        training: the recipe's settings.
        total_steps: optimizer steps of the whole training, warm-up included.

    Raises:
        RecipeError: if the schedule does not take an argument; torch's errors for a value that it refuses.
    """

    def __init__(self, training: TrainingSpec, total_steps: int):
        spec, self.warmup_steps = training.schedule, training.warmup_steps
        cls = SCHEDULES[spec.name]
        args = check_arguments(cls, spec.args, context=GIVEN, what=f"schedule {spec.name!r}", where=spec.where)
        if cls in (LinearDecay, CosineDecay):
            args["decay_steps"] = max(total_steps - self.warmup_steps, 1)
        self._optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
        self._scheduler = cls(self._optimizer, **args)

    def factor(self, step: int) -> float:
        """The factor of optimizer step `step`, from 0; call it in the order of the steps."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        while self._scheduler.last_epoch < step - self.warmup_steps:
            self._optimizer.step()  # without a gradient: torch warns where only the scheduler is stepped
            self._scheduler.step()
        return self._optimizer.param_groups[0]["lr"]
