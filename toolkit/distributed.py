"""Several processes, called ranks, that train one system together: this one's number, and what they exchange.

`torchrun` starts them and `toolkit.training.launch` joins them. In a single process everything here returns at once,
so that callers need no second branch. All ranks must call the functions that exchange values, in the same order.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

Value = TypeVar("Value")


def ranks() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return distributed.get_rank() if ranks() > 1 else 0


def summed(values: Tensor) -> Tensor:
    """The sum over ranks of a tensor of one shape, bit-identical on all of them; it carries no gradient."""
    if ranks() == 1:
        return values
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total


def from_first(make: Callable[[], Value]) -> Value:
    """What `make` returns on rank 0, the only rank that calls it; the others wait for it."""
    if ranks() == 1:
        return make()
    values = [make() if rank() == 0 else None]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def gathered(value: Any) -> list[Any]:
    """The values of all ranks, by rank."""
    if ranks() == 1:
        return [value]
    values = [None] * ranks()
    distributed.all_gather_object(values, value)
    return values


@torch.no_grad()
def share_state(module: nn.Module) -> None:
    """Give all ranks the parameters and buffers of rank 0."""
    if ranks() > 1:
        for tensor in [*module.parameters(), *module.buffers()]:
            distributed.broadcast(tensor.data, src=0)


@torch.no_grad()
def average_statistics(module: nn.Module) -> None:
    """Average batch normalisation's running statistics over all ranks, since each rank sees only its own rows."""
    parts = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training]
    buffers = [b for part in parts if part.track_running_stats for b in (part.running_mean, part.running_var)]
    if buffers and ranks() > 1:
        means = summed(torch.cat([buffer.flatten() for buffer in buffers])) / ranks()
        for buffer, mean in zip(buffers, means.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))
