"""Workers that leak, spin, hang and fork, each held to what it may use.

    python examples/held_workers.py

Every job below would bring a program down, or keep it waiting forever.  Here each has an isolate with limits, and
ends with an error that says which limit it broke, or where it hung.  One job leaks a little at every call; its
process is replaced between two calls, and nobody notices.
"""

from __future__ import annotations

import logging
import os
import time

import piactors
from piactors import CallTimeout, IsolationLimits, IsolationOptions, LimitExceeded, ProcessActor, Recycle

LIMITS = IsolationLimits(max_memory="200 MiB", max_cpu_time=2.0, max_processes=40)
RECYCLE = Recycle(above_memory="120 MiB")
OPTIONS = IsolationOptions(limits=LIMITS, call_timeout=5.0, restart="transient", recycle=RECYCLE)


class Worker(ProcessActor):
    """Does whatever it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bytes] = []

    def add(self, a: int, b: int) -> int:
        """Do something harmless."""
        return a + b

    def leak(self, megabytes: int) -> int:
        """Work for a moment, and keep some memory forever; return the pid."""
        time.sleep(0.01)
        self.kept.append(b"x" * (megabytes << 20))
        return os.getpid()

    def eat(self) -> None:
        """Take memory without end."""
        while True:
            self.kept.append(b"x" * (1 << 20))

    def spin(self) -> None:
        """Use the processor without end."""
        while True:
            pass

    @piactors.call_options(call_timeout=0.5)
    def hang(self) -> None:
        """Wait for something that never comes."""
        time.sleep(3600)

    def fork_bomb(self) -> int:
        """Start processes until that is refused; return how many there were."""
        for number in range(1000):
            try:
                if os.fork() == 0:
                    time.sleep(60)
                    os._exit(0)
            except OSError:
                return number
        return 1000


def main() -> None:
    """Run the jobs one after the other in the same isolate."""
    logging.getLogger("piactors").setLevel(logging.CRITICAL)  # its warnings: `outcome` shows them here
    ref = Worker.with_options(OPTIONS).start()
    for enforcement in ref.enforcement().values():
        print(enforcement)
    worker = ref.proxy()
    for job in ("eat", "spin", "hang", "fork_bomb"):
        print(f"{job:10} {outcome(getattr(worker, job))}")
        print(f"{'':10} and then 2 + 3 is {worker.add(2, 3).get(timeout=10)}, in generation {ref.generation}")
    processes = {worker.leak(4).get(timeout=10) for _ in range(100)}
    print(f"leak       100 calls kept 4 MiB each, and ran in {len(processes)} processes, one after the other")
    ref.stop()


def outcome(method: piactors.CallProxy) -> str:
    """Call a method and say what came of it, in one line."""
    try:
        return f"returned {method().get(timeout=30)}"
    except LimitExceeded as error:
        return f"broke its limit: {error.reason.breach}"
    except CallTimeout as error:
        return f"{error.reason.detail}: {error.stack.strip().splitlines()[-1].strip()}"


if __name__ == "__main__":
    main()
