"""A library that knows nothing of piactors: `sample_host.py` runs it in a process of its own."""

from __future__ import annotations

import ctypes
import time


def method(args: list[str]) -> int:
    """Do what the words say, one after the other: "print hello", "sleep100" (ms), "return7", "throw", "crash"."""
    words = iter(" ".join(args).split())
    for word in words:
        if word == "crash":
            ctypes.string_at(0)  # reads from address 0, as faulty native code would: a segmentation fault
        elif word == "throw":
            raise RuntimeError("thrown by the sample")
        elif word == "print":
            print(next(words, ""))
        elif word.startswith("sleep"):
            time.sleep(int(word.removeprefix("sleep")) / 1000)
        elif word.startswith("return"):
            return int(word.removeprefix("return"))
        else:
            raise ValueError(f"unknown word {word!r}")
    return 0
