"""The workers of a Dask cluster behind the interface of `concurrent.futures`; Dask is imported when it is used."""

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from toolkit.errors import ExperimentError
from toolkit.experiment.calls import Call, answer, deliver
from toolkit.experiment.stoppable import StoppableExecutor

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 10
RECOUNT_S = 2.0  # between two looks for workers that came late


@contextlib.contextmanager
def cluster_executor(
    address: str, *, resources: Mapping[str, float], same: Callable[[], Any] | None = None
) -> Iterator["ClusterWorkers"]:
    """Connect to a Dask scheduler, and leave it in the end with nothing of ours in its queue.

    A task whose worker dies is done again by another one. Dask counts: it gives a task up when more of its workers
    died than the scheduler's setting `distributed.scheduler.allowed-failures` says (3). A task that raises is not
    tried again. Leaving the `with` block by an exception, Ctrl-C's too, cancels what has not started; Dask cannot end
    a task in the middle, and what is running goes on to its end there.

    Args:
        address: of the scheduler, as tcp://host:8786.
        resources: what a task takes of a worker: name -> amount; empty takes one of its threads. A worker process
            does one task at a time where it offers just that much, or has one thread (`dask worker --nthreads 1`).
        same: must return the same here and on all workers that are there now (`check_workers`).

    Raises:
        ExperimentError: if Dask is not installed, the scheduler cannot be reached, no worker offers the resources, or
            a worker is not the same.
    """
    client = _connect(address)
    try:
        _check_resources(client, address, resources)
        if same is not None:
            check_workers(client, same)
        with ClusterWorkers(client, resources) as workers:
            yield workers
    finally:
        client.close()


def check_workers(client: "Client", same: Callable[[], Any]) -> None:
    """Hold all workers of a cluster to what a function returns here, its code's version for one.

    Raises:
        ExperimentError: naming the first worker where it returns something else, or cannot be called.
    """
    here = same()
    for worker, there in client.run(same, on_error="return").items():
        if isinstance(there, BaseException):
            raise ExperimentError(
                f"The worker at {worker} cannot say what code it has ({_one_line(there)}): install the toolkit there "
                "as it is here."
            )
        if there != here:
            raise ExperimentError(
                f"The worker at {worker} has other code: {there} there, {here} here. Install the same and restart it."
            )


