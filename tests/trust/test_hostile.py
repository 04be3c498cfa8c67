"""Nothing that an isolate writes runs code in its host, hangs it, or grows it past its bounds."""

from __future__ import annotations

import array
import decimal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hostile import GROWTH, SIBLING_SECONDS, Attack, Host, Outcome, marker

from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.values import uses
from piactors.pihost.wire import batches, wire
from tests.tiers import sizes

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(sys.platform != "linux", reason="the attacks use /proc and the page's seals"),
]

MIB = 1 << 20
FRAME = 8 * MIB
KINDS_TO_ISOLATES = {"INIT": wire.INIT, "CALL": wire.CALL, "TELL": wire.TELL, "STOP": wire.STOP}
KINDS_OF_LAUNCHERS = {
    "SETUP": wire.SETUP,
    "LAUNCH": wire.LAUNCH,
    "LAUNCHED": wire.LAUNCHED,
    "REFUSED": wire.REFUSED,
    "EXITED": wire.EXITED,
    "WARM": wire.WARM,
}
UNKNOWN_KINDS = (0, 20, 31, 38, 127, 255)
NOTHING = plain_encode.encode(None)
RECORD = {
    "name": "hostile",
    "level": 40,
    "message": "m" * 4000,
    "created": 1.5e9,
    "pathname": "f.py",
    "lineno": 3,
    "function": "f",
    "thread": 7,
    "thread_name": "t",
    "exception": None,
    "stack": "",
    "extra": {},
}
REPORT = {"error": None, "code": None}
DESCRIBED = {
    "module": "builtins",
    "qualname": "ValueError",
    "text": "no",
    "traceback": "Traceback",
    "notes": [],
    "args": None,
    "pickle": None,
    "accepted": None,
}


class Hosts:
    """The host that is attacked: the same one again, until an attack does harm to it."""

    current: Host | None = None

    @classmethod
    def attack(cls, attack: Attack, *, fresh: bool) -> Outcome:
        """Run an attack."""
        if fresh:
            cls.close()
        host, cls.current = cls.current or Host(), None
        outcome = host.attack(attack)
        cls.current = host
        return outcome

    @classmethod
    def close(cls) -> None:
        """End the host."""
        host, cls.current = cls.current, None
        if host is not None:
            host.close()

    @classmethod
    def drop(cls) -> None:
        """Have the next attack meet a new host."""
        host, cls.current = cls.current, None
        if host is not None:
            host.kill()


@pytest.fixture(scope="module", autouse=True)
def the_host_ends() -> Iterator[None]:
    """End the host in an orderly way after all that it has seen."""
    yield
    Hosts.close()


def attacked(target: str, *args: Any, fresh: bool = False, **more: Any) -> Outcome:
    """Run an attack and check what holds after every one."""
    outcome = Hosts.attack(Attack(target=target, args=args, **more), fresh=fresh)
    try:
        _unharmed(outcome)
    except AssertionError:
        Hosts.drop()
        raise
    return outcome


def _unharmed(outcome: Outcome) -> None:
    assert outcome.drained, "the host still works on what the isolate wrote or logged"
    assert not outcome.io_failed, "the I/O thread of the host is gone"
    assert outcome.sibling_error is None, outcome.sibling_error
    assert outcome.sibling_worst < SIBLING_SECONDS, f"a sibling waited {outcome.sibling_worst:.1f} s"
    assert outcome.grown < GROWTH, f"the host took {outcome.grown >> 20} MiB"
    assert outcome.extra_fds == []
    assert outcome.extra_threads == []
    assert outcome.new_modules == []
    assert outcome.log_failures == 0, "a handler of the host's logging failed on a record"


def retired(outcome: Outcome) -> None:
    """The attacked call failed, and the isolate was ended for breaking the protocol."""
    assert outcome.error == "IsolateCrashed", (outcome.error, outcome.value, outcome.text)
    assert outcome.kind == "killed", (outcome.kind, outcome.detail)
    assert "ProtocolError" in (outcome.detail or "")


def refused_at_start(outcome: Outcome) -> None:
    """The start failed, and the protocol is why."""
    assert outcome.error in ("StartError", "ProtocolError"), (outcome.error, outcome.value, outcome.text)
    assert "ProtocolError" in outcome.text or outcome.error == "ProtocolError", outcome.text


def answered(outcome: Outcome) -> None:
    """The call of the isolate went well: what it did besides was no breach of the protocol."""
    assert outcome.error is None, (outcome.error, outcome.text)


# --- bytes that are no frames ---------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["data", "control"])
@pytest.mark.parametrize("length", [FRAME + 1, 2**32 - 2, 0xFFFF_FFFF], ids=["max_frame+1", "4GiB-2", "4GiB-1"])
def test_a_length_over_max_frame_retires_the_isolate_before_memory_is_taken(length: int, channel: str) -> None:
    retired(attacked("forged_length", length, channel))


@pytest.mark.parametrize("channel", ["data", "control"])
@pytest.mark.parametrize("kind", UNKNOWN_KINDS)
def test_an_unknown_kind_retires_the_isolate(kind: int, channel: str) -> None:
    retired(attacked("send_kind", kind, channel))


