"""What the isolates of the chaos program do.  Standard library only, and Python 3.8: it runs in any interpreter.

Whatever a method runs is written down in its isolate's *journal*, a file of lines ``B number pid nanoseconds`` when it
begins and ``E`` (or ``R`` where it raises) when it ends.  Each line is one write to a file that is open for appending,
so the journal survives the most sudden death, and lines of several processes never mix.
"""

import functools
import logging
import os
import signal
import sys
import time

logger = logging.getLogger("chaos")


class Planned(Exception):
    """What `Behaviour.fail` raises: an exception that the isolated code has for its caller."""


class Journal:
    """Writes down what runs."""

    def __init__(self, path):
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def note(self, mark, number):
        os.write(self._fd, f"{mark} {number} {os.getpid()} {time.monotonic_ns()}\n".encode())


def step(method):
    """Have what a method runs written down; its first argument is the number of the call."""

    @functools.wraps(method)
    def noted(self, number, *args):
        self.journal.note("B", number)
        try:
            result = method(self, number, *args)
        except Exception:
            self.journal.note("R", number)
            raise
        self.journal.note("E", number)
        return result

    return noted


def leave(how):
    """End this process in one of many ways."""
    if how == "sys.exit":
        sys.exit(3)
    elif how == "os._exit":
        os._exit(4)
    elif how == "os._exit(0)":
        os._exit(0)
    elif how == "BaseException":
        raise GeneratorExit("planned")
    else:
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(60)  # the signal is on its way


WAYS_TO_LEAVE = ("sys.exit", "os._exit", "os._exit(0)", "BaseException", "SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM")


def die_unless_there(flag):
    """Die the first time: what comes later finds the flag."""
    if not os.path.exists(flag):
        os.close(os.open(flag, os.O_WRONLY | os.O_CREAT))
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def filled(number, size):
    """Return `size` bytes that tell whose result they are."""
    return bytes([number % 251]) * size


class Behaviour:
    """Methods of all kinds.  The first argument of each is the number of its call."""

    def __init__(self, journal, start_seconds=0.0):
        self.journal = Journal(journal)
        self._kept = None
        if start_seconds:
            time.sleep(start_seconds)

    @step
    def fast(self, number):
        return number

    @step
    def slow(self, number, seconds):
        time.sleep(seconds)
        return number

    @step
    def busy(self, number, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            sum(range(1000))
        return number

    @step
    def fail(self, number):
        raise ValueError(f"planned {number}")

    @step
    def echo(self, number, value):
        return value

    @step
    def keep(self, number, value, sign):
        """Keep an argument beyond the call: where it lies must not be used for anything else meanwhile."""
        kept, self._kept = self._kept, (value, sign)
        if kept is not None and kept[0].strip(bytes([kept[1]])):
            raise AssertionError("what was kept has changed")
        return number

    @step
    def large(self, number, size):
        return filled(number, size)

    @step
    def say(self, number, lines):
        for line in range(lines):
            print("line", line, "of", number)
        print("to stderr of", number, file=sys.stderr)
        sys.stdout.flush()
        return number

    @step
    def log(self, number, records):
        for record in range(records):
            logger.info("record %d of %d", record, number)
        return number

    @step
    def leave(self, number, how):
        leave(how)

    @step
    def hang(self, number):
        while True:
            time.sleep(60)

    @step
    def leave_child(self, number, own_session):
        """Leave a process behind that would live for an hour."""
        if os.fork() == 0:
            if own_session:
                os.setsid()
            time.sleep(3600)
            os._exit(0)
        return number

    @step
    def allocate(self, number, size, seconds):
        held = bytearray(size)
        for place in range(0, size, 4096):
            held[place] = 1
        time.sleep(seconds)
        return number

    @step
    def die_unless(self, number, flag):
        die_unless_there(flag)
        return number

    @step
    def die_always(self, number):
        os._exit(5)


class Plain(Behaviour):
    """Hosted by its name, without piactors in its interpreter."""

    def call(self, message):
        return getattr(self, message["method"])(message["number"], *message["args"])


_hosted = {}


def run(journal, method, number, *args):
    """Run a method as a function, which is what a ProcessIsolator calls."""
    hosted = _hosted.get(journal)
    if hosted is None:
        hosted = _hosted[journal] = Behaviour(journal)
    return getattr(hosted, method)(number, *args)
