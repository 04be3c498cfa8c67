"""What calls to one of many processes cost at the least: bare forks that return what they get through a socket.

    python benchmarks/crowd.py PROCESSES CALLS

prints the medians, in microseconds, of calls to one that is chosen at random and of calls to always the same one, as a
line of JSON.  It is a program of its own, so that the forks share their memory with a small process.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

VALUE = (1, "a")
_WARM_CALLS = 3


def measured(processes: int, calls: int) -> dict[str, float]:
    """Run the program and return what it prints."""
    command = [sys.executable, "-I", "-S", __file__, str(processes), str(calls)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    return found


def serve(connection: socket.socket) -> None:
    """In a fork: return what comes."""
    while data := connection.recv(4096):
        connection.send(pickle.dumps(pickle.loads(data), 5))


def call(connection: socket.socket) -> None:
    """Have the value returned."""
    connection.send(pickle.dumps(VALUE, 5))
    if pickle.loads(connection.recv(4096)) != VALUE:
        raise RuntimeError("a process has returned something else")


def p50(choose: Callable[[], socket.socket], calls: int) -> float:
    """Return the median of some calls, in microseconds."""
    clock, nanoseconds = time.perf_counter_ns, []
    for _ in range(calls):
        connection = choose()
        began = clock()
        call(connection)
        nanoseconds.append(clock() - began)
    return statistics.median(nanoseconds) / 1e3


def main(processes: int, calls: int) -> None:
    """Fork them, measure, and let them go."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes the children away
    crowd: list[socket.socket] = []
    for _ in range(processes):
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            for connection in (ours, *crowd):
                connection.close()
            serve(theirs)
            os._exit(0)
        theirs.close()
        crowd.append(ours)
    for connection in crowd * _WARM_CALLS:
        call(connection)
    print(json.dumps({"random": p50(lambda: random.choice(crowd), calls), "lone": p50(lambda: crowd[0], calls)}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
