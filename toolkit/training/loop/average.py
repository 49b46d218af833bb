"""Averages of weights over the steps of a training: what is validated and tested instead of the last step's weights.

>>> ema_rate(0, decay=0.99), ema_rate(10_000, decay=0.99)
(1.0, 0.01)
"""

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from toolkit.recipe.training import AverageSpec


def ema_rate(count: int, *, decay: float) -> float:
    """The share of new weights in an exponential moving average that has seen `count` steps.

    Early on it forgets faster, so that the first weights do not stay in it.
    """
    return round(1.0 - min(decay, count / (10.0 + count)), 12)


class Average:
    """The average of a module's weights: exponential ("ema") or equal ("swa", Izmailov et al., UAI 2018).

    Buffers, such as running statistics, are those of the last step.

    Args: live, the module that is trained; spec, the recipe's settings.

    Attributes:
        module: a copy with the averaged weights, in eval() mode.
        count: steps or epochs in the average.
    """

    def __init__(self, live: nn.Module, spec: AverageSpec):
        self.live, self.spec, self.count = live, spec, 0
        self.module = deepcopy(live).requires_grad_(False).eval()

    @torch.no_grad()
    def add(self, epoch: int) -> None:
        """Take in the weights as they are; before the epoch from which on they count, they replace the average."""
        rate = 1.0
        if epoch >= self.spec.start:
            ema = self.spec.name == "ema"
            rate = ema_rate(self.count, decay=self.spec.decay) if ema else 1.0 / (self.count + 1)
            self.count += 1
        averaged, live = list(self.module.parameters()), list(self.live.parameters())
        torch._foreach_lerp_(averaged, live, rate)
        for old, new in zip(self.module.buffers(), self.live.buffers(), strict=True):
            old.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the two modules."""
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.count = state["count"]
