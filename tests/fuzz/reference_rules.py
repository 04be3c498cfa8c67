"""Rules of the tables of what goes by reference: uses, batches, what is lent, dropped and announced, and handles.

They need no process, and nothing of an isolate but the bytes that it has sent.  A rule of a table takes a program: a
row of steps, each with bytes of its own (see `steps`), so that what one step leaves is there for the next one.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from piactors._codec import decode, items, lending
from piactors._codec.lending import Carrying, Ledger, Loan
from piactors._isolate import frames
from piactors._process.announced import Announced
from piactors._values.borrowed import Lender
from piactors.errors import ProtocolError, UntrustedReply
from piactors.pihost.plain import decode as plain_decode
from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.plain import tags
from piactors.pihost.values import routed, uses
from piactors.pihost.wire import batches, wire

BUDGET = 1 << 20
OWNER = 7
OWN = OWNER << 32
"""The first number of what the process of these rules may lend; by this one itself it means its own isolate."""
HELD, KEPT = 10**9, 10**9 + 1
"""Numbers of things of the host: one that the process holds twice, and one that it does not hold."""
FOREIGN = (9 << 32) + 1
"""A thing of another process, which this one does not hold."""
_STEP = struct.Struct("<BH")
_MOST_ANNOUNCED = 256


class BrokenRule(AssertionError):
    """A rule of the host does not hold."""


def steps(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Cut a program into its steps: a number, and bytes."""
    position = 0
    while position + _STEP.size <= len(data):
        number, size = _STEP.unpack_from(data, position)
        position += _STEP.size
        yield number, data[position : position + size]
        position += size


def program(*parts: tuple[int, bytes]) -> bytes:
    """Return a program of these steps."""
    return b"".join(_STEP.pack(number, len(raw)) + raw for number, raw in parts)


def expect(holds: bool, text: str) -> None:
    """Raise unless something holds."""
    if not holds:
        raise BrokenRule(text)


class NamedLoan(Loan):
    """A thing of the host, by a number that does not change between two runs."""

    kind = "thing"

    def home(self) -> Any:
        """Return itself."""
        return self


def _no_request(number: int) -> Any:
    raise BrokenRule(f"plain data asked for the future of request {number}")


DECODER = decode.Decoder("fuzzed", False, {}, BUDGET, _no_request)


class ALender:
    """The process that sends, as far as its loans go: what it holds is known, and what is given back is counted."""

    def __init__(self) -> None:
        self.held, self.kept, self.own = NamedLoan(HELD), NamedLoan(KEPT), NamedLoan(KEPT + 1)
        self.given_back: dict[int, int] = {}
        self.ledger = Ledger("fuzzed", OWNER, [self.held, self.held])
        process: Any = SimpleNamespace(owner=OWNER, ledger=self.ledger, give_back=self._give_back)
        calls = SimpleNamespace(close_stream=lambda number: self._give_back(number, 0))
        own_ref = SimpleNamespace(_lend=lambda: self.own, _calls=calls)
        self.lender = Lender("fuzzed", process, DECODER, lambda: own_ref, self._now, foreign=False)

    def _give_back(self, number: int, count: int) -> None:
        self.given_back[number] = self.given_back.get(number, 0) + count

    @staticmethod
    def _now(job: Callable[[], object]) -> None:
        job()

    def may_name(self, number: int, loan: Loan) -> bool:
        """Whether the process may name a thing by a number."""
        if number == OWN:
            return loan.home() is self.own
        return loan.number == number and (loan is self.held or lending.owner_of(number) == OWNER)


# --- the rules --------------------------------------------------------------------------------


def use(data: bytes) -> None:
    """A request about what is borrowed is one, which can be packed again, or a ValueError."""
    flags, raw = (data[0] if data else 0), data[1:]
    try:
        found = uses.unpacked(flags, raw)
    except ValueError:
        return
    expect(len(found.lends) + len(found.payload) <= len(raw), "a use holds more than it came with")
    expect(uses.unpacked(*uses.packed(found)) == found, "a use is another one once it is packed again")


def batch(data: bytes) -> None:
    """Items of a stream are those that came, or an error; whichever item is wanted, it is one or is refused."""
    with contextlib.suppress(ValueError):
        parts, is_last = batches.unpacked(data)
        expect(batches.packed(parts, is_last) == data, "a batch is another one once it is packed again")
    thing = NamedLoan(HELD)
    for payload in (data, Carrying(data, {HELD: thing})):
        try:
            arrived = items.arrived(DECODER, wire.BATCH, payload)
        except ProtocolError:
            continue
        expect(arrived.size <= len(data), "items have more bytes than they came with")
        for item in arrived.items[:100]:
            with contextlib.suppress(UntrustedReply):
                _look_into(item, arrived.decode(item))


