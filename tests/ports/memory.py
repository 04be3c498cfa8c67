"""A placement whose processes are threads: what an owner hears of them is what it hears of real ones."""

from __future__ import annotations

import pickle
import queue
import threading
from collections.abc import Callable
from typing import Any

from piactors._codec.definitions import Needs
from piactors._codec.knowledge import Knowledge
from piactors._codec.lending import Ledger
from piactors._io.loop import Share
from piactors._io.spin import Spin
from piactors._process.control_channel import Answer
from piactors._process.placement import End, ProcessOrder, ProcessOwner
from piactors._rules.mailbox import Evidence
from piactors.exit_reason import Rusage
from piactors.pihost import PROTOCOL
from piactors.pihost.pickles import byvalue
from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.serve import hosted
from piactors.pihost.serve.replies import Replies
from piactors.pihost.wire import wire

_KILL = 9


class MemoryProcess:
    """See `placement.Process`."""

    node = ""
    pid: int | None = None

    def __init__(self, loop: Share, owner: ProcessOwner, order: ProcessOrder, make: Callable[[], Any]) -> None:
        self.number = order.number
        self.knowledge = Knowledge(None)
        self.ledger = Ledger()
        self._loop, self._owner, self._make = loop, owner, make
        self._replies = Replies(True, frozenset(), order.max_frame)
        self._inbox: queue.SimpleQueue[wire.Frame | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._begun = 0
        self._given_up: set[int] = set()
        self._asked: list[Answer] = []
        self._is_killed = self._is_over = False
        self._thread = threading.Thread(target=self._run, name="memory-process", daemon=True)
        self._thread.start()

    # What it does, on its own thread

    def _run(self) -> None:
        self._tell(lambda: self._owner.on_launched(self))
        self._tell_frame(wire.HELLO, wire.PLAIN, 0, plain_encode.encode({"protocol": PROTOCOL, "confined": True}))
        found = self._make()
        described = plain_encode.encode(found.describe(hosted.MOST_DESCRIBED_BYTES))
        self._tell_frame(wire.READY, wire.PLAIN, 0, described)
        while (frame := self._inbox.get()) is not None:
            if frame.kind == wire.STOP:
                report = plain_encode.encode({"error": None, "code": 0})
                self._tell_frame(wire.STOPPING, wire.PLAIN, 0, report)
                break
            if self._begins(frame.seq):
                self._perform(found, frame)
            else:
                self._tell_answer(wire.SKIPPED, 0, frame.seq, b"")
        self._end()

    def _begins(self, seq: int) -> bool:
        with self._lock:
            self._begun = seq
            return seq not in self._given_up

    def _perform(self, found: Any, frame: wire.Frame) -> None:
        try:
            value = found.perform(byvalue.loads(frame.payload))
            flags, payload = self._replies.value(value)
        except Exception as error:
            self._tell_answer(wire.ERROR, wire.PLAIN, frame.seq, self._replies.error(error))
        else:
            self._tell_answer(wire.REPLY, flags, frame.seq, payload)

    def _end(self) -> None:
        status = _KILL if self._is_killed else 0
        usage = Rusage(0.0, 0.0, 0)
        evidence = Evidence(self._begun)
        end = End(status=status, usage=usage, lost=False, evidence=evidence, stderr_tail="", fault="")

        def tell() -> None:
            if self._is_over:
                return
            self._is_over = True
            for answer in self._asked:
                answer(None)
            self._owner.on_end(end)

        self._loop.call_soon(tell)

    def _tell(self, news: Callable[[], object]) -> None:
        self._loop.call_soon(lambda: None if self._is_over else news())

    def _tell_frame(self, kind: int, flags: int, seq: int, payload: bytes) -> None:
        frame = wire.Frame(kind, flags, self.number & 0xFFFF, seq, payload)
        self._tell(lambda: self._owner.on_frame(frame))

    def _tell_answer(self, kind: int, flags: int, seq: int, payload: bytes) -> None:
        frame = wire.Frame(kind, flags, self.number & 0xFFFF, seq, payload)
        self._tell(lambda: self._owner.on_answer(frame, False))

    # What its host does with it

    def send(self, kind: int, flags: int, seq: int, payload: wire.Payload) -> None:
        self._inbox.put(wire.Frame(kind, flags, self.number & 0xFFFF, seq, bytes(payload)))

    def send_frames(self, frames: list[bytes], seq: int) -> None:
        for frame in wire.FrameDecoder(1 << 30).feed(b"".join(frames)):
            if frame.kind == wire.BULK:
                path, items = pickle.loads(frame.payload)
                for number, item in enumerate(items, frame.seq + 1 - len(items)):
                    self.send(wire.CALL, frame.flags, number, pickle.dumps((path, (item,))))
            else:
                self._inbox.put(frame)

    def send_parcel(self, flags: int, kind: int, seq: int, parcel: Any, dropped: list[int]) -> None:
        raise NotImplementedError("it has no shared memory: an isolate with this placement offers none")

    def send_control(self, kind: int, seq: int, payload: wire.Payload) -> None:
        """What would be an answer to its control thread, which it does not have."""

    def answer(self, kind: int, flags: int, number: int, payload: wire.Payload) -> None:
        """It asks nothing."""

    def request(self, operation: str, args: tuple[Any, ...], answer: Answer) -> None:
        self._asked.append(answer)

    def define(self, needs: Needs | None) -> None:
        """It has all that its host has."""

    def has_taken(self, seq: int, payload: wire.Payload) -> bool:
        return True

    def has_begun(self, seq: int) -> bool:
        with self._lock:
            return self._begun >= seq

    def give_up(self, seq: int) -> bool:
        with self._lock:
            self._given_up.add(seq)
            return self._begun < seq

    def read_until_settled(
        self, future: Any, waker: Any, spin: Spin, deadline: float | None, wanted: Callable[[], bool]
    ) -> None:
        """The I/O thread hands its answers out."""

    def read_ahead(self, wanted: Callable[[], bool]) -> None:
        """As above."""

    def await_in(self, loop: Any, wanted: Callable[[], bool]) -> bool:
        return False

    def wake_reader(self) -> None:
        """There is none."""

    def watch(self) -> None:
        """As above."""

    def read_now(self) -> None:
        """As above."""

    def hand_over(self, owner: ProcessOwner) -> None:
        self._owner = owner

    def after(self, seconds: float, callback: Callable[[], object]) -> None:
        self._loop.deadline(seconds, lambda: None if self._is_over else callback())

    def unsent_bytes(self) -> int:
        return 0

    @property
    def unread(self) -> int:
        return 0

    @property
    def unanswered(self) -> int:
        return 0

    def fault_text(self) -> str:
        return ""

    def mapped_bytes(self) -> int:
        return 0

    def retract(self, dropped: list[int]) -> None:
        """It has no shared memory."""

    def signal(self, number: int) -> None:
        """It takes none."""

    def kill(self) -> None:
        with self._lock:
            if self._is_killed:
                return
            self._is_killed = True
        self._inbox.put(None)
        self._end()  # a thread cannot be killed: what it still says, nobody hears

    @property
    def is_over(self) -> bool:
        return self._is_over

    def has_ended(self) -> bool:
        return self._is_over

    def abandon(self) -> None:
        """It has no descriptors."""


class MemoryPlacement:
    """See `placement.Placement`.

    Args:
        make: makes what is hosted, in each process anew.
    """

    name = "memory"

    def __init__(self, loop: Share, make: Callable[[], Any]) -> None:
        self._loop, self._make = loop, make

    def why_not(self, order: ProcessOrder) -> str | None:
        return None

    def launch(self, order: ProcessOrder, owner: ProcessOwner) -> MemoryProcess:
        return MemoryProcess(self._loop, owner, order, self._make)
