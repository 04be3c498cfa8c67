"""What do 1,000 isolates of one supervisor cost their host, and what if 200 of them are killed at once?

    python -m benchmarks.scale
    python -m benchmarks.scale --isolates 200 --json result.json

The call to one of the many is compared with one to a lone isolate of another program, in turns.  All have been called
before, a few times, so that neither side copies pages that it shares with its launcher: what the first call to an
isolate costs is told on its own.  What is left is that the lone one is warm from the call before, and the random one is
not; `benchmarks/crowd.py` tells what that costs bare forks that do nothing else.  The kills are SIGKILL, to isolates
that were chosen at random; exactly these have to be restarted, and answer.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from typing import Any

import attrs

from benchmarks import crowd, frame, subjects, victims
from benchmarks.driver import Driver
from benchmarks.usage import Activity, descriptors, threads_of_the_kernel, uss
from piactors import ChildSpec, Supervisor, SupervisorRef, usage

VALUE = (1, "a")
QUICK = 20
WARM_CALLS = 3
"""How often each isolate is called before the calls that count."""


class Member(victims.Plain, subjects.Echo):
    """One of the many."""


@attrs.frozen
class Host:
    """What the host has in use."""

    memory: int
    descriptors: int

    @classmethod
    def now(cls) -> Host:
        """Look."""
        return cls(uss(), descriptors())


def ids(isolates: int) -> list[str]:
    """Return the ids of the children."""
    return [f"member-{number}" for number in range(isolates)]


def start(isolates: int) -> SupervisorRef:
    """Start them; any number of restarts is allowed."""
    return Supervisor.start(children=[ChildSpec(id, Member) for id in ids(isolates)], max_restarts=None)


def looks(report: frame.Report, tree: SupervisorRef, isolates: int, rounds: int) -> None:
    """Take what it costs to look at all of them, for each."""
    turns = {"which_children": tree.which_children, "snapshot": usage.snapshot}
    found = frame.take_turns(rounds, {name: lambda look=look: frame.timed(look) for name, look in turns.items()})  # type: ignore[misc]
    for name, seconds in found.items():
        report.add_median(f"{name}_of_{isolates}", [one / isolates * 1e6 for one in seconds], "µs each")


def growth(report: frame.Report, isolates: int) -> SupervisorRef:
    """Start all, and take the time and what the host has gained."""
    before, began = Host.now(), time.perf_counter()
    tree = start(isolates)
    report.add("start", time.perf_counter() - began, "s")
    after = Host.now()
    report.add("host.memory", (after.memory - before.memory) / 1024 / isolates, "KiB each")
    report.add("host.descriptors", (after.descriptors - before.descriptors) / isolates, "each")
    report.add("host.python_threads", len(threading.enumerate()))
    report.add("host.threads", threads_of_the_kernel())
    return tree


def random_p50(proxies: list[Any], calls: int) -> float:
    """Return the median of blocking calls, each to one that is chosen at random, in microseconds."""
    clock, nanoseconds = time.perf_counter_ns, []
    for proxy in random.choices(proxies, k=calls):
        began = clock()
        proxy.echo(VALUE).get()
        nanoseconds.append(clock() - began)
    return frame.percentile(nanoseconds, 50) / 1e3


def calls_to_any(report: frame.Report, tree: SupervisorRef, isolates: int, rounds: int, calls: int) -> None:
    """Take the calls to one of many, and to a lone isolate of another program."""
    proxies = [tree.child(id).proxy() for id in ids(isolates)]
    first = [frame.timed(lambda proxy=proxy: proxy.echo(VALUE).get()) for proxy in proxies]  # type: ignore[misc]
    report.add_median("call.first", [seconds * 1e6 for seconds in first], "µs")
    for _ in range(WARM_CALLS - 1):
        for proxy in proxies:
            proxy.echo(VALUE).get()
    with Driver("piactors") as lone:
        lone.ask("start")
        found = frame.take_turns(
            rounds,
            {"random": lambda: random_p50(proxies, calls), "lone": lambda: float(lone.ask(f"small {calls}")["p50"])},
        )
    report.add_median("call.random.p50", found["random"], "µs")
    report.add_median("call.lone.p50", found["lone"], "µs")
    report.add_ratio("call.random_over_lone", found["random"], found["lone"])
    bare = [crowd.measured(isolates, calls) for _ in range(rounds)]
    report.add_median("call.bare_fork.random.p50", [one["random"] for one in bare], "µs")
    report.add_median("call.bare_fork.lone.p50", [one["lone"] for one in bare], "µs")
    report.add_ratio("call.random_over_bare_fork", found["random"], [one["random"] for one in bare])
    report.add_ratio("call.bare_fork.random_over_lone", [one["random"] for one in bare], [one["lone"] for one in bare])


def idle(report: frame.Report, seconds: float) -> None:
    """Take what the host does while nobody calls; its main thread only waits."""
    before = Activity.of(os.getpid())
    time.sleep(seconds)
    done = Activity.of(os.getpid()).since(before)
    report.add("host.idle_cpu", done.seconds / seconds * 100, "% of a core")
    report.add("host.idle_wakeups", done.wakeups / seconds, "/s")


def kill_some(report: frame.Report, tree: SupervisorRef, isolates: int, kills: int) -> None:
    """Kill some of them at once, and take the time until exactly these run again and have answered."""
    chosen = set(random.sample(ids(isolates), kills))
    proxies = {id: tree.child(id).proxy() for id in chosen}
    pids = {id: tree.child(id).pid for id in ids(isolates)}
    began = time.perf_counter()
    for id in chosen:
        os.kill(pids[id], signal.SIGKILL)
    frame.wait_until(lambda: all(tree.child(id).generation > 1 for id in chosen), timeout=120)
    for future in [proxy.pid() for proxy in proxies.values()]:
        future.get(timeout=120)
    report.add("killed", kills)
    report.add("killed.until_all_answer", time.perf_counter() - began, "s")
    wrong = [id for id in ids(isolates) if tree.child(id).generation != (2 if id in chosen else 1)]
    moved = [id for id in set(ids(isolates)) - chosen if tree.child(id).pid != pids[id]]
    report.add("killed.in_wrong_generation", len(set(wrong + moved)))


def measure(report: frame.Report, isolates: int, rounds: int, seconds: float) -> None:
    """Measure all of it, and end all of them."""
    start(1).stop()  # the launcher and the host's threads are there from now on
    with growth(report, isolates) as tree:
        looks(report, tree, isolates, rounds)
        calls_to_any(report, tree, isolates, rounds, 50 if isolates <= QUICK else 500)
        time.sleep(min(1.0, seconds))
        idle(report, seconds)
        kill_some(report, tree, isolates, isolates // 5)
        began = time.perf_counter()
    report.add("stop", time.perf_counter() - began, "s")
    few = max(2, isolates // 10)  # not before the many: these would take the memory that the few gave back
    with start(few) as tree:
        looks(report, tree, few, rounds)


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("What many isolates cost their host.")
    parser.add_argument("--isolates", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long the host is watched while it is idle")
    given = frame.parsed(parser)
    report = frame.Report("scale", given)
    isolates, seconds = (QUICK, 0.3) if given.quick else (given.isolates, given.seconds)
    report.add("isolates", isolates)
    measure(report, isolates, given.rounds, seconds)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
