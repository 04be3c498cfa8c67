"""Traces a process, as a debugger does; ``stop`` stops it as well, ``exit`` holds it when it exits."""

import ctypes
import os
import sys
import time

_SEIZE, _INTERRUPT, _EXITS = 0x4206, 0x4207, 1 << 6


def trace(pid, how=""):
    """Return 0, or the error's number."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    failed = libc.ptrace(_SEIZE, pid, 0, _EXITS if how == "exit" else 0)
    failed = failed or (how == "stop" and libc.ptrace(_INTERRUPT, pid, 0, 0))
    return ctypes.get_errno() if failed else 0


def be_traced(how=""):
    """Have a child of this process trace it, and return the child's pid."""
    me = os.getpid()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"%d" % trace(me, how))
        while True:
            time.sleep(1000)
    return child, int(os.read(read, 10))


def die(code):
    os._exit(code)


if __name__ == "__main__":
    print(trace(int(sys.argv[1]), sys.argv[2]), flush=True)
    time.sleep(50)
