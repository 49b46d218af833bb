"""The workers of a Dask cluster: what comes back, what a death costs, and that nothing is left."""

import multiprocessing
import os
import signal
import socket
import time

import dask
import distributed
import pytest
from worker_calls import (
    Call,
    Whole,
    die_or_leave_pid,
    ended,
    fail,
    leave_pid,
    lines_in,
    meet,
    pids_in,
    until,
    wait_a_little,
    wait_at_first,
)

from toolkit.errors import ExperimentError
from toolkit.experiment import engine
from toolkit.experiment.engine import cluster_workers

ONE = {"cell": 1}


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
    quiet = dask.config.set({"distributed.nanny.pre-spawn-environ": {}})  # it would change this process, too
    before = set(multiprocessing.active_children())  # of other tests in this process
    with quiet, local_cluster(2, processes=True) as started:
        yield started
    until(lambda: set(multiprocessing.active_children()) <= before)


@pytest.fixture
def workers(cluster):
    until(lambda: len(cluster.scheduler.workers) == 2)
    cluster.scheduler.allowed_failures = 3
    with cluster_workers(cluster.scheduler_address, ONE) as connected:
        yield connected
    until(lambda: not cluster.scheduler.tasks)  # nothing of ours is left there


def test_every_call_ends_once_and_one_that_raises_is_not_tried_again(workers, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    (raised,) = ended(workers, fail, folders[:1]).values()
    assert type(raised) is Whole and raised.args == ("the text",) and lines_in(folders[0]) == 1
    calls = [Call(folders[1]) for _ in range(6)]
    assert set(ended(workers, leave_pid, calls).values()) == {None} and lines_in(folders[1]) == 6


def test_two_workers_work_at_the_same_time_and_each_does_one_call(workers, tmp_path):
    calls = [(tmp_path, 2, i) for i in range(2)]
    assert ended(workers, meet, calls) == dict.fromkeys(calls)  # neither returns without the other
    assert len({path.name.partition("-")[0] for path in tmp_path.iterdir()}) == 2


def test_an_argument_is_taken_when_a_worker_is_free_for_it(workers, tmp_path):
    taken, told = [], []

    def calls():
        for _ in range(6):
            taken.append(len(told))
            yield Call(tmp_path)

    for some in workers.run(leave_pid, calls()):
        told += some
    assert len(told) == 6 and all(ended >= number - 1 for number, ended in enumerate(taken)), "there are two workers"


def test_a_call_whose_worker_is_killed_ends_on_another_and_finished_ones_are_not_done_again(workers, tmp_path):
    before, folder = tmp_path / "before", tmp_path / "here"
    before.mkdir()
    folder.mkdir()
    ended(workers, leave_pid, [Call(before) for _ in range(4)])
    results = workers.run(wait_at_first, [folder])
    until(lambda: next(results) == [] and pids_in(folder))
    [victim] = pids_in(folder)
    os.kill(victim, signal.SIGKILL)
    assert [found for some in results for found in some] == [(folder, None)]
    assert len(set(pids_in(folder)) - {victim}) == 1
    assert lines_in(before) == 4


def test_a_call_that_kills_its_workers_is_given_up_and_takes_no_other_with_it(cluster, workers, tmp_path):
    cluster.scheduler.allowed_failures = 0
    calls = [(tmp_path, "die"), *((tmp_path, i) for i in range(8))]
    results = ended(workers, die_or_leave_pid, calls)
    error = results.pop(calls[0])
    assert isinstance(error, ExperimentError)
    assert str(error).startswith("1 worker died on this cell, the last one at tcp://127.0.0.1:")
    assert "\n" not in str(error)
    assert results == dict.fromkeys(calls[1:])


def test_leaving_by_an_exception_waits_for_nothing_and_leaves_nothing_in_the_queue(cluster, tmp_path):
    until(lambda: len(cluster.scheduler.workers) == 2)
    with pytest.raises(KeyboardInterrupt), cluster_workers(cluster.scheduler_address, ONE) as workers:
        for _ in workers.run(wait_a_little, [(tmp_path, i) for i in range(5)]):
            if len(pids_in(tmp_path)) == 2:
                began = time.monotonic()
                raise KeyboardInterrupt
    until(lambda: not cluster.scheduler.tasks)
    assert time.monotonic() - began < 2 and lines_in(tmp_path) == 2


def test_a_worker_that_comes_late_gets_calls(tmp_path):
    with local_cluster(1) as small, cluster_workers(small.scheduler_address, ONE) as workers:
        results = workers.run(meet, [(tmp_path, 2, i) for i in range(2)])  # neither returns without the other
        until(lambda: next(results) == [] and len(list(tmp_path.iterdir())) == 1)
        small.scale(2)
        assert [error for some in results for _, error in some] == [None, None]


def test_a_worker_that_is_not_ready_is_not_free(workers, monkeypatch):
    """Dask would give its call to one that runs another, where it waits although the new one is ready soon after."""
    states = {name: {"nthreads": 1, "resources": ONE, "status": name} for name in ("init", "running", "paused")}
    monkeypatch.setattr(engine, "_workers", lambda client: states)
    assert workers._free() == 1


def test_a_lost_scheduler_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "CONNECT_S", 2)
    # Dask looks at all modules of this process, and some of SpeechBrain's cannot be imported
    monkeypatch.setattr("distributed.utils._getmodulename_with_path", str)
    with local_cluster(1) as small, cluster_workers(small.scheduler_address, ONE) as workers:
        results = workers.run(wait_a_little, [(tmp_path, i) for i in range(2)])
        until(lambda: next(results) == [] and pids_in(tmp_path))
        small.close()
        with pytest.raises(ExperimentError, match="The Dask scheduler was lost: check that it is running"):
            list(results)