@pytest.mark.parametrize("channel", ["data", "control"])
@pytest.mark.parametrize("name", [*KINDS_TO_ISOLATES, *KINDS_OF_LAUNCHERS, "PROCEED"])
def test_a_kind_that_only_others_send_retires_the_isolate(name: str, channel: str) -> None:
    retired(attacked("send_kind", getattr(wire, name), channel))


@pytest.mark.parametrize("channel", ["data", "control"])
@pytest.mark.parametrize("seed", range(3))
def test_garbage_retires_the_isolate(seed: int, channel: str) -> None:
    retired(attacked("garbage", seed, channel))


@pytest.mark.parametrize("size", [1, 15, 16, 17, 70_000, 100_000])
def test_a_frame_cut_off_by_an_exit_fails_the_call(size: int) -> None:
    outcome = attacked("truncated", size)
    assert outcome.error == "IsolateCrashed"
    assert (outcome.kind, outcome.value) == ("exited", None)


def test_a_frame_that_never_ends_costs_no_more_than_its_length() -> None:
    outcome = attacked("endless_frame", FRAME, bound=3.0)
    assert outcome.error == "Timeout"  # from outside no different from a call that runs on


@pytest.mark.parametrize("channel", ["data", "control"])
def test_an_isolate_that_closes_a_channel_and_lives_on_is_retired(channel: str) -> None:
    retired(attacked("close_channel", channel))


# --- numbers, generations, answers that do not fit ------------------------------------------------


@pytest.mark.parametrize("offset", [1, 2, 1000, -1])
def test_an_answer_to_a_call_that_is_not_on_its_way_retires_the_isolate(offset: int) -> None:
    retired(attacked("answer", wire.REPLY, offset))


def test_an_answer_with_the_highest_number_retires_the_isolate() -> None:
    retired(attacked("answer_huge_seq"))


@pytest.mark.parametrize(
    "kind",
    [wire.REPLY, wire.ERROR, wire.DONE, wire.SKIPPED, wire.CANCELLED],
    ids=["REPLY", "ERROR", "DONE", "SKIPPED", "CANCELLED"],
)
def test_a_second_answer_retires_the_isolate(kind: int) -> None:
    outcome = attacked("answer_and_return", kind, way="invoke_twice")
    assert outcome.error in ("IsolateCrashed", "ActorDeadError"), outcome.value
    assert "ProtocolError" in (outcome.detail or "")


@pytest.mark.parametrize("kind", [wire.DONE, wire.SKIPPED, wire.CANCELLED], ids=["DONE", "SKIPPED", "CANCELLED"])
def test_a_call_left_without_an_answer_fails_and_retires_the_isolate(kind: int) -> None:
    outcome = attacked("skipped_and_more", kind)
    assert outcome.error == "ProtocolError"
    assert "ProtocolError" in (outcome.detail or "")


@pytest.mark.parametrize(
    "kind", [wire.REPLY, wire.ERROR, wire.SKIPPED, wire.CANCELLED], ids=["REPLY", "ERROR", "SKIPPED", "CANCELLED"]
)
def test_a_reply_to_a_tell_retires_the_isolate(kind: int) -> None:
    outcome = attacked("answer_and_return", kind, way="tell")
    assert outcome.error in ("IsolateCrashed", "ActorDeadError")
    assert "ProtocolError" in (outcome.detail or "")


@pytest.mark.parametrize("offset", [-1, 1, 2, 65535])
def test_a_frame_of_another_generation_retires_the_isolate(offset: int) -> None:
    retired(attacked("wrong_generation", offset))


@pytest.mark.parametrize("number", [1, 99, 2**64 - 1])
@pytest.mark.parametrize("kind", [wire.RESPONSE, wire.FAILURE], ids=["RESPONSE", "FAILURE"])
def test_an_answer_to_a_request_that_was_not_made_retires_the_isolate(kind: int, number: int) -> None:
    retired(attacked("send_kind", kind, "control", number, NOTHING))


@pytest.mark.parametrize("name", ["RESPONSE", "FAILURE", "STOPPING", "LOG", "HELLO"])
def test_what_belongs_to_the_control_channel_does_not_come_on_the_data_channel(name: str) -> None:
    payloads = {"LOG": RECORD, "STOPPING": REPORT, "HELLO": {"protocol": 1}}
    retired(attacked("send_kind", getattr(wire, name), "data", 1, plain_encode.encode(payloads.get(name))))


@pytest.mark.parametrize("name", ["READY", "START_FAILED", "REPLY", "ERROR", "DONE", "SKIPPED", "CANCELLED", "REQUEST"])
def test_what_belongs_to_the_data_channel_does_not_come_on_the_control_channel(name: str) -> None:
    payload = plain_encode.encode(DESCRIBED if name in ("ERROR", "START_FAILED") else {})
    retired(attacked("send_kind", getattr(wire, name), "control", 1, payload))


# --- the order of a life --------------------------------------------------------------------------


def test_becoming_ready_twice_retires_the_isolate() -> None:
    retired(attacked("ready_again", {}))


def test_a_failed_start_after_being_ready_retires_the_isolate() -> None:
    retired(attacked("start_failed", DESCRIBED))


def test_reporting_a_stop_twice_retires_the_isolate() -> None:
    outcome = attacked("stopping", REPORT, 2)
    assert outcome.error in ("IsolateCrashed", "ActorDeadError")
    assert "ProtocolError" in (outcome.detail or "")


