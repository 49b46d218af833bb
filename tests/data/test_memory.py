"""How much freed memory a process gives back, measured in separate processes."""

import platform
import subprocess
import sys

import pytest

MEGABYTES = 200
PROGRAM = """
import numpy, os, re
from toolkit.hardware import give_back

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1000

def kept(what):
    numpy.ones(30_000_000, numpy.uint8)  # freed at once: glibc keeps blocks up to this size from now on
    before = resident()
    blocks = [numpy.ones(4_000_000, numpy.uint8) for _ in range(51)]
    del blocks[:50]
    if what == "all":
        give_back()
    return resident() - before

for what in ("nothing", "all"):
    if os.fork() == 0:
        print(kept(what), flush=True)
        os._exit(0)
    os.wait()
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


@glibc
def test_freed_blocks_stay_with_a_process_unless_it_gives_them_back():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, check=True)
    nothing, everything = map(float, done.stdout.split())  # megabytes of 200 that stay
    if nothing < 0.9 * MEGABYTES:
        pytest.skip("here freed blocks do not stay")
    assert everything < 0.1 * MEGABYTES


PAGES = """
import numpy, os, resource
from toolkit.hardware import keep_freed_blocks

def new_pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for keeps in (False, True):
    if os.fork() == 0:
        if keeps:
            keep_freed_blocks()
        before = new_pages()
        for _ in range(4):
            blocks = [numpy.ones(20_000_000, numpy.uint8) for _ in range(35)]
            del blocks
        print(new_pages() - before, flush=True)
        os._exit(0)
    os.wait()
"""


@glibc
def test_a_process_that_keeps_freed_blocks_asks_for_new_pages_once():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PAGES], capture_output=True, text=True, check=True)
    plain, keeping = map(int, done.stdout.split())
    assert keeping < 0.5 * plain
