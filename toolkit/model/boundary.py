"""Checks of what plugins declare and return, where it enters the core: errors name the plugin, the method and the rule.

Types and shapes are checked at every call, since that does not wait for a device. Values are checked to be finite once
for each method, and only in plugins of other distributions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.contracts import FLOATS, Fusion, Seq
from toolkit.plugins.plugin import ORIGIN, require_rule

SEEN = "_toolkit_seen"  # attribute of a plugin: its methods whose values have been checked to be finite


def checked(part: nn.Module, method: str, value: Any, shape: Sequence[int | None], *, name: str = "") -> Any:
    """A method's value, if the contract allows it: a Seq if `shape` has three sizes, else a tensor; None: any size."""
    if torch.compiler.is_exporting():  # comparing a size would make it a constant of the graph
        return value
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    cls, kind = (Seq, "Seq, with int64 lengths,") if len(shape) == 3 else (Tensor, "tensor")
    rule = f"{name and f'{name!r} as '}a floating-point {kind} of shape [{sizes}]"
    found = value.values if isinstance(value, Seq) else value
    holds = isinstance(value, cls) and found.dtype in FLOATS and found.dim() == len(shape)
    holds = holds and all(size in (None, there) for size, there in zip(shape, found.shape, strict=True))
    holds = holds and (found is value or value.lengths.dtype == torch.int64)
    require_rule(part, method, holds, rule, value)
    seen = vars(part).setdefault(SEEN, set()) if ORIGIN in vars(part) else {(method, name)}
    if (method, name) not in seen and not torch.compiler.is_compiling():
        seen.add((method, name))
        real = found if found is value else value.zeroed().values
        require_rule(part, method, bool(real.isfinite().all()), "finite values", "NaN or infinity")
    return value


def checked_embeddings(fusion: Fusion, value: Any, *, rows: int) -> dict[str, Tensor]:
    """A fusion's embeddings, one for each name in `sizes`, if the contract allows them."""
    require_rule(fusion, "forward", isinstance(value, Mapping), f"a dict of {', '.join(fusion.sizes)}", value)
    return {n: checked(fusion, "forward", value.get(n), (rows, size), name=n) for n, size in fusion.sizes.items()}


def declared(part: nn.Module, member: str, value: Any) -> int:
    """A size that a plugin declares, if it is a whole number above 0."""
    require_rule(part, member, type(value) is int and value > 0, "a whole number above 0", value)
    return value