@pytest.mark.parametrize(
    "report",
    [None, [], "text", {"error": "x" * 300_000}, {1: 2}, {"error": 5, "code": "x"}, {"code": 10**5000}, range(9)],
    ids=["None", "list", "text", "huge", "odd-key", "odd-types", "huge-int", "range"],
)
def test_a_report_of_a_stop_that_is_none_ends_the_isolate(report: Any) -> None:
    outcome = attacked("stopping", report, options={"shutdown_timeout": 1.0})
    assert outcome.error in ("IsolateCrashed", "ActorDeadError")
    assert outcome.kind == "killed"


@pytest.mark.parametrize(
    "payload",
    [
        {"protocol": 1},
        {},
        None,
        {"protocol": "1"},
        {"protocol": 10**5000},
        {"protocol": decimal.Decimal("sNaN")},
        {"protocol": 1, "pid": "x" * 300_000},
        {"protocol": 2},
    ],
    ids=["again", "empty", "None", "text", "huge-int", "sNaN", "huge", "other"],
)
def test_a_second_greeting_retires_the_isolate(payload: Any) -> None:
    retired(attacked("hello", payload))


@pytest.mark.parametrize(
    ("name", "channel", "payload"),
    [
        ("STOPPING", "control", REPORT),
        ("REPLY", "data", None),
        ("DONE", "data", None),
        ("SKIPPED", "data", None),
        ("CANCELLED", "data", None),
        ("ERROR", "data", DESCRIBED),
        ("REQUEST", "data", ("stop",)),
        ("RESPONSE", "control", None),
        ("HELLO", "control", {"protocol": 1}),
        ("HELLO", "control", {"protocol": 99}),
    ],
)
def test_what_comes_before_an_isolate_is_ready_must_fit(name: str, channel: str, payload: Any) -> None:
    refused_at_start(attacked("early", getattr(wire, name), payload, channel, way="start"))


def test_a_failed_start_that_lives_on_is_ended() -> None:
    outcome = attacked("early", wire.START_FAILED, DESCRIBED, way="start", options={"start_timeout": 2.0})
    assert outcome.error == "StartError"


def test_a_failed_start_said_twice_retires_the_isolate() -> None:
    outcome = attacked("early", wire.START_FAILED, DESCRIBED, "data", 2, way="start", options={"start_timeout": 5.0})
    assert outcome.error == "StartError"
    assert outcome.kind == "killed"


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        ("stop",),
        ("tell", b"x", b""),
        ("ask", b"x", b""),
        ("timer", 1, 0.0, 0, b"x", b""),
        ("end_timer", 1),
        None,
    ],
)
def test_a_request_of_what_is_no_actor_retires_the_isolate(payload: Any) -> None:
    retired(attacked("request", payload))


@pytest.mark.parametrize(
    "payload",
    [
        None,
        5,
        (),
        (None,),
        ("unknown",),
        ("tell", "text"),
        ("tell",),
        ("tell", b"x", b"y", b"z"),
        ("tell", b"x", b"y"),
        ("timer", 1, 0.0, 0, b"x"),
        ("timer", 1, 1, 0, b"x", b""),
        ("timer", 1, -1.0, 0, b"x", b""),
        ("timer", 1, float("nan"), 0, b"x", b""),
        ("timer", 1, float("inf"), 0, b"x", b""),
        ("timer", 1, 0.0, 1, b"x", b""),
        ("timer", 1, 0.0, 0, b"x", b"y"),
        ("timer", 10**5000, 0.0, 0, b"x", b""),
        ("timer", -1, 0.0, 0, b"x", b""),
        ("end_timer",),
        ("end_timer", 1.0),
        (["tell"], b"x"),
        "a text",
        {"tell": b"x"},
        ("x" * MIB,),
        (10**5000,),
    ],
    ids=[
        "None",
        "int",
        "empty",
        "None-inside",
        "unknown",
        "text",
        "missing",
        "surplus",
        "lends-garbage",
        "timer-short",
        "timer-int",
        "timer-negative",
        "timer-nan",
        "timer-infinite",
        "timer-no-period",
        "timer-lends-garbage",
        "timer-of-a-huge-number",
        "timer-of-a-negative-number",
        "end-timer-short",
        "end-timer-float",
        "unhashable",
        "plain-text",
        "dict",
        "long-name",
        "huge-int",
    ],
)
def test_a_malformed_request_retires_the_isolate(payload: Any) -> None:
    retired(attacked("request", payload, way="actor", options={"trust": "data"}))


@pytest.mark.parametrize(
    "payload",
    [range(10**18), "\u4e2d" * (2 * MIB), range(5 * 10**7)],
    ids=["range", "long-text", "shorter-range"],
)
def test_a_request_is_never_unpacked_into_more_than_it_is(payload: Any) -> None:
    retired(attacked("request", payload, way="actor", options={"trust": "data"}))


def test_a_request_with_a_pickle_inside_is_no_code_of_the_host() -> None:
    with marker() as path:
        payload = b"cposix\nmkdir\n(V%b\ntR." % path.encode()
        retired(attacked("request", None, payload, way="actor", options={"trust": "data"}))


@pytest.mark.parametrize("operation", [("stop",)])
def test_requests_whose_answers_are_never_read_do_not_fill_the_host(operation: Any) -> None:
    outcome = attacked("requests_unread", operation, 128 * MIB, way="actor_deaf", options={"trust": "data"})
    assert outcome.error is not None


