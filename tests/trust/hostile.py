"""Runs attacks of `tests/children/hostile_targets.py` against a host of their own, and measures that host.

The host is a process of its own: what it says of itself after an attack (its memory, its
descriptors, its threads, its modules) is due to the attack and to nothing else, and a host that
hangs or dies is an observation and no end of the tests.

From a shell, with the repository's root on PYTHONPATH, ``python tests/trust/hostile.py TARGET`` runs the
target of that name without arguments and prints what was observed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib.util
import json
import logging
import os
import pathlib
import pickle
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import psutil

import piactors
from piactors import IsolationOptions, ProcessActor, ProcessIsolator
from piactors._host import runtime
from tests import inside

TARGETS = str(pathlib.Path(__file__).resolve().parent.parent / "children" / "hostile_targets.py")
MIB = 1 << 20
MAX_FRAME = "8 MiB"
GROWTH = 64 * MIB
"""How much memory a host may take for one attack."""
ADDRESS_SPACE = 8 << 30
PATIENCE = float(os.environ.get("HOSTILE_PATIENCE", "60"))
"""Seconds after which a host that has not reported counts as hung."""
_DRAIN_SECONDS = 15.0
SIBLING_SECONDS = 5.0
"""How long a sibling's call may take while the attack goes on; the machine may be busy."""


@attrs.frozen(kw_only=True)
class Attack:
    """What to do to a host.

    Attributes:
        target: the function of `hostile_targets`.
        args, kwargs: for it.
        way: how it is brought into an isolate: the name of a function in `WAYS`.
        options: of the isolate that attacks.
        bound: seconds within which the attacked call must have an outcome.
    """

    target: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = attrs.field(factory=dict)
    way: str = "invoke"
    options: dict[str, Any] = attrs.field(factory=dict)
    bound: float = 20.0


@attrs.define(kw_only=True)
class Outcome:
    """What was seen.

    Attributes:
        value: what the attacked call returned, as text, or None where it raised.
        error: the class of what it raised, or None.
        text: its text.
        kind, detail: of the `ExitReason` of the isolate that attacked, or None while it lives.
        seconds: until the call's outcome.
        sibling_worst: the longest call of a sibling meanwhile, in seconds.
        sibling_error: what a call of a sibling raised, or None.
        grown: bytes of memory that the host took at most, above what it had.
        extra_fds, extra_threads, new_modules: what the host has afterwards and had not before.
        log_failures: how many records the host's log handler could not handle.
        drained: whether what the isolate wrote and logged was dealt with in time.
        io_failed: whether the I/O thread is another one, or dead.
        pids: of all processes that there were.
        more: what a special way of attacking has to say.
    """

    value: str | None = None
    error: str | None = None
    text: str = ""
    kind: str | None = None
    detail: str | None = None
    seconds: float = 0.0
    sibling_worst: float = 0.0
    sibling_error: str | None = None
    grown: int = 0
    extra_fds: list[str] = attrs.field(factory=list)
    extra_threads: list[str] = attrs.field(factory=list)
    new_modules: list[str] = attrs.field(factory=list)
    log_failures: int = 0
    drained: bool = True
    io_failed: bool = False
    pids: list[int] = attrs.field(factory=list)
    more: dict[str, Any] = attrs.field(factory=dict)


class HostDied(AssertionError):
    """The host crashed or hung under the attack."""


