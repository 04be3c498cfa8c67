"""The mailbox and what goes through it, with a model of the process: room for those who wait, stops, faults."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piactors._isolate.delivery import Delivery, Unanswered
from piactors._isolate.policies import idle_memory
from piactors._isolate.policies.idle_memory import IdleMemory
from piactors._rules.mailbox import Evidence
from piactors._rules.message import Message
from piactors.options import IsolationOptions
from piactors.pihost.wire import wire

CAPACITY = 2
OPERATIONS = (
    "put", "put", "put", "answer", "answer", "crash", "crash", "refuse", "attach", "pause", "give_up", "take_unbegun",
    "take_untried", "stop", "close",
)  # fmt: skip


class Process:
    """What messages go to: it begins them in order, and skips those that were given up before."""

    knowledge = SimpleNamespace(forgotten=False)

    number = 1

    def __init__(self) -> None:
        self.sent: list[tuple[int, str]] = []
        self.begun = 0
        self.given_up: set[int] = set()

    def send(self, kind: int, flags: int, seq: int, payload: bytes) -> None:
        self.sent.append((seq, "stop" if kind == wire.STOP else "call"))

    def send_frames(self, frames: list[bytes], seq: int) -> None:
        for frame in wire.FrameDecoder(1 << 20).feed(b"".join(frames)):
            self.send(frame.kind, frame.flags, frame.seq, frame.payload)

    def has_taken(self, seq: int, payload: bytes) -> bool:
        return True

    def wake_reader(self) -> None:
        """Nobody reads here."""

    def give_up(self, seq: int) -> bool:
        if seq > self.begun:
            self.given_up.add(seq)
        return seq > self.begun

    def watch(self) -> None:
        """Nobody reads here."""


@attrs.define(eq=False)
class Sender:
    """Who has sent a message, or waits for room."""

    message: Message
    latch: threading.Lock | None = None


class Scene:
    """One mailbox, and who sends to it."""

    def __init__(self) -> None:
        self.later: list[Any] = []
        loop: Any = SimpleNamespace(call_soon=lambda *call: self.later.append(call))
        spec: Any = SimpleNamespace(
            name="one",
            trusts_objects=True,
            own_interpreter=True,
            options=IsolationOptions(mailbox_capacity=CAPACITY, spin=False),
        )
        decoder: Any = None
        self.delivery = Delivery(spec, loop, decoder, lambda message: LookupError())
        self.senders: list[Sender] = []
        self.attach()

    @property
    def process(self) -> Process | None:
        found: Any = self.delivery.process
        return found

    def try_to_put(self, sender: Sender) -> None:
        try:
            with self.delivery.lock:
                sender.latch = self.delivery._take(sender.message, may_block=True)[0]
        except LookupError:
            sender.latch = None

    def settle(self) -> None:
        """Have those who were told look whether there is room now."""
        while self.later:
            call, *args = self.later.pop(0)
            call(*args)
        for sender in self.senders:
            while sender.latch is not None and sender.latch.acquire(blocking=False):
                self.try_to_put(sender)

    @property
    def waiting(self) -> list[Sender]:
        return [sender for sender in self.senders if sender.latch is not None]

    # What happens

    def put(self) -> None:
        sender = Sender(Message("call", b""))
        self.senders.append(sender)
        self.try_to_put(sender)

    def answer(self) -> None:
        process = self.process
        if process is None or process.begun == len(process.sent):
            return
        seq, kind = process.sent[process.begun]
        if kind == "stop":
            self.crash()
            return
        process.begun = seq
        answer = wire.SKIPPED if seq in process.given_up else wire.REPLY
        self.delivery.answered(wire.Frame(answer, 0, 1, seq, b""), False)

    def crash(self) -> None:
        """It ends, and all that it was sent had begun."""
        process = self.process
        if process is not None:
            process.begun = len(process.sent)
            self.delivery.detach(Evidence(process.begun), ())
            self.delivery.all_settled()

    def attach(self) -> None:
        if self.process is None and not self.delivery.is_closed:
            process: Any = Process()
            self.delivery.attach(process)
        self.delivery.resume()

    def pause(self) -> None:
        if self.process is not None:
            self.delivery.pause(lambda: None)

    def give_up(self) -> None:
        for sender in self.senders[:1]:
            self.delivery.give_up(sender.message)
            self.senders.remove(sender) if sender.latch is None else None

    def take_unbegun(self) -> None:
        self.delivery.take_unbegun(in_flight=True)

    def take_untried(self) -> None:
        self.delivery.take_unbegun(in_flight=False, tried=False)

    def stop(self) -> None:
        if self.process is not None and not self.delivery.mailbox.stop_sent:
            self.delivery.ask_to_stop()

    def refuse(self) -> None:
        self.delivery.refuse(None if self.delivery.refusal else LookupError)

    def close(self) -> None:
        self.delivery.close(LookupError)


@settings(max_examples=1_000, deadline=None)
@given(st.lists(st.sampled_from(OPERATIONS), min_size=4, max_size=30))
def test_nobody_waits_beside_room(operations: list[str]) -> None:
    scene = Scene()
    for name in operations:
        getattr(scene, name)()
        scene.settle()
        assert not scene.waiting or len(scene.delivery) >= CAPACITY, name
        assert not (scene.waiting and scene.delivery.refusal), name


def test_what_is_in_flight_before_a_stop_is_not_taken_back() -> None:
    """A stop lets all run that was put before it, also if the process is about to be replaced in that moment."""
    scene = Scene()
    for _ in range(CAPACITY):
        scene.put()
    scene.delivery.put_stop(Message("stop", b""))
    scene.pause()
    assert scene.process is not None
    assert scene.process.given_up == set()
    scene.answer()
    scene.answer()
    assert [kind for _, kind in scene.process.sent] == ["call", "call", "stop"]
    assert scene.process.begun == CAPACITY


def test_a_call_that_is_left_without_an_answer_is_not_tried_again() -> None:
    """Its caller is told, so it must not run a second time in the next process."""
    scene, reply_to = Scene(), SimpleNamespace(flags=lambda _: 0)
    with scene.delivery.lock:
        scene.delivery._take(Message("call", b"", reply_to, retries=1), may_block=True)
    with pytest.raises(Unanswered):
        scene.delivery.answered(wire.Frame(wire.DONE, 0, 1, 1, b""), False)
    assert scene.delivery.detach(Evidence(1), ()).retried == []
    assert len(scene.delivery) == 0


def test_what_a_process_was_asked_to_stop_for_ends_with_it_though_it_was_never_made() -> None:
    """The stop would end the next one otherwise, as soon as that is ready."""
    scene = Scene()
    scene.pause()
    scene.delivery.ask_to_stop()
    scene.delivery.detach(None, ())
    scene.attach()
    assert scene.process is not None
    assert scene.process.sent == []


def test_shared_memory_is_looked_at_again_if_nothing_can_be_given_back_now() -> None:
    """The process is about to be replaced, and perhaps is not in the end."""
    scene, timers = Scene(), []
    loop: Any = SimpleNamespace(call_later=lambda seconds, call: timers.append(call))
    memory = IdleMemory(scene.delivery, loop, 0)
    memory.used()
    scene.pause()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idle_memory, "IDLE_SECONDS", 0.0)
        timers.pop()()
        assert len(timers) == 1
        scene.delivery.detach(None, ())
        timers.pop()()
        assert timers == []