@pytest.mark.parametrize("payload", [("stop",), ("tell", b"x", b""), ("ask", b"x", b"")])
def test_a_request_on_the_control_channel_retires_an_actor_too(payload: Any) -> None:
    retired(attacked("request", payload, None, "control", way="actor"))


@pytest.mark.parametrize(
    "operation", [("tell", b"x" * 1000, b""), ("tell", b"", b""), ("ask", b"x" * 1000, b""), ("stop",)]
)
def test_messages_that_an_actor_sends_to_itself_do_not_fill_the_host(operation: Any) -> None:
    outcome = attacked("requests_unread", operation, 128 * MIB, way="actor", options={"trust": "data"})
    assert outcome.error is not None


@pytest.mark.parametrize("size", [0, 100_000])
def test_timers_that_an_actor_sets_do_not_fill_the_host(size: int) -> None:
    outcome = attacked("timers", size, 128 * MIB, way="actor", options={"trust": "data"})
    assert outcome.error is not None


# --- what goes by reference --------------------------------------------------------------------------


def used(thing: int = 1, answer: int = uses.ON_CONTROL, **more: Any) -> tuple[int, int, int, bytes]:
    """Return a frame that asks something of a thing."""
    use = uses.Use(thing, 0, -1.0, "call", answer, 0, "", b"", b"")._replace(**more)
    flags, payload = uses.packed(use)
    return wire.USE, flags, 1, payload


def entries(*found: Any) -> bytes:
    return plain_encode.encode(list(found))


OWN = 1 << 60
"""The number of a thing of a process that does not exist."""


@pytest.mark.parametrize("way", ["invoke", "actor"])
@pytest.mark.parametrize(
    "raw",
    [
        [used(1)],
        [used(OWN)],
        [used((1 << 64) - 1)],
        [used(0, operation="whereis", name="x")],
        [(wire.USE, 0, 1, b"")],
        [(wire.USE, 0, 1, b"x" * 100)],
        [(wire.USE, 0, 1, b"\xff" * 23)],
        [(wire.USE, wire.LENDS, 1, used()[3])],
        [used(1, lends=b"garbage")],
        [used(1, lends=entries((OWN, "", ())))],
        [used(1, lends=entries((OWN, "object", ("x", None)), 5))],
        [(wire.LEND, 0, 1, b"garbage")],
        [(wire.LEND, 0, 1, plain_encode.encode({"a": 1}))],
        [(wire.LEND, 0, 1, entries((3, "", ())))],
        [(wire.LEND, 0, 1, entries(("3", "", ())))],
        [(wire.LEND, 0, 1, entries((True, "object", ("x", None))))],
        [(wire.LEND, 0, 1, entries((10**5000, "", ())))],
        [(wire.LEND, 0, 1, entries((-1, "", ())))],
        [(wire.LEND, 0, 1, entries((OWN, ["object"], ())))],
        [(wire.LEND, 0, 1, entries(*[(OWN + n, "object", ("x", None)) for n in range(2000)]))],
        [(wire.LEND, 0, 1, entries())] * 2,
        [(wire.LEND, 0, number, entries()) for number in range(300)],
        [(wire.REPLY, wire.LENDS, 1, NOTHING)],
    ],
    ids=[
        "not-held",
        "of-others",
        "largest",
        "the-host-itself",
        "empty",
        "garbage",
        "no-operation",
        "no-entries",
        "garbage-lent",
        "gives-back-what-it-does-not-hold",
        "an-entry-that-is-none",
        "lends-garbage",
        "lends-a-dict",
        "gives-back-not-held",
        "a-number-that-is-a-text",
        "a-number-that-is-a-bool",
        "a-huge-number",
        "a-negative-number",
        "a-kind-that-is-a-list",
        "too-many",
        "twice",
        "answers-that-do-not-come",
        "an-answer-that-lends-untold",
    ],
)
def test_what_it_does_not_hold_and_what_is_malformed_retires_it(way: str, raw: Any) -> None:
    if way == "actor" and raw[0][3][:8] == bytes(8):
        pytest.skip("an actor may ask the host itself")
    retired(attacked("frames", raw, way=way, options={"trust": "data"}))


@pytest.mark.parametrize("flags", [0, wire.BATCH, wire.BATCH | wire.LENDS, wire.BATCH | wire.SHARED])
def test_a_part_of_an_answer_that_has_none_retires_it(flags: int) -> None:
    batch = batches.packed([(wire.PLAIN, NOTHING, 0)], is_last=False)
    retired(attacked("reply", batch, flags, wire.PART))
    retired(attacked("frames", [(wire.PART, flags, 1 << 40, batch)]))
    retired(attacked("frames", [(wire.PART, flags, 1, batch)], "control"))


@pytest.mark.parametrize("raw", [b"", b"garbage", batches.packed([(wire.PLAIN, NOTHING, 0)], is_last=False)])
def test_items_in_the_place_of_a_result_are_no_result(raw: bytes) -> None:
    outcome = attacked("reply", raw, wire.BATCH)
    assert outcome.error == "UntrustedReply"