def test_resources_that_no_worker_offers_are_refused(cluster):
    address = cluster.scheduler_address
    until(lambda: len(cluster.scheduler.workers) == 2)
    with pytest.raises(ExperimentError) as refused, cluster_workers(address, {"GPU": 1}):
        pass
    assert str(refused.value) == (
        f"The Dask scheduler at {address} has no worker that offers GPU=1: start some with "
        f'`dask worker {address} --nthreads 1 --resources "GPU=1"`.'
    )
    with pytest.raises(ExperimentError, match="offers cell=2:"), cluster_workers(address, {"cell": 2}):
        pass


def test_a_scheduler_without_workers_is_refused():
    with (
        local_cluster(0) as empty,
        pytest.raises(ExperimentError, match=r"has no worker: start some with `dask worker tcp:.* --nthreads 1`"),
        cluster_workers(empty.scheduler_address, {}),
    ):
        pass


def test_without_resources_a_call_takes_a_thread(cluster, tmp_path):
    until(lambda: len(cluster.scheduler.workers) == 2)
    with cluster_workers(cluster.scheduler_address, {}) as workers:
        assert set(ended(workers, meet, [(tmp_path, 4, i) for i in range(4)]).values()) == {None}


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{free}", "nonsense", "foo://127.0.0.1:1"])
def test_an_address_where_no_scheduler_answers_is_refused(address, monkeypatch):
    monkeypatch.setattr(engine, "CONNECT_S", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nothing listens
        address = address.format(free=taken.getsockname()[1])
        with pytest.raises(ExperimentError) as refused, cluster_workers(address, {}):
            pass
    assert str(refused.value).startswith(f"No Dask scheduler answers at {address!r} (")
    assert "\n" not in str(refused.value)


def code_that_workers_do_not_have():
    if multiprocessing.parent_process() is not None:
        raise OSError("no such\nsource")


@pytest.mark.parametrize(
    ("code", "found"),
    [(os.getpid, r"\d+ there, \d+ here"), (code_that_workers_do_not_have, "OSError: no such source there")],
)
def test_a_worker_with_other_code_or_none_is_named(cluster, monkeypatch, code, found):
    monkeypatch.setattr(engine, "used_code", code)
    with (
        pytest.raises(ExperimentError, match=rf"The worker at tcp://\S+ has other code: {found}"),
        cluster_workers(cluster.scheduler_address, ONE),
    ):
        pass
