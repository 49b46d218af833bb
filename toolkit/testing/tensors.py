"""Compare and vary sequences, outputs and states."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from toolkit.contracts import Seq
from toolkit.testing import require

GARBAGE = (float("nan"), float("inf"), 1e4)


def require_equal(found: Tensor, expected: Tensor, tolerance: float, what: str, *, scale: float = 0.0) -> None:
    """Raise Violation if shapes differ, values are not finite, or the relative error exceeds the tolerance.

    The error is the largest absolute difference over the largest absolute value expected, or `scale` if that is larger.
    """
    same = found.shape == expected.shape
    require(same, f"{what}: shape {list(found.shape)} where {list(expected.shape)} is expected")
    if found.numel() == 0 or torch.equal(found, expected):
        return
    found, expected = found.detach().double(), expected.detach().double()
    require(expected.isfinite().all(), f"{what}: not finite")
    errors = (found - expected).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    errors /= max(float(expected.abs().max()), scale, 1e-30)
    steps = (errors > tolerance).any(dim=2).any(dim=0).nonzero().flatten().tolist() if errors.dim() == 3 else []
    where = f", in frames {steps[0]} to {steps[-1]} of {errors.shape[1]}" if steps else ""
    require((errors <= tolerance).all(), f"{what}: relative error {errors.max():.2g}, allowed {tolerance:g}{where}")


def require_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float, what: str) -> None:
    """`require_equal` for tensors by name."""
    for name, value in expected.items():
        require_equal(found[name], value, tolerance, f"{name!r} {what}")


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a Tensor, a Seq, or mappings and tuples of those."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Seq):
        yield from (value.values, value.lengths)
    else:
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_in(each)


def row(seq: Seq, index: int, *, cut: bool = True) -> Seq:
    """One row alone: without its padding and marked as full, or with it if `cut` is false."""
    length = int(seq.lengths[index])
    values = seq.values[index : index + 1]
    return Seq(values[:, :length] if cut else values, seq.lengths[index : index + 1], full=cut)


def random_sum(outputs: Mapping[str, Tensor]) -> Tensor:
    """The sum of all values of the outputs, each with a random weight."""
    return sum((value.float() * torch.randn(value.shape)).sum() for value in outputs.values())


def require_registered(module: nn.Module) -> None:
    """Raise Violation if a part that its own package defines holds a tensor outside of parameters and buffers."""
    package = type(module).__module__.partition(".")[0]
    for part in module.modules():
        if type(part).__module__.partition(".")[0] == package:
            plain = [name for name, value in vars(part).items() if isinstance(value, Tensor)]
            remedy = "use register_buffer, or bundles and other devices do not get it"
            require(not plain, f"`{', '.join(plain)}` is a tensor that is neither a parameter nor a buffer: {remedy}")


def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Carry the state over as a bundle does: safetensors bytes, loaded strictly."""
    stored = safetensors.torch.save({name: value.clone() for name, value in source.state_dict().items()})
    target.load_state_dict(safetensors.torch.load(stored))
