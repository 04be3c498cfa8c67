"""The port to processes: what each placement has to do, and what the owner of a process hears, in which order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import piactors
from piactors import IsolationOptions
from piactors._codec import decode, encode
from piactors._host import runtime
from piactors._isolate.hosting import object_target
from piactors._isolate.spec import make_spec
from piactors._process.local import LocalPlacement
from piactors._process.placement import End, Placement, Process, ProcessOrder
from piactors.actor import ProcessActor
from piactors.pihost.serve import hosted
from piactors.pihost.wire import wire
from tests import inside
from tests.ports.memory import MemoryPlacement
from tests.support import wait_until

SECONDS = 20.0


class Echo:
    """What is hosted."""

    def echo(self, value: Any) -> Any:
        """Return the value."""
        return value

    def fail(self) -> None:
        """Raise."""
        raise ValueError("no")

    def nap(self, seconds: float) -> None:
        """Take a while."""
        time.sleep(seconds)


class Owner:
    """Notes what it hears."""

    answers_anywhere = False
    take_answers = None

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.ends: list[End] = []
        self.threads: set[int] = set()

    def note(self, what: str, detail: Any = None) -> None:
        self.threads.add(threading.get_ident())
        self.heard.append((what, detail))

    def on_launched(self, process: Process) -> None:
        self.note("launched")

    def on_frame(self, frame: wire.Frame) -> None:
        self.note("frame", frame.kind)

    def on_answer(self, frame: wire.Frame, again: bool) -> None:
        self.note("answer", frame)

    def on_refused(self, text: str, lack: bool) -> None:
        self.note("refused", text)

    def on_end(self, end: End) -> None:
        self.note("end")
        self.ends.append(end)

    def on_fault(self, error: Exception) -> None:
        self.note("fault", error)

    def on_failure(self, error: BaseException) -> None:
        self.note("failure", error)

    def on_lines(self, stream: str, lines: list[str]) -> None:
        """Not looked at."""

    def output_room(self) -> int:
        return 1000

    def on_dropped(self, lines: int) -> None:
        """Not looked at."""

    def kinds(self) -> list[str]:
        return [what for what, _ in self.heard]

    def answers(self) -> list[wire.Frame]:
        return [detail for what, detail in self.heard if what == "answer"]


def make_order(number: int = 1) -> ProcessOrder:
    options = IsolationOptions(start_method="launcher")
    target = object_target(Echo, options, (), {}, lambda _: ProcessActor)
    spec = make_spec(target, options)
    return ProcessOrder(
        number=number,
        how=spec.order,
        init=spec.init(spec.urn, number, number, {}),
        needs=spec.needs,
        output="discard",
        max_frame=options.max_frame,
        fell_back=print,
        on_large=lambda: None,
    )


Launch = Callable[[], tuple[Process, Owner]]


@pytest.fixture(params=["local", "memory"])
def placement(request: pytest.FixtureRequest) -> Placement:
    """Each of them."""
    found = runtime.for_start()
    loop = found.loop.share(lambda error: pytest.fail(repr(error)))
    if request.param == "memory":
        return MemoryPlacement(loop, lambda: hosted.host(Echo, (), {}))
    return LocalPlacement(loop, found.backend)


@pytest.fixture
def launch(placement: Placement) -> Iterator[Launch]:
    """Have a process launched on the I/O thread; it is gone at the end."""
    made: list[tuple[Process, Owner]] = []
    loop = runtime.current().loop

    def launched() -> tuple[Process, Owner]:
        owner, order = Owner(), make_order(len(made) + 1)
        done = threading.Event()

        def begin() -> None:
            made.append((placement.launch(order, owner), owner))
            done.set()

        loop.call_soon(begin)
        assert done.wait(SECONDS)
        return made[-1]

    yield launched
    for process, owner in made:
        process.kill()
        wait_until(lambda owner=owner: owner.ends)  # type: ignore[misc]


def is_ready(owner: Owner) -> bool:
    return ("frame", wire.READY) in owner.heard


def call(process: Process, seq: int, name: str, *args: Any) -> None:
    payload = encode.dumps_call("call", (name,), args, {}, foreign=False)
    assert isinstance(payload, bytes)
    process.send(wire.CALL, wire.PICKLE, seq, payload)


def test_it_says_why_not(placement: Placement) -> None:
    assert placement.why_not(make_order()) is None
    assert placement.name


def test_it_is_launched_greets_and_becomes_ready_in_that_order(launch: Launch) -> None:
    process, owner = launch()
    wait_until(lambda: is_ready(owner))
    assert owner.heard[:3] == [("launched", None), ("frame", wire.HELLO), ("frame", wire.READY)]
    assert process.number == 1
    assert process.node == ""
    assert not process.is_over
    assert not process.has_ended()


def test_calls_are_answered_in_order_on_the_io_thread(launch: Launch) -> None:
    process, owner = launch()
    for seq in range(1, 51):  # the first ones before it is ready
        call(process, seq, "echo", seq)
    wait_until(lambda: len(owner.answers()) == 50)
    assert [frame.seq for frame in owner.answers()] == list(range(1, 51))
    assert {frame.kind for frame in owner.answers()} == {wire.REPLY}
    decoder = decode.Decoder("test", True, {}, 1 << 20, lambda _: None)
    assert decoder.value(owner.answers()[6].flags, owner.answers()[6].payload) == 7
    assert owner.threads == {runtime.current().loop.ident}
    assert process.has_begun(50)
    assert not process.has_begun(51)


def test_an_exception_is_an_answer_too(launch: Launch) -> None:
    process, owner = launch()
    call(process, 1, "fail")
    wait_until(lambda: owner.answers())
    assert owner.answers()[0].kind == wire.ERROR


def test_what_is_given_up_before_it_begins_is_skipped(launch: Launch) -> None:
    process, owner = launch()
    call(process, 1, "nap", 0.3)
    wait_until(lambda: process.has_begun(1))
    call(process, 2, "echo", 2)
    assert not process.give_up(1), "it runs"
    assert process.give_up(2)
    wait_until(lambda: len(owner.answers()) == 2)
    assert [(frame.seq, frame.kind) for frame in owner.answers()] == [(1, wire.REPLY), (2, wire.SKIPPED)]


def test_the_end_is_told_once_and_last_with_what_had_begun(launch: Launch) -> None:
    process, owner = launch()
    call(process, 1, "echo", 1)
    wait_until(lambda: owner.answers())
    told: list[Any] = []
    process.request("no such operation that is ever answered" if process.pid is None else "describe", (), told.append)
    process.kill()
    process.kill()
    wait_until(lambda: owner.ends)
    assert owner.kinds()[-1] == "end"
    assert len(owner.ends) == 1
    end = owner.ends[0]
    assert (end.lost, end.evidence.begun, end.evidence.credible) == (False, 1, True)
    assert end.status is not None
    assert end.status & 0x7F == 9
    assert len(told) == 1
    assert process.is_over
    assert process.has_ended()
    heard = len(owner.heard)
    process.kill()
    done = threading.Event()
    runtime.current().loop.call_soon(done.set)
    assert done.wait(SECONDS)
    assert len(owner.heard) == heard


def test_a_stop_is_announced_before_the_end(launch: Launch) -> None:
    process, owner = launch()
    wait_until(lambda: is_ready(owner))
    process.send(wire.STOP, wire.PICKLE, 1, b"")
    wait_until(lambda: ("frame", wire.STOPPING) in owner.heard)
    process.send_control(wire.PROCEED, 0, b"")
    wait_until(lambda: owner.ends)
    assert owner.ends[0].status == 0


def test_an_isolate_works_over_any_placement(placement: Placement, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls, an exception, a kill with a restart, a stop: what is hosted in memory cannot tell."""
    monkeypatch.setattr("piactors._isolate.isolate.LocalPlacement", lambda *_: placement)
    ref = piactors.spawn(Echo, options=IsolationOptions(restart="permanent", keep_shared=0))
    proxy = ref.proxy()
    assert [future.get(timeout=SECONDS) for future in [proxy.echo(number) for number in range(100)]] == list(range(100))
    with pytest.raises(ValueError, match="no"):
        proxy.fail().get(timeout=SECONDS)
    running, waiting = proxy.nap(60), proxy.echo("after")
    wait_until(running.running)
    inside.process(ref).kill()
    with pytest.raises(piactors.IsolateCrashed):
        running.get(timeout=SECONDS)
    if placement.name == "local":
        assert waiting.get(timeout=SECONDS) == "after"
        assert ref.recycle().get(timeout=SECONDS) == 3
    assert ref.stop(timeout=SECONDS)
    assert ref.wait_for_exit(SECONDS) is not None
