"""Rules of `piactors._io.reader`, with socketpairs and a real loop: callers and the loop read in turns."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from piactors._io.channel import Channel
from piactors._io.loop import Loop
from piactors._io.reader import ANSWERS, Reader
from piactors._io.spin import Spin
from piactors._platform import wake
from piactors.errors import ProtocolError
from piactors.pihost.wire import wire
from piactors.pihost.wire.ends import SocketEnd
from tests.interrupting import Injector
from tests.support import wait_until
from tests.unit.test_loop import on_loop, unexpected


class Awaited:
    """Stands for a future: settled when the answer of its number has come."""

    _errands = None

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.settled = False
        self.wakers: list[Callable[[], None]] = []

    @property
    def _settled(self) -> bool:
        return self.settled

    def is_settled(self) -> bool:
        return self.settled

    def settle(self) -> None:
        self.settled = True
        for waker in self.wakers:
            waker()


class Side:
    """A reader on a real loop, and the other end."""

    def __init__(self) -> None:
        one, self.peer = socket.socketpair()
        self.loop = Loop(unexpected, unexpected)
        self.loop.start()
        self.channel = Channel(SocketEnd(one), 1 << 24)
        self.handled: list[tuple[int, int]] = []
        self.by: list[int] = []
        self.faults: list[Exception] = []
        self.ends = 0
        self.awaited: dict[int, Awaited] = {}
        self.due = False
        self.on_handle: Callable[[wire.Frame], object] = lambda frame: None
        self.reader = Reader(
            self.loop, self.channel, lambda frame: frame.kind in ANSWERS, self._handle, self._fault, self._ended
        )
        self.fd = self.channel.fileno()
        on_loop(self.loop, lambda: self.loop.watch(self.fd, self.reader.read))

    def _handle(self, frame: wire.Frame, again: bool) -> None:
        self.handled.append((frame.kind, frame.seq))
        self.by.append(threading.get_ident())
        self.on_handle(frame)
        if frame.kind == wire.REPLY and frame.seq in self.awaited:
            self.awaited[frame.seq].settle()

    def _fault(self, channel: Channel, error: Exception) -> None:
        self.loop.unwatch(self.fd)
        self.faults.append(error)

    def _ended(self, channel: Channel) -> None:
        self.loop.unwatch(self.fd)
        self.ends += 1

    def send(self, *frames: tuple[int, int]) -> None:
        self.peer.sendall(b"".join(wire.encode(kind, 0, 1, seq, b"x") for kind, seq in frames))

    def later(self, seconds: float, *frames: tuple[int, int]) -> threading.Timer:
        """Send frames later; who waits for one of the answers may come before it or after it."""
        for kind, seq in frames:
            if kind == wire.REPLY:
                self.awaited.setdefault(seq, Awaited(seq))
        timer = threading.Timer(seconds, self.send, frames)
        timer.start()
        return timer

    def get(self, seq: int, timeout: float = 20.0) -> bool:
        """Read as a caller that waits for an answer, for as long as that takes; whether it came."""
        future = self.awaited.setdefault(seq, Awaited(seq))
        end = time.monotonic() + timeout
        future.wakers.append(wake.mine().wake)
        self.reader.read_until_settled(future, wake.mine(), Spin(False), end, lambda: self.due)
        if not future.settled:
            self.reader.watch()
        return future.settled

    def close(self) -> None:
        on_loop(self.loop, self.reader.close)
        self.loop.stop()
        self.channel.close()
        self.peer.close()


@pytest.fixture
def side() -> Iterator[Side]:
    """A reader and its peer."""
    made = Side()
    yield made
    made.close()


def in_thread(function: Callable[..., object], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


REPLY, REQUEST = wire.REPLY, wire.REQUEST


def test_a_caller_reads_its_own_answer(side: Side) -> None:
    """In its own thread, with those of others that it meets; the loop reads where nobody waits."""
    side.send((REPLY, 1), (REPLY, 2))
    wait_until(lambda: len(side.handled) == 2)
    assert side.by[0] == side.loop.thread.ident
    side.later(0.05, (REPLY, 3), (REPLY, 4))
    assert side.get(4)
    assert side.handled[2:] == [(REPLY, 3), (REPLY, 4)]
    assert side.by[2:] == [threading.get_ident()] * 2


def test_what_comes_unasked_after_a_turn_is_read_soon(side: Side) -> None:
    """The channel is unwatched for a moment only, and not at all if answers are due."""
    for number in range(20):
        side.due = bool(number % 2)
        side.later(0.002, (REPLY, number))
        assert side.get(number)
        began = time.monotonic()
        side.send((REQUEST, number))
        wait_until(lambda number=number: (REQUEST, number) in side.handled)  # type: ignore[misc]
        assert time.monotonic() - began < 5
    who = {by for by, (kind, _) in zip(side.by, side.handled, strict=True) if kind == REQUEST}
    assert who == {side.loop.thread.ident}


def test_what_is_no_answer_goes_to_the_loop_in_order(side: Side) -> None:
    """And so does all that came after it; the caller gets its answer nevertheless."""
    frames = [(REPLY, 1), (REQUEST, 2), (REPLY, 3), (REQUEST, 4), (REPLY, 5)]
    for _ in range(20):
        side.handled.clear()
        side.awaited.clear()
        timer = side.later(0.002, *frames)
        side.get(5)
        wait_until(lambda: len(side.handled) == len(frames))
        assert side.handled == frames
        timer.join()


def test_a_fault_comes_after_what_stood_before_it(side: Side) -> None:
    """The frames before it count, and the caller is not left waiting."""
    data = wire.encode(REPLY, 0, 1, 1, b"x") + wire.encode(REPLY, 0, 1, 2, b"x") + b"\xff" * wire.HEADER_SIZE
    timer = threading.Timer(0.01, side.peer.sendall, [data])
    timer.start()
    assert not side.get(9)
    wait_until(lambda: side.faults)
    assert side.handled == [(REPLY, 1), (REPLY, 2)]
    assert isinstance(side.faults[0], ProtocolError)
    assert not side.get(10)


def test_a_handler_that_fails_is_a_fault(side: Side) -> None:
    """In a caller's thread as on the loop: told once, on the loop."""

    def fail(frame: wire.Frame) -> None:
        raise ProtocolError("no")

    side.on_handle = fail
    side.later(0.01, (REPLY, 1), (REPLY, 2))
    assert not side.get(2)
    wait_until(lambda: side.faults)
    assert [str(error) for error in side.faults] == ["no"]


