"""What workers call in tests of the engine, and what is seen of it; it can be imported by their processes."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

LONG_S = 60  # a test that ends is one in which nothing waited for this


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
