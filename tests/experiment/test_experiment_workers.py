"""Worker processes on this machine: what comes back, what a death costs, and that nothing is left running."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, as_completed, wait
from pathlib import Path

import pytest

from toolkit.errors import ExperimentError
from toolkit.experiment.calls import Answer, Call, answer, deliver
from toolkit.experiment.workers import LocalWorkers, cause_of_death

LONG_S = 60  # a test that ends is one in which nothing waited for this


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    yield
    assert multiprocessing.active_children() == []
    assert not [t.name for t in threading.enumerate() if t.name.startswith("lane-")]


class Picky(Exception):  # noqa: N818
    """Pickle can write it, but cannot make it again from its text alone."""

    def __init__(self, found, expected):
        super().__init__(f"{found} is not {expected}")


class Whole(ValueError):  # noqa: N818
    """Travels as it is."""


def fail(text):
    raise Whole(text)


def fail_pickily():
    raise Picky(3, 4)


def fail_with_a_lock():
    raise ValueError("locked", threading.Lock())


def exit_from_python():
    raise SystemExit(7)


def return_a_lock():
    return threading.Lock()


def pid(*_):
    return os.getpid()


def touch_and_wait(folder, seconds=LONG_S):
    """Leave this process's pid in the folder, then take long."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(seconds)
    return os.getpid()


def meet(folder, n):
    """Return when n processes are here."""
    (Path(folder) / str(os.getpid())).touch()
    until(lambda: len(list(Path(folder).iterdir())) == n)
    return os.getpid()


def wait_at_first(folder):
    """Take long unless another process was here before."""
    earlier = list(Path(folder).iterdir())
    (Path(folder) / str(os.getpid())).touch()
    if not earlier:
        time.sleep(LONG_S)
    return os.getpid()


def die(how, file=None):
    if file:
        with Path(file).open("a") as lines:
            lines.write("started\n")
    if how is signal.SIGKILL:
        os.kill(os.getpid(), how)
    os._exit(how)


def environment(folder):
    """What the lane gave its process, seen by one process of each lane."""
    meet(folder, 2)
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found


def pids_in(folder):
    return [int(path.name) for path in Path(folder).iterdir()]


def runs(pid):
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_results_and_exceptions_come_back_and_one_process_does_all_tasks():
    with LocalWorkers(1, threads=1) as workers:
        assert workers.submit(divmod, 7, 2).result() == (3, 1)
        assert workers.submit(dict, a=1).result() == {"a": 1}
        first = workers.submit(pid).result()
        raised = workers.submit(fail, "the text").exception()
        assert type(raised) is Whole and raised.args == ("the text",)
        assert "in fail" in str(raised.__cause__)  # where it was raised, in the other process
        assert list(workers.map(pid, range(3))) == [first] * 3
        assert first != os.getpid()


def test_what_cannot_be_sent_is_an_exception_and_leaves_the_process_as_it_was():
    with LocalWorkers(1, threads=1) as workers:
        first = workers.submit(pid).result()
        assert isinstance(workers.submit(threading.Lock().acquire).exception(), TypeError)
        assert isinstance(workers.submit(lambda: 1).exception(), Exception)
        assert "cannot pickle" in str(workers.submit(return_a_lock).exception())
        error = workers.submit(fail_pickily).exception()
        assert isinstance(error, ExperimentError) and str(error) == "The worker raised Picky: 3 is not 4"
        error = workers.submit(fail_with_a_lock).exception()
        assert isinstance(error, ExperimentError) and "ValueError: ('locked'" in str(error)
        assert workers.submit(exit_from_python).exception().code == 7
        assert workers.submit(pid).result() == first


def test_an_answer_that_is_an_exception_is_told_from_a_raised_one():
    call = Call(Future(), ValueError, ("returned",))
    deliver(answer(call.packed()), call.future)
    assert isinstance(call.future.result(), ValueError)


def test_an_answer_that_cannot_be_read_here_is_an_exception():
    future = Future()
    deliver(Answer(b"no pickle"), future)
    assert isinstance(future.exception(), pickle.UnpicklingError)


def test_two_lanes_work_at_the_same_time(tmp_path):
    with LocalWorkers(2, threads=1) as workers:
        a, b = [workers.submit(meet, tmp_path, 2) for _ in range(2)]  # neither returns without the other
        assert a.result() != b.result()


def test_a_process_starts_with_its_first_task_only():
    with LocalWorkers(2, threads=1) as workers:
        assert multiprocessing.active_children() == []
        workers.submit(pid).result()
        assert len(multiprocessing.active_children()) == 1


