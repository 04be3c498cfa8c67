"""What one isolate can have its host keep is bounded, and what it says is a number is one; without processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from piactors import names
from piactors._codec.lending import MOST_HELD, Carrying, Ledger, Loan
from piactors._isolate import host_itself, reply_ports
from piactors._isolate.asked import Asker, Kept
from piactors._isolate.cancelling import Cancelling
from piactors._isolate.deathwatch import DeathWatch
from piactors._isolate.services import HostServices
from piactors._rules.incarnation import IncarnationFacts, Unconfined
from piactors._values.borrowed import Lender
from piactors.errors import PiactorsError, ProtocolError
from piactors.exit_reason import ExitReason
from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.wire import wire

OWNER = 7
HUGE = 10**5000
MIB = 1 << 20


class Plain(Loan):
    """A loan of nothing."""

    kind = "thing"


def an_asker(max_frame: int = 1 << 12) -> Asker:
    delivery: Any = SimpleNamespace(name="one", decoder=None, max_frame=max_frame, look_for_circles_with=lambda _: None)
    strand: Any = None
    return Asker(delivery, strand, foreign=False)


# --- requests that are not done ---


def test_requests_that_are_not_done_take_so_much_memory_at_most() -> None:
    asker = an_asker()
    kept: list[Kept] = []
    with pytest.raises(ProtocolError, match="not done"):
        kept.extend(asker.keep(bytes(MIB)) for _ in range(100))
    assert 12 <= len(kept) <= 18
    kept.clear()
    kept.append(asker.keep(bytes(MIB)))


def test_requests_that_are_done_count_no_more() -> None:
    asker = an_asker()
    for _ in range(1000):
        asker.keep(bytes(MIB))
    assert not asker._all_kept


def test_a_larger_max_frame_allows_more() -> None:
    asker = an_asker(32 * MIB)
    kept = [asker.keep(bytes(MIB)) for _ in range(50)]
    with pytest.raises(ProtocolError, match="not done"):
        kept += [asker.keep(bytes(MIB)) for _ in range(50)]


def test_whoever_answers_nothing_that_it_brings_about_is_found_out() -> None:
    asker = an_asker()
    process: Any = SimpleNamespace(unread=0, unread_frames=0, unanswered=20_001)
    services = HostServices(asker, lambda process: True)
    with pytest.raises(ProtocolError, match="does not answer"):
        services.awaited(process, 1)


# --- what it holds ---


def answered(held: int, new: list[Loan]) -> tuple[int, Ledger]:
    """Answer a process that holds so much with these; return what kind of answer it got, and what it holds."""
    loans = [Plain() for _ in range(held)]
    ledger = Ledger("one", OWNER, loans)
    found: list[int] = []
    process: Any = SimpleNamespace(ledger=ledger, answer=lambda kind, *_: found.append(kind))
    reply_ports.answer(process, wire.RESPONSE, 0, 1, Carrying(b"", {loan.number: loan for loan in (*new, *loans[:1])}))
    return found[0], ledger


def test_an_answer_lends_no_more_than_a_process_may_hold() -> None:
    assert answered(MOST_HELD - 1, [Plain()])[0] == wire.RESPONSE
    kind, ledger = answered(MOST_HELD, [Plain()])
    assert kind == wire.FAILURE
    assert len(ledger) == MOST_HELD


def test_what_it_holds_already_has_room() -> None:
    assert answered(MOST_HELD + 10, [])[0] == wire.RESPONSE
    assert answered(MOST_HELD, [Plain((OWNER << 32) + 5)])[0] == wire.RESPONSE


def test_names_of_methods_are_short() -> None:
    process: Any = SimpleNamespace(owner=OWNER, ledger=Ledger("one", OWNER), give_back=lambda *_: None)
    decoder: Any = None
    lender = Lender("one", process, decoder, lambda: None, lambda job: job(), foreign=False)
    assert lender.take(entries((OWNER << 32) + 1, "object", ("x", ("m" * 60_000,))))
    with pytest.raises(ProtocolError, match="too long"):
        lender.take(entries((OWNER << 32) + 2, "object", ("x", ("m" * 60_000, "n" * 6_000))))


@pytest.mark.parametrize("number", [HUGE, -HUGE, -1, 1 << 64, True], ids=["huge", "tiny", "-1", "2^64", "bool"])
def test_a_number_that_is_none_is_a_breach_of_the_protocol(number: int) -> None:
    ledger = Ledger("one", OWNER, [Plain()])
    process: Any = SimpleNamespace(owner=OWNER, ledger=ledger)
    decoder: Any = None
    lender = Lender("one", process, decoder, lambda: None, lambda job: job(), foreign=False)
    for call in (
        lambda: lender.take(entries(number, "", ())),
        lambda: ledger.drop(0, [number, 1]),
        lambda: ledger.drop(0, [1, number]),
    ):
        with pytest.raises(ProtocolError):
            call()


def entries(*entry: Any) -> bytes:
    return plain_encode.encode([entry])


# --- what it has others tell it, and do later ---


def test_a_watch_by_the_same_function_is_one() -> None:
    watch = DeathWatch()
    told: list[ExitReason] = []
    watch.add(told.append, key="one")
    watch.add(told.append, key="one")
    watch.add(told.append)
    watch.tell(ExitReason(kind="normal"))
    assert len(told) == 2


def test_names_are_bounded_and_those_of_the_dead_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Any] = {}
    monkeypatch.setattr(names, "register", lambda name, ref: known.setdefault(name, ref))
    monkeypatch.setattr(names, "unregister", lambda name: known.pop(name, None))
    monkeypatch.setattr(names, "whereis", known.get)
    asker = an_asker()

    def ask(operation: Callable[[Any], object], name: str) -> None:
        request: Any = SimpleNamespace(asker=asker, name=name, arguments=lambda: (("a ref",), {}))
        operation(request)

    for number in range(1024):
        ask(host_itself._register, f"n{number}")
    ask(host_itself._register, "n5")
    with pytest.raises(PiactorsError, match="1,024"):
        ask(host_itself._register, "more")
    del known["n7"]
    ask(host_itself._register, "more")
    ask(host_itself._unregister, "n9")
    ask(host_itself._register, "even more")
    assert len(asker.names) == 1024


def test_a_call_that_is_cancelled_again_and_again_has_one_timer() -> None:
    timers: list[Any] = []

    def call_later(seconds: float, job: Callable[[], object]) -> Any:
        timer = SimpleNamespace(due=time.monotonic() + seconds, job=job, cancelled=False)
        timer.cancel = lambda: setattr(timer, "cancelled", True)
        timers.append(timer)
        return timer

    def run_at_once(job: Callable[..., object], *args: Any) -> None:
        job(*args)

    killed: list[str] = []
    process: Any = SimpleNamespace(number=1, request=lambda *_: None)
    loop = SimpleNamespace(call_soon=run_at_once, call_later=call_later)
    mailbox = SimpleNamespace(is_in_flight=lambda _: True, runs=lambda _: True)
    direct = SimpleNamespace(runs=lambda _: False)
    delivery: Any = SimpleNamespace(
        process=process, loop=loop, mailbox=mailbox, asks={}, direct=direct, runs=lambda _: True
    )
    cancelling = Cancelling(delivery, killed.append)
    message: Any = SimpleNamespace(seq=5, note_cancel=lambda: None)
    for seconds in (100.0, 200.0, 100.0, 50.0, 60.0):
        cancelling.cancel(message, seconds)
    assert [timer.cancelled for timer in timers] == [True, False]
    timers[1].job()
    assert killed == ["cancelled"]
    assert not cancelling._kills


@pytest.mark.parametrize("why", [HUGE, [HUGE], {"a": 1}, ["no cgroups"]], ids=["int", "ints", "dict", "texts"])
def test_limits_that_do_not_hold_are_told_whatever_is_said_of_them(why: Any) -> None:
    with pytest.raises(Unconfined) as raised:
        IncarnationFacts().greet({"protocol": 1, "unconfined": why}, 1)
    assert ("no cgroups" in str(raised.value)) == (why == ["no cgroups"])
