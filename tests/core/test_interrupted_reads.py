"""A KeyboardInterrupt at any point of a blocking call: nobody else is left waiting, and the isolate stays usable.

CPython runs signal handlers at a few instructions only: where a function begins, where a loop goes back, and after a
call (`CHECK_EVAL_BREAKER` in its evaluation loop).  So not between the taking of a lock by `with` and the body, which
is one instruction (`BEFORE_WITH`).  These tests trace a call instruction by instruction, and raise at exactly the
points that follow such an instruction.
"""

from __future__ import annotations

import dis
import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pykka
import pytest

import piactors
from piactors import IsolationOptions
from tests.children.plain import give

PIACTORS = os.path.dirname(piactors.__file__) + os.sep
CHECKS = frozenset(
    code
    for name, code in dis.opmap.items()
    if name.startswith(("CALL", "PRECALL", "RESUME")) or "JUMP_BACKWARD" in name
)
"""Instructions after which CPython may run a signal handler."""
NEVER = 1_000_000
LEAST_POINTS = 26 if sys.version_info >= (3, 13) else 78
"""At least so many points are tried.  CPython 3.13 tells of the opcodes of the innermost functions only."""
ATTEMPTS = 5
PATIENCE = 20.0
LASTS = IsolationOptions(restart="permanent", max_restarts=None, backoff=None)


class Interrupter:
    """Raises KeyboardInterrupt in the thread that it traces, at the n-th point where a signal could."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.points = 0
        self.where = ""
        self._last: dict[FrameType, int] = {}

    def run(self, function: Callable[[], Any]) -> bool:
        """Run a function; whether it was interrupted."""
        sys.settrace(self._trace)
        try:
            function()
        except KeyboardInterrupt:
            return True
        except (piactors.PiactorsError, pykka.ActorDeadError):
            return bool(self.where)
        finally:
            sys.settrace(None)
            self._last.clear()
        return bool(self.where)

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(PIACTORS):
            return None
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        elif event == "return":
            self._last.pop(frame, None)
        elif event == "opcode":
            self._step(frame)
        return self._trace

    def _step(self, frame: FrameType) -> None:
        now = frame.f_code.co_code[frame.f_lasti]
        last = self._last.get(frame)
        self._last[frame] = now
        if last is None or last not in CHECKS or dis.opname[now] == "CALL":
            return
        if self.points == self.at:
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {dis.opname[now]}"
            self.points += 1
            sys.settrace(None)
            raise KeyboardInterrupt
        self.points += 1


def sleep(seconds: float) -> float:
    """What the other thread's call does."""
    time.sleep(seconds)
    return seconds


def outcome(future: Any) -> None:
    """Wait for an outcome; that the isolate crashed is one."""
    try:
        future.get(timeout=PATIENCE)
    except pykka.Timeout:
        raise
    except (piactors.PiactorsError, pykka.ActorDeadError):
        pass


def attempt(host: Any, at: int, way: str) -> Interrupter:
    """Interrupt one blocking call beside another one that is due; then that one and a fresh one have to end."""
    interrupter = Interrupter(at)
    settled = threading.Event()
    other = host._call(("sleep",), (0.01,), {})  # so long that the victim has to wait, slow as it is
    waiter = None
    if way == "callback":
        other.add_done_callback(lambda _: settled.set())
    elif way == "thread":
        waiter = threading.Thread(target=lambda: (outcome(other), settled.set()), daemon=True)
        waiter.start()

    def victim() -> None:
        interrupter.run(lambda: host._call(("give",), (at,), {}).get(timeout=PATIENCE))

    thread = threading.Thread(target=victim, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), f"the interrupted call hangs, {interrupter.where}"
    if way == "get":
        getter = threading.Thread(target=lambda: (outcome(other), settled.set()), daemon=True)
        getter.start()
    assert settled.wait(PATIENCE), f"the other call hangs after {interrupter.where}"
    done = threading.Event()

    def fresh() -> None:
        outcome(host._call(("give",), (1,), {}))
        done.set()

    threading.Thread(target=fresh, daemon=True).start()
    assert done.wait(PATIENCE), f"a fresh call hangs after {interrupter.where}"
    return interrupter


class Both:
    """The two functions of the tests."""

    def give(self, value: Any) -> Any:
        return give(value)

    def sleep(self, seconds: float) -> float:
        return sleep(seconds)


def sweep(way: str, step: int, first: int = 0) -> int:
    """Interrupt at every `step`-th point, up to the end of the call; how many there were.

    A call that finds its answer at once has fewer points, so several have to end before this one is at its end.
    """
    host = piactors.spawn(Both, options=LASTS)
    for _ in range(2):  # where opcodes have never been traced, CPython 3.12 and 3.13 tell of them from the next call on
        attempt(host, NEVER, way)
    at = first
    while any(attempt(host, at, way).where for _ in range(ATTEMPTS)):
        at += step
    return at


@pytest.mark.parametrize("way", ["callback", "thread", "get"])
def test_an_interrupt_leaves_nobody_waiting(way: str) -> None:
    """Here at every 13th point."""
    assert sweep(way, 13) >= LEAST_POINTS


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("way", ["callback", "thread", "get"])
def test_an_interrupt_anywhere_leaves_nobody_waiting(way: str) -> None:
    """At each point where one can come."""
    assert sweep(way, 1) >= LEAST_POINTS
