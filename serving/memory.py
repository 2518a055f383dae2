"""How the C library hands out memory to the threads of a service, and takes it back."""

from __future__ import annotations

import ctypes

# glibc's malloc.h
_M_ARENA_MAX = -8


def share_one_arena() -> None:
    """Let all threads of this process take memory from one place; does nothing where the C library has no such choice.

    By default each thread keeps a place of its own, and with it what its longest text once needed. Call it before
    threads are started.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Hand what is free to the system again, milliseconds of work; does nothing where the C library has no such call.

    To have that done at every chance, by a threshold, would take half of the model's time.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
