"""Dask's workers, of this machine and of a cluster: what comes back, what a death costs, and that nothing is left."""

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask
import distributed
import pytest

from toolkit.errors import ExperimentError
from toolkit.experiment import engine
from toolkit.experiment.engine import cluster_workers, local_workers

ONE = {"cell": 1}
LONG_S = 60  # a test that ends is one in which nothing waited for this
OOM = ", which is what the kernel sends when memory runs out"


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
    with engine._environment(), quiet, local_cluster(2, processes=True) as started:
        yield started
    assert multiprocessing.active_children() == []


@pytest.fixture
def workers(cluster):
    until(lambda: len(cluster.scheduler.workers) == 2)
    cluster.scheduler.allowed_failures = 3
    with cluster_workers(cluster.scheduler_address, resources=ONE) as connected:
        yield connected
    until(lambda: not cluster.scheduler.tasks)  # nothing of ours is left there


def ended(workers, function, arguments):
    """Argument -> what its call raised or None, in the order of their ends."""
    return {argument: error for some in workers.run(function, arguments) for argument, error in some}


class Whole(ValueError):  # noqa: N818
    """Comes back as it is."""


def leave_pid(folder):
    """Leave a line in a file of this process."""
    with (Path(folder) / str(os.getpid())).open("a") as lines:
        lines.write("here\n")


def fail(folder):
    leave_pid(folder)
    raise Whole("the text")


def pids_in(folder):
    return [int(path.name) for path in Path(folder).iterdir()]


def lines_in(folder):
    return sum(len(path.read_text().splitlines()) for path in Path(folder).iterdir())


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found


def meet(argument):
    """Return when n threads are here."""
    folder, n, _ = argument
    (Path(folder) / f"{os.getpid()}-{threading.get_ident()}").touch()
    until(lambda: len(list(Path(folder).iterdir())) == n)


def wait_at_first(folder):
    """Take long unless another process was here before."""
    earlier = list(Path(folder).iterdir())
    leave_pid(folder)
    if not earlier:
        time.sleep(LONG_S)


def wait_long(argument):
    leave_pid(argument[0])
    time.sleep(LONG_S)


def wait_a_little(argument):
    leave_pid(argument[0])
    time.sleep(2)


def die(folder):
    leave_pid(folder)
    os.kill(os.getpid(), signal.SIGKILL)


def die_or_leave_pid(argument):
    if argument[1] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    leave_pid(argument[0])


def start_a_process(folder):
    process = multiprocessing.get_context("spawn").Process(target=leave_pid, args=(folder,))
    process.start()
    process.join()


def write_environment(folder):
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "MALLOC_TRIM_THRESHOLD_")
    (Path(folder) / str(os.getpid())).write_text(" ".join(str(os.environ.get(name)) for name in names))
    until(lambda: len(pids_in(folder)) == 2)


class Call(str):
    """An argument that is unequal to others of the same text."""

    __eq__, __hash__ = object.__eq__, object.__hash__


def runs(pid):
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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
    with pytest.raises(KeyboardInterrupt), cluster_workers(cluster.scheduler_address, resources=ONE) as workers:
        for _ in workers.run(wait_a_little, [(tmp_path, i) for i in range(5)]):
            if len(pids_in(tmp_path)) == 2:
                began = time.monotonic()
                raise KeyboardInterrupt
    until(lambda: not cluster.scheduler.tasks)
    assert time.monotonic() - began < 2 and lines_in(tmp_path) == 2


def test_a_worker_that_comes_late_gets_calls(tmp_path):
    with local_cluster(1) as small, cluster_workers(small.scheduler_address, resources=ONE) as workers:
        results = workers.run(meet, [(tmp_path, 2, i) for i in range(2)])  # neither returns without the other
        until(lambda: next(results) == [] and len(list(tmp_path.iterdir())) == 1)
        small.scale(2)
        assert [error for some in results for _, error in some] == [None, None]


def test_a_lost_scheduler_fails_the_calls_with_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "CONNECT_S", 2)
    with local_cluster(1) as small, cluster_workers(small.scheduler_address, resources=ONE) as workers:
        results = workers.run(wait_a_little, [(tmp_path, i) for i in range(2)])
        until(lambda: next(results) == [] and pids_in(tmp_path))
        small.close()
        texts = [str(error) for some in results for _, error in some]
    assert len(texts) == 2
    assert all(text.startswith(f"The Dask scheduler at {small.scheduler_address} was lost") for text in texts)


