"""Rules of what an isolate asks of its host: requests about itself, and about things that it has borrowed.

What handles them is the host's own; the process, its loop and the code behind what is lent are stand-ins.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from reference_rules import COUNTS, DECODER, HELD, KEPT, OWN, OWNER, expect, packed_use, program, steps

from piactors import Future, by_ref
from piactors._codec.lending import MOST_HELD, Ledger, Loan, way_of
from piactors._isolate import frames
from piactors._isolate.asked import Asker, Strand
from piactors._isolate.delivery import Delivery
from piactors._isolate.services import HostServices
from piactors._process.placement import ThreadState
from piactors._values.borrowed import Lender
from piactors._values.lent import Handle
from piactors._values.uploads import stream
from piactors.errors import ProtocolError
from piactors.options import IsolationOptions
from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.values import uses
from piactors.pihost.wire import wire

NUMBER = struct.Struct("<Q")
_MOST_FRAME = 1 << 16
_REQUEST, _USE, _ACTOR_USE, _DROP, _AWAIT, _TURN, _READ = range(7)


class Inline:
    """An executor that runs a job at once."""

    def submit(self, job: Callable[..., object], *args: Any) -> None:
        """Run it."""
        job(*args)


class Lamp:
    """What is lent; it counts what is done to it."""

    def __init__(self) -> None:
        self.calls = 0
        self._secret = 0

    def up(self, *args: Any, **kwargs: Any) -> int:
        """Be called."""
        self.calls += 1
        return self.calls

    def _hidden(self) -> None:
        self._secret += 1


class FakeLoop:
    """Keeps what is to be done until somebody has it done; time does not pass."""

    def __init__(self) -> None:
        self.due: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.timers: list[Any] = []

    def call_soon(self, job: Callable[..., object], *args: Any) -> None:
        """Have a job done."""
        self.due.append((job, args))

    def call_later(self, seconds: float, job: Callable[..., object]) -> Any:
        """Note a timer."""
        timer = SimpleNamespace(seconds=seconds, job=job, cancelled=False)
        timer.cancel = lambda: setattr(timer, "cancelled", True)
        self.timers.append(timer)
        return timer

    def turn(self) -> None:
        """Do all that is there, timers that are due at once included."""
        due, self.due = self.due, []
        for timer in self.timers:
            if timer.seconds <= 0 and not timer.cancelled:
                due.append((timer.job, ()))
        self.timers = [timer for timer in self.timers if timer.seconds > 0 and not timer.cancelled]
        for job, args in due:
            job(*args)


class FakeProcess:
    """The process that asks.  It keeps what it is answered."""

    number, pid, node, owner = 1, None, "", OWNER
    knowledge = SimpleNamespace(forgotten=False)
    unread = unread_frames = unanswered = 0
    is_over = False

    def __init__(self, loans: list[Loan]) -> None:
        self.ledger = Ledger("fuzzed", OWNER, loans)
        self.answers: list[tuple[int, int]] = []
        self.lender: Any = None

    def lends(self, payload: bytes) -> dict[int, Loan]:
        """Return what it lends."""
        found: dict[int, Loan] = self.lender.take(payload)
        return found

    def answer(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Note an answer."""
        self.answers.append((kind, number))

    def send(self, kind: int, flags: int, seq: int, payload: bytes) -> None:
        """Note one on the data channel; of a message, it is enough that it came."""
        if kind in (wire.RESPONSE, wire.FAILURE, wire.SENT):
            self.answers.append((kind, seq))

    def nothing(self, *_: Any) -> None:
        """Stand for all that a process does and these rules do not look at."""

    define = send_frames = wake_reader = watch = give_back = request = ask_of_lent = nothing

    def has_taken(self, seq: int, payload: bytes) -> bool:
        """It is never interrupted."""
        return True

    def has_begun(self, seq: int) -> bool:
        """Nothing that it was sent has begun."""
        return False

    def give_up(self, seq: int) -> bool:
        """So all of it can be given up on."""
        return True

    def threads(self, count: int) -> list[ThreadState]:
        """None of them waits."""
        return [ThreadState(0, 0, False)] * count