@pytest.mark.parametrize(
    "counts",
    [
        b"garbage",
        plain_encode.encode([1, 1]),
        plain_encode.encode([1]),
        plain_encode.encode(["1", 1]),
        plain_encode.encode({}),
        plain_encode.encode([1, 10**5000]),
        plain_encode.encode([10**5000, 1]),
    ],
    ids=["garbage", "not-held", "odd", "texts", "dict", "huge-count", "huge-number"],
)
def test_a_drop_of_what_it_does_not_hold_retires_it(counts: bytes) -> None:
    retired(attacked("frames", [(wire.DROP, 0, 0, counts)], "control"))


def test_drops_that_wait_forever_do_not_fill_the_host() -> None:
    outcome = attacked("flood", wire.DROP, [1, 1], 64 * MIB)
    assert outcome.error is not None


@pytest.mark.parametrize("kind", [wire.USE, wire.LEND, wire.AWAIT])
def test_what_goes_by_reference_has_no_place_on_the_other_channel(kind: int) -> None:
    raw = [(kind, 0, 1, used()[3] if kind == wire.USE else entries((3, "", ())))]
    retired(attacked("frames", raw, "control"))


def test_answers_that_are_awaited_and_never_read_do_not_fill_the_host() -> None:
    outcome = attacked("frames_unread", wire.AWAIT, 0, b"", 64 * MIB)
    assert outcome.error is not None


def of_lent(operation: str, answer: int = uses.ON_CONTROL, **more: Any) -> tuple[int, bytes]:
    """Return the flags and the payload of a use, without the number of the thing."""
    _, flags, _, payload = used(0, answer, operation=operation, **more)
    return flags, payload[8:]


CALLED = plain_encode.encode(((), {}))


@pytest.mark.parametrize(
    ("thing", "use"),
    [
        ("future", of_lent("outcome")),
        ("object", of_lent("call", name="nap", payload=CALLED)),
        ("ref", of_lent("call", name="nap", payload=CALLED)),
        ("ref", of_lent("call", uses.UNWANTED, name="nap", payload=CALLED)),
        ("ref", of_lent("call", uses.UNWANTED, name="nap", payload=b"x" * 100_000)),
        ("ref", of_lent("about")),
        ("ref", of_lent("watch", payload=CALLED)),
        ("topic", of_lent("call", name="stream", payload=CALLED)),
    ],
    ids=["outcomes", "calls", "asks", "tells", "large-tells", "questions", "watches", "subscriptions"],
)
def test_what_is_asked_faster_than_it_is_done_does_not_fill_the_host(thing: str, use: tuple[int, bytes]) -> None:
    flags, rest = use
    retired(attacked("frames_unread", thing, wire.USE, flags, rest, 64 * MIB, way="lent", options={"trust": "data"}))


def test_subscriptions_one_after_the_other_do_not_fill_the_host() -> None:
    flags, rest = of_lent("call", name="stream", payload=CALLED)
    more: dict[str, Any] = {"way": "lent", "options": {"trust": "data"}, "bound": 4.0}
    outcome = attacked("frames_in_turn", "topic", wire.USE, flags, rest, 5000, **more)
    assert outcome.error == "Timeout"


# --- floods ---------------------------------------------------------------------------------------


@sizes("mebibytes", 256, soak=[1024])
def test_a_gigabyte_of_log_records_passes_without_filling_the_host(mebibytes: int) -> None:
    """A quarter of it is four times what the host may take for an attack."""
    answered(attacked("flood", wire.LOG, RECORD, mebibytes * MIB, bound=40.0))


@pytest.mark.parametrize("raw", [b"", b"x", NOTHING], ids=["empty", "one-byte", "None"])
def test_tiny_log_frames_do_not_fill_the_host(raw: bytes) -> None:
    answered(attacked("flood", wire.LOG, None, 6 * MIB, "control", raw, bound=40.0))


@sizes("count", 20_000, soak=[100_000])
def test_log_records_of_ever_new_levels_leave_nothing_behind(count: int) -> None:
    outcome = attacked("flood_logs_of_many_levels", count, bound=40.0, fresh=True)
    answered(outcome)
    assert outcome.more["cached_levels"] < 2000


def test_a_stop_reported_under_a_flood_does_not_hold_up_the_host() -> None:
    outcome = attacked("stop_under_flood", 64 * MIB, options={"shutdown_timeout": 1.0})
    assert outcome.error is not None


@pytest.mark.parametrize("channel", ["data", "control"])
def test_a_flood_of_stops_does_not_hold_up_the_host(channel: str) -> None:
    outcome = attacked("flood", wire.STOPPING, REPORT, 64 * MIB, channel, options={"shutdown_timeout": 1.0})
    assert outcome.error is not None


@pytest.mark.parametrize("name", ["HELLO", "START_FAILED", "READY"])
def test_a_flood_of_greetings_or_starts_does_not_hold_up_the_host(name: str) -> None:
    channel = "control" if name == "HELLO" else "data"
    outcome = attacked("flood", getattr(wire, name), {"protocol": 1}, 64 * MIB, channel)
    assert outcome.error == "IsolateCrashed"