def test_each_lane_has_its_threads_and_its_gpu(tmp_path):
    with LocalWorkers(2, threads=3, gpus=(5, "GPU-8f"), attempts=1) as workers:
        seen = [f.result() for f in [workers.submit(environment, tmp_path) for _ in range(2)]]
    assert sorted(e["CUDA_VISIBLE_DEVICES"] for e in seen) == ["5", "GPU-8f"]
    assert {(e["OMP_NUM_THREADS"], e["MKL_NUM_THREADS"]) for e in seen} == {("3", "3")}


def test_without_gpus_the_processes_see_what_this_one_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,7")
    with LocalWorkers(2, threads=1) as workers:
        seen = [f.result() for f in [workers.submit(environment, tmp_path) for _ in range(2)]]
    assert [e["CUDA_VISIBLE_DEVICES"] for e in seen] == ["2,7", "2,7"]


def test_a_new_process_has_not_imported_torch_before_its_threads_are_set():
    code = (
        "import sys; from toolkit.experiment.workers import LocalWorkers\n"
        "with LocalWorkers(1, threads=1) as w: print(w.submit(eval, \"'torch' in __import__('sys').modules\").result())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_a_killed_process_is_replaced_and_its_task_done_again_while_the_other_lane_goes_on(tmp_path):
    said = []
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir()
    other.mkdir()
    with LocalWorkers(2, threads=1, on_death=said.append) as workers:
        steady = workers.submit(touch_and_wait, other, 2)
        [steady_pid] = until(lambda: pids_in(other))
        again = workers.submit(wait_at_first, first)
        [victim] = until(lambda: pids_in(first))
        os.kill(victim, signal.SIGKILL)
        assert again.result() not in (victim, steady_pid)
        assert steady.result() == steady_pid
        assert {workers.submit(pid).result() for _ in range(4)} <= {again.result(), steady_pid}
    assert said == [
        "A worker process died (killed by signal 9, which is what the kernel does when memory runs out): its cell "
        "starts again (2 of 3)."
    ]


def test_a_process_that_dies_between_two_tasks_costs_the_next_one_nothing():
    said = []
    with LocalWorkers(1, threads=1, attempts=1, on_death=said.append) as workers:
        first = workers.submit(pid).result()
        os.kill(first, signal.SIGKILL)
        until(lambda: workers._lanes[0]._pool._broken)  # noticed; a death in the moment of submission is a death in it
        assert workers.submit(pid).result() != first
    assert said == []


def test_a_task_that_always_kills_its_process_is_given_up_and_the_lane_goes_on(tmp_path):
    said, starts = [], tmp_path / "starts"
    with LocalWorkers(1, threads=1, attempts=3, on_death=said.append) as workers:
        error = workers.submit(die, signal.SIGKILL, starts).exception()
        assert isinstance(error, ExperimentError)
        assert str(error).startswith(
            "The worker process died 3 times on this cell (last: killed by signal 9, which is what the kernel does "
            "when memory runs out): "
        )
        assert "\n" not in str(error)
        assert workers.submit(divmod, 7, 2).result() == (3, 1)
    assert starts.read_text().count("started") == 3
    assert [line.rpartition(": ")[2] for line in said] == [
        "its cell starts again (2 of 3).",
        "its cell starts again (3 of 3).",
        "given up.",
    ]


def test_a_process_that_ends_itself_is_told_with_its_exit_status():
    with LocalWorkers(1, threads=1, attempts=1) as workers:
        error = workers.submit(die, 3).exception()
    assert str(error).startswith(
        "The worker process died once on this cell (last: it ended itself with exit status 3): "
    )
    assert cause_of_death(-15) == "killed by signal 15, SIGTERM"
    assert cause_of_death(-40).startswith("killed by signal 40")


def test_a_display_that_fails_fails_the_task_and_not_the_lane():
    with LocalWorkers(1, threads=1, on_death=fail) as workers:
        assert isinstance(workers.submit(die, 1).exception(), Whole)
        assert workers.submit(divmod, 7, 2).result() == (3, 1)


def test_a_queued_task_can_be_cancelled_and_a_running_one_cannot(tmp_path):
    with LocalWorkers(1, threads=1) as workers:
        running = workers.submit(touch_and_wait, tmp_path, 1)
        until(lambda: pids_in(tmp_path))
        queued, last = workers.submit(pid), workers.submit(pid)
        assert running.running() and not running.cancel()
        assert queued.cancel()
        assert wait([queued, last], timeout=30).not_done == set()
        assert queued.cancelled() and last.result() == running.result()


def test_shutdown_ends_what_runs_and_cancels_what_waits(tmp_path):
    workers = LocalWorkers(1, threads=1)
    running = workers.submit(touch_and_wait, tmp_path, 1)
    until(lambda: pids_in(tmp_path))
    queued = [workers.submit(pid) for _ in range(3)]
    workers.shutdown(cancel_futures=True)
    assert running.result() and all(f.cancelled() for f in queued)
    assert len(list(as_completed(queued, timeout=5))) == 3  # who waits for them is woken
    with pytest.raises(RuntimeError, match="after shutdown"):
        workers.submit(pid)
    workers.shutdown()
    workers.stop()


def test_leaving_the_block_waits_for_all_tasks():
    with LocalWorkers(2, threads=1) as workers:
        futures = [workers.submit(divmod, i, 2) for i in range(6)]
    assert [f.result(timeout=0) for f in futures] == [divmod(i, 2) for i in range(6)]


def test_stop_kills_what_runs(tmp_path):
    workers = LocalWorkers(2, threads=1)
    running = [workers.submit(touch_and_wait, tmp_path) for _ in range(2)]
    pids = until(lambda: len(pids_in(tmp_path)) == 2 and pids_in(tmp_path))
    queued = workers.submit(pid)
    began = time.monotonic()
    workers.stop()
    assert time.monotonic() - began < 10
    assert not any(runs(p) for p in pids)
    assert all(isinstance(f.exception(timeout=0), CancelledError) for f in running) and queued.cancelled()


def test_an_exception_in_the_block_stops_the_tasks(tmp_path):
    with pytest.raises(KeyboardInterrupt), LocalWorkers(1, threads=1) as workers:
        running = workers.submit(touch_and_wait, tmp_path)
        until(lambda: pids_in(tmp_path))
        raise KeyboardInterrupt
    assert isinstance(running.exception(timeout=0), CancelledError)


def test_a_callback_may_stop_the_workers():
    workers = LocalWorkers(1, threads=1)
    ended = threading.Event()

    def stop(_):
        workers.stop()
        ended.set()

    workers.submit(pid).add_done_callback(stop)
    assert ended.wait(30)
    workers.shutdown()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"jobs": 0}, "jobs is 0: at least 1 is needed."),
        ({"attempts": 0}, "attempts is 0: at least 1 is needed."),
        ({"gpus": ("0",)}, "2 jobs were given 1 GPUs: each job takes one."),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options, text):
    with pytest.raises(ExperimentError, match=text):
        LocalWorkers(**{"jobs": 2, "threads": 1, **options})


