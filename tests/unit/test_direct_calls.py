"""What comes to an isolate directly: run in order, answered once, and ended without a doubt about what had begun."""

from __future__ import annotations

import math
import os
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from piactors._platform import memory_file
from piactors._process.host_page import open_page
from piactors.pihost.memory import handed
from piactors.pihost.serve.direct import DirectCalls
from piactors.pihost.serve.hosted import Hosted
from piactors.pihost.serve.replies import Replies
from piactors.pihost.wire import direct, page, wire
from piactors.pihost.wire.ends import PipeEnd
from piactors.pihost.wire.streams import FrameStream

pytestmark = pytest.mark.timeout(60)


class Target:
    """Is called."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.on_call: Any = None

    def echo(self, value: Any) -> Any:
        self.seen.append(value)
        if self.on_call is not None:
            self.on_call()
        return value

    def fail(self) -> None:
        raise LookupError("no")


class Loop:
    """What runs calls, as far as direct ones need it."""

    def __init__(self, fd: int) -> None:
        self.page = page.SequencePage(fd)
        self.hosted = Hosted(Target())
        self.trusted_replies = Replies(True, frozenset())
        self.link: Any = self
        self.requests: list[Any] = []
        self.ended: list[BaseException] = []

    def is_ending(self) -> bool:
        return bool(self.ended)

    def settle(self, value: Any) -> Any:
        return value

    def is_cancelled(self, call: int) -> bool:
        return False

    def told(self, hook: Any, error: BaseException) -> None:
        hook(error)

    def end_with(self, error: BaseException) -> None:
        self.ended.append(error)

    def request_plain(self, request: Any, on_answer: Any) -> None:
        self.requests.append(request)


class World:
    """One receiver, and those who send to it."""

    def __init__(self) -> None:
        made = memory_file.create(page.SIZE)
        fds = made if isinstance(made, tuple) else (made,)
        self.host_page = open_page(os.dup(fds[0]))
        self.loop = Loop(fds[0])
        for fd in fds:
            os.close(fd)
        requests, self.host = os.pipe()
        self.data = FrameStream(PipeEnd(requests, os.dup(self.host)))
        self.calls = DirectCalls(self.loop, self.data, None)
        self.target: Target = self.loop.hosted.obj
        self.senders: list[socket.socket] = []

    def open(self, channel: int = 7, place: int = 3) -> socket.socket:
        ours, theirs = socket.socketpair()
        number = 8_000_000 + channel
        handed.came(number, theirs.detach())
        assert self.calls.open(channel, place, number)
        self.senders.append(ours)
        return ours

    def run(self) -> None:
        """Run what has come, until there is something from the host."""
        os.write(self.host, wire.encode(wire.TELL))
        self.calls.wait()
        self.data.frames.clear()

    def close(self) -> None:
        self.calls.cut(lambda *_: None, lambda _: None)
        for sender in self.senders:
            sender.close()
        os.close(self.host)
        self.data.end.close()
        self.host_page.close()


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    yield found
    found.close()


def message(number: int, name: str, *args: Any, until: float = math.inf, kind: int = wire.CALL) -> bytes:
    data = direct.head("call", name) + pickle.dumps((args, {}), 5)
    return direct.FRONT.pack(len(data) + direct.UNTIL.size, kind, wire.PICKLE | wire.QUICK, 0, number, until) + data


def answers(sender: socket.socket) -> list[tuple[int, int, Any]]:
    """Return kind, number and value of what has come back."""
    sender.setblocking(False)
    found, data = [], b""
    while True:
        try:
            more = sender.recv(65536)
        except OSError:
            break
        if not more:
            break
        data += more
    for frame in wire.FrameDecoder(1 << 20).feed(data):
        value = pickle.loads(frame.payload) if frame.kind == wire.REPLY else None
        found.append((frame.kind, frame.seq, value))
    return found


def begun(world: World) -> int:
    return world.host_page.direct_begun()[3]


def test_calls_are_run_in_order_and_answered(world: World) -> None:
    sender = world.open()
    sender.sendall(b"".join(message(number, "echo", number * 10) for number in range(1, 6)))
    world.run()
    assert world.target.seen == [10, 20, 30, 40, 50]
    assert answers(sender) == [(wire.REPLY, number, number * 10) for number in range(1, 6)]
    assert begun(world) == 5


def test_what_is_told_is_answered_without_a_value_and_what_raises_with_its_error(world: World) -> None:
    sender = world.open()
    sender.sendall(message(1, "echo", 1, kind=wire.TELL) + message(2, "fail") + message(3, "nothing"))
    world.run()
    assert [(kind, number) for kind, number, _ in answers(sender)] == [(wire.DONE, 1), (wire.ERROR, 2), (wire.ERROR, 3)]


def test_one_that_is_told_and_raises_ends_the_process(world: World) -> None:
    sender = world.open()
    sender.sendall(message(1, "fail", kind=wire.TELL) + message(2, "echo", 2))
    world.run()
    assert [type(error) for error in world.loop.ended] == [LookupError]
    assert world.target.seen == []
    assert begun(world) == 1


def test_what_is_too_late_never_begins(world: World) -> None:
    sender = world.open()
    sender.sendall(
        message(1, "echo", 1, until=time.monotonic() - 1) + message(2, "echo", 2, until=time.monotonic() + 9)
    )
    world.run()
    assert answers(sender) == [(wire.SKIPPED, 1, None), (wire.REPLY, 2, 2)]
    assert world.target.seen == [2]


def test_what_is_given_up_on_never_begins(world: World) -> None:
    sender = world.open()
    assert world.host_page.give_up_direct(3, 2)
    sender.sendall(b"".join(message(number, "echo", number) for number in (1, 2, 3)))
    world.run()
    assert [found[:2] for found in answers(sender)] == [(wire.REPLY, 1), (wire.SKIPPED, 2), (wire.REPLY, 3)]
    assert world.target.seen == [1, 3]


def test_frames_may_be_cut_anywhere(world: World) -> None:
    sender = world.open()
    whole = message(1, "echo", 1) + message(2, "echo", 2)
    for place in range(len(whole)):
        sender.sendall(whole[place : place + 1])
        world.run()
    assert world.target.seen == [1, 2]


@pytest.mark.parametrize("cut", [1, 15, 16, 30])
def test_a_sender_that_dies_within_a_frame(world: World, cut: int) -> None:
    sender = world.open()
    sender.sendall(message(1, "echo", 1) + message(2, "echo", 2)[:cut])
    sender.close()
    world.run()
    world.run()
    assert world.target.seen == [1]
    assert world.loop.requests == [("closed", 7)]


@pytest.mark.parametrize(
    "raw",
    [
        wire.encode(wire.STOP, 0, 0, 2),
        wire.encode(wire.CALL, 0, 0, 2, b"short"),
        wire.header(wire.CALL, 0, 0, 2, direct.MOST_FRAME + 1),
        wire.header(250, 0, 0, 2, 20),
    ],
)
def test_what_is_no_message_ends_the_channel_behind_what_came_before_it(world: World, raw: bytes) -> None:
    sender = world.open()
    sender.sendall(message(1, "echo", 1) + raw + message(3, "echo", 3))
    world.run()
    assert world.target.seen == [1]
    assert world.loop.requests == [("closed", 7)]
    assert begun(world) == 1


def test_nothing_begins_once_it_is_closed_whatever_is_opened_then(world: World) -> None:
    sender, told = world.open(), []
    sender.sendall(message(1, "echo", 1) + message(2, "echo", 2))
    world.calls.close(lambda: told.append(begun(world)))
    assert told == [0]
    other = world.open(8, 4)
    other.sendall(message(1, "echo", "other"))
    world.run()
    world.run()
    assert world.target.seen == ["other"]
    assert begun(world) == 0
    assert world.loop.requests == [("closed", 7)]


def test_a_close_is_told_when_what_runs_has_ended(world: World) -> None:
    sender, told = world.open(), []
    sender.sendall(message(1, "echo", 1) + message(2, "echo", 2))

    def close() -> None:
        closer = threading.Thread(target=lambda: world.calls.close(lambda: told.append(list(answers(sender)))))
        closer.start()
        closer.join()
        assert told == []

    world.target.on_call = close
    world.run()
    assert told == [[(wire.REPLY, 1, 1)]], "its answer had been sent"
    assert world.target.seen == [1]


def test_a_stop_runs_what_has_come_and_nothing_more(world: World) -> None:
    first, second = world.open(), world.open(8, 4)
    first.sendall(message(1, "echo", 1) + message(2, "echo", 2))
    second.sendall(message(1, "echo", 3))
    world.calls.drain()
    assert world.target.seen == [1, 2, 3]
    assert answers(first) == [(wire.REPLY, 1, 1), (wire.REPLY, 2, 2)]
    with pytest.raises(OSError, match=r".*"):
        first.sendall(message(3, "echo", 3))


def test_those_that_refuse_take_no_more(world: World) -> None:
    world.open()
    world.calls.refuse()
    ours, theirs = socket.socketpair()
    handed.came(8_100_000, theirs.detach())
    assert not world.calls.open(9, 5, 8_100_000)
    assert ours.recv(1) == b""
    ours.close()


def test_what_the_host_has_sent_waits_for_what_came_directly_before_it(world: World) -> None:
    sender = world.open()
    sender.sendall(b"".join(message(number, "echo", "x" * 1500) for number in range(1, 61)))
    world.run()
    assert len(world.target.seen) == 60