@pytest.mark.parametrize("stream", [1, 2], ids=["stdout", "stderr"])
@pytest.mark.parametrize(
    ("block", "total"),
    [
        (b"x" * 1000, 100 * MIB),
        (b"\r", MIB // 2),
        (b"\n", MIB // 2),
        (b"\r\n", MIB),
        (bytes(range(256)), 8 * MIB),
        (b"\xff\xfe\x00" * 99, 24 * MIB),
        (b"a line\n", 4 * MIB),
    ],
    ids=["no-newline", "returns", "newlines", "both", "binary", "no-text", "short-lines"],
)
def test_a_flood_of_output_does_not_fill_the_host(block: bytes, total: int, stream: int) -> None:
    answered(attacked("output", stream, block, total, bound=40.0))


def test_output_that_another_isolate_goes_on_writing_does_not_hold_up_the_host() -> None:
    outcome = attacked("borrow_stdout", 400 * MIB, way="lent_output")
    assert outcome.error == "IsolateCrashed"
    assert outcome.more["written"] == "cut off"


# --- replies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["touch", "exit", "import"])
def test_a_pickled_reply_is_untrusted_and_never_loaded(how: str) -> None:
    with marker() as path:
        outcome = attacked("reply_pickle", path, how, options={"trust": "data"})
    assert outcome.error == "UntrustedReply"
    assert outcome.more["alive"]


@pytest.mark.parametrize("how", ["touch", "exit", "import"])
def test_a_pickle_in_the_description_of_an_error_is_never_loaded(how: str) -> None:
    with marker() as path:
        outcome = attacked("error_with_pickle", path, how, options={"trust": "data"})
    assert outcome.error == "RemoteError"


@pytest.mark.parametrize("how", ["touch", "exit", "import"])
def test_a_pickle_in_a_failed_start_is_never_loaded(how: str) -> None:
    with marker() as path:
        outcome = attacked("fail_start_with_pickle", path, how, way="start", options={"trust": "data"})
    assert outcome.error == "StartError"


@pytest.mark.parametrize(
    "payload",
    [b"", b"\0", b"\xa1", b"\xa1\xff", NOTHING + b"more", b"\x80\x04N.", b"x" * 100_000],
    ids=["empty", "zero", "header", "unknown-tag", "trailing", "pickle-as-plain", "text"],
)
def test_a_reply_that_is_no_plain_data_is_untrusted(payload: bytes) -> None:
    outcome = attacked("reply", payload, options={"trust": "data"})
    assert outcome.error == "UntrustedReply"
    assert outcome.more["alive"]


@pytest.mark.parametrize("flags", [2, 3, 128, 255])
def test_unknown_flags_mean_nothing_good(flags: int) -> None:
    with marker() as path:
        outcome = attacked("reply", b"cposix\nmkdir\n(V%b\ntR." % path.encode(), flags, options={"trust": "data"})
    tells_of_a_segment = flags & 2  # which it has never announced
    assert outcome.error == ("IsolateCrashed" if tells_of_a_segment else "UntrustedReply")


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "SystemExit",
        "KeyboardInterrupt",
        "GeneratorExit",
        "BaseException",
        "eval",
        "__import__",
        "open",
        "nothing",
        "BaseExceptionGroup",
        "",
        "exit",
        "__build_class__",
    ],
)
def test_an_error_that_names_what_is_no_exception_becomes_a_remote_error(name: str) -> None:
    with marker() as path:
        code = f"__import__('os').mkdir({path!r})"
        outcome = attacked("error", {"qualname": name, "args": (code,)})
    assert outcome.error == "RemoteError"


@pytest.mark.parametrize(
    "fields",
    [
        {"module": 5},
        {"qualname": None},
        {"text": b"x"},
        {"traceback": []},
        {"notes": "x"},
        {"notes": [5]},
        {"args": 5},
        {"args": "x"},
        {"pickle": "x"},
        {"accepted": 5},
        {"untrusted": 5},
        {"invalid_target": 1},
        {"surplus": 1},
        {"self": 1},
        {"text": 10**5000},
        {"text": decimal.Decimal("1E+999999999")},
        {"text": range(10**18)},
    ],
    ids=lambda fields: "-".join((*fields, *(type(value).__name__ for value in fields.values()))),
)
def test_an_error_with_fields_of_other_types_is_a_protocol_error(fields: dict[str, Any]) -> None:
    outcome = attacked("error", fields)
    assert outcome.error == "ProtocolError"


@pytest.mark.parametrize("payload", [b"", b"x", NOTHING, plain_encode.encode([]), plain_encode.encode({1: 2})])
def test_an_error_that_is_no_description_is_a_protocol_error(payload: bytes) -> None:
    assert attacked("reply", payload, 0, wire.ERROR).error == "ProtocolError"


@pytest.mark.parametrize("code", ["b", "q"])
def test_an_error_with_a_huge_wrong_field_is_not_shown_in_full(code: str) -> None:
    outcome = attacked("error", {"text": array.array(code, b"\x81" * (FRAME - 4096))})
    assert outcome.error == "ProtocolError"
    assert len(outcome.text) < 1900


@pytest.mark.parametrize("fields", [{"text": "x" * (7 * MIB)}, {"traceback": "x" * (7 * MIB)}, {"notes": ["x"] * MIB}])
def test_an_error_with_much_text_stays_within_the_frame(fields: dict[str, Any]) -> None:
    assert attacked("error", fields).error in ("ValueError", "RemoteError", "ProtocolError")


