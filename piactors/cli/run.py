"""One run of a function in an isolate, from its start to the exit code."""

from __future__ import annotations

import select
import sys
import threading
import time
from typing import Any

import attrs
import pykka

from piactors import events
from piactors._host import runtime
from piactors.cli.interrupts import Interrupted, Interrupts
from piactors.cli.notes import exited_with_0
from piactors.cli.show import Screen
from piactors.errors import InvalidTarget, IsolateCrashed, PiactorsError, StartError, UntrustedReply
from piactors.exit_reason import ExitReason
from piactors.isolator import ProcessIsolator
from piactors.limits import Enforcement
from piactors.options import IsolationOptions

FAILED = 1
USAGE = 2
LIMIT_BROKEN = 122
CALL_TIMED_OUT = 123
TIMED_OUT = 124
_SIGNALLED = 128
_BROKEN_PIPE = 141
_DEATH_SECONDS = 30.0
_LOOK_UP_SECONDS = 1.0


@attrs.frozen(kw_only=True)
class RunJob:
    """What is to be run, and how; `timeout` is for the whole call."""

    target: str
    args: list[str]
    options: IsolationOptions
    timeout: float | None


def run(job: RunJob, screen: Screen) -> int:
    """Run a job to its end and return the exit code; no process is left, and all events are shown."""
    interrupts = Interrupts()
    interrupts.install()
    screen.take_logging()
    events.subscribe(screen.event)
    try:
        enforcement = _enforcement(job.options)
        for found in enforcement:
            if found.mechanism is None and not _is_strict(job.options):
                screen.not_enforced(found)
        code = _CommandRun(job, screen, interrupts).run()
    finally:
        runtime.end_current()
    if job.options.limits is not None:
        screen.limits(job.options.limits, enforcement)
    screen.exit(code)
    return code


def _enforcement(options: IsolationOptions) -> list[Enforcement]:
    """Return what is going to enforce each limit."""
    if options.limits is None:
        return []
    return list(runtime.current().confiner.plan(options.limits).enforcement.values())


def _is_strict(options: IsolationOptions) -> bool:
    """Whether a limit that nothing enforces fails the start, which then says so."""
    return options.limits is not None and options.limits.strict


