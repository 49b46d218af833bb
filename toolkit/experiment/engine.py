"""Runs cells with Dask, on worker processes of this machine or on a cluster's workers. Imports Dask when it is used."""

import contextlib
import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

from toolkit.errors import ExperimentError, counted, one_line
from toolkit.terminal import say

if TYPE_CHECKING:
    from distributed import Client, Future

ATTEMPTS = 3
CONNECT_S = 10.0
POLL_S, WATCH_S = 0.05, 1.0
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

T = TypeVar("T")


class Workers:
    """The workers of a Dask scheduler; a call takes one thread of a worker, and `resources`, name -> amount."""

    def __init__(self, client: "Client", resources: Mapping[str, float]):
        self.client, self.resources = client, dict(resources)
        self._address = client.scheduler.address

    def run(self, function: Callable[[T], Any], arguments: Iterable[T]) -> Iterator[list[tuple[T, Exception | None]]]:
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
            until = time.monotonic() + WATCH_S
            while not (ended := [future for future in running if future.done()]) and time.monotonic() < until:
                time.sleep(POLL_S)
            found = [(running.pop(future), self._error(future)) for future in ended]
            del ended  # for a live future, Dask keeps the result, and runs the call again if it is lost
            if self.lost:
                found += [(argument, self._loss()) for argument in waiting]
                more = False
            yield found

    @property
    def lost(self) -> bool:
        """Whether the scheduler is gone."""
        return self.client.status == "closed"

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

    def _error(self, future: "Future") -> Exception | None:
        from distributed import KilledWorker

        if future.cancelled():
            return self._loss()
        error = future.exception()
        if isinstance(error, KilledWorker):
            return ExperimentError(
                f"{counted(error.allowed_failures + 1, 'worker')} died on this cell, the last one at "
                f"{error.last_worker.address}: its log may say why. If memory runs out, train fewer cells at a time or "
                "take smaller batches."
            )
        return error

    def _loss(self) -> ExperimentError:
        remedy = "check that it is running, and run the same command again"
        return ExperimentError(f"The Dask scheduler at {self._address} was lost during this cell: {remedy}.")


@contextlib.contextmanager
def local_workers(jobs: int, *, threads: int, gpus: Sequence[str] = ()) -> Iterator[Workers]:
    """Start worker processes on this machine, each of which trains one cell at a time.

    One that dies is replaced. All end with this process, however it ends. An exception that leaves the `with` block,
    such as a KeyboardInterrupt, kills them.

    Args: jobs: how many processes; threads: of each (OMP_NUM_THREADS, MKL_NUM_THREADS); gpus: one for each process, as
        in CUDA_VISIBLE_DEVICES; empty leaves that variable as it is.
    """
    import dask
    from distributed import Nanny, Scheduler, SpecCluster

    _silence_dask()
    common = {"host": "127.0.0.1", "nthreads": 1, "memory_limit": 0, "dashboard": False, "silence_logs": SILENT}
    environments = [{"CUDA_VISIBLE_DEVICES": gpus[i]} if gpus else {} for i in range(jobs)]
    specs = {i: {"cls": Nanny, "options": common | {"env": variables}} for i, variables in enumerate(environments)}
    dashboard = find_spec("bokeh") is not None
    scheduler = {"host": "127.0.0.1", "dashboard": dashboard, "dashboard_address": "127.0.0.1:0"}
    settings = {**dask.config.merge(*dask.config.defaults), **SETTINGS}
    with dask.config.set(settings), _environment(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads)):
        # A terminal sends Ctrl-C to all processes: it is blocked for those that start here, and this one decides.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            cluster = SpecCluster(workers=specs, scheduler={"cls": Scheduler, "options": scheduler})
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            if dashboard:
                say(f"Dask's dashboard: {cluster.dashboard_link}")
            with _deaths(), cluster_workers(cluster.scheduler_address) as workers:
                yield workers
        except BaseException:
            for nanny in cluster.workers.values():
                nanny.close_gracefully()  # so that it does not start another worker
                with contextlib.suppress(TypeError, ProcessLookupError):
                    os.kill(nanny.pid, signal.SIGKILL)
            raise
        finally:
            cluster.close()


