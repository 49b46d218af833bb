"""Where cells are trained: Dask, imported only when it is used, runs them in processes here or on a cluster."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from toolkit.errors import ExperimentError, counted, one_line
from toolkit.experiment.cells import Threads
from toolkit.files import DISTRIBUTION
from toolkit.plugins.registry import code_version
from toolkit.terminal import say

if TYPE_CHECKING:
    from distributed import Client, Future

ATTEMPTS = 3
CONNECT_S = 10.0
SILENT = logging.CRITICAL + 1
SETTINGS = {  # instead of Dask's defaults and the user's Dask configuration, for the workers of this machine
    "distributed.scheduler.allowed-failures": ATTEMPTS - 1,
    "distributed.scheduler.worker-saturation": 1.0,  # no worker is given a cell while it runs another
    "distributed.scheduler.worker-ttl": None,  # a training may hold the interpreter's lock for long
    "distributed.deploy.lost-worker-timeout": "1 hour",  # a new process may start slowly
    "distributed.worker.daemon": False,  # a training may start processes that load data
    "distributed.worker.profile.enabled": False,
    "distributed.nanny.pre-spawn-environ": {},  # Dask's own sets the number of threads
}


@dataclass(frozen=True)
class WorkerOptions:
    """Where cells are trained, as the command's options say; None or empty: the option was not given."""

    jobs: int | None = None
    gpus: tuple[str, ...] = ()
    threads: int | None = None
    scheduler: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if self.scheduler is None and self.resources:
            raise ExperimentError("--resource is for the workers of a Dask cluster: give its --scheduler too.")
        if self.scheduler is not None and (self.jobs or self.gpus):
            raise ExperimentError("--jobs and --gpus are for this machine; --scheduler trains on a cluster.")
        if self.gpus and self.jobs not in (None, len(self.gpus)):
            raise ExperimentError(f"--gpus names {len(self.gpus)} and --jobs is {self.jobs}: each job takes one GPU.")
        if self.gpus:  # torch would silently train on the CPU
            import torch

            here, found = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
            known = here.split(",")[:found] if here else [str(number) for number in range(found)]
            if unknown := [name for name in self.gpus if name not in known and (name.isdecimal() or not found)]:
                has = ", ".join(known) or "none"
                raise ExperimentError(f"--gpus: this machine has no GPU {unknown[0]!r}; it has {has}.")

    @property
    def at_a_time(self) -> int:
        """How many cells this machine trains at a time."""
        return len(self.gpus) or self.jobs or 1

    @property
    def threads_each(self) -> Threads:
        """The threads of each training, by default its share of the cores; on a cluster the resource `threads`."""
        if self.scheduler is not None:
            return Threads(self.threads or max(1, int(self.resources.get("threads", 1))))
        from dask.system import cpu_count

        given = self.threads or int(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0] or 0)
        return Threads(given or max(1, cpu_count() // self.at_a_time), asked=given > 0)

    def workers(self, tasks: int) -> contextlib.AbstractContextManager["Workers"]:
        """The workers for a number of tasks."""
        if self.scheduler is not None:
            return cluster_workers(self.scheduler, self.resources)
        jobs = min(self.at_a_time, tasks)
        return local_workers(jobs, threads=self.threads_each.number, gpus=self.gpus[:jobs])


def used_code() -> dict[str, str]:
    """The versions of the toolkit and torch: if they differ between workers, so may the results."""
    own = code_version(DISTRIBUTION, frozenset({"toolkit", "toolkit_plugins"}))
    return {DISTRIBUTION: own, "torch": version("torch")}


@dataclass
class Workers:
    """The workers of a Dask scheduler; a call takes one thread of a worker, and `resources`, name -> amount."""

    client: "Client"
    resources: Mapping[str, float] = field(default_factory=dict)

    def run(self, function: Callable, arguments: Iterable) -> Iterator[list[tuple[Any, Exception | None]]]:
        """Call a function once for each argument, on as many workers at a time as there are.

        Dask hands out submitted calls at once, and counts a worker's death against every call that waits there. So a
        call is submitted only when a worker is free, and its argument is taken only then. A call whose worker dies runs
        again on another one.

        Yields: at least once a second, for each call that has ended since: its argument, and its error or None.
        """
        waiting, running, more = iter(arguments), {}, True
        while True:
            free = self._free() - len(running) if more else 0
            for argument in islice(waiting, max(0, free)):
                running[self.client.submit(function, argument, pure=False, resources=self.resources)] = argument
                free -= 1
            more = more and free <= 0  # a worker stays free: no argument is left
            if not (more or running):
                return
            until = time.monotonic() + 1.0
            while not (ended := [future for future in running if future.done()]) and time.monotonic() < until:
                time.sleep(0.05)
            if self.client.status == "closed" or any(future.cancelled() for future in ended):
                remedy = "check that it is running, and run the same command again"
                raise ExperimentError(f"The Dask scheduler was lost: {remedy}.")
            found = [(running.pop(future), _error(future)) for future in ended]
            del ended  # for a live future, Dask keeps the result, and runs the call again if it is lost
            yield found

    def _free(self) -> int:
        """How many calls all workers together can run at a time."""
        if self.client.status != "running":
            return 0
        try:
            # One that has just come, or is paused, gets nothing: its call would wait behind that of another worker.
            ready = (worker for worker in _workers(self.client).values() if worker["status"] == "running")
            return sum(_room(worker, self.resources) for worker in ready)
        except Exception:  # the connection was lost at this moment: Dask connects again or closes the client
            return 0


def _error(future: "Future") -> Exception | None:
    from distributed import KilledWorker

    error = future.exception()
    if not isinstance(error, KilledWorker):
        return error
    found = f"{counted(error.allowed_failures + 1, 'worker')} died on this cell, the last one at"
    remedy = "If memory runs out, train fewer cells at a time or take smaller batches."
    return ExperimentError(f"{found} {error.last_worker.address}: its log may say why. {remedy}")


@contextlib.contextmanager
def local_workers(jobs: int, *, threads: int, gpus: Sequence[str] = ()) -> Iterator[Workers]:
    """Start worker processes on this machine, each of which trains one cell at a time, on a GPU of its own if named.

    One that dies is replaced. All end with this process, however it ends. An exception that leaves the `with` block,
    such as a KeyboardInterrupt, kills them.
    """
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    _quiet_dask()
    common = {"host": "127.0.0.1", "nthreads": 1, "memory_limit": 0, "dashboard": False, "silence_logs": SILENT}
    environments = [{"CUDA_VISIBLE_DEVICES": name} for name in gpus] or [{}] * jobs
    specs = {i: {"cls": Nanny, "options": common | {"env": variables}} for i, variables in enumerate(environments)}
    dashboard = find_spec("bokeh") is not None
    scheduler = {"host": "127.0.0.1", "dashboard": dashboard, "dashboard_address": "127.0.0.1:0"}
    settings = {**dask.config.merge(*dask.config.defaults), **SETTINGS}
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    environment["PYTHONWARNINGS"] = "ignore:resource_tracker"  # on semaphores of killed processes
    with dask.config.set(settings), patch.dict(os.environ, environment):
        # A terminal sends Ctrl-C to all processes: it is blocked for those that start here, and this one decides.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            cluster = SpecCluster(workers=specs, scheduler={"cls": Scheduler, "options": scheduler})
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            if dashboard:
                say(f"Dask's dashboard: {cluster.dashboard_link}")
            with Client(cluster, set_as_default=False) as client:
                yield Workers(client)
        except BaseException:
            for nanny in cluster.workers.values():
                nanny.close_gracefully()  # so that it does not start another worker
                with contextlib.suppress(TypeError, ProcessLookupError):
                    os.kill(nanny.pid, signal.SIGKILL)
            raise
        finally:
            cluster.close()


@contextlib.contextmanager
def cluster_workers(address: str, resources: Mapping[str, float]) -> Iterator[Workers]:
    """Connect to a Dask scheduler; leaving the `with` block removes all our calls from its queue.

    Dask cannot stop a call that is running: it runs to its end.
    """
    from distributed import Client

    _quiet_dask()
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False, name="toolkit-experiment")
    except Exception as error:
        remedy = "start one with `dask scheduler` and give the address that it prints, for example tcp://host:8786"
        raise ExperimentError(f"No Dask scheduler answers at {address!r} ({one_line(error)}): {remedy}.") from error
    with client:
        if not any(_room(worker, resources) for worker in _workers(client).values()):
            listed = ",".join(f"{name}={amount:g}" for name, amount in resources.items())
            start = f"dask worker {address} --nthreads 1" + (f' --resources "{listed}"' if listed else "")
            offers = f" that offers {listed}" if listed else ""
            raise ExperimentError(f"The Dask scheduler at {address} has no worker{offers}: start some with `{start}`.")
        here = used_code()
        for worker, there in client.run(used_code, on_error="return").items():
            if there != here:
                found = f"The worker at {worker} has other code: {one_line(there)} there, {here} here"
                raise ExperimentError(f"{found}. Install the same version and restart the worker.")
        yield Workers(client, resources)


def _workers(client: "Client") -> Mapping[str, Mapping[str, Any]]:
    return client.scheduler_info(n_workers=-1)["workers"]


def _room(worker: Mapping[str, Any], resources: Mapping[str, float]) -> int:
    """How many calls a worker can run at a time."""
    offered = worker["resources"]
    return min([worker["nthreads"], *(int(offered.get(name, 0) // amount) for name, amount in resources.items())])


def _quiet_dask() -> None:
    """Print nothing that Dask logs, except that a worker process has died or cannot be started."""
    for name in ("distributed", "distributed.client", "tornado.application"):
        for handler in logging.getLogger(name).handlers:
            handler.setLevel(SILENT)
    logging.getLogger("distributed.nanny").addFilter(_report_death)


def _report_death(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    if message.startswith("Worker process") or record.levelno >= logging.ERROR:
        say(f"Dask: {one_line(message)}. A cell that ran there starts again; after {ATTEMPTS} deaths it fails.")
    return True
