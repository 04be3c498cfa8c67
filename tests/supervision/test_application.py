"""Programs whose main part is a tree: signals, exit codes, and the order in which the tree stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pykka import ActorRegistry

from piactors import StartError, Supervisor, run, run_async
from tests.supervision.lab_actors import Threaded, child
from tests.support import HostScripts, wait_until

PRELUDE = """
import asyncio, logging, os, signal, sys, threading, time
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

def handled(signum):
    # whether there is a handler, which Python need not know of
    [line] = [line for line in open("/proc/self/status") if line.startswith("SigCgt")]
    return int(line.split()[1], 16) & 1 << signum - 1

def say_up():
    # says "up" once SIGTERM, the second of the signals, has its handler
    def wait():
        while not handled(signal.SIGTERM):
            time.sleep(0.001)
        say("up")
    threading.Thread(target=wait, daemon=True).start()

class Say(logging.Handler):
    def emit(self, record):
        say(record.getMessage())

logging.getLogger("piactors").addHandler(Say())
logging.getLogger("piactors").setLevel(logging.INFO)

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

    def hear(self, *wanted: str) -> None:
        """Read up to the last of these lines, which come in any order."""
        assert self.process.stdout is not None
        left = set(wanted)
        while left:
            line = self.process.stdout.readline()
            assert line, f"{left} was never said; stderr: {self.errors()}"
            left.discard(line.rstrip())

    def wait(self, seconds: float) -> None:
        """Wait so long for the end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

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
say_up()
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
    stops = f"supervisor app stops on {signum.name}"
    assert lines == [stops, "stop c", "stop b", "stop a", f"code {128 + signum} False"]
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
say_up()
while thread.is_alive():
    thread.join(0.05)  # and not for ever: a signal in the moment before Python waits does not wake it
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
say_up()
sys.exit(WAYS[sys.argv[1]](tree))
""",
        way,
        str(signals),
    )
    host.hear("hangs b", "up")
    host.process.send_signal(signal.SIGTERM)
    host.hear("supervisor app stops on SIGTERM")
    if signals == 2:
        host.process.send_signal(signal.SIGINT)
    code, lines, _ = host.end()
    assert code == 128 + signal.SIGTERM
    assert ("stop a" in lines) == (signals == 1)  # before or after what the host logs of b
    assert ("supervisor app is killed on a second signal" in lines) == (signals == 2)


@pytest.mark.parametrize("way", ["main", "asyncio"])
def test_a_tree_that_uses_up_its_restarts_ends_the_program_with_1(program: Start, way: str) -> None:
    """Its other children stop first."""
    host = program(
        """
tree = start(isolate("a"), isolate("b"), max_restarts=0)
tree.child("b").tell("fail")
sys.exit(WAYS[sys.argv[1]](tree))
""",
        way,
    )
    code, lines, _ = host.end()
    assert code == 1
    assert "stop a" in lines  # beside what the host logs of b, which may come later


@pytest.mark.parametrize("way", ["main", "asyncio"])
def test_a_tree_that_shuts_itself_down_ends_the_program_with_0(program: Start, way: str) -> None:
    """Once its significant child has done its work."""
    host = program(
        """
tree = start(
    isolate("aid"), isolate("main", restart="transient", significant=True), auto_shutdown="any_significant"
)
tree.child("main").proxy().stop()
sys.exit(WAYS[sys.argv[1]](tree))
""",
        way,
    )
    code, lines, _ = host.end()
    assert (code, lines) == (0, ["stop main", "stop aid"])


@pytest.mark.parametrize("end", ["return", "sys.exit", "exception"])
def test_a_program_that_ends_without_run_stops_its_trees_in_reverse_order(program: Start, end: str) -> None:
    """The tree that was started last stops first, and the exit code is the program's own."""
    host = program(
        """
trees = [start(), start(isolate("d"), isolate("e"))]
if sys.argv[1] == "sys.exit":
    sys.exit(5)
if sys.argv[1] == "exception":
    raise ValueError("on purpose")
""",
        end,
    )
    code, lines, errors = host.end()
    assert lines == [f"stop {id}" for id in "edcba"]
    assert code == {"return": 0, "sys.exit": 5, "exception": 1}[end]
    assert ("on purpose" in errors) is (end == "exception")


# In this process


@pytest.fixture
def tree() -> Iterator[Any]:
    tree = Supervisor.start(children=[child("a", Threaded)], max_restarts=0)
    yield tree
    tree.terminate()


@pytest.fixture
def own_handler() -> Iterator[Any]:
    """A handler of the program's own, for SIGTERM."""

    def handler(signum: int, frame: object) -> None:
        """Do nothing."""

    before = signal.signal(signal.SIGTERM, handler)
    yield handler
    signal.signal(signal.SIGTERM, before)


