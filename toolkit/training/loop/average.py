"""Averages of weights over a training, which are validated and tested instead of the last step's weights."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from toolkit.recipe.training import AverageSpec


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
        """Add the current weights to the average; before the epoch `start` they replace it.

        Args: epoch: 0 for the weights that the training starts from.
        """
        kept = 0.0
        if epoch >= self.spec.start:
            early = self.count / (10 + self.count) if self.spec.start else float(self.count > 0)
            swa = self.count / (self.count + 1)
            kept = min(self.spec.decay, early) if self.spec.name == "ema" else swa
            self.count += 1
        torch._foreach_lerp_(list(self.module.parameters()), list(self.live.parameters()), 1.0 - kept)
        for old, new in zip(self.module.buffers(), self.live.buffers(), strict=True):
            old.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the two modules."""
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self.count = state["count"]