# --- log records ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"level": "high"},
        {"level": None},
        {"level": -(10**30)},
        {"level": 10**30},
        {"level": 2.5},
        {"level": True},
        {"level": decimal.Decimal("1E+30000000")},
        {"lineno": decimal.Decimal("1E+30000000")},
        {"thread": decimal.Decimal("1E+30000000")},
        {"created": decimal.Decimal("1E+30000000")},
        {"created": float("inf")},
        {"created": float("nan")},
        {"created": 10**400},
        {"created": -1e300},
        {"created": "x"},
        {"thread": 2**100},
        {"lineno": "x"},
        {"name": 5},
        {"name": "x" * (4 * MIB - 4096)},
        {"name": range(10**18)},
        {"message": 10**5000},
        {"message": "%s %d %n"},
        {"message": "x" * (3 * MIB)},
        {"message": "\ud800"},
        {"exception": "text"},
        {"exception": b"x"},
        {"exception": 5},
        {"exception": NOTHING},
        {"exception": plain_encode.encode({**DESCRIBED, "args": plain_encode.encode((10**5000,))})},
        {"extra": 5},
        {"extra": [["a", 1]]},
        {"extra": {5: 5}},
        {"extra": range(10**18)},
        {"extra": {"message": "x", "asctime": "y", "msg": "%s", "args": (1, 2), "name": "z", "levelno": "q"}},
        {"extra": {"getMessage": "x"}},
        {"extra": {"__class__": "x"}},
        {"extra": {"__dict__": {"msg": "%1000000000d", "args": (1,), "name": "x", "levelno": 40}}},
        {"extra": {"exc_info": (1, 2, 3), "exc_text": 5, "stack_info": 5}},
        {"extra": {"taskName": 5, "created": "x"}},
        {"extra": {str(number): number for number in range(20_000)}},
    ],
    ids=lambda fields: "-".join((*fields, *(type(value).__name__ for value in fields.values()))),
)
def test_a_log_record_with_weird_fields_does_no_harm(fields: dict[str, Any]) -> None:
    answered(attacked("log", fields))


@pytest.mark.parametrize("name", sorted(RECORD))
def test_a_log_record_without_a_field_does_no_harm(name: str) -> None:
    answered(attacked("log", {}, name))


@pytest.mark.parametrize("value", [None, 5, [], "text", (), {}, {1: 2}, range(10**18)], ids=lambda value: str(value))
def test_a_log_record_that_is_none_does_no_harm(value: Any) -> None:
    answered(attacked("log_value", value))


@pytest.mark.parametrize(
    "raw", [b"x", b"\x80\x04N.", b"\xa1\xff", b"z" * (5 * MIB)], ids=["text", "pickle", "tag", "long"]
)
def test_a_log_record_of_other_bytes_does_no_harm(raw: bytes) -> None:
    answered(attacked("log", {}, "", raw))


@pytest.mark.parametrize("dots", [1000, 20_000, 200_000])
def test_a_logger_name_of_many_parts_does_no_harm(dots: int) -> None:
    outcome = attacked("log_deep_name", dots, fresh=True)
    answered(outcome)
    assert outcome.more["loggers"] < 2500


@sizes("count", 6000, soak=[20_000])
def test_thousands_of_logger_names_stay_bounded(count: int) -> None:
    outcome = attacked("log_many_names", count, fresh=True)
    answered(outcome)
    assert outcome.more["loggers"] < 2500


def test_a_record_cannot_pretend_to_be_of_another_isolate() -> None:
    outcome = attacked("log", {"name": "forged", "extra": {"isolate": "sibling", "processName": "MainProcess"}})
    answered(outcome)
    assert ["forged", "sibling"] not in outcome.more["logged"]


@pytest.mark.parametrize("how", ["touch", "exit", "import"])
def test_a_pickle_in_a_log_record_is_never_loaded(how: str) -> None:
    with marker() as path:
        answered(attacked("log_with_pickle", path, how, options={"trust": "data"}))


# --- descriptions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        None,
        5,
        [],
        "text",
        {1: (True, False, 0)},
        {"name": None},
        {"name": (1, 0, 0)},
        {"name": (True, False)},
        {"name": (True, False, "x")},
        {"name": [True, False, 0]},
        {"name": (True, False, 0, 0)},
        {"name": (True, False, 1.5)},
        {"name": 10**5000},
        {10**5000: 1},
        {"_again": (True, False, 0)},
        {"_identity": (True, False, 0)},
        {"__class__": (True, False, 0)},
        {"a._b": (True, True, 0)},
        {"method": (True, False, -5)},
        {"method": (True, False, 2**70)},
        {"name": "x" * (7 * MIB)},
    ],
    ids=[
        "None",
        "int",
        "list",
        "text",
        "int-key",
        "None-entry",
        "ints",
        "short",
        "text-count",
        "list-entry",
        "long",
        "float-count",
        "huge-int",
        "huge-key",
        "again",
        "identity",
        "class",
        "private-part",
        "negative-retries",
        "endless-retries",
        "huge-entry",
    ],
)
def test_a_malformed_description_is_a_protocol_error(payload: Any) -> None:
    outcome = attacked("describe_as", payload, way="start")
    refused_at_start(outcome)
    assert len(outcome.text) < 1900


@pytest.mark.parametrize(
    "payload",
    [{f"n{number}": (True, False, 0) for number in range(100_000)}, {"a." * MIB + "a": (True, True, 0)}],
    ids=["many", "deep"],
)
def test_a_huge_description_stays_within_the_frame(payload: Any) -> None:
    assert attacked("describe_as", payload, way="start").error in ("StartError", "ProtocolError", "AttributeError")