class AHost:
    """The host's side of one isolate, which holds a function, an object, a stream and a future, and not `secret`."""

    def __init__(self) -> None:
        self.lamp, self.secret = Lamp(), Lamp()
        self.function_calls = 0
        self.loop = FakeLoop()
        self.things = [
            _lent(self._function),
            _lent(self.lamp),
            stream(iter(range(40)), run=Inline()),  # type: ignore[arg-type]
            Future(),
        ]
        self.loans = [_loan_of(thing) for thing in self.things]
        self.hidden = _loan_of(_lent(self.secret))
        self.process = FakeProcess(self.loans)
        spec: Any = SimpleNamespace(
            name="fuzzed",
            trusts_objects=False,
            own_interpreter=True,
            options=IsolationOptions(max_frame=_MOST_FRAME, spin=False),
        )
        loop: Any = self.loop
        self.delivery = Delivery(spec, loop, DECODER, lambda message: LookupError())
        self.delivery.cancel_with(SimpleNamespace(cancel=self._nothing, expire=self._nothing))
        asker = Asker(self.delivery, Strand(lambda job: job()), foreign=False)
        self.services = HostServices(asker, lambda process: True)
        attached: Any = self.process
        self.process.lender = Lender("fuzzed", attached, DECODER, self._own_ref, self.loop.call_soon, foreign=False)
        self.delivery.attach(attached)
        self.delivery.resume()

    def _function(self, *args: Any) -> int:
        self.function_calls += 1
        return self.function_calls

    @staticmethod
    def _nothing(*_: Any) -> None:
        """Nothing of it has begun."""

    def _own_ref(self) -> Any:
        return SimpleNamespace(_lend=lambda: self.loans[0])

    def number(self, given: int) -> int:
        """Return the number that a use of these rules means: small ones stand for what is lent."""
        if given >= HELD:
            return given
        return 0 if given == 0 else [*self.loans, self.hidden][given % (len(self.loans) + 1)].number


def _lent(thing: Any) -> Handle:
    """Lend something, to be run at once."""
    return by_ref(thing, run=Inline())  # type: ignore[arg-type]


def _loan_of(thing: Any) -> Loan:
    way = way_of(type(thing))
    assert way is not None
    return way(thing)


def requests(data: bytes) -> None:
    """Whatever an isolate asks is done or a ProtocolError, is answered once at most, and fills nothing."""
    host = AHost()
    asked: set[int] = set()
    process: Any = host.process
    try:
        for count, (number, raw) in enumerate(steps(data)):
            _one_step(host, process, asked, count + 1, number, raw)
    except ProtocolError:
        pass
    _check(host, asked)