def _look_into(item: Any, decoded: Any) -> None:
    with contextlib.suppress(ValueError):
        found = batches.values(item, decoded)
        expect(len(found) == (item[2] or 1), "an item stands for another number of items than it says")


def lends(data: bytes) -> None:
    """What a process says that it lends is its own, or what it holds; what is let go of is given back as often."""
    scene = ALender()
    kept: list[dict[int, Loan]] = []
    told: dict[int, int] = {}
    failed = False
    for number, raw in steps(data):
        if number % 8 == 7:
            kept.clear()
            continue
        try:
            kept.append(scene.lender.take(raw))
        except ProtocolError:
            failed = True
            break
        expect(all(scene.may_name(*entry) for entry in kept[-1].items()), "a loan of somebody else")
        for entry in _entries(raw):
            told[entry[0]] = told.get(entry[0], 0) + (entry[1] != "stream" or not entry[2][4])
    expect(len(scene.lender._loans) <= lending.MOST_HELD, "more loans than there may be")
    kept.clear()
    expect(not scene.lender._loans, "a loan is still known that nobody holds")
    own = {number: count for number, count in told.items() if number >> 32 == OWNER and number != OWN}
    expect(failed or scene.given_back == own, f"lent {own}, given back {scene.given_back}")


def _entries(raw: bytes) -> list[Any]:
    found: Any = plain_decode.decode(raw, budget=BUDGET)
    return list(found)


def drops(data: bytes) -> None:
    """A process lets go of what it holds, as often as it was sent it at most, and of nothing else."""
    things = [NamedLoan(HELD + number) for number in range(4)]
    strange = NamedLoan(FOREIGN)
    ledger, other = Ledger("fuzzed", OWNER), Ledger("sibling", OWNER + 1, [*things, strange])
    sent = dict.fromkeys(range(HELD, HELD + 4), 0)
    try:
        for number, raw in steps(data):
            _one_step(ledger, things, sent, number, raw)
    except ProtocolError:
        pass
    expect(all(sent.get(loan.number, 0) > 0 for loan in ledger), "a process holds what it was not sent")
    expect(len(ledger._waiting) <= lending.MOST_HELD + 1, "more drops wait than may")
    expect(set(other) == {*things, strange}, "a process has dropped what another one holds")
    ledger.close()
    expect(len(ledger) == 0 and all(list(thing.holding) == [other] for thing in things), "the end leaves something")


def _one_step(ledger: Ledger, things: list[NamedLoan], sent: dict[int, int], number: int, raw: bytes) -> None:
    if number % 4 == 0:
        ledger.grant([things[number >> 2 & 3]])
        sent[things[number >> 2 & 3].number] += 1
    elif number % 4 == 1:
        ledger.used()
    else:
        before = {loan.number: ledger._held[loan.number][1] for loan in ledger}
        counts = frames.counts(wire.Frame(wire.DROP, 0, 0, number >> 3, raw))
        ledger.drop(number >> 3, counts)
        expect(len(ledger) <= len(before), "a drop has added something")


def announced(data: bytes) -> None:
    """An answer gets what was told for its number, once; what is told of answers that do not come is bounded."""
    scene = ALender()
    table = Announced(scene.lender.take)
    told: dict[int, bytes] = {}
    for number, raw in steps(data):
        frame = wire.Frame(wire.LEND, 0, 0, number >> 1, raw)
        try:
            if number & 1:
                found = table.joined(frame._replace(kind=wire.REPLY)).payload
                expect(set(found.loans) == {entry[0] for entry in _entries(told.pop(number >> 1))}, "other loans")
                expect(found.payload is raw, "another payload")
            else:
                table.hear(frame)
                expect(number >> 1 not in told, "one answer has lent twice")
                told[number >> 1] = raw
        except ProtocolError:
            continue
    expect(len(table._told) == len(told) <= _MOST_ANNOUNCED, "more is told than may be")


def handles(data: bytes) -> None:
    """A handle in plain data is a thing that came with it, or the data is bad."""
    things = {number: NamedLoan(number) for number in (HELD, OWN + 1)}
    with contextlib.suppress(plain_decode.BadPlain):
        found = plain_decode.decode(data, budget=BUDGET, things=things)
        expect(_all_known(found, set(map(id, things.values())), 0), "a handle of something else")
    carrying: dict[int, Any] = dict(things)
    with contextlib.suppress(UntrustedReply):
        DECODER.value(wire.LENDS, Carrying(data, carrying))
    expect(isinstance(DECODER.error(Carrying(data, carrying)), Exception), "no Exception")


def _all_known(value: Any, known: set[int], depth: int) -> bool:
    if isinstance(value, Loan):
        return id(value) in known
    if isinstance(value, (list, tuple)) and depth < 8:
        return all(_all_known(part, known, depth + 1) for part in value)
    return True


