"""The watchdog: what goes on, what took too long, and the stacks of all threads when nothing moves any more."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator

import attrs

HANG = 3
"""The exit code of a program that hangs."""
SLACK = 30.0
"""Seconds that an operation may take beyond its bound on a loaded machine, and that all may stand still."""
SHOWN = 200
_LOOK = 1.0
_PAUSED = 0.5
"""Seconds that a look may come late before the host counts as having been stopped meanwhile."""


@attrs.define
class Running:
    """An operation that runs."""

    what: str
    thread: str
    since: float
    bound: float


@attrs.frozen
class Step:
    """An operation that was begun: seconds since the program's begin, the thread, the words."""

    at: float
    thread: str
    what: str
    isolate: str = ""

    def __str__(self) -> str:
        return f"{self.at:9.3f} {self.thread:<12} {self.isolate:<14} {self.what}"


class Watch:
    """Knows what runs and what ran; ends the program with its stacks where something hangs."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.begun = time.monotonic()
        self.steps: deque[Step] = deque(maxlen=20_000)
        self.paused = 0.0
        self._lock = threading.Lock()
        self._running: dict[int, Running] = {}
        self._slowest = (0.0, "nothing")
        self._moved = self.begun
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def note(self, what: str, isolate: str = "") -> None:
        """Write down a step."""
        self._moved = time.monotonic()
        self.steps.append(Step(self._moved - self.begun, threading.current_thread().name, what, isolate))

    @contextlib.contextmanager
    def bounded(self, what: str, bound: float, isolate: str = "") -> Iterator[None]:
        """Write down an operation that takes `bound` seconds at most."""
        self.note(what, isolate)
        running = Running(what, threading.current_thread().name, time.monotonic(), bound)
        with self._lock:
            self._running[id(running)] = running
        try:
            yield
        finally:
            self._moved = time.monotonic()
            took = self._moved - running.since
            with self._lock:
                del self._running[id(running)]
                if took > self._slowest[0]:
                    self._slowest = (took, f"{running.thread}: {what} {isolate}".rstrip())

    def slowest(self) -> str:
        """Return the operation that took longest since this was asked last."""
        with self._lock:
            (took, what), self._slowest = self._slowest, (0.0, "nothing")
        return f"{took:.1f} s for {what[:150]}"

    def story_of(self, isolate: str, most: int = 40) -> list[str]:
        """Return the last steps that concern an isolate."""
        return [str(step) for step in self.steps if isolate in (step.isolate, "")][-most:]

    def close(self) -> None:
        """Watch no more."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._over.wait(_LOOK):
            now = time.monotonic()
            late = now - last - _LOOK
            last = now
            if late > _PAUSED:
                self._forgive(late)
            why = self._why_hanging(now)
            if why:
                self.die(why)

    def _forgive(self, seconds: float) -> None:
        """The host has been stopped, or the machine was: nobody is to blame for that time."""
        self.paused += seconds
        self._moved += seconds
        with self._lock:
            for running in self._running.values():
                running.since += seconds

    def _why_hanging(self, now: float) -> str:
        with self._lock:
            late = [one for one in self._running.values() if now - one.since > one.bound + SLACK]
        if late:
            shown = "; ".join(f"{one.thread}: {one.what}, {now - one.since:.1f} of {one.bound:g} s" for one in late)
            return f"operations take too long: {shown}"
        if now - self._moved > SLACK and not self._running:
            return f"nothing has moved for {now - self._moved:.0f} seconds, and nothing runs"
        return ""

    def die(self, why: str) -> None:
        """Tell all that is known, and end the program."""
        print(f"\nHANG: {why}\n{self.title}\nthe last operations:", file=sys.stderr)
        for step in list(self.steps)[-SHOWN:]:
            print(step, file=sys.stderr)
        with self._lock:
            for one in self._running.values():
                print(f"still running: {one}", file=sys.stderr)
        sys.stderr.flush()
        faulthandler.dump_traceback(all_threads=True)
        os._exit(HANG)