@pytest.mark.parametrize("raw", [b"", b"x", b"\x80\x04N.", b"\xa1\xff"], ids=["empty", "text", "pickle", "tag"])
def test_a_description_of_other_bytes_is_a_protocol_error(raw: bytes) -> None:
    assert attacked("describe_as", None, raw, way="start").error == "ProtocolError"


# --- failed starts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"qualname": "SystemExit"},
        {"args": (10**5000,)},
        {"text": "x" * 300_000},
        {"notes": ["n"] * 1000},
        {"args": ("x" * 300_000,)},
    ],
    ids=["plain", "SystemExit", "huge-int", "long-text", "notes", "long-args"],
)
def test_a_failed_start_is_a_start_error_whatever_it_says(fields: dict[str, Any]) -> None:
    assert attacked("fail_start_as", fields, way="start").error == "StartError"


def test_an_exception_without_a_text_is_a_start_error() -> None:
    assert attacked("raise_big_int", way="start").error == "StartError"


@pytest.mark.parametrize("fields", [{"module": 5}, {"text": 10**5000}, {"notes": [5]}], ids=["module", "text", "notes"])
def test_a_failed_start_that_cannot_be_read_is_an_error_of_the_start(fields: dict[str, Any]) -> None:
    assert attacked("fail_start_as", fields, way="start").error in ("StartError", "ProtocolError")


# --- the page -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 4096, 32767, 32769, 1 << 30])
def test_the_page_file_cannot_be_cut_or_grown(size: int) -> None:
    outcome = attacked("resize_page", size)
    assert outcome.value == "'PermissionError'"


def test_nothing_can_be_written_behind_the_page() -> None:
    assert attacked("write_behind_page").value in ("'PermissionError'", "'OSError'")


def test_the_page_is_sealed() -> None:
    assert attacked("seals").value == "7"


@pytest.mark.parametrize("begun", [0, 1, 5, 2**64 - 1], ids=["right", "next", "future", "highest"])
def test_a_page_that_claims_more_than_was_sent_means_all_had_begun(begun: int) -> None:
    outcome = attacked("lie_about_begun", begun, way="lying_page")
    assert outcome.error == "IsolateCrashed"
    assert outcome.more["runs"] == 1


@pytest.mark.parametrize("slot", [0, 1, 2**63], ids=["no-slot", "slot-1", "slot-beyond"])
@pytest.mark.parametrize("begun", [-1, -2, -(2**40)], ids=["less", "less-by-two", "none"])
def test_a_page_that_denies_a_call_does_not_have_it_run_for_ever(begun: int, slot: int) -> None:
    outcome = attacked("lie_about_begun", begun, slot, way="lying_page")
    assert outcome.error == "IsolateCrashed"
    assert outcome.more["runs"] <= 3


@pytest.mark.parametrize("seed", range(5))
def test_a_page_of_garbage_fails_the_call(seed: int) -> None:
    outcome = attacked("random_page", seed)
    assert outcome.error == "IsolateCrashed"
    assert outcome.kind == "signaled"


def test_an_isolate_cannot_keep_its_host_from_giving_up_on_a_call() -> None:
    outcome = attacked("append_only_page", way="give_up")
    assert outcome.error is None, (outcome.error, outcome.text)
    assert "shut_down" not in outcome.more


# --- shared memory --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["nothing", "unsealed", "may shrink", "empty", "huge", "pipe", "folder"])
def test_a_segment_that_is_none_retires_the_isolate(what: str) -> None:
    retired(attacked("map_of", what))


def test_more_segments_than_there_may_be_retire_the_isolate() -> None:
    retired(attacked("many_maps", 5000))


def test_descriptors_that_belong_to_nothing_retire_the_isolate() -> None:
    retired(attacked("many_descriptors", 100))


@pytest.mark.parametrize(
    "places",
    [
        [(0, 100)],
        [(63, 1)],
        [(64, 100_000)],
        [(100_001, 0)],
        [(2**64 - 1, 2**64 - 1)],
        [(64, 2**64 - 64)],
        [(64, 9 * MIB)],
        [(64, 90_000)] * 200,
        [],
    ],
    ids=["head", "before", "behind", "outside", "wraps", "wraps-to-0", "large", "often", "nothing"],
)
def test_a_table_that_points_elsewhere_retires_the_isolate(places: list[tuple[int, int]]) -> None:
    retired(attacked("shared_reply", 1, places))


def test_a_table_of_a_segment_that_was_not_announced_retires_the_isolate() -> None:
    retired(attacked("shared_reply", 7, [(64, 10)], False))


@pytest.mark.parametrize(
    "kind", [wire.ERROR, wire.DONE, wire.SKIPPED, wire.CANCELLED], ids=["ERROR", "DONE", "SKIPPED", "CANCELLED"]
)
def test_only_replies_lie_in_segments(kind: int) -> None:
    retired(attacked("shared_reply", 1, [(64, 100)], True, kind))


def test_a_segment_that_is_changed_after_it_was_sent_is_read_without_harm() -> None:
    """Each reply is some bytes or refused as no plain data; the host is not killed by what it reads."""
    for _ in range(5):
        outcome = attacked("restless_segment", options={"trust": "data"})
        assert outcome.error in (None, "UntrustedReply"), (outcome.error, outcome.text)
