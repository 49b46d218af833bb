"""The machine: names of devices, threads, and memory that a process returns to the system."""

import ctypes
import gc
import os
import platform
import re
from contextlib import suppress
from pathlib import Path

import torch

from toolkit.errors import ToolkitError, counted

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def available_device(name: str | None, *, setting: str) -> str:
    """A device's name as torch accepts it, by default a GPU if there is one; ToolkitError if torch does not find it."""
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if not (match := re.fullmatch(r"(cpu|cuda)(?::([0-9]+))?", name)):
        raise ToolkitError(f"{setting} is {name!r}: cpu, cuda, or cuda:1 and so on is needed.")
    if match[1] == "cuda" and int(match[2] or 0) >= torch.cuda.device_count():
        raise ToolkitError(f"{setting} is {name!r}, and torch finds {counted(torch.cuda.device_count(), 'GPU')} here.")
    return "cpu" if match[1] == "cpu" else name


def device_name(device: torch.device | str) -> str:
    """The model of a device: the GPU's name, or the processor's with its number of logical CPUs."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {counted(os.cpu_count() or 1, 'logical CPU')}"


def use_one_thread_if_small(parameters: int) -> None:
    """Let torch train a small system with one thread: more would wait for each other longer than they compute."""
    if "OMP_NUM_THREADS" not in os.environ and parameters < 2_000_000:
        torch.set_num_threads(1)


def give_back() -> None:
    """Return unused memory to the system, also that of objects in a cycle (a Brain and its checkpointer)."""
    gc.collect()
    _glibc("malloc_trim", 0)


def keep_freed_blocks() -> None:
    """From now on in this process, keep freed memory for the next arrays.

    Otherwise every array of some megabytes gets new pages from the system, which can take as long as computing it.
    """
    for limit in (32, 1024):  # older glibc refuses more than 32 MB and keeps what was set before
        _glibc("mallopt", _MMAP_THRESHOLD, limit << 20)
    _glibc("mallopt", _TRIM_THRESHOLD, -1)  # never: a step of a large system frees gigabytes at once


def _glibc(function: str, *args: int) -> None:
    with suppress(AttributeError, OSError):  # another C library
        getattr(ctypes.CDLL(None), function)(*args)
