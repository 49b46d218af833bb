"""What a process gives back of the memory it has freed, asked of Linux in processes of their own."""

import platform
import subprocess
import sys

import pytest

MEGABYTES = 200
PROGRAM = """
import numpy, re, sys
from toolkit.hardware import give_back, give_back_large_blocks

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1000

if sys.argv[1] == "large blocks":
    give_back_large_blocks()
numpy.ones(30_000_000, numpy.uint8)  # freed at once: glibc keeps blocks up to this size from now on
before = resident()
blocks = [numpy.ones(4_000_000, numpy.uint8) for _ in range(51)]
del blocks[:50]
if sys.argv[1] == "all":
    give_back()
print(resident() - before)
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def kept(what: str) -> float:
    """Megabytes of 200 that stay with a process which has freed them."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, what], capture_output=True, text=True, check=True)
    return float(done.stdout)


@glibc
def test_freed_blocks_stay_with_a_process_unless_it_gives_them_back():
    if kept("nothing") < 0.9 * MEGABYTES:
        pytest.skip("here freed blocks do not stay")
    assert kept("all") < 0.1 * MEGABYTES
    assert kept("large blocks") < 0.1 * MEGABYTES