def test_resources_that_no_worker_offers_are_refused_with_what_they_offer(cluster):
    address = cluster.scheduler_address
    until(lambda: len(cluster.scheduler.workers) == 2)
    with pytest.raises(ExperimentError) as refused, cluster_workers(address, resources={"GPU": 1}):
        pass
    assert str(refused.value) == (
        f"No worker of the Dask scheduler at {address} offers GPU=1; its workers offer cell=1 (2 of them): start some "
        f'with `dask worker {address} --nthreads 1 --resources "GPU=1"`.'
    )
    with pytest.raises(ExperimentError, match="offers cell=2;"), cluster_workers(address, resources={"cell": 2}):
        pass
    with pytest.raises(ExperimentError, match="must be above 0"), cluster_workers(address, resources={"cell": 0}):
        pass


def test_a_scheduler_without_workers_is_refused():
    with (
        local_cluster(0) as empty,
        pytest.raises(ExperimentError, match=r"has no workers: start some with `dask worker tcp:.* --nthreads 1`"),
        cluster_workers(empty.scheduler_address),
    ):
        pass


def test_without_resources_a_call_takes_a_thread(cluster, tmp_path):
    until(lambda: len(cluster.scheduler.workers) == 2)
    with cluster_workers(cluster.scheduler_address) as workers:
        assert set(ended(workers, meet, [(tmp_path, 4, i) for i in range(4)]).values()) == {None}


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{free}", "nonsense", "foo://127.0.0.1:1"])
def test_an_address_where_no_scheduler_answers_is_refused(address, monkeypatch):
    monkeypatch.setattr(engine, "CONNECT_S", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nothing listens
        address = address.format(free=taken.getsockname()[1])
        with pytest.raises(ExperimentError) as refused, cluster_workers(address):
            pass
    assert str(refused.value).startswith(f"No Dask scheduler answers at {address!r} (")
    assert "\n" not in str(refused.value)


def test_a_client_that_could_not_be_made_leaves_no_thread():
    before = set(threading.enumerate())
    with pytest.raises(ExperimentError) as refused, cluster_workers("nonsense"):
        pass
    assert refused and set(threading.enumerate()) <= before  # the error holds what is not closed


def code_version():
    return {"toolkit": "1"}


def code_that_workers_do_not_have():
    if multiprocessing.parent_process() is not None:
        raise OSError("no such\nsource")


def test_workers_with_the_same_code_are_accepted(cluster):
    with cluster_workers(cluster.scheduler_address, resources=ONE, same=code_version) as workers:
        assert ended(workers, abs, [7]) == {7: None}


def test_a_worker_with_other_code_is_named_with_both_values(cluster):
    with (
        pytest.raises(ExperimentError, match=rf"The worker at \S+ has other code: \d+ there, {os.getpid()} here"),
        cluster_workers(cluster.scheduler_address, resources=ONE, same=os.getpid),
    ):
        pass


def test_a_worker_that_does_not_report_its_code_is_named(cluster):
    with (
        pytest.raises(ExperimentError, match=r"The worker at tcp://\S+ does not .* \(OSError: no such source\): ins"),
        cluster_workers(cluster.scheduler_address, resources=ONE, same=code_that_workers_do_not_have),
    ):
        pass


@pytest.mark.parametrize("gpus", [("5", "GPU-8f"), ()])
def test_each_process_has_its_threads_and_its_gpu_and_this_one_stays_as_it_was(tmp_path, monkeypatch, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,7")
    before, children = dict(os.environ), set(multiprocessing.active_children())
    with local_workers(2, threads=3, gpus=gpus) as workers:
        ended(workers, write_environment, [Call(tmp_path) for _ in range(2)])
    seen = [path.read_text() for path in tmp_path.iterdir()]
    assert sorted(seen) == sorted(f"3 3 {gpu} None" for gpu in gpus or ("2,7", "2,7"))
    assert dict(os.environ) == before
    assert set(multiprocessing.active_children()) <= children


def test_a_killed_process_is_replaced_and_its_call_starts_again_while_the_other_goes_on(tmp_path):
    said, first, other = [], tmp_path / "first", tmp_path / "other"
    first.mkdir()
    other.mkdir()
    with local_workers(2, threads=1, say=said.append) as workers:
        results = workers.run(_wait_at_first_or_a_little, [("first", first), ("little", other)])
        until(lambda: next(results) == [] and pids_in(first) and pids_in(other))
        [victim] = pids_in(first)
        os.kill(victim, signal.SIGKILL)
        assert {error for some in results for _, error in some} == {None}
        assert len(pids_in(other)) == 1 and lines_in(first) == 2
    assert said == [
        f"Worker process {victim} was killed by signal 9{OOM}. Its cell starts again; after 3 deaths it has failed."
    ]


def _wait_at_first_or_a_little(argument):
    what, folder = argument
    return wait_at_first(folder) if what == "first" else wait_a_little([folder])


def test_a_call_that_always_kills_its_process_is_given_up_and_the_next_one_runs(tmp_path):
    said = []
    with local_workers(1, threads=1, say=said.append) as workers:
        (error,) = ended(workers, die, [tmp_path]).values()
        assert str(error).startswith("3 workers died on this cell, the last one at tcp://127.0.0.1:")
        assert ended(workers, start_a_process, [tmp_path]) == {tmp_path: None}  # a process of its own, as for loading
    assert lines_in(tmp_path) == 4 and len(said) == 3


def test_the_address_of_dasks_dashboard_is_shown_where_bokeh_is_installed(monkeypatch):
    said = []
    monkeypatch.setattr(engine, "find_spec", {"bokeh": "installed"}.get)
    with local_workers(1, threads=1, say=said.append) as workers:
        assert ended(workers, abs, [7]) == {7: None}
    assert len(said) == 1 and re.fullmatch(r"Dask's dashboard: http://127\.0\.0\.1:\d+/status", said[0])


PARENT = """
import sys
sys.path.insert(0, {tests!r})
from test_experiment_engine import wait_long
from toolkit.experiment.engine import local_workers
if __name__ == "__main__":
    with local_workers(2, threads=1) as workers:
        for _ in workers.run(wait_long, [({folder!r}, i) for i in range(3)]):
            pass
"""


@pytest.fixture
def parent(tmp_path):
    """Another Python whose two workers are in the middle of a call, and their pids."""
    code = PARENT.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        yield process, until(lambda: len(pids_in(tmp_path)) == 2 and pids_in(tmp_path))
    finally:
        process.kill()
        process.communicate()


def test_workers_end_in_the_middle_of_a_call_when_the_parent_is_killed(parent):
    process, pids = parent
    assert all(runs(p) for p in pids)
    process.kill()
    until(lambda: not any(runs(p) for p in pids), seconds=10)


def test_ctrl_c_reaches_all_and_only_the_parent_prints(parent):
    process, pids = parent
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=20)
    until(lambda: not any(runs(p) for p in pids), seconds=2)
    assert out == "" and err.count("Traceback") == 1 and err.endswith("KeyboardInterrupt\n")


def test_the_users_dask_settings_are_ignored_and_nothing_is_written_here(tmp_path):
    """Preloads that fail, a short life for workers, a scheduler's address: all for other clusters of this user."""
    (tmp_path / "dask.yaml").write_text(
        "scheduler-address: tcp://127.0.0.1:1\n"
        "distributed: {scheduler: {allowed-failures: 0}, worker: {preload: [none.such], lifetime: {duration: 1s}}}\n"
    )
    here = tmp_path / "here"
    here.mkdir()
    code = (
        "import sys; from toolkit.experiment.engine import local_workers\n"
        "if __name__ == '__main__':\n"
        "    with local_workers(1, threads=1) as workers:\n"
        "        print(list(workers.run(eval, [\"__import__('time').sleep(2) or 1 / ('torch' not in "
        "__import__('sys').modules)\"])))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=here,
        env=os.environ | {"DASK_CONFIG": str(tmp_path), "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"},
    )
    assert done.stderr == "" and done.stdout.rstrip().endswith("None)]]")
    assert list(here.iterdir()) == []
