"""Functions that use something up, for isolates; they know nothing of the framework but where they lie to it."""

import ctypes
import gc
import os
import sys
import threading
import time
import tracemalloc

_kept = []


def take_memory(size):
    _kept.append(b"x" * size)


def open_files(count):
    _kept.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(count))


def start_threads(count):
    over = threading.Event()
    for _ in range(count):
        threading.Thread(target=over.wait, daemon=True).start()


def fork(then_spin=0.0):
    """Fork a child that stays and return its pid."""
    pid = os.fork()
    if pid == 0:
        spin(then_spin)
        time.sleep(600)
        os._exit(0)
    return pid


def fork_and_wait(seconds):
    """Fork a child that computes for some time, and wait for it."""
    pid = os.fork()
    if pid == 0:
        spin(seconds)
        os._exit(0)
    os.waitpid(pid, 0)


def spin(seconds):
    """Use CPU time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def write(path, size):
    with open(path, "wb") as file:
        file.write(os.urandom(1 << 16) * (size >> 16))
        file.flush()
        os.fsync(file.fileno())


def collect():
    gc.collect()


def trace():
    tracemalloc.start()
    _kept.append(bytearray(3 << 20))


def hold_the_gil(path):
    """Say so, then keep the GIL in C for good."""
    libc = ctypes.PyDLL(None)
    with open(path, "w"):
        pass
    while True:
        libc.sleep(1000)


def crash():
    os._exit(3)


def answer(kind):
    """Have questions for the usage answered with something else from now on."""
    answers = {
        "number": lambda: 7,
        "nested": lambda: {"gc_stats": [[]], "gc_counts": "abc", "heap_blocks": True, "heap_traced": -1},
        "long": lambda: {"gc_stats": [{}] * 100_000},
        "none": lambda: None,
        "raises": lambda: 1 // 0,
    }
    sys.modules["_pihost.serve.control"]._QUERIES["usage"] = answers[kind]