STARTING = """
class Slow(ProcessActor):
    def on_start(self):
        say("slow")
        time.sleep(600)

class App(Supervisor):
    name = "app"

    def __init__(self, first):
        self.first = first

    def children(self):
        slow = ChildSpec("slow", Slow, options=OPTIONS, shutdown=0.2)
        return [isolate(self.first), ChildSpec("b", Threaded, args=("b",)), slow]

def run_class(tree):
    return piactors.run(tree, "a")

def run_instance(tree):
    return piactors.run(tree("a"))

def run_async(tree):
    return asyncio.run(piactors.run_async(tree, "a"))

say_up()
code = globals()[sys.argv[1]](App)
say("code", code)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("way", "signum"),
    [("run_class", signal.SIGTERM), ("run_instance", signal.SIGINT), ("run_async", signal.SIGTERM)],
)
def test_a_signal_while_the_tree_starts_stops_what_runs(program: Start, way: str, signum: signal.Signals) -> None:
    """In reverse order, `on_stop` included, as at any other time."""
    host = program(STARTING, way)
    host.hear("up", "slow")
    host.process.send_signal(signum)
    code, lines, errors = host.end()
    assert [line for line in lines if line.startswith(("stop", "code"))] == ["stop b", "stop a", f"code {128 + signum}"]
    assert code == 128 + signum
    assert "Traceback" not in errors


class Fails(Threaded):
    def on_start(self) -> None:
        raise LookupError("on purpose")


@pytest.mark.parametrize("run", [run, lambda *given: asyncio.run(run_async(*given))], ids=["run", "run_async"])
def test_a_tree_that_does_not_start_raises_as_its_start_would(run: Any) -> None:
    """Of a class and of an instance; wrong settings too, at once."""
    with pytest.raises(StartError, match="'b' did not start.*on purpose") as caught:
        run(Supervisor(children=[child("a", Threaded), child("b", Fails)]))
    assert isinstance(caught.value.__cause__, LookupError)

    class Wrong(Supervisor):
        def __init__(self, strategy: Any) -> None:
            self.strategy = strategy

    with pytest.raises(ValueError, match="strategy"):
        run(Wrong, "sideways")
    with pytest.raises(TypeError, match="arguments are for a class"):
        run(Supervisor(), 1)


def test_a_cancelled_run_stops_the_tree_that_it_has_started() -> None:
    """Whatever of it runs already."""
    made: list[Any] = []

    class App(Supervisor):
        def children(self) -> Any:
            return [child("a", Threaded)]

    async def main() -> None:
        before = set(ActorRegistry.get_all())
        waiting = asyncio.create_task(run_async(App))
        await asyncio.sleep(0)
        made.extend(set(ActorRegistry.get_all()) - before)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert made
        assert not any(ref.is_alive() for ref in made)

    asyncio.run(main())


@pytest.mark.parametrize("bad", [None, "tree", int, object()])
def test_what_is_no_supervisor_is_refused(bad: Any) -> None:
    """A TypeError that says what to pass, of both functions; also for the ref of an actor."""
    for what in (bad, Threaded.start()):
        with pytest.raises(TypeError, match=r"^run: .* is not a supervisor; pass what Supervisor\.start"):
            run(what)
        with pytest.raises(TypeError, match=r"^run_async: .* is not a supervisor"):
            asyncio.run(run_async(what))


def test_run_refuses_to_block_an_event_loop(tree: Any) -> None:
    """It names the function to use there, and the tree runs on."""

    async def main() -> None:
        run(tree)

    with pytest.raises(RuntimeError, match="await piactors.run_async"):
        asyncio.run(main())
    assert tree.is_alive()


@pytest.mark.parametrize(("gave_up", "code"), [(False, 0), (True, 1)])
def test_a_tree_that_has_ended_already_is_not_waited_for(tree: Any, gave_up: bool, code: int) -> None:
    """The code is the same as if `run` had been there at the end."""
    tree.child("a").tell("fail") if gave_up else tree.stop()
    assert tree.wait_for_exit(10) is not None
    assert run(tree) == code
    assert asyncio.run(run_async(tree)) == code


def stop_soon(tree: Any, how: str) -> threading.Thread:
    """End the tree from elsewhere once SIGTERM has another handler than before."""
    before = signal.getsignal(signal.SIGTERM)

    def end() -> None:
        wait_until(lambda: signal.getsignal(signal.SIGTERM) is not before)
        os.kill(os.getpid(), signal.SIGTERM) if how == "signal" else tree.stop()

    thread = threading.Thread(target=end)
    thread.start()
    return thread


@pytest.mark.parametrize("run", [run, lambda tree: asyncio.run(run_async(tree))], ids=["run", "run_async"])
@pytest.mark.parametrize("how", ["signal", "stop"])
def test_handlers_are_put_back(tree: Any, own_handler: Any, how: str, run: Any) -> None:
    """Those of the program itself and of Python, whichever way the tree has ended."""
    before = signal.getsignal(signal.SIGINT)
    thread = stop_soon(tree, how)
    assert run(tree) == (143 if how == "signal" else 0)
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is own_handler
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_is_ignored_stays_so(tree: Any) -> None:
    """As of a program that nohup or a shell's background job has started."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        thread = stop_soon(tree, "stop")
        assert run(tree) == 0
        thread.join()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_event_loop_goes_on_meanwhile(tree: Any) -> None:
    """Other tasks run, and may end the tree."""

    async def main() -> int:
        waiting = asyncio.create_task(run_async(tree))
        await asyncio.sleep(0)
        answer = await asyncio.to_thread(tree.child("a").ask, "hello", timeout=5)
        assert (answer, waiting.done()) == ("hello", False)
        tree.stop(block=False)
        return await waiting

    assert asyncio.run(main()) == 0


def test_a_cancelled_run_stops_the_tree_first(tree: Any) -> None:
    """By the time that the cancellation is known, nothing runs any more."""

    async def main() -> None:
        waiting = asyncio.create_task(run_async(tree))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not tree.is_alive()

    asyncio.run(main())


def test_in_a_thread_run_waits_and_takes_its_handler_back(tree: Any) -> None:
    """Also `run_async` in a loop that is not the main thread's; Python's own table of handlers is untouched."""
    codes: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    other = Supervisor.start(children=[child("b", Threaded)])
    threads = [
        threading.Thread(target=lambda: codes.append(run(tree))),
        threading.Thread(target=lambda: codes.append(asyncio.run(run_async(other)))),
    ]
    for thread in threads:
        thread.start()
    tree.stop()
    other.stop()
    for thread in threads:
        thread.join(10)
    assert codes == [0, 0]
    assert signal.getsignal(signal.SIGTERM) is before
