"""Limits for the memory and time of building or running a system, checked at each of torch's operators."""

import math
import os
import time
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from toolkit.errors import RecipeError

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # bytes of memory
MOST_TENSORS = 20_000  # made to build a system: twenty times as many as for large encoders
_DRAWS = (torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default)


class Allowance(TorchDispatchMode):
    """A context that refuses tensors that are larger than what is left of the allowance.

    A tensor that is made with a size, such as a weight, is refused before, others as soon as they are made.

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
        if any(argument.name == "device" for argument in func._schema.arguments):  # torch.empty, torch.ones and others
            self._require(next((math.prod(size) for size in args if isinstance(size, list | tuple)), 0))
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
