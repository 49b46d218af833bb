"""Forked processes: whose results come, what happens when one fails, hangs or is killed, when they end."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from toolkit.data.cache import workers as forks
from toolkit.data.cache.ahead import ahead
from toolkit.data.cache.workers import can_fork, forked

pytestmark = pytest.mark.skipif(not can_fork(), reason="Linux alone")


def squares(numbers):
    for number in numbers:
        yield number * number, os.getpid()


def squares_until_it_fails(numbers):
    for number in numbers:
        if number == 4:
            raise RuntimeError("this share ends")
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield number * number


def forever(numbers):
    while True:
        yield os.getpid()
        time.sleep(0.01)


def hanging(numbers):
    yield os.getpid()
    time.sleep(600)


def runs(pid: int) -> bool:
    """Whether a process does anything; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_shares_are_done_each_in_a_process_of_its_own():
    found = list(forked(squares, range(7), processes=3))
    assert sorted(square for square, _ in found) == [0, 1, 4, 9, 16, 25, 36]
    by_process = {}
    for square, pid in found:
        by_process.setdefault(pid, []).append(square)
    assert sorted(by_process.values()) == [[0, 9, 36], [1, 16], [4, 25]]
    assert os.getpid() not in by_process and not any(map(runs, by_process))


def test_what_a_share_gave_before_it_failed_or_was_killed_is_there(capfd):
    found = list(forked(squares_until_it_fails, range(9), processes=3))
    assert sorted(found) == [0, 1, 4, 9, 36]  # 4 fails in the second share, 5 kills the third
    assert capfd.readouterr() == ("", "")


def test_processes_end_with_the_iterator():
    with closing(forked(forever, range(2), processes=2)) as results:
        pids = {next(results) for _ in range(50)}
        assert all(map(runs, pids))
    assert not any(map(runs, pids))


def test_processes_that_hang_are_given_up(monkeypatch):
    monkeypatch.setattr(forks, "PATIENCE_S", 0.2)
    pids = list(forked(hanging, range(4), processes=2))
    assert len(set(pids)) == 2 and not any(map(runs, pids))


def test_threads_that_work_ahead_are_gone_before_anything_is_forked():
    for stop in (1, 20):
        with closing(ahead(lambda _: threading.get_native_id(), range(20), threads=4)) as results:
            native_ids = set(islice(results, stop))
        assert native_ids and not any(Path(f"/proc/self/task/{one}").exists() for one in native_ids)


@pytest.mark.parametrize("busy", [True, False])
def test_processes_end_with_a_parent_that_is_killed(busy):
    program = (
        f"from test_cache_workers import forever, hanging, forked\n"
        f"for pid in forked({'forever' if busy else 'hanging'}, range(2), processes=2): print(pid, flush=True)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE) as parent:
        pids = {int(parent.stdout.readline()) for _ in range(2)}
        parent.kill()
    deadline = time.monotonic() + 30
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, pids))