class Host:
    """A host process that is attacked again and again, for as long as it stays unharmed."""

    def __init__(self) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        read, write = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", "import hostile; hostile.be_host()", str(write)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            pass_fds=[write],
            env=_env(),
        )
        os.close(write)
        self._reports = open(read, encoding="utf-8")  # noqa: SIM115
        self._pids: set[int] = set()

    def attack(self, attack: Attack) -> Outcome:
        """Run the attack and return what was seen.

        Raises:
            HostDied: where there was nothing to be seen any more.
        """
        assert self._process.stdin is not None
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        report = ""
        try:
            with contextlib.suppress(BrokenPipeError):
                pickle.dump(attack, self._process.stdin)
                self._process.stdin.flush()
                report = self._reports.readline()
        finally:
            timer.cancel()
            timer.join()
        if not report:
            self._fail()
        outcome = Outcome(**json.loads(report))
        self._pids |= set(outcome.pids)
        return outcome

    def _fail(self) -> None:
        self._process.kill()
        self._process.wait()
        self._stderr.seek(0)
        text = self._stderr.read().decode(errors="replace")
        self.kill()
        raise HostDied(f"status {self._process.returncode}; its stderr:\n{text[-3000:]}")

    def close(self) -> None:
        """End the host in an orderly way, and see that nothing of it is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            status = self._process.wait(PATIENCE)
        finally:
            self.kill()
        assert status == 0, f"the host ended with status {status}"
        alive = [process for pid in self._pids for process in _living(pid)]
        alive = psutil.wait_procs(alive, 5)[1]
        assert not alive, f"processes outlive their host: {alive}"

    def kill(self) -> None:
        """End the host at once, and see its processes end with it."""
        self._process.kill()
        self._process.wait()
        self._reports.close()
        self._stderr.close()
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        psutil.wait_procs([process for pid in self._pids for process in _living(pid)], 10)


def _living(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []


def _env() -> dict[str, str]:
    roots = [str(pathlib.Path(__file__).resolve().parent), *(path for path in sys.path if path)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(roots)}


# --- in the host ---------------------------------------------------------------------------------------


class Formatting(logging.StreamHandler[Any]):
    """Formats each record as an ordinary handler does, keeps nothing, and counts what it could not format."""

    def __init__(self) -> None:
        super().__init__(open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        self.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)s %(name)s %(isolate)s %(message)s", defaults={"isolate": ""})
        )
        self.failures = 0
        self.seen: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Format one record."""
        super().emit(record)
        if len(self.seen) < 50:
            self.seen.append((record.name[:100], str(getattr(record, "isolate", ""))[:100]))

    def handleError(self, record: logging.LogRecord) -> None:
        """Count it."""
        self.failures += 1


class Sibling:
    """An honest isolate that is asked for its pid all the time."""

    def __init__(self) -> None:
        self.isolator = ProcessIsolator(IsolationOptions(name="sibling")).start()
        self.worst = 0.0
        self.error: str | None = None
        self._over = threading.Event()

    def ask(self, timeout: float = 30.0) -> None:
        """Make one call."""
        started = time.monotonic()
        try:
            assert self.isolator.invoke_method("os:getpid").get(timeout=timeout) == self.isolator.pid
        except Exception as error:
            self.error = self.error or f"{type(error).__name__}: {error}"[:500]
        self.worst = max(self.worst, time.monotonic() - started)

    def __enter__(self) -> Sibling:
        self.worst, self.error = 0.0, None
        self._over.clear()
        self._thread = threading.Thread(target=self._ask_again_and_again)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.ask()

    def _ask_again_and_again(self) -> None:
        while not self._over.wait(0.01):
            self.ask()


