"""Processes that train together, without torchrun's seconds to import everything: forked from one that has."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing import forkserver

CONTEXT = multiprocessing.get_context("forkserver")
PLUGINS = ("extractors.mfcc", "fusions.attention", "heads.linear", "heads.mlp", "losses.center", "losses.cross_entropy")
PROBED = ("extractors.whisper", "fusions.concat")  # of another small recipe
CONTEXT.set_forkserver_preload(
    [
        "toolkit.training.run",
        "toolkit.cli.main",
        "torch._dynamo",
        "torch.utils.tensorboard",
        "distributed",
        "transformers.models.whisper.modeling_whisper",
        *(f"toolkit_plugins.{name}" for name in PLUGINS + PROBED),
    ]
)


def fork_workers() -> dict[str, str]:
    """Start what processes are forked from; the setting with which Dask forks its workers there, too."""
    forkserver.ensure_running()
    return {"distributed.worker.multiprocessing-method": "forkserver"}


def on_ranks(target: Callable, *args, ranks: int = 2) -> list[int | None]:
    """Call a module's function in so many processes that find torchrun's variables; returns their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [CONTEXT.Process(target=_as_rank, args=(rank, ranks, port, target, args)) for rank in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _as_rank(rank: int, ranks: int, port: int, target: Callable, args: tuple) -> None:
    import torch

    torch.set_num_threads(1)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    if ranks > 1:
        os.environ |= {k: str(v) for k, v in {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, **where}.items()}
    target(*args)
