"""Linear layers by oneDNN's matrix product, in float32 on CPUs with AVX-512.

torch leaves float32 products to MKL, which uses AVX-512 only on Intel's processors; oneDNN, which torch has for
convolutions, uses it on all. Results differ in the last bits.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_PRODUCT = "_linear_pointwise"  # an operator of torch's compiler; without it, MKL is used


class OneDnnLinear(nn.Linear):
    """A linear layer with the parameters of another; its products are oneDNN's where those are faster."""

    def __init__(self, linear: nn.Linear):
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        return _Linear.apply(x, self.weight, self.bias) if _applies(x, self.weight) else super().forward(x)


def use_onednn(model: nn.Module) -> None:
    """Put a `OneDnnLinear` in the place of every nn.Linear within a model, with the same parameters."""
    for parent in list(model.modules()):
        for name, part in parent.named_children():
            if type(part) is nn.Linear:
                setattr(parent, name, OneDnnLinear(part))


def _applies(x: Tensor, weight: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, _PRODUCT)
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product of rows [rows, in] and weight [out, in]: [rows, out]; strides may be any."""
    return getattr(torch.ops.mkldnn, _PRODUCT)(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return _product(x.flatten(0, -2), weight, bias).view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        return (
            _product(rows, weight.t()).view(x.shape) if ctx.needs_input_grad[0] else None,
            _product(rows.t(), x.flatten(0, -2).t()) if ctx.needs_input_grad[1] else None,
            rows.sum(0) if ctx.has_bias and ctx.needs_input_grad[2] else None,
        )