def test_the_end_is_told_once_and_ends_the_wait(side: Side) -> None:
    """After what came before it."""

    def end() -> None:
        side.send((REPLY, 1))
        side.peer.shutdown(socket.SHUT_WR)

    threading.Timer(0.01, end).start()
    assert not side.get(2)
    wait_until(lambda: side.ends)
    assert side.handled == [(REPLY, 1)]
    assert side.ends == 1


def test_a_close_ends_the_wait_of_a_caller(side: Side) -> None:
    """At once, and whoever comes later does not wait."""
    thread = in_thread(side.get, 1)
    wait_until(lambda: side.reader.is_unwatched)
    on_loop(side.loop, side.reader.close)
    thread.join(5)
    assert not thread.is_alive()
    assert not side.get(2)


def test_a_wait_that_runs_out_leaves_the_rest_to_the_loop(side: Side) -> None:
    """Who asks for it later finds it."""
    assert not side.get(1, 0.02)
    side.send((REPLY, 1))
    wait_until(lambda: side.awaited[1].settled)


def test_a_handler_may_ask_for_the_loop_to_watch(side: Side) -> None:
    """It runs while the caller reads; what comes after the caller's turn is read without delay."""
    side.on_handle = lambda frame: side.reader.watch()
    side.later(0.01, (REPLY, 1))
    assert side.get(1)
    assert not side.reader.is_unwatched
    side.send((REPLY, 2))
    wait_until(lambda: len(side.handled) == 2)


