"""How long after a crash (SIGKILL in a call) does the next generation answer?  And with other libraries?

    python -m benchmarks.crash_to_reply                 needs `pip install 'piactors[bench]'`
    python -m benchmarks.crash_to_reply --rounds 40 --only piactors pebble

The libraries take turns round by round, so that a noisy machine is noisy to all of them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from benchmarks import frame, victims
from piactors import ChildSpec, IsolationOptions, Supervisor


class Contestant(Protocol):
    """One library's way to have a function run in a process that is started again after a crash."""

    def pid(self) -> int:
        """Have the process answer with its pid; after a crash, as soon as it can."""

    def crash(self) -> None:
        """Have the process kill itself with SIGKILL in a call, and return when that call has failed."""

    def close(self) -> None:
        """End it."""


class Piactors:
    """A permanent child of a supervisor, without backoff.

    Its module is preloaded: the workers of the others are forked from this program, and so have it as well.
    """

    def __init__(self, **options: Any) -> None:
        fixed = IsolationOptions(preload=("benchmarks.victims",), **options)
        spec = ChildSpec("victim", victims.Victim, options=fixed)
        self._tree = Supervisor.start(children=[spec], max_restarts=None)
        self._proxy = self._tree.child("victim").proxy()

    def pid(self) -> int:
        """See `Contestant`."""
        found: int = self._proxy.pid().get(timeout=60)
        return found

    def crash(self) -> None:
        """See `Contestant`."""
        self._proxy.crash().exception(timeout=60)

    def close(self) -> None:
        """See `Contestant`."""
        self._tree.stop()


class Pebble:
    """A pool of one worker, which replaces a worker that has died."""

    def __init__(self) -> None:
        import pebble

        self._pool: Any = pebble.ProcessPool(max_workers=1)

    def pid(self) -> int:
        """See `Contestant`."""
        found: int = self._pool.schedule(os.getpid).result(timeout=60)
        return found

    def crash(self) -> None:
        """See `Contestant`."""
        self._pool.schedule(victims.kill_myself).exception(timeout=60)

    def close(self) -> None:
        """See `Contestant`."""
        self._pool.stop()
        self._pool.join()


class Ray:
    """An actor with unlimited restarts, whose calls are tried again."""

    def __init__(self) -> None:
        import ray

        ray.init(num_cpus=1, log_to_driver=False, logging_level=logging.CRITICAL, include_dashboard=False)
        remote: Any = ray.remote(max_restarts=-1)
        self._ray, self._actor = ray, remote(victims.Plain).remote()

    def pid(self) -> int:
        """See `Contestant`: a call to an actor that restarts fails, and is made again."""
        while True:
            try:
                found: int = self._ray.get(self._actor.pid.remote(), timeout=60)
            except self._ray.exceptions.RayError:
                continue
            return found

    def crash(self) -> None:
        """See `Contestant`."""
        try:
            self._ray.get(self._actor.crash.remote(), timeout=60)
        except self._ray.exceptions.RayError:
            return

    def close(self) -> None:
        """See `Contestant`."""
        self._ray.shutdown()


CONTESTANTS: dict[str, Callable[[], Contestant]] = {
    "piactors": Piactors,
    "piactors_standby": partial(Piactors, standby=True),
    "pebble": Pebble,
    "ray": Ray,
}
SETTLE_SECONDS = 0.1
"""Nobody crashes again at once: what a library does after a crash, such as to start a spare process, is done then."""
NOT_QUICK = ("ray",)
"""Those whose start alone takes seconds."""


def why_not(name: str, quick: bool) -> str | None:
    """Return why a library is left out, as far as that is known before it is tried."""
    if name == "piactors_standby" and not frame.has_option("standby"):
        return "this piactors has no option 'standby'"
    return "left out by --quick" if quick and name in NOT_QUICK else None


def measure(names: Sequence[str], rounds: int, quick: bool) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return the milliseconds from kill to answer of each library, and why one is missing."""
    missing = {name: why for name in names if (why := why_not(name, quick)) is not None}
    with contextlib.ExitStack() as stack:
        running: dict[str, Contestant] = {}
        for name in (name for name in names if name not in missing):
            try:
                running[name] = CONTESTANTS[name]()
            except ImportError as error:
                missing[name] = str(error)
            else:
                stack.callback(running[name].close)
        turns = {name: partial(one_round, contestant) for name, contestant in running.items()}
        return frame.take_turns(rounds, turns), missing


def one_round(contestant: Contestant) -> float:
    """Return the milliseconds from a call in which the process dies to the first reply of the next one."""
    before = contestant.pid()
    time.sleep(SETTLE_SECONDS)
    started = time.perf_counter()
    contestant.crash()
    after = contestant.pid()
    seconds = time.perf_counter() - started
    assert after != before, "the process has not died"
    return seconds * 1e3


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("From a kill -9 to the next generation's first reply.", rounds=25)
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="LIBRARY")
    given = frame.parsed(parser)
    report = frame.Report("crash_to_reply", given)
    times, missing = measure(given.only, given.rounds, given.quick)
    for name, found in times.items():
        report.add_median(name, found, "ms")
        report.add(f"{name}.slowest", max(found), "ms")
    for own in (name for name in times if name.startswith("piactors")):
        for name in (name for name in times if not name.startswith("piactors")):
            report.add_ratio(f"{own}_over_{name}", times[own], times[name])
    for name, why in missing.items():
        report.miss(name, why)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
