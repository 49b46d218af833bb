"""Worker processes of this machine: what a death costs, and that nothing is left."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import worker_calls
from worker_calls import (
    Call,
    die,
    ended,
    lines_in,
    pids_in,
    runs,
    start_a_process,
    until,
    wait_a_little,
    wait_at_first,
    write_environment,
)

from toolkit.experiment import engine
from toolkit.experiment.engine import WorkerOptions, local_workers


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


def test_a_killed_process_is_replaced_and_its_call_starts_again_while_the_other_goes_on(tmp_path, capsys):
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir()
    other.mkdir()
    with local_workers(2, threads=1) as workers:
        results = workers.run(_wait_at_first_or_a_little, [("first", first), ("little", other)])
        until(lambda: next(results) == [] and pids_in(first) and pids_in(other))
        [victim] = pids_in(first)
        os.kill(victim, signal.SIGKILL)
        assert {error for some in results for _, error in some} == {None}
        assert len(pids_in(other)) == 1 and lines_in(first) == 2
    assert capsys.readouterr().err == (
        f"Dask: Worker process {victim} was killed by signal 9. A cell that ran there starts again; "
        "after 3 deaths it fails.\n"
    )


def _wait_at_first_or_a_little(argument):
    what, folder = argument
    return wait_at_first(folder) if what == "first" else wait_a_little([folder])


def test_a_call_that_always_kills_its_process_is_given_up_and_the_next_one_runs(tmp_path, capsys):
    with local_workers(1, threads=1) as workers:
        (error,) = ended(workers, die, [tmp_path]).values()
        assert str(error).startswith("3 workers died on this cell, the last one at tcp://127.0.0.1:")
        assert ended(workers, start_a_process, [tmp_path]) == {tmp_path: None}  # a process of its own, as for loading
    assert lines_in(tmp_path) == 4 and len(capsys.readouterr().err.splitlines()) == 3


def test_the_address_of_dasks_dashboard_is_shown_where_bokeh_is_installed(monkeypatch, capsys):
    monkeypatch.setattr(engine, "find_spec", {"bokeh": "installed"}.get)
    with local_workers(1, threads=1) as workers:
        assert ended(workers, abs, [7]) == {7: None}
    said = capsys.readouterr().err
    assert re.fullmatch(r"Dask's dashboard: http://127\.0\.0\.1:\d+/status\n", said)


PARENT = """
import sys
sys.path.insert(0, {tests!r})
from worker_calls import wait_long
from toolkit.experiment.engine import local_workers
if __name__ == "__main__":
    with local_workers(2, threads=1) as workers:
        for _ in workers.run(wait_long, [({folder!r}, i) for i in range(3)]):
            pass
"""


@pytest.fixture
def parent(tmp_path):
    """Another Python whose two workers are in the middle of a call, and their pids."""
    code = PARENT.format(tests=str(Path(worker_calls.__file__).parent), folder=str(tmp_path))
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


@pytest.mark.parametrize(
    ("variable", "given", "threads"),
    [("3", None, 3), ("3,1", None, 3), ("3", 1, 1), ("", None, 2), ("0", None, 2)],
)
def test_the_variable_for_threads_is_obeyed_unless_the_option_is_given(monkeypatch, variable, given, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr("dask.system.cpu_count", lambda: 4)
    assert WorkerOptions(jobs=2, threads=given).threads_each == (threads, threads != 2)