def test_a_turn_within_a_turn_returns_to_the_outer_one(side: Side) -> None:
    """As of a signal handler: the inner one meets the outer one's answer, and the outer one sees it."""
    outer = Awaited(1)
    side.awaited[1] = outer
    nested: list[bool] = []

    class Nesting(Spin):
        def wait(self, waker: wake.Waker, timeout: float | None) -> bool:
            if not nested:
                nested.append(True)
                side.send((REPLY, 1), (REPLY, 2))
                nested.append(side.get(2))
            return super().wait(waker, timeout)

    outer.wakers.append(wake.mine().wake)
    began = time.monotonic()
    side.reader.read_until_settled(outer, wake.mine(), Nesting(False), began + 20, lambda: False)
    assert outer.settled
    assert nested == [True, True]
    assert time.monotonic() - began < 10
    side.later(0.01, (REPLY, 3))
    assert side.get(3)


def test_many_callers_and_the_loop_handle_each_frame_once_and_in_order(side: Side) -> None:
    """While callers come and go, and some frames are for the loop."""
    count, callers = 3000, 4
    frames = [(REQUEST if number % 7 == 0 else REPLY, number) for number in range(count)]
    for kind, number in frames:
        if kind == REPLY:
            side.awaited[number] = Awaited(number)
    side.due = True

    def work(first: int) -> None:
        for number in range(first, count, callers):
            if number % 7:
                while not side.get(number, 0.5):
                    pass

    threads = [in_thread(work, number) for number in range(callers)]
    for start in range(0, count, 10):
        side.send(*frames[start : start + 10])
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    wait_until(lambda: len(side.handled) == count)
    assert side.handled == frames


def test_a_drain_beside_a_caller_keeps_the_order(side: Side) -> None:
    """At the end of a process the loop reads whoever has the turn."""
    thread = in_thread(side.get, 10_000)
    wait_until(lambda: side.reader.is_unwatched)
    for start in range(0, 1000, 10):
        side.send(*[(REPLY, number) for number in range(start, start + 10)])
        on_loop(side.loop, side.reader.drain)
    wait_until(lambda: len(side.handled) == 1000)
    assert side.handled == [(REPLY, number) for number in range(1000)]
    on_loop(side.loop, side.reader.close)
    thread.join(10)
    assert not thread.is_alive()


def test_a_drain_that_finds_a_fault_closes(side: Side) -> None:
    """It raises, and no caller touches the channel after that."""
    thread = in_thread(side.get, 1)
    wait_until(lambda: side.reader.is_unwatched)

    def drain() -> str:
        side.peer.sendall(b"\xff" * wire.HEADER_SIZE)
        try:
            side.reader.drain()
        except ProtocolError:
            return "fault"
        return "closed by the caller"

    assert on_loop(side.loop, drain) in ("fault", "closed by the caller")
    on_loop(side.loop, side.reader.close)
    thread.join(10)
    assert not thread.is_alive()
    assert not side.get(2)


def test_a_caller_may_be_interrupted_anywhere_in_a_read(side: Side) -> None:
    """The loop goes on with what he has left: nothing is lost, and nothing is handled again without a word of that."""
    handled: list[tuple[int, bool]] = []
    side.reader._handle = lambda frame, again: handled.append((frame.seq, again))

    def read_once() -> None:
        with side.reader._lock:
            side.reader._read_once()

    at, injector = 0, Injector(0)
    while at == injector.points:
        at, injector = at + 1, Injector(at + 1)
        with side.reader._lock:
            assert side.reader._borrow(threading.get_ident(), None)
        handled.clear()
        side.send((REPLY, 1), (REPLY, 2), (REPLY, 3))
        injector.run(read_once)
        side.reader._give_back_again(0, lambda: False)
        wait_until(lambda: bool(handled) and handled[-1][0] == 3)
        on_loop(side.loop, lambda: None)
        assert list(dict.fromkeys(seq for seq, _ in handled)) == [1, 2, 3], injector.where
        assert all(again for place, (seq, again) in enumerate(handled) if seq in {s for s, _ in handled[:place]})
        assert not side.faults
    assert at > 50
