"""Holds the GIL inside a call into C, so that no other Python thread of the process runs any more."""

from __future__ import annotations

import ctypes

from telling import say


def sleep_in_c() -> None:
    """Sleep in the C library without letting go of the GIL."""
    libc = ctypes.PyDLL(None)
    say(at="gil")
    while True:
        libc.sleep(1000)


def count_in_c() -> int:
    """Count in a loop that is C code of the interpreter and looks for nothing else."""
    numbers = range(10**15)
    say(at="gil")
    return sum(numbers)
