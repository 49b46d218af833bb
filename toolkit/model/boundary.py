"""Checks of what plugins declare and return, where it enters the core; errors name plugin, method and rule."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.contracts import FLOATS, Fusion, Seq
from toolkit.plugins.plugin import BUILT_BY, require_rule


def checked(part: nn.Module, method: str, value: Any, shape: Sequence[int | None], *, name: str = "") -> Any:
    """A method's value, if the contract allows it: a Seq if `shape` has three sizes, else a tensor; None: any size."""
    if torch.compiler.is_exporting():  # comparing a size would make it a constant of the graph
        return value
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    kind = "Seq, with int64 lengths," if len(shape) == 3 else "tensor"
    rule = f"{name and f'{name!r} as '}a floating-point {kind} of shape [{sizes}]"
    require_rule(part, method, _fits(value, shape), rule, value)
    if BUILT_BY in vars(part) and not torch.compiler.is_compiling():  # of another distribution
        done = vars(part).setdefault("_toolkit_checked", set())
        if (method, name) not in done:  # once, since it waits for the device
            done.add((method, name))
            values = value.zeroed().values if isinstance(value, Seq) else value
            require_rule(part, method, bool(values.isfinite().all()), "finite values", "NaN or infinity")
            if isinstance(value, Seq):
                frames, longest = value.values.shape[1], int(value.lengths.max())
                found = f"{longest} of {frames} frames"
                require_rule(part, method, longest <= frames, "lengths within its frames", found)
    return value


def _fits(value: Any, shape: Sequence[int | None]) -> bool:
    if len(shape) == 3:
        if not isinstance(value, Seq) or value.lengths.dtype != torch.int64:
            return False
        value = value.values
    if not isinstance(value, Tensor) or value.dtype not in FLOATS or value.dim() != len(shape):
        return False
    return all(size in (None, there) for size, there in zip(shape, value.shape, strict=True))


def checked_embeddings(fusion: Fusion, value: Any, *, rows: int) -> dict[str, Tensor]:
    """A fusion's embeddings, one for each name in `sizes`, if the contract allows them."""
    require_rule(fusion, "forward", isinstance(value, Mapping), f"a dict of {', '.join(fusion.sizes)}", value)
    return {n: checked(fusion, "forward", value.get(n), (rows, size), name=n) for n, size in fusion.sizes.items()}


def declared(part: nn.Module, member: str, value: Any) -> int:
    """A size that a plugin declares, if it is a whole number above 0."""
    require_rule(part, member, type(value) is int and value > 0, "a whole number above 0", value)
    return value
