"""Limits for the memory and time of building or running a system, checked before each of torch's operators."""

import math
import os
import time
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from toolkit.errors import RecipeError

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # bytes of memory
MOST_TENSORS = 20_000  # made to build a system: twenty times as many as for large encoders
_FEW = 2**20  # product of an operator's integers; below it, the result is about as large as the input tensors
_PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")
_COUNTS = {  # elements of what is made from numbers, by the operator's arguments
    "arange": lambda *ends: _steps(*((0, *ends) if len(ends) == 1 else ends)),
    "linspace": lambda start, end, steps: steps,
    "hann_window": lambda samples, *_: samples,
    "hamming_window": lambda samples, *_: samples,
}
_DRAWS = (torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default)


class Allowance(TorchDispatchMode):
    """A context that refuses to run an operator whose result would be larger than what is left of the allowance.

    Args: bytes: of all new tensors together, or of each if `tensors` is None; tensors: number of new ones, empty ones
        too; None: they are not counted; seconds: after which no operator is run; draw: whether to draw random weights;
        otherwise they stay uninitialised until others are loaded.
    Raises: RecipeError in place of a refused operator.
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
        size = _size(func, args, kwargs)
        self._spend(size or 0)
        out = func(*args, **kwargs)
        if size is None:
            self._spend(_bytes(out))
        if self.tensors is not None and any(value.device.type != "meta" for value in _tensors(out)):
            self.tensors -= 1
            if self.tensors < 0:
                raise RecipeError("it consists of too many tensors")
        return out

    def _spend(self, size: int) -> None:
        if size > self.left:
            raise RecipeError(f"it asks for more than {self.bytes / 2**20:,.0f} MiB of memory")
        if self.tensors is not None:
            self.left -= size


def _size(func: Any, args: tuple, kwargs: dict) -> int | None:
    """Bytes of an operator's result, from the shapes of its inputs; None if they are unknown before it runs.

    Torch could say for every operator, but imports its compiler for some: those are calculated here.
    """
    values, given = tree_leaves((args, kwargs)), _tensors((args, kwargs))
    made = any(argument.name == "device" for argument in func._schema.arguments)
    if made and str(kwargs.get("device")) == "meta":
        return 0
    width = kwargs["dtype"].itemsize if kwargs.get("dtype") else max((v.element_size() for v in given), default=8)
    name = func.overloadpacket.__name__
    if name in _PRODUCTS:
        left, right = given[-2:]
        return left.numel() // max(1, left.shape[-1]) * right.shape[-1] * width
    if name.endswith("_like"):
        return given[0].numel() * width
    if torch.Tag.pointwise in func.tags:
        sizes = zip_longest(*(reversed(value.shape) for value in given), fillvalue=1)  # broadcast from the last axis on
        return math.prod(map(max, sizes)) * width
    if not made and name != "convolution" and math.prod(abs(v) or 1 for v in values if type(v) is int) < _FEW:
        return None
    try:
        if name in _COUNTS:
            return _COUNTS[name](*args) * width
        args, kwargs = tree_map_only(Tensor, lambda value: value.to("meta"), (args, kwargs))
        return _bytes(func(*args, **(kwargs | {"device": "meta"} if made else kwargs)), "meta")
    except Exception:  # the shapes of some results depend on values
        return None


def _steps(start: float, end: float, step: float = 1) -> int:
    return max(0, math.ceil((end - start) / step))


def _bytes(out: Any, device: str = "cpu") -> int:
    return sum(value.nbytes for value in _tensors(out) if value.device.type == device)


def _tensors(tree: Any) -> list[Tensor]:
    return [value for value in tree_leaves(tree) if isinstance(value, Tensor)]
