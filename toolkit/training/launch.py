"""Joins the processes that `torchrun` started. Imports no torch in any other process."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from toolkit.errors import ToolkitError, one_line

STARTED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
TIMEOUT = timedelta(hours=2)  # for one rank to compute what the others wait for


@contextmanager
def together() -> Iterator[None]:
    """Join the other ranks, and leave them at the end; does nothing in a process that torchrun did not start.

    The first rank that fails raises: its own error, or that another is gone. The others exit.
    """
    if not all(name in os.environ for name in STARTED):
        yield
        return
    # DDP searches for unused parameters (objective.py), and warns on every rank after a step without any
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    from torch import distributed

    try:
        store, rank, size = next(iter(distributed.rendezvous("env://", timeout=TIMEOUT)))
    except (RuntimeError, ValueError) as error:
        raise ToolkitError(f"The other processes of this training cannot be reached: {one_line(error)}.") from error
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
        yield
        distributed.destroy_process_group()
    except (ToolkitError, RuntimeError) as error:
        ours = isinstance(error, ToolkitError)
        if not ours and not isinstance(error, distributed.DistError) and not re.search("gloo|NCCL|Gloo", str(error)):
            raise
        first = False
        with suppress(RuntimeError):  # the rank that kept the store may be gone
            first = store.add(f"toolkit/failures/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", 1) == 1
        if not first:
            sys.exit(2)
        if ours:
            raise
        problem = f"Another process of this training is gone ({one_line(error)})"
        raise ToolkitError(f"{problem}: run the command again, which goes on from the last checkpoint.") from error