def arguments(data: bytes) -> None:
    """Arguments that were routed here, of an isolate that only plain data is taken from, are some, or an error."""
    things = {HELD: NamedLoan(HELD)}
    try:
        args, kwargs = routed.arguments(wire.PLAIN, data, things)
    except (ValueError, TypeError):
        return
    expect(type(args) is tuple and type(kwargs) is dict, "no arguments")


RULES: tuple[Callable[[bytes], None], ...] = (use, batch, lends, drops, announced, handles, arguments)


# --- seeds ------------------------------------------------------------------------------------

_HANDLE = plain_encode.encode([None]).replace(bytes((tags.NONE,)), bytes((tags.HANDLE,)) + struct.pack("<Q", HELD))
_NOTHING = plain_encode.encode(None)
ENTRIES: tuple[Any, ...] = (
    [],
    [(HELD, "", ())],
    [(OWN, "", ())],
    [(OWN + 1, "object", ("a.Thing", None))],
    [(OWN + 1, "object", ("a.Thing", ("up", "down"))), (OWN + 1, "object", ("a.Thing", ("up", "down")))],
    [(OWN + 2, "function", ("f",)), (HELD, "", ()), (OWN + 3, "future", ())],
    [(OWN + 4, "writer", ()), (OWN + 5, "stream", ("items", 16, 1 << 20, 2, False))],
    [(OWN + 6, "stream", ("calls", 1, 1, 1, True))],
    [(OWN + number, "future", ()) for number in range(10, 40)],
    [(KEPT, "", ())],
    [(FOREIGN, "", ())],
    [(10**5000, "", ())],
    [(-(10**5000), "object", ("x", None))],
    [(OWN + 1, "stream", ("x", 10**5000, 1, 1, False))],
    [(OWN + 7, ["object"], ())],
    [(OWN + 7, "object", ("\ud800" * 2000, None))],
)
COUNTS: tuple[Any, ...] = (
    [],
    [HELD, 1],
    [HELD, 2, HELD + 1, 1],
    [HELD, 1, HELD, 1],
    [HELD, 0],
    [HELD, -1],
    [FOREIGN, 1],
    [HELD],
    [HELD, 10**5000],
    [10**5000, 1],
    [True, True],
    list(range(200)),
)
_BATCHES: tuple[bytes, ...] = (
    batches.packed([], is_last=True),
    batches.packed([(wire.PLAIN, _NOTHING, 0)], is_last=False),
    batches.packed([(wire.PLAIN, plain_encode.encode([1, 2, 3]), 3), (wire.PICKLE, b"N.", 0)], is_last=True),
    batches.packed([(wire.PLAIN, _HANDLE, 0)] * 3, is_last=False),
    batches.packed([(wire.PLAIN, plain_encode.encode([None] * 40), 40)] * 20, is_last=False),
    b"\xff\xff\xff\xff\0" + bytes(200),
)


def packed_use(thing: int, operation: str, *, answer: int = uses.ON_CONTROL, **more: Any) -> tuple[int, bytes]:
    """Return the flags and the payload of a USE frame."""
    return uses.packed(uses.Use(thing, 0, -1.0, operation, answer, 0, "", b"", b"")._replace(**more))


def _seeds_of_uses() -> Iterator[bytes]:
    entries = plain_encode.encode([(HELD, "", ())])
    for number, operation in enumerate(uses.OPERATIONS):
        for more in ({}, {"name": "up.down"}, {"lends": entries, "payload": _NOTHING}, {"timeout": 5.0, "call": 3}):
            flags, raw = packed_use(HELD, operation, answer=number % 3, **more)
            yield bytes((flags,)) + raw


def _programs(values: tuple[Any, ...], number: int) -> Iterator[bytes]:
    coded = [plain_encode.encode(value) for value in values]
    for raw in coded:
        yield program((number, raw))
        yield program((0, b""), (4, b""), (1, b""), (number, coded[1]), (number, raw), (7, b""), (number + 8, raw))


def seeds() -> dict[Callable[[bytes], None], list[bytes]]:
    """Return valid inputs for each rule."""
    plain = [_HANDLE, plain_encode.encode(((1, 2), {"a": b"x"})), plain_encode.encode(((), {})), _NOTHING]
    told = [program((2, raw), (3, _NOTHING), (3, raw), (4, raw)) for raw in map(plain_encode.encode, ENTRIES)]
    return {
        use: list(_seeds_of_uses()),
        batch: list(_BATCHES),
        lends: list(_programs(ENTRIES, 0)),
        drops: [*_programs(COUNTS, 2), *_programs(COUNTS, 10)],
        announced: [*told, program(*[(2 * number & 255, plain_encode.encode([])) for number in range(300)])],
        handles: [*plain, _HANDLE + _HANDLE, _HANDLE[:-1]],
        arguments: plain,
    }