class _CommandRun:
    """The state of one run."""

    def __init__(self, job: RunJob, screen: Screen, interrupts: Interrupts) -> None:
        self._job = job
        self._screen = screen
        self._interrupts = interrupts
        self._isolator = ProcessIsolator(job.options)
        # Without one, descriptor 0 is the first file that happened to be opened.
        self._isolator._pass_stdin(sys.__stdin__ is not None)
        self._deadline: float | None = None
        self._starts = threading.Semaphore(0)
        # After the screen's subscription: what is counted here has been shown.
        events.subscribe(lambda _: self._starts.release(), events.IsolateStarted, events.RestartsExceeded)

    def run(self) -> int:
        """Start, call, end, and return the exit code."""
        try:
            return self._start_and_call()
        except Interrupted as interruption:
            return _SIGNALLED + interruption.signum
        except pykka.Timeout:
            self._screen.timed_out(self._job.timeout or 0.0)
            return TIMED_OUT
        finally:
            if self._isolator.is_alive:
                self._isolator.terminate()

    def _start_and_call(self) -> int:
        try:
            with self._interrupts.allowed():
                self._isolator.start()
        except PiactorsError as error:
            self._screen.error(str(error))
            self._die_if_wanted()
            return start_code(error)
        if self._job.timeout is not None:
            self._deadline = time.monotonic() + self._job.timeout
        code = self._call()
        while code is None:
            code = self._call()
        return self._end(code)

    def _call(self) -> int | None:
        """Call the target once and return the exit code, or None if it is to be called again."""
        self._wait_for_start()
        try:
            with self._interrupts.allowed():
                value = self._isolator.invoke_method(self._job.target, self._job.args).get(timeout=self._time_left())
        except pykka.Timeout:
            raise
        except IsolateCrashed as crash:
            return self._crashed(crash.reason)
        except pykka.ActorDeadError:
            return self._ended_before_call()
        except Exception as error:
            return self._raised(error)
        return self._returned(value)

    def _wait_for_start(self) -> None:
        """Wait until the start of the (next) generation has been shown, or that there is none: its output follows.

        It wakes up once in a while only in case piactors itself has failed, which no event reports.
        """
        with self._interrupts.allowed():
            while (left := self._time_left()) != 0.0:
                shown = self._starts.acquire(timeout=_LOOK_UP_SECONDS if left is None else min(left, _LOOK_UP_SECONDS))
                if shown or not self._isolator.is_alive:
                    return
        raise pykka.Timeout

    def _crashed(self, reason: ExitReason) -> int | None:
        if reason.error is not None and reason.kind == "error":
            self._screen.traceback(reason.error)
        if self._isolator.is_alive and not exited_with_0(reason):
            return None  # a restart is under way, and the next call waits for it
        return self._final(reason)

    def _ended_before_call(self) -> int:
        with self._interrupts.allowed():
            reason = self._isolator.wait_for_exit()
        return FAILED if reason is None else self._final(reason)

    def _final(self, reason: ExitReason) -> int:
        if not self._isolator.is_alive:
            self._die_if_wanted()
        return crash_code(reason)

    def _die_if_wanted(self) -> None:
        """Let `die_on_crash` end this process: it does so from another thread, which must not be disturbed."""
        if self._job.options.die_on_crash:
            with self._interrupts.allowed():
                threading.Event().wait(_DEATH_SECONDS)

    def _raised(self, error: Exception) -> int:
        if isinstance(error, InvalidTarget):
            self._screen.error(str(error))
            return USAGE
        if isinstance(error, UntrustedReply):
            self._screen.error(f"{self._job.target} returned an object that is not an exit code; return an int or None")
            return FAILED
        if isinstance(error, BrokenPipeError) and _nobody_reads_stdout():
            return _BROKEN_PIPE
        self._screen.traceback(_traceback_of(error))
        return FAILED

    def _returned(self, value: Any) -> int:
        code = exit_code(value)
        if code is None:
            shown = repr(value) if len(repr(value)) <= 200 else f"{repr(value)[:200]}..."
            self._screen.error(
                f"{self._job.target} returned {shown}, a {type(value).__name__}, which is not an exit code; "
                "return an int or None"
            )
            return FAILED
        return code

    def _end(self, code: int) -> int:
        """Let the process end in its own time, its other threads included; a crash then counts after all."""
        if not self._isolator.is_alive:
            return code
        self._isolator.exit()
        with self._interrupts.allowed():
            reason = self._isolator.wait_for_exit(self._time_left())
        if reason is None:
            raise pykka.Timeout
        return code if reason.is_normal else crash_code(reason)

    def _time_left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())


def exit_code(value: Any) -> int | None:
    """Return the exit code that a function's result means, or None if it means none."""
    if value is None:
        return 0
    return value & 0xFF if isinstance(value, int) else None


def crash_code(reason: ExitReason) -> int:
    """Return the exit code that stands for the end of a process, as a shell would show it, if it has one."""
    if reason.kind == "limit":
        return LIMIT_BROKEN
    if reason.kind == "call_timeout":
        return CALL_TIMED_OUT
    if reason.signal is not None:
        return _SIGNALLED + reason.signal
    if exited_with_0(reason):
        return 0
    return reason.exitcode or FAILED


def start_code(error: PiactorsError) -> int:
    """Return the exit code for a process that did not start."""
    reason = error.reason if isinstance(error, StartError) else None
    return LIMIT_BROKEN if reason is not None and reason.kind == "limit" else FAILED


def _traceback_of(error: Exception) -> str:
    """Return the traceback in the isolate as text, or if there is none, the error."""
    text = getattr(error.__cause__, "text", "")
    return text or f"{type(error).__name__}: {error}"


def _nobody_reads_stdout() -> bool:
    poller = select.poll()
    poller.register(1, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poller.poll(0))