def _one_step(host: AHost, process: Any, asked: set[int], count: int, number: int, raw: bytes) -> None:
    kind, seq = number % 7, 1 + (number // 7) % 30
    if kind == _REQUEST:
        asked.add(seq)
        host.services.handle(process, wire.Frame(wire.REQUEST, 0, 1, seq, raw), may_ask=number < 210)
    elif kind in (_USE, _ACTOR_USE):
        asked.add(seq)
        flags, payload = _aimed(host, raw)
        frame = wire.Frame(wire.USE, flags, 1, seq, payload)
        host.services.use(process, frame, again=False, may_ask=kind == _ACTOR_USE)
    elif kind == _DROP:
        process.ledger.drop(seq % 3, frames.counts(wire.Frame(wire.DROP, 0, 1, seq, raw)))
    elif kind == _AWAIT:
        asked.add(seq)
        host.services.awaited(process, seq)
    elif kind == _TURN:
        host.loop.turn()
    else:
        process.answers.clear()


def _aimed(host: AHost, raw: bytes) -> tuple[int, bytes]:
    """Return the flags and the payload of a use, which names a thing by its place among those that are lent."""
    flags, payload = (raw[0] if raw else 0), raw[1:]
    if len(payload) < uses.HEAD.size:
        return flags, payload
    return flags, NUMBER.pack(host.number(NUMBER.unpack_from(payload)[0])) + payload[NUMBER.size :]


def _check(host: AHost, asked: set[int]) -> None:
    for _ in range(4):
        host.loop.turn()
    expect(host.secret.calls == 0 and host.secret._secret == 0, "what it does not hold was used")
    expect(host.lamp._secret == 0, "what is not public was used")
    expect({number for _, number in host.process.answers} <= asked, "an answer to what was not asked")
    expect(set(host.process.ledger) <= set(host.loans), "it holds what it was not sent")
    expect(host.hidden.holding is not None and not list(host.hidden.holding), "it holds what it was not sent")
    expect(set(host.delivery.asks) <= asked, "a request that was not made")
    expect(len(host.process.lender._loans) <= MOST_HELD, "more loans than there may be")
    host.process.ledger.close()
    expect(all(not list(loan.holding) for loan in host.loans), "the end leaves something")


RULES: tuple[Callable[[bytes], None], ...] = (requests,)


# --- seeds ------------------------------------------------------------------------------------

_LENDS = plain_encode.encode([(OWN + 1, "function", ("f",)), (OWN + 2, "object", ("x", None))])
_REQUESTS: tuple[Any, ...] = (
    ("ask", b"x", b""),
    ("ask", b"x", _LENDS),
    ("tell", b"x" * 100, b""),
    ("tell", b"x", _LENDS),
    ("stop",),
    ("timer", 1, 0.0, 0, b"x", b""),
    ("timer", 2, 5.0, 7, b"x", _LENDS),
    ("timer", 10**5000, 5.0, 1, b"x", b""),
    ("timer", -1, 0.0, 0, b"", b""),
    ("timer", 3, 1e300, 10**5000, b"", b""),
    ("end_timer", 1),
    ("end_timer", 10**5000),
    ("cancel", 1, -1.0),
    ("cancel", 1, float("inf")),
    ("cancel", 2, float("nan")),
    ("cancel", 10**5000, 0.0),
)
_CALLED = plain_encode.encode(((), {}))
_PULLED = plain_encode.encode(((3, 100), {}))
_MORE: tuple[dict[str, Any], ...] = (
    {"answer": uses.ON_DATA},
    {"name": "up", "payload": _CALLED},
    {"answer": uses.ON_DATA, "payload": _PULLED},
    {"answer": uses.UNWANTED, "name": "_hidden"},
)


def _uses() -> Iterator[bytes]:
    for thing, operation in itertools.product(range(6), uses.OPERATIONS):
        for more in _MORE:
            flags, raw = packed_use(thing, operation, **more)
            yield bytes((flags,)) + raw
    for thing in (KEPT, OWN, OWN + 1, (1 << 64) - 1):
        flags, raw = packed_use(thing, "call", lends=_LENDS, payload=_CALLED)
        yield bytes((flags,)) + raw


def seeds() -> dict[Callable[[bytes], None], list[bytes]]:
    """Return valid inputs for each rule."""
    asked = [plain_encode.encode(request) for request in _REQUESTS]
    found = [program((_REQUEST, raw), (_REQUEST + 7, asked[0]), (_TURN, b""), (_REQUEST + 14, raw)) for raw in asked]
    found.append(program(*[(_REQUEST + 7 * n, raw) for n, raw in enumerate(asked[:12])], (_TURN, b""), (_READ, b"")))
    for raw in _uses():
        found.append(program((_USE, raw), (_AWAIT, b""), (_TURN, b""), (_ACTOR_USE + 7, raw)))
    for counts in COUNTS:
        found.append(program((_DROP, plain_encode.encode(counts)), (_TURN, b"")))
    return {requests: found}
