"""A Dask cluster's workers on this machine: what comes back, what a death costs, and what is refused."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import CancelledError, wait
from pathlib import Path

import pytest

from toolkit.errors import ExperimentError
from toolkit.experiment import cluster as cluster_module
from toolkit.experiment.cluster import cluster_executor

distributed = pytest.importorskip("distributed", reason="Dask is not installed (the extra `dask`)")

ONE = {"cell": 1}
LONG_S = 60  # a test that ends is one in which nothing waited for this


def local_cluster(n_workers, *, processes=False):
    return distributed.LocalCluster(
        n_workers=n_workers,
        threads_per_worker=2,
        processes=processes,
        protocol="tcp://",
        resources=ONE,
        dashboard_address=":0",
    )


@pytest.fixture(scope="module")
def cluster():
    with local_cluster(2, processes=True) as started:
        yield started
    assert multiprocessing.active_children() == []


@pytest.fixture
def workers(cluster):
    cluster.scheduler.allowed_failures = 3
    with cluster_executor(cluster.scheduler_address, resources=ONE) as executor:
        yield executor
    assert not [t.name for t in threading.enumerate() if t.name == "cluster-feeder"]
    until(lambda: not cluster.scheduler.tasks)  # nothing of ours is left there


class Whole(ValueError):  # noqa: N818
    """Travels as it is."""


def fail(file):
    started(file)
    raise Whole("the text")


def started(file):
    with Path(file).open("a") as lines:
        lines.write("started\n")
    return os.getpid()


def return_a_lock():
    return threading.Lock()


def meet(folder, n):
    """Return when n threads are here."""
    (Path(folder) / f"{os.getpid()}-{threading.get_ident()}").touch()
    until(lambda: len(list(Path(folder).iterdir())) == n)
    return os.getpid()


def wait_at_first(folder):
    """Take long unless another process was here before."""
    earlier = list(Path(folder).iterdir())
    (Path(folder) / str(os.getpid())).touch()
    if not earlier:
        time.sleep(LONG_S)
    return os.getpid()


def touch_and_wait(folder, seconds):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(seconds)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found


def pids_in(folder):
    return [int(path.name) for path in Path(folder).iterdir()]


def test_results_and_exceptions_come_back_and_what_raises_is_not_tried_again(workers, tmp_path):
    assert workers.submit(divmod, 7, 2).result() == (3, 1)
    assert list(workers.map(divmod, range(5), [2] * 5)) == [divmod(i, 2) for i in range(5)]
    raised = workers.submit(fail, tmp_path / "starts").exception()
    assert type(raised) is Whole and raised.args == ("the text",)
    assert (tmp_path / "starts").read_text() == "started\n"
    assert "cannot pickle" in str(workers.submit(return_a_lock).exception())
    assert isinstance(workers.submit(lambda: 1).exception(), Exception)


def test_two_workers_work_at_the_same_time_and_each_does_one_task(workers, tmp_path):
    a, b = [workers.submit(meet, tmp_path, 2) for _ in range(2)]  # neither returns without the other
    assert a.result() != b.result()


def test_a_task_whose_worker_is_killed_ends_on_another_and_finished_ones_are_not_done_again(workers, tmp_path):
    before = [workers.submit(started, tmp_path / "before") for _ in range(4)]
    wait(before)
    folder = tmp_path / "here"
    folder.mkdir()
    future = workers.submit(wait_at_first, folder)
    [victim] = until(lambda: pids_in(folder))
    os.kill(victim, signal.SIGKILL)
    assert future.result() != victim
    assert (tmp_path / "before").read_text() == "started\n" * 4


def test_a_task_that_kills_its_workers_is_given_up_and_takes_no_other_with_it(cluster, workers):
    until(lambda: len(cluster.scheduler.workers) == 2)
    cluster.scheduler.allowed_failures = 0
    futures = [workers.submit(die), *(workers.submit(divmod, i, 2) for i in range(8))]
    error = futures[0].exception()
    assert isinstance(error, ExperimentError)
    assert str(error).startswith("1 workers died on this cell, the last one at tcp://127.0.0.1:")
    assert "\n" not in str(error)
    assert [f.result() for f in futures[1:]] == [divmod(i, 2) for i in range(8)]


def test_leaving_by_an_exception_cancels_what_waits_and_waits_for_nothing(cluster, tmp_path):
    until(lambda: len(cluster.scheduler.workers) == 2)
    with pytest.raises(KeyboardInterrupt), cluster_executor(cluster.scheduler_address, resources=ONE) as workers:
        running = [workers.submit(touch_and_wait, tmp_path, 2) for _ in range(2)]
        queued = [workers.submit(divmod, 7, 2) for _ in range(3)]
        until(lambda: len(pids_in(tmp_path)) == 2)
        assert queued[0].cancel()
        assert not running[0].cancel()
        raise KeyboardInterrupt
    assert all(f.cancelled() for f in queued)
    assert all(isinstance(f.exception(timeout=0), CancelledError) for f in running)
    assert wait([*running, *queued], timeout=5).not_done == set()
    until(lambda: not cluster.scheduler.tasks)
    with pytest.raises(RuntimeError, match="after shutdown"):
        workers.submit(divmod, 7, 2)


def test_a_worker_that_comes_late_gets_tasks(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "RECOUNT_S", 0.2)
    with local_cluster(1) as small, cluster_executor(small.scheduler_address, resources=ONE) as workers:
        futures = [workers.submit(meet, tmp_path, 2) for _ in range(2)]  # neither returns without the other
        until(lambda: len(list(tmp_path.iterdir())) == 1)
        small.scale(2)
        assert wait(futures, timeout=30).not_done == set()


def test_a_lost_scheduler_fails_the_tasks_with_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_S", 2)
    monkeypatch.setattr(cluster_module, "RECOUNT_S", 0.2)
    with local_cluster(1) as small, cluster_executor(small.scheduler_address, resources=ONE) as workers:
        futures = [workers.submit(touch_and_wait, tmp_path, 2), workers.submit(divmod, 7, 2)]
        until(lambda: pids_in(tmp_path))
        small.close()
        texts = [str(f.exception(timeout=30)) for f in futures]
    assert all(text.startswith(f"The Dask scheduler at {small.scheduler_address} was lost") for text in texts)


def test_resources_that_no_worker_offers_are_refused_with_what_they_offer(cluster):
    address = cluster.scheduler_address
    until(lambda: len(cluster.scheduler.workers) == 2)
    with pytest.raises(ExperimentError) as refused, cluster_executor(address, resources={"GPU": 1}):
        pass
    assert str(refused.value) == (
        f"No worker of the Dask scheduler at {address} offers GPU=1; its workers offer cell=1 (2 of them): start some "
        f'with `dask worker {address} --nthreads 1 --resources "GPU=1"`.'
    )
    with pytest.raises(ExperimentError, match="offers cell=2;"), cluster_executor(address, resources={"cell": 2}):
        pass
    with pytest.raises(ExperimentError, match="amounts are above 0"), cluster_executor(address, resources={"cell": 0}):
        pass


def test_a_scheduler_without_workers_is_refused():
    with (
        local_cluster(0) as empty,
        pytest.raises(ExperimentError, match=r"has no workers: start some with `dask worker tcp:.* --nthreads 1`"),
        cluster_executor(empty.scheduler_address, resources={}),
    ):
        pass


def test_without_resources_a_task_takes_a_thread(cluster, tmp_path):
    until(lambda: len(cluster.scheduler.workers) == 2)
    with cluster_executor(cluster.scheduler_address, resources={}) as workers:
        assert workers.submit(divmod, 7, 2).result() == (3, 1)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{free}", "nonsense", "foo://127.0.0.1:1"])
def test_an_address_where_no_scheduler_answers_is_refused(address, monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT_S", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listened at
        address = address.format(free=taken.getsockname()[1])
        with pytest.raises(ExperimentError) as refused, cluster_executor(address, resources={}):
            pass
    assert str(refused.value).startswith(f"No Dask scheduler answers at {address!r} (")
    assert "\n" not in str(refused.value)


def test_a_client_that_could_not_be_made_leaves_no_thread():
    before = set(threading.enumerate())
    with pytest.raises(ExperimentError) as refused, cluster_executor("nonsense", resources={}):
        pass
    assert refused and set(threading.enumerate()) <= before  # the error holds what is not closed


def test_without_dask_the_command_to_install_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ExperimentError, match=r"pip install 'audio-classification-toolkit\[dask\]'"),
        cluster_executor("tcp://127.0.0.1:1", resources={}),
    ):
        pass


def code_version():
    return {"toolkit": "1"}


def code_that_workers_do_not_have():
    if multiprocessing.parent_process() is not None:
        raise OSError("no such\nsource")


def test_workers_with_the_same_code_are_taken(cluster):
    with cluster_executor(cluster.scheduler_address, resources=ONE, same=code_version) as workers:
        assert workers.submit(divmod, 7, 2).result() == (3, 1)


def test_a_worker_with_other_code_is_named_with_both_values(cluster):
    with (
        pytest.raises(ExperimentError, match=rf"The worker at \S+ has other code: \d+ there, {os.getpid()} here"),
        cluster_executor(cluster.scheduler_address, resources=ONE, same=os.getpid),
    ):
        pass


def test_a_worker_that_cannot_say_what_code_it_has_is_named(cluster):
    with (
        pytest.raises(ExperimentError, match=r"The worker at tcp://\S+ cannot say .* \(OSError: no such\): install"),
        cluster_executor(cluster.scheduler_address, resources=ONE, same=code_that_workers_do_not_have),
    ):
        pass
