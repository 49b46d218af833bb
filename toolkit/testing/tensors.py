"""Compare and vary sequences, outputs and states."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from toolkit.contracts import FLOATS, Seq
from toolkit.plugins.plugin import described
from toolkit.testing import require

GARBAGE = (float("nan"), float("inf"), 1e4)


def require_floats(method: str, found: Any) -> None:
    """Raise Violation unless a method returned a Tensor or a Seq of one of `FLOATS`."""
    values = found.values if isinstance(found, Seq) else found
    holds = isinstance(values, Tensor) and values.dtype in FLOATS
    require(holds, f"`{method}` must return {FLOATS[0]}, and gave {described(found)}")


def require_equal(found: Tensor, expected: Tensor, tolerance: float, what: str, *, scale: float = 0.0) -> None:
    """Raise Violation if shapes differ, or the relative error exceeds the tolerance; NaN is never equal.

    The error is the largest absolute difference over the largest absolute value expected, or `scale` if that is larger.
    """
    same = found.shape == expected.shape
    require(same, f"{what}: shape {list(found.shape)} where {list(expected.shape)} is expected")
    if found.numel() == 0 or torch.equal(found, expected):
        return
    found, expected = found.detach().double(), expected.detach().double()
    difference = (found - expected).abs().nan_to_num(nan=math.inf, posinf=math.inf).max()
    error = float(difference) / max(float(expected.abs().max()), scale, 1e-30)
    require(error <= tolerance, f"{what}: relative error {error:.2g}, allowed {tolerance:g}")


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


def copy_state(source: nn.Module, target: nn.Module) -> None:
    """Carry the state over as a bundle does: safetensors bytes, loaded strictly."""
    state = source.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    require(not odd, f"state_dict() holds {odd}, which are not tensors: safetensors cannot keep them")
    stored = safetensors.torch.save({name: value.contiguous().clone() for name, value in state.items()})
    target.load_state_dict(safetensors.torch.load(stored))
