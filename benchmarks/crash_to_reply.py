"""How long after a crash (SIGKILL in a call) does the next generation answer?  And with other libraries?

    python -m benchmarks.crash_to_reply                 needs `pip install 'piactors[bench]'`
    python -m benchmarks.crash_to_reply --rounds 40 --json result.json

The rounds of all libraries are interleaved, so that a noisy machine is noisy to all of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import piactors
from benchmarks import victims
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

    def __init__(self) -> None:
        spec = ChildSpec("victim", victims.Victim, options=IsolationOptions(preload=("benchmarks.victims",)))
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


CONTESTANTS: dict[str, Callable[[], Contestant]] = {"piactors": Piactors, "pebble": Pebble, "ray": Ray}


def measure(rounds: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return the seconds from kill to answer of each library, and why one is missing."""
    running, missing = {}, {}
    for name, make in CONTESTANTS.items():
        try:
            running[name] = make()
        except ImportError as error:
            missing[name] = str(error)
    times: dict[str, list[float]] = {name: [] for name in running}
    try:
        for _ in range(rounds):
            for name, contestant in running.items():
                times[name].append(one_round(contestant))
    finally:
        for contestant in running.values():
            contestant.close()
    return times, missing


def one_round(contestant: Contestant) -> float:
    """Return the seconds from a call in which the process dies to the first reply of the next one."""
    before = contestant.pid()
    started = time.perf_counter()
    contestant.crash()
    after = contestant.pid()
    seconds = time.perf_counter() - started
    assert after != before, "the process has not died"
    return seconds


def main() -> int:
    """Print the medians and their ratios."""
    parser = argparse.ArgumentParser(description="From a kill -9 to the next generation's first reply.")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", help="a file to write the figures to")
    given = parser.parse_args()
    logging.getLogger("piactors").setLevel(logging.CRITICAL)
    times, missing = measure(given.rounds)
    own = statistics.median(times["piactors"])
    print(f"{'library':10} {'median':>10} {'slowest':>10}   times piactors")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"{name:10} {median * 1e3:7.1f} ms {max(seconds) * 1e3:7.1f} ms   {median / own:6.1f}")
    for name, why in missing.items():
        print(f"{name:10} not measured: {why}")
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump({"piactors": piactors.__version__, "rounds": given.rounds, "seconds": times}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