class ClusterWorkers(StoppableExecutor):
    """Tasks for Dask, as many at a time as its workers have room for.

    The others wait here: Dask would give them to workers at once, and count a worker's death against all of them, not
    only against the one that ran. And a result that has arrived is dropped there, so that it cannot be lost with its
    worker and computed again.

    Args:
        client: connected; left open.
        resources: what a task takes of a worker.
    """

    def __init__(self, client: "Client", resources: Mapping[str, float]):
        super().__init__()
        self.client = client
        self._address = client.scheduler.address
        self._resources = dict(resources)
        self._dask = client.get_executor(pure=False, retries=0, resources=self._resources)
        self._waiting: deque[Call] = deque()
        self._running: dict[Future, Future] = {}  # Dask's -> ours; like the one above, the feeder's alone
        self._news: SimpleQueue[tuple[Callable, tuple]] = SimpleQueue()  # what the feeder is to do, in order
        self._start("cluster-feeder", self._feed)

    def _put(self, call: Call) -> None:
        self._news.put((self._waiting.append, (call,)))

    def _end(self, *, cancel: bool) -> None:
        self._news.put((self._cancel_waiting if cancel else _nothing, ()))

    def _kill(self) -> None:
        self._news.put((self._cancel_running, ()))

    def _feed(self) -> None:
        while not self.closed or self._waiting or self._running or not self._news.empty():
            with contextlib.suppress(Empty):
                do, args = self._news.get(timeout=RECOUNT_S)
                do(*args)
                del do, args  # or what has arrived would not be dropped while nothing is new
            if self._news.empty():
                self._hand_over()

    def _hand_over(self) -> None:
        if self.client.status == "closed":
            self._lose_all()
        if not self._waiting or self.client.status != "running":
            return
        try:
            workers = _workers(self.client)
        except Exception:  # the connection was lost in this moment; Dask tries to connect again, or closes the client
            return
        free = sum(_room(worker, self._resources) for worker in workers.values()) - len(self._running)
        while self._waiting and free > 0:
            call = self._waiting.popleft()
            if not call.future.set_running_or_notify_cancel():
                continue
            try:
                remote = self._dask.submit(answer, call.packed())
            except Exception as error:
                call.future.set_exception(error)
                continue
            free -= 1
            self._running[remote] = call.future
            remote.add_done_callback(self._arrived)

    def _arrived(self, remote: Future) -> None:
        self._news.put((self._deliver, (remote,)))  # this thread is Dask's and must not wait for anything

    def _deliver(self, remote: Future) -> None:
        from distributed import KilledWorker

        future = self._running.pop(remote, None)
        if future is None:  # the client was closed or stopped before
            return
        try:
            answered = remote.result(timeout=0)
        except CancelledError:
            future.set_exception(self._loss())
        except KilledWorker as error:
            future.set_exception(
                ExperimentError(
                    f"{error.allowed_failures + 1} workers died on this cell, the last one at "
                    f"{error.last_worker.address}: its log may tell why; often memory runs out."
                )
            )
        except Exception as error:
            future.set_exception(error)
        else:
            deliver(answered, future)

    def _loss(self) -> ExperimentError:
        return ExperimentError(
            f"The Dask scheduler at {self._address} was lost in the middle of this cell: see whether it still runs, "
            "and give the same command again."
        )

    def _lose_all(self) -> None:
        for future in self._running.values():
            future.set_exception(self._loss())
        self._running.clear()
        while self._waiting:
            future = self._waiting.popleft().future
            if future.set_running_or_notify_cancel():
                future.set_exception(self._loss())

    def _cancel_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft().cancel()

    def _cancel_running(self) -> None:
        if self.client.status == "running":
            with contextlib.suppress(Exception):  # the scheduler drops them too when the client closes
                self._dask.shutdown(wait=False)
        for future in self._running.values():
            future.set_exception(CancelledError("The client stopped in the middle of this cell."))
        self._running.clear()


def _connect(address: str) -> "Client":
    try:
        from distributed import Client
    except ImportError:
        raise ExperimentError(
            "A cluster's workers need Dask, which is not installed: pip install 'audio-classification-toolkit[dask]'."
        ) from None
    client = Client.__new__(Client)  # held for `close`: collected as garbage, one that failed can block the next one
    try:
        client.__init__(address, timeout=CONNECT_S, set_as_default=False, name="toolkit-experiment")
    except Exception as error:
        with contextlib.suppress(Exception):  # it may fail before there is anything to close
            client.close()
        raise ExperimentError(
            f"No Dask scheduler answers at {address!r} ({_one_line(error)}): start one with `dask scheduler` and give "
            "the address that it prints, as tcp://host:8786."
        ) from error
    return client


def _check_resources(client: "Client", address: str, resources: Mapping[str, float]) -> None:
    wrong = [name for name, amount in resources.items() if not amount > 0]
    if wrong:
        raise ExperimentError(f"A task takes {_listed(resources)} of a worker: amounts are above 0.")
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


def _workers(client: "Client") -> Mapping[str, Mapping[str, Any]]:
    return client.scheduler_info(n_workers=-1)["workers"]


def _room(worker: Mapping[str, Any], resources: Mapping[str, float]) -> int:
    """How many tasks a worker can do at a time."""
    offered = worker["resources"]
    return min([worker["nthreads"], *(int(offered.get(name, 0) // amount) for name, amount in resources.items())])


def _listed(resources: Mapping[str, float]) -> str:
    return ",".join(f"{name}={amount:g}" for name, amount in resources.items()) or "nothing"


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")


def _nothing() -> None:
    pass
