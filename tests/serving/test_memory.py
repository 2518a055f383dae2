"""What threads do with memory is the C library's business; here it is asked."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
from serving.memory import share_one_arena
if sys.argv[1] == "one":
    share_one_arena()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
barrier = threading.Barrier(4)
def allocate():
    barrier.wait()
    library.malloc(1000)
    barrier.wait()
threads = [threading.Thread(target=allocate) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
library.fdopen.restype = ctypes.c_void_p
out = library.fdopen(1, b"w")
library.malloc_info(0, ctypes.c_void_p(out))
library.fflush(ctypes.c_void_p(out))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library")
def test_threads_share_one_arena() -> None:
    arenas = {
        how: subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, check=True).stdout.count(
            b"<heap nr"
        )
        for how in ("one", "many")
    }
    assert arenas["one"] == 1
    assert arenas["many"] > 1


HOLES = """
import ctypes
from pathlib import Path
from serving.memory import give_back
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
blocks = [ctypes.c_void_p(library.malloc(64_000)) for _ in range(1000)]
for block in blocks:
    ctypes.memset(block, 1, 64_000)
for block in blocks[:-1]:  # the last one keeps the system from getting back those before it
    library.free(block)
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library")
def test_what_is_free_is_given_back() -> None:
    given = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, check=True).stdout
    assert int(given) > 50_000_000
