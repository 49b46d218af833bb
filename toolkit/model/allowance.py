"""Limits for the memory and time of building or running a system, checked at each of torch's operators."""

import math
import os
import time
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from toolkit.errors import RecipeError

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # bytes of memory
MOST_TENSORS = 20_000  # made to build a system: twenty times as many as for large encoders
_MANY = 2**20  # product of an operator's whole numbers, from which on they may state a large size
_DRAWS = (torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default)


class Allowance(TorchDispatchMode):
    """A context that refuses tensors that are larger than what is left of the allowance.

    A tensor whose size is given in numbers, such as a weight, is refused before it is made, others afterwards.

    Args: bytes: of all new tensors together, or of each if `tensors` is None; tensors: number of new ones, empty ones
        too; None: they are not counted; seconds: after which no operator is run; draw: whether to draw random weights;
        otherwise they stay uninitialised until others are loaded.
    Raises: RecipeError.
    """

    def __init__(
        self, bytes: int = MACHINE, *, tensors: int | None = MOST_TENSORS, seconds: float = math.inf, draw: bool = True
    ):
        super().__init__()
        self.bytes, self.tensors, self.seconds, self.draw = bytes, tensors, seconds, draw
        self.left, self.end = bytes, time.monotonic() + seconds

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, which takes seconds, for what is never compiled

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS and not self.draw:
            return args[0]
        if time.monotonic() > self.end:
            raise RecipeError(f"it takes more than {self.seconds:g} s")
        if any(value.alias_info for value in func._schema.returns):  # a view, or written in place
            return func(*args, **kwargs)
        self._require(_stated_size(func, args, kwargs))
        out = func(*args, **kwargs)
        new = [value for value in tree_leaves(out) if isinstance(value, Tensor) and value.device.type != "meta"]
        self._require(size := sum(value.nbytes for value in new))
        if self.tensors is not None and new:
            self.left -= size
            self.tensors -= 1
            if self.tensors < 0:
                raise RecipeError("it consists of too many tensors")
        return out

    def _require(self, size: int) -> None:
        if size > self.left:
            raise RecipeError(f"it asks for more than {self.bytes / 2**20:,.0f} MiB of memory")


def _stated_size(func: Any, args: tuple, kwargs: dict) -> int:
    """Bytes of an operator's result if its whole numbers may state a large size, else 0.

    They are calculated on the meta device. For small ones this would cost more than the result: torch imports its
    compiler for some operators there.
    """
    numbers = [abs(value) or 1 for value in tree_leaves((args, kwargs)) if type(value) is int]
    if math.prod(numbers) < _MANY or str(kwargs.get("device")) == "meta":
        return 0
    args, kwargs = tree_map_only(Tensor, lambda value: value.to("meta"), (args, kwargs))
    if any(argument.name == "device" for argument in func._schema.arguments):
        kwargs = kwargs | {"device": "meta"}
    try:
        return sum(value.nbytes for value in tree_leaves(func(*args, **kwargs)) if isinstance(value, Tensor))
    except Exception:  # the shapes of some results depend on values
        return 0
