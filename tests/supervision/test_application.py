"""Programs whose main part is a tree: signals, exit codes, and the order in which the tree stops."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import piactors
from piactors import ChildSpec, Supervisor, run, run_async
from tests.supervision.lab_actors import Threaded, child
from tests.support import HostScripts, wait_until

PRELUDE = """
import asyncio, os, signal, sys, threading, time
import piactors
from piactors import ChildSpec, IsolationOptions, ProcessActor, Supervisor
import pykka

# A shell that runs the tests in the background has them ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
OPTIONS = IsolationOptions(output="inherit")

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

class Acts:
    def __init__(self, id):
        super().__init__()
        self.id = id
    def on_stop(self):
        say("stop", self.id)
    def on_receive(self, message):
        if message == "hang":
            say("hangs", self.id)
            time.sleep(600)
        raise ValueError(message)

class Isolated(Acts, ProcessActor): pass
class Threaded(Acts, pykka.ThreadingActor): pass

def isolate(id, **fields):
    return ChildSpec(id, Isolated, args=(id,), options=OPTIONS, **fields)

def start(*children, **settings):
    children = children or (isolate("a"), ChildSpec("b", Threaded, args=("b",)), isolate("c"))
    return Supervisor.start(children=children, name="app", **settings)

WAYS = {
    "main": piactors.run,
    "asyncio": lambda tree: asyncio.run(piactors.run_async(tree)),
}

if __name__ == "__main__":
"""

IN_MAIN = pytest.mark.parametrize("way", ["main", "asyncio"])
BOTH = pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])


class Program:
    """A host that runs `code` after the prelude, and says what it does line by line."""

    def __init__(self, scripts: HostScripts, code: str, *args: str) -> None:
        body = "".join(f"    {line}\n" for line in code.strip().splitlines())
        self.process = scripts(PRELUDE + body, args=args)

    def hear(self, wanted: str) -> None:
        """Read up to a line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.rstrip() == wanted:
                return
        raise AssertionError(f"{wanted!r} was never said; stderr: {self.errors()}")

    def errors(self) -> str:
        return self.process.communicate(timeout=20)[1]

    def end(self) -> tuple[int, list[str], str]:
        """Wait for the end; return the exit code, the lines that are left, and stderr."""
        try:
            out, err = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode, out.splitlines(), err


Start = Callable[..., Program]


@pytest.fixture
def program(host_script: HostScripts) -> Start:
    return lambda code, *args: Program(host_script, code, *args)


RUN = """
tree = start()
say("up")
code = WAYS[sys.argv[1]](tree)
say("code", code, tree.is_alive())
sys.exit(code)
"""


@IN_MAIN
@BOTH
def test_a_signal_stops_the_tree_in_reverse_order(program: Start, way: str, signum: signal.Signals) -> None:
    """The exit code is 128 + its number; `run` returns once all is gone."""
    host = program(RUN, way)
    host.hear("up")
    host.process.send_signal(signum)
    code, lines, errors = host.end()
    assert lines == ["stop c", "stop b", "stop a", f"code {128 + signum} False"]
    assert code == 128 + signum
    assert "Traceback" not in errors


@BOTH
def test_in_another_thread_a_signal_ends_the_program(program: Start, signum: signal.Signals) -> None:
    """Both raise KeyboardInterrupt in the main thread; its end stops the tree, and then `run` returns."""
    host = program(
        """
tree = start()
thread = threading.Thread(target=lambda: say("code", piactors.run(tree)))
thread.start()
while not signal.getsignal(signal.SIGTERM) is None:
    time.sleep(0.001)
say("up")
thread.join()
"""
    )
    host.hear("up")
    host.process.send_signal(signum)
    code, lines, errors = host.end()
    assert lines == ["stop c", "stop b", "stop a", "code 0"]
    assert code == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")


@IN_MAIN
@pytest.mark.parametrize("signals", [1, 2])
def test_a_child_that_hangs_is_killed_after_its_time_or_at_a_second_signal(
    program: Start, way: str, signals: int
) -> None:
    """The first signal leaves it its shutdown time, here a short or a very long one; the second none."""
    host = program(
        """
seconds = {"1": 0.2, "2": 600}[sys.argv[2]]
tree = start(isolate("a"), isolate("b", shutdown=seconds))
tree.child("b").tell("hang")
say("up")
sys.exit(WAYS[sys.argv[1]](tree))
""",
        way, str(signals),
    )  # fmt: skip
    host.hear("hangs b")
    host.process.send_signal(signal.SIGTERM)
    if signals == 2:
        stops = piactors.testing_hint if False else None  # noqa: F841
        wait_until(lambda: host.process.poll() is None)
        host.process.send_signal(signal.SIGINT)
    code, lines, _ = host.end()
    assert code == 128 + signal.SIGTERM
    assert [line for line in lines if line != "up"] == (["stop a"] if signals == 1 else lines[1:])
