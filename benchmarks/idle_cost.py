"""What does an isolate cost that does nothing: memory of its own, wake-ups, processor time?

    python -m benchmarks.idle_cost
    python -m benchmarks.idle_cost --seconds 30

Memory is the USS: what would be free again if this process alone ended.  It is compared with that of a spawned worker
of `ProcessPoolExecutor` that has imported nothing but what it needs.  Wake-ups are voluntary context switches; the main
thread of the host, which only waits for the time to pass, is left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks import frame, subjects
from benchmarks.usage import Activity, uss
from piactors import IsolateRef


def isolate_memory() -> float:
    """Return the MiB of a new isolate that has answered once."""
    ref = subjects.Empty.start()
    ref.proxy().hello().get(timeout=60)
    found = uss(ref.pid)
    ref.stop()
    return found / frame.MIB


WORKER = """
import concurrent.futures, multiprocessing, os, sys
with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    sys.stdin.read()
"""


def executor_memory() -> float:
    """Return the MiB of a new worker that has answered once.

    Its program is a text, since a spawned worker imports the file of its program, and this one imports piactors.
    """
    with subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        return uss(int(program.stdout.readline())) / frame.MIB


def idle(ref: IsolateRef, seconds: float) -> dict[str, Activity]:
    """Return what an isolate and the host do in some seconds without a call."""
    assert ref.pid is not None
    pids = {"isolate": (ref.pid, ()), "host": (os.getpid(), (os.getpid(),))}
    before = {name: Activity.of(pid, without) for name, (pid, without) in pids.items()}
    time.sleep(seconds)
    return {name: Activity.of(pid, without).since(before[name]) for name, (pid, without) in pids.items()}


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("An isolate that does nothing.")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long nothing is done in a round")
    given = frame.parsed(parser)
    seconds = 0.3 if given.quick else given.seconds
    report = frame.Report("idle_cost", given)
    ref = subjects.Empty.start()
    ref.proxy().hello().get(timeout=60)
    time.sleep(min(1.0, seconds))
    found = frame.take_turns(given.rounds, {"activity": lambda: idle(ref, seconds)})["activity"]
    ref.stop()
    memory = frame.take_turns(given.rounds, {"isolate": isolate_memory, "executor": executor_memory})
    for name, values in memory.items():
        report.add_median(f"{name}.uss", values, "MiB")
    report.add_ratio("isolate_over_executor.uss", memory["isolate"], memory["executor"])
    for name in ("isolate", "host"):
        report.add_median(f"{name}.wakeups", [one[name].wakeups / seconds for one in found], "/s")
        report.add_median(f"{name}.cpu", [one[name].seconds / seconds * 100 for one in found], "% of a core")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
