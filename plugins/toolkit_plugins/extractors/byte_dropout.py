"""Dropout that draws 16 random bits for each value and keeps one byte of it for the backward pass, on CPUs.

torch's own draws its CPU masks by a generator of Bernoulli numbers and keeps them as floats, which takes three times as
long (decision 0017).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LEVELS = 2**16


class ByteDropout(nn.Dropout):
    """An nn.Dropout whose probability is a multiple of 2 ** -16 on a CPU, where its mask is of bytes.

    What is kept is scaled by that probability, so the expectation is exact. It draws from torch's generator.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return _Dropout.apply(x, self.p) if self._applies(x) else super().forward(x)

    def _applies(self, x: Tensor) -> bool:
        return (
            self.training
            and not self.inplace
            and 0 < round((1 - self.p) * _LEVELS) < _LEVELS
            and x.device.type == "cpu"
            and x.is_floating_point()
            and not torch.compiler.is_compiling()
        )


def use_byte_dropout(model: nn.Module) -> None:
    """Make every nn.Dropout of a model a `ByteDropout`."""
    for part in model.modules():
        if type(part) is nn.Dropout:
            part.__class__ = ByteDropout


def _kept(x: Tensor, levels: int) -> Tensor:
    """True with probability `levels` / 2 ** 16, of the shape of `x`."""
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[: x.numel()].view(x.shape) < levels - _LEVELS // 2


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        levels = round((1 - p) * _LEVELS)
        kept, ctx.scale = _kept(x, levels), _LEVELS / levels
        ctx.save_for_backward(kept)
        return (x * kept).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (grad * kept).mul_(ctx.scale), None