@contextlib.contextmanager
def cluster_workers(
    address: str, *, resources: Mapping[str, float] | None = None, same: Callable[[], Any] | None = None
) -> Iterator[Workers]:
    """Connect to a Dask scheduler; leaving the `with` block removes all our calls from its queue.

    Dask cannot stop a call that is running: it runs to its end.

    Args: address: of the scheduler, for example tcp://host:8786; resources: see `Workers`; same: a function that must
        return the same here and on all current workers, for example the version of the code.
    Raises: ExperimentError if the scheduler cannot be reached, no worker offers the resources, or `same` differs on a
        worker.
    """
    resources = resources or {}
    client = _connect(address)
    try:
        _check_resources(client, address, resources)
        if same is not None:
            _check_same(client, same)
        yield Workers(client, resources)
    finally:
        client.close()


def _connect(address: str) -> "Client":
    from distributed import Client

    _silence_dask()
    client = Client.__new__(Client)  # kept for `close`: collecting a failed client as garbage can block the next one
    try:
        client.__init__(address, timeout=CONNECT_S, set_as_default=False, name="toolkit-experiment")
    except Exception as error:
        with contextlib.suppress(Exception):  # it may have failed before there was anything to close
            client.close()
        raise ExperimentError(
            f"No Dask scheduler answers at {address!r} ({one_line(error)}): start one with `dask scheduler` and give "
            "the address that it prints, for example tcp://host:8786."
        ) from error
    return client


def _check_resources(client: "Client", address: str, resources: Mapping[str, float]) -> None:
    workers = _workers(client).values()
    if any(_room(worker, resources) for worker in workers):
        return
    start = f"dask worker {address} --nthreads 1" + (f' --resources "{_listed(resources)}"' if resources else "")
    if not workers:
        raise ExperimentError(f"The Dask scheduler at {address} has no workers: start some with `{start}`.")
    offers = Counter(_listed(worker["resources"]) for worker in workers)
    raise ExperimentError(
        f"No worker of the Dask scheduler at {address} offers {_listed(resources)}; its workers offer "
        f"{'; '.join(f'{offer} ({n} of them)' for offer, n in offers.items())}: start some with `{start}`."
    )


def _check_same(client: "Client", same: Callable[[], Any]) -> None:
    here = same()
    for worker, there in client.run(same, on_error="return").items():
        if isinstance(there, BaseException):
            found = f"The worker at {worker} does not report the version of its code ({one_line(there)})"
            raise ExperimentError(f"{found}: install the same version of the toolkit there.")
        if there != here:
            found = f"The worker at {worker} has other code: {there} there, {here} here"
            raise ExperimentError(f"{found}. Install the same version and restart the worker.")


def _workers(client: "Client") -> Mapping[str, Mapping[str, Any]]:
    return client.scheduler_info(n_workers=-1)["workers"]


def _room(worker: Mapping[str, Any], resources: Mapping[str, float]) -> int:
    """How many calls a worker can run at a time."""
    offered = worker["resources"]
    return min([worker["nthreads"], *(int(offered.get(name, 0) // amount) for name, amount in resources.items())])


def _listed(resources: Mapping[str, float]) -> str:
    return ",".join(f"{name}={amount:g}" for name, amount in resources.items()) or "nothing"


@contextlib.contextmanager
def _deaths() -> Iterator[None]:
    """Show the user what Dask logs when a worker process dies or cannot be started."""

    def show(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if message.startswith("Worker process"):
            hint = ", which is what the kernel sends when memory runs out" if message.endswith("signal 9") else ""
            say(f"{message}{hint}. Its cell starts again; after {ATTEMPTS} deaths it fails.")
        elif record.levelno >= logging.ERROR:
            say(f"Dask: {one_line(message)}")
        return True

    logger = logging.getLogger("distributed.nanny")
    logger.addFilter(show)
    try:
        yield
    finally:
        logger.removeFilter(show)


def _silence_dask() -> None:
    """Print nothing that Dask logs: our own messages say what the user needs."""
    for name in ("distributed", "distributed.client", "tornado.application"):
        for handler in logging.getLogger(name).handlers:
            handler.setLevel(SILENT)


def _environment(**variables: str) -> contextlib.AbstractContextManager:
    """Set variables for processes that start in the block; its end undoes all changes to the environment."""
    filters = os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker"  # on semaphores of killed processes
    return patch.dict(os.environ, variables, PYTHONWARNINGS=",".join(filter(None, filters)))