PARENT = """
import sys, time
sys.path.insert(0, {tests!r})
from test_experiment_workers import touch_and_wait
from toolkit.experiment.workers import LocalWorkers
with LocalWorkers(2, threads=1) as workers:
    for _ in range(2):
        workers.submit(touch_and_wait, {folder!r})
    workers.submit(print, "never").result()
"""


def parent(folder):
    """Another Python whose two workers are in the middle of a task, started without a file of its own."""
    code = PARENT.format(tests=str(Path(__file__).parent), folder=str(folder))
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
    )


def test_workers_end_in_the_middle_of_a_task_when_the_parent_is_killed(tmp_path):
    process = parent(tmp_path)
    try:
        pids = until(lambda: len(pids_in(tmp_path)) == 2 and pids_in(tmp_path))
        assert all(runs(p) for p in pids)
        process.kill()
        until(lambda: not any(runs(p) for p in pids), seconds=10)
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_reaches_all_and_only_the_parent_speaks(tmp_path):
    process = parent(tmp_path)
    try:
        pids = until(lambda: len(pids_in(tmp_path)) == 2 and pids_in(tmp_path))
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert not any(runs(p) for p in pids)
    assert out == "" and err.count("Traceback") == 1 and err.endswith("KeyboardInterrupt\n")


def test_a_script_may_import_torch_at_its_top_and_be_run_again_by_its_workers(tmp_path):
    script = tmp_path / "script.py"
    (tmp_path / "torch.py").write_text("threads = []\nset_num_threads = threads.append\n")
    script.write_text(
        "import torch\n"
        "from toolkit.experiment.workers import LocalWorkers\n"
        "def threads():\n    return torch.threads\n"
        "if __name__ == '__main__':\n"
        "    with LocalWorkers(1, threads=4) as workers:\n        print(workers.submit(threads).result())\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[4]", "")
