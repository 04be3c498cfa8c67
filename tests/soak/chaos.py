"""Mix every feature of piactors at random, and keep an exact ledger of what has to come of it.

``python -m tests.soak.chaos --minutes 10 --seed 1 [--without KIND ...]``.  A run is a row of rounds.  In each, threads
and an event loop call isolates of all kinds, alone and in trees, while a saboteur kills and stops isolates, launchers
and the host itself.  Then everything is stopped; each call must have had exactly one outcome, all outcomes must fit
what the isolates have written down, events must make sense, and nothing may be left or have grown.

It ends with code 0; 1 where it has found faults, which it tells; 3 where something hangs, with the stacks of all
threads.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import logging
import os
import secrets
import sys
import time
from collections import Counter

import pykka

from piactors._host import runtime
from tests.soak import growth, operations, orders, rounds
from tests.soak.sabotage import SABOTAGE
from tests.soak.watch import Watch

FEATURES = frozenset(
    {
        "overflow",
        "concurrency",
        "recycle",
        "standby",
        "heartbeat",
        "limits",
        "output",
        "spawn",
        "other_python",
        "isolators",
        "cancel",
        "retries",
    }
)
"""Kinds that no operation is of: they decide which isolates are started, and what is done with futures."""
KINDS = frozenset(
    FEATURES
    | {operation.kind for operation in (*operations.OPERATIONS, *SABOTAGE)}
    | {kind.name for kind in orders.KINDS}
    | {kind for kind, _, _ in operations.ASYNC_OPERATIONS}
)
ROUND_SECONDS = 8.0
GONE_SECONDS = 10.0
MOST_FAULTS = 30
MANY_MORE = 5
"""Descriptors more than after the first round, from which on it is told what they are."""


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's arguments, checked."""
    parser = argparse.ArgumentParser("python -m tests.soak.chaos", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, in all (default: 10)")
    parser.add_argument("--seed", type=int, default=None, help="what decides all that is random (default: by chance)")
    names = ", ".join(sorted(KINDS))
    parser.add_argument("--without", nargs="+", default=[], choices=sorted(KINDS), metavar="KIND", help=names)
    parser.add_argument("--only", nargs="+", default=None, choices=sorted(KINDS), metavar="KIND", help="none but these")
    parser.add_argument("--round", type=float, default=ROUND_SECONDS, help="seconds of one round (default: 8)")
    parser.add_argument("--stop-at-first", action="store_true", help="end with the first round that finds faults")
    chosen = parser.parse_args(given)
    chosen.seed = secrets.randbelow(1 << 31) if chosen.seed is None else chosen.seed
    chosen.kinds = (KINDS if chosen.only is None else frozenset(chosen.only)) - frozenset(chosen.without)
    return chosen


def main(given: list[str] | None = None) -> int:
    """Run the program, and return its exit code."""
    chosen = arguments(given)
    faulthandler.enable()
    _log_nowhere()
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    os.environ["CHAOS_TOKEN"] = token
    without = " ".join(sorted(KINDS - chosen.kinds))
    title = f"chaos, seed {chosen.seed}, {chosen.minutes:g} minutes, without: {without or 'nothing'}"
    print(title, flush=True)
    watch = Watch(title)
    gauge = growth.Gauge(token)
    faults = _rounds(chosen, watch, gauge, token)
    faults += _nothing_left(gauge)
    watch.close()
    print(f"{faults} faults" if faults else "no faults", flush=True)
    return 1 if faults else 0


def _log_nowhere() -> None:
    """Have log records handled, as a program would, and shown to nobody: crashes are what this is about."""
    handler = logging.NullHandler()
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)


def _rounds(chosen: argparse.Namespace, watch: Watch, gauge: growth.Gauge, token: str) -> int:
    samples: list[growth.Sample] = []
    outcomes: Counter[str] = Counter()
    until = time.monotonic() + 60 * chosen.minutes
    faults = number = 0
    while time.monotonic() < until and faults < MOST_FAULTS:
        number += 1
        seconds = min(chosen.round, max(1.0, until - time.monotonic()))
        result = rounds.run(watch, chosen.kinds, token, f"{chosen.seed}-{number}", seconds)
        outcomes.update(result.outcomes)
        faults += _tell(number, chosen, result)
        left = _gone(gauge)
        if left:
            faults += 1
            print(f"FAULT left after round {number}: {left}", flush=True)
        samples.append(gauge.sample())
        shown = f"{result.calls} calls, {result.isolates} isolates, {result.generations} generations"
        took = " ".join(f"{name} {seconds:g}" for name, seconds in result.seconds.items())
        print(f"round {number}: {shown}; {samples[-1]}; {took} s; {result.slowest}", flush=True)
        if samples[-1].descriptors > samples[0].descriptors + MANY_MORE:
            print(f"descriptors: {gauge.descriptors()}", flush=True)
        if faults and chosen.stop_at_first:
            break
    print(f"outcomes: {dict(outcomes.most_common())}")
    for text in growth.judge(samples):
        faults += 1
        print(f"FAULT growth: {text}", flush=True)
    return faults


def _tell(number: int, chosen: argparse.Namespace, result: rounds.Result) -> int:
    for fault in result.faults[:MOST_FAULTS]:
        print(f"FAULT round {number}, seed {chosen.seed}: {fault}", flush=True)
    if result.faults:
        for isolate, story in list(result.stories.items())[:3]:
            print(f"the last operations on {isolate}:", *story, sep="\n  ", flush=True)
    return len(result.faults)


def _gone(gauge: growth.Gauge) -> list[str]:
    """Return what is left once all isolates have ended, and does not go."""
    until = time.monotonic() + GONE_SECONDS
    while left := gauge.left():
        if time.monotonic() > until:
            return left
        time.sleep(0.05)
    return []


def _nothing_left(gauge: growth.Gauge) -> int:
    """End piactors in this process, and return how many kinds of things are left."""
    pykka.ActorRegistry.stop_all(timeout=30)
    runtime.end_current()
    until = time.monotonic() + GONE_SECONDS
    left: dict[str, object] = {}
    while time.monotonic() < until:
        segments, files = gauge.new_names()
        found = {"processes": gauge.processes(), "segments": segments, "files": files, "groups": growth.groups()}
        left = {kind: what for kind, what in found.items() if what}
        if not left:
            break
        time.sleep(0.05)
    for kind, what in left.items():
        print(f"FAULT left at the end: {kind}: {what}", flush=True)
    return len(left)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