class HostileActor(ProcessActor):
    """An actor, so that its isolate may ask things of the host, which attacks."""

    def attack(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a function of the targets."""
        return getattr(targets(), target)(*args, **kwargs)

    def hold(self, thing: Any) -> None:
        """Hold what is lent."""
        self.held = [*getattr(self, "held", ()), thing]


def targets() -> Any:
    """In an isolate: return the module of the targets."""
    name = "_hostile_targets_of_an_actor"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TARGETS)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def be_host() -> None:
    """Be a host: do as stdin says, and write to the given descriptor what was seen."""
    handler = Formatting()
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    sibling = Sibling()
    _warm_up()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, most))
    gc.collect()
    gc.freeze()  # garbage is collected often from here on: only that of the attacks is looked for
    with open(int(sys.argv[1]), "w", encoding="utf-8") as pipe:
        while True:
            try:
                attack: Attack = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            faulthandler.dump_traceback_later(PATIENCE - 2, exit=False)
            json.dump(attrs.asdict(observe(attack, handler, sibling)), pipe)
            pipe.write("\n")
            pipe.flush()
            faulthandler.cancel_dump_traceback_later()


def observe(attack: Attack, handler: Formatting, sibling: Sibling) -> Outcome:
    """Run the attack in this process."""
    outcome = Outcome()
    handler.failures, handler.seen = 0, []
    threads, modules, fds = _threads(), set(sys.modules), _fds()
    memory = _reset_peak()
    with sibling:
        try:
            WAYS[attack.way](attack, outcome)
        finally:
            outcome.pids = [child.pid for child in psutil.Process().children(recursive=True)]
        outcome.drained = _drained()
    outcome.extra_fds, outcome.extra_threads = _left(fds, threads)
    outcome.grown = _peak() - memory
    outcome.sibling_worst, outcome.sibling_error = sibling.worst, sibling.error
    outcome.new_modules = [name for name in set(sys.modules) - modules if "hostile" in name]
    outcome.io_failed = not any(thread.name == "piactors-io" for thread in threading.enumerate())
    outcome.log_failures = handler.failures
    loggers = list(logging.Logger.manager.loggerDict.values())
    outcome.more["logged"] = handler.seen
    outcome.more["loggers"] = len(loggers)
    outcome.more["cached_levels"] = sum(len(getattr(logger, "_cache", ())) for logger in loggers)
    return outcome


def _drained() -> bool:
    """Wait until all that came from isolates has been passed on; whether that was so in time."""
    return runtime.current().dispatcher.drain(_DRAIN_SECONDS)


def _warm_up() -> None:
    """Have what is made once and kept: launchers (actors have one of their own), what the first failure imports."""
    HostileActor.with_options(IsolationOptions(name="first actor", max_frame=MAX_FRAME)).start().stop()
    with ProcessIsolator(IsolationOptions(name="first", max_frame=MAX_FRAME)) as first:
        first.invoke_method("os:getpid").get(timeout=30)
        with contextlib.suppress(piactors.RemoteError, ZeroDivisionError, TypeError):
            first.invoke_method("math:sqrt", "x").get(timeout=30)
        first.invoke_method("logging:warning", "warm").get(timeout=30)
        first.invoke_method("os:_exit", 1).exception(timeout=30)


def settles(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait for what follows the end of a process on other threads; return whether it came."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        threading.Event().wait(0.01)
    return True


def _left(fds: list[str], threads: list[str]) -> tuple[list[str], list[str]]:
    """Return what is there now and was not before, when it has settled.

    One look decides: the host itself opens a folder for a moment now and then, and a second look may find that.
    """
    left: tuple[list[str], list[str]] = ([], [])

    def is_clean() -> bool:
        nonlocal left
        left = _extra(_fds(), fds), _extra(_threads(), threads)
        return left == ([], [])

    settles(is_clean)
    return left


def _fds() -> list[str]:
    """Return what the descriptors are."""
    found = []
    for fd in inside.descriptors():
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{fd}").partition(":")[0])
    return found


def _threads() -> list[str]:
    gc.collect()
    return [thread.name for thread in threading.enumerate()]


def _extra(now: list[str], before: list[str]) -> list[str]:
    rest = list(now)
    for name in before:
        if name in rest:
            rest.remove(name)
    return rest


def _reset_peak() -> int:
    gc.collect()
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell peaks of memory")


# --- ways to attack ------------------------------------------------------------------------------------


def _options(attack: Attack) -> IsolationOptions:
    return IsolationOptions(**{"name": "villain", "max_frame": MAX_FRAME, **attack.options})


def _record(outcome: Outcome, started: float, call: Callable[[], Any]) -> None:
    """Note what a call comes to."""
    try:
        outcome.value = repr(call())[:200]
    except Exception as error:
        outcome.error = type(error).__name__
        outcome.text = _text(error)
        reason = getattr(error, "reason", None)
        if reason is not None:
            outcome.kind, outcome.detail = reason.kind, (reason.detail or "")[:1000]
    outcome.seconds = time.monotonic() - started


def _text(error: Exception) -> str:
    try:
        return str(error)[:2000]
    except Exception as failure:
        return f"<its text cannot be had: {type(failure).__name__}>"


def invoke(attack: Attack, outcome: Outcome) -> None:
    """Call the target by its name; make another call where the isolate is alive after that."""
    isolator = ProcessIsolator(_options(attack)).start()
    started = time.monotonic()
    call = isolator.invoke_method(f"{TARGETS}:{attack.target}", *attack.args, **attack.kwargs)
    _record(outcome, started, lambda: call.get(timeout=attack.bound))
    if outcome.error == "ProtocolError":
        isolator.wait_for_exit(1.0)  # the call is told before the process is ended
    outcome.more["alive"] = isolator.is_alive
    _terminated(isolator.ref, outcome)


def invoke_twice(attack: Attack, outcome: Outcome) -> None:
    """The same for attacks that answer well: the isolate must be found out, or answer again."""
    isolator = ProcessIsolator(_options(attack)).start()
    call = isolator.invoke_method(f"{TARGETS}:{attack.target}", *attack.args, **attack.kwargs)
    outcome.more["first"] = repr(call.exception(timeout=attack.bound))
    started = time.monotonic()
    again = isolator.invoke_method(f"{TARGETS}:pid")
    _record(outcome, started, lambda: again.get(timeout=attack.bound))
    outcome.more["alive"] = isolator.is_alive
    _terminated(isolator.ref, outcome)


def tell(attack: Attack, outcome: Outcome) -> None:
    """Have the attack run for a message that wants no answer, with a call waiting behind it."""
    ref = _actor(attack)
    started = time.monotonic()
    ref.proxy().attack.defer(attack.target, attack.args, attack.kwargs)
    behind = ref.proxy().attack("pid", (), {})
    _record(outcome, started, lambda: behind.get(timeout=attack.bound))
    _terminated(ref, outcome)


def actor(attack: Attack, outcome: Outcome) -> None:
    """Have an actor attack, whose isolate may ask things of the host."""
    ref = _actor(attack)
    started = time.monotonic()
    call = ref.proxy().attack(attack.target, attack.args, attack.kwargs)
    _record(outcome, started, lambda: call.get(timeout=attack.bound))
    outcome.more["alive"] = ref.is_alive()
    _terminated(ref, outcome)


def actor_deaf(attack: Attack, outcome: Outcome) -> None:
    """The same, after it has stopped to read what the host sends on the control channel."""
    ref = _actor(attack)
    ref.proxy().attack("stop_reading_control", (), {}).get(timeout=10)
    started = time.monotonic()
    call = ref.proxy().attack(attack.target, attack.args, attack.kwargs)
    _record(outcome, started, lambda: call.get(timeout=attack.bound))
    _terminated(ref, outcome)


def _actor(attack: Attack) -> Any:
    return HostileActor.with_options(_options(attack)).start()


class Lent:
    """What is lent to an isolate that attacks: it does nothing, or takes its time."""

    def __init__(self) -> None:
        self.waits = threading.Event()

    def nap(self) -> None:
        """Take as long as the attack does."""
        self.waits.wait(PATIENCE)


class Busy(ProcessActor):
    """Has no time for messages."""

    def nap(self, seconds: float) -> None:
        """Take a while."""
        time.sleep(seconds)


def lent(attack: Attack, outcome: Outcome) -> None:
    """Lend an actor things; it attacks with frames that name one of them: `args` are its name, kind, flags, the payload
    without the number of the thing, and how many bytes are sent.
    """
    ref, slow, topic = _actor(attack), Lent(), piactors.Topic("news", buffer=10)
    busy = Busy.with_options(IsolationOptions(name="busy")).start()
    busy.proxy().nap.defer(PATIENCE)
    things = {"future": piactors.Future(), "object": piactors.by_ref(slow), "ref": busy, "topic": topic}
    things["caller"] = piactors.by_ref(slow.nap, run="caller")
    held: set[int] = set()
    numbers = {}
    for name, thing in things.items():
        ref.proxy().hold(thing).get(timeout=20)
        now = {loan.number for loan in ref._isolate.life.current.process.ledger}
        numbers[name], held = min(now - held), now
    name, kind, flags, rest, total = attack.args
    raw = numbers[name].to_bytes(8, "little") + rest
    started = time.monotonic()
    call = ref.proxy().attack(attack.target, (kind, flags, raw, total), attack.kwargs)
    _record(outcome, started, lambda: call.get(timeout=attack.bound))
    slow.waits.set()
    outcome.more["held"] = len(things)
    _terminated(ref, outcome)
    busy.terminate(timeout=20)


def start(attack: Attack, outcome: Outcome) -> None:
    """Attack before the isolate is ready; where it becomes ready, use its description and its method."""
    started = time.monotonic()
    refs: list[Any] = []

    def use() -> Any:
        options = _options(attack)
        refs.append(piactors.spawn(f"{TARGETS}:Starter", attack.target, *attack.args, options=options, **attack.kwargs))
        return refs[0].proxy().method().get(timeout=attack.bound)

    _record(outcome, started, use)
    for ref in refs:
        _terminated(ref, outcome)


def give_up(attack: Attack, outcome: Outcome) -> None:
    """Attack, then have a call run, another one wait behind it, and give up on that one."""
    isolator = ProcessIsolator(_options(attack)).start()
    isolator.invoke_method(f"{TARGETS}:{attack.target}", *attack.args).get(timeout=attack.bound)
    with tempfile.TemporaryDirectory() as folder:
        running = os.path.join(folder, "running")
        blocked = isolator.invoke_method(f"{TARGETS}:block", running)
        assert settles(lambda: os.path.exists(running), 20)
        behind = isolator.invoke_method(f"{TARGETS}:pid")
        started = time.monotonic()
        _record(outcome, started, behind.cancel)
        try:
            isolator.ref._isolate.shut_down()
        except Exception as error:
            outcome.more["shut_down"] = f"{type(error).__name__}: {error}"
    _terminated(isolator.ref, outcome)
    outcome.more["blocked"] = type(blocked.exception(timeout=10)).__name__


def lent_output(attack: Attack, outcome: Outcome) -> None:
    """One isolate lends its stdout to another, and ends while that one goes on writing to it."""
    name = f"piactors-hostile-{os.getpid()}"
    with ProcessIsolator(_options(attack)) as writer:
        writer.invoke_method(f"{TARGETS}:listen", name).get(timeout=20)
        lender = ProcessIsolator(IsolationOptions(name="lender", max_frame=MAX_FRAME)).start()
        started = time.monotonic()
        written = writer.invoke_method(f"{TARGETS}:borrow_stdout", *attack.args)
        lent = lender.invoke_method(f"{TARGETS}:lend_stdout", name)
        _record(outcome, started, lambda: lent.get(timeout=attack.bound))
        outcome.more["written"] = written.get(timeout=attack.bound)
        _terminated(lender.ref, outcome)
        writer.terminate()


def lying_page(attack: Attack, outcome: Outcome) -> None:
    """Have a call die again and again while the page claims what is not so; count how often it ran."""
    with tempfile.TemporaryDirectory() as folder:
        note = os.path.join(folder, "note")
        options = attrs.evolve(_options(attack), restart="permanent", max_restarts=20)
        isolator = ProcessIsolator(options).start()
        started = time.monotonic()
        call = isolator.invoke_method(f"{TARGETS}:{attack.target}", *attack.args, note=note)
        _record(outcome, started, lambda: call.get(timeout=attack.bound))
        again = isolator.invoke_method(f"{TARGETS}:pid")
        outcome.more["answers_again"] = again.get(timeout=20) is not None
        outcome.more["runs"] = len(pathlib.Path(note).read_text().splitlines())
        _terminated(isolator.ref, outcome)


def _terminated(ref: Any, outcome: Outcome) -> None:
    reason = ref.terminate(timeout=20)
    assert reason is not None, "the isolate that attacked does not end"
    if outcome.detail is None:
        outcome.kind, outcome.detail = reason.kind, (reason.detail or "")[:1000]


WAYS: dict[str, Callable[[Attack, Outcome], None]] = {
    way.__name__: way
    for way in (invoke, invoke_twice, tell, actor, actor_deaf, lent, start, give_up, lent_output, lying_page)
}


@contextlib.contextmanager
def marker() -> Iterator[str]:
    """Return a path that must not exist at the end, although an attack would make it."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "made-by-an-attack")
        yield path
        assert not os.path.exists(path), "code of the attack has run in the host"


if __name__ == "__main__":
    host = Host()
    print(host.attack(Attack(target=sys.argv[1])))
    host.close()
