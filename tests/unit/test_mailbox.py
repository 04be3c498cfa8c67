"""Rules of `piactors._rules.mailbox`: no message is lost, doubled or overtaken, and lies do little harm."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from piactors._rules import mailbox as mailbox_module
from piactors._rules import numbers as numbers_module
from piactors._rules.mailbox import MAX_HEAD_RETURNS, Evidence, Mailbox
from piactors._rules.message import Message
from piactors._rules.numbers import UnknownSequence

WINDOW, WINDOW_BYTES = 5, 100
SMALL = 20


def mailbox() -> Mailbox:
    return Mailbox(WINDOW, WINDOW_BYTES)


def call(text: str = "", retries: int = 0) -> Message:
    return Message("call", text.encode(), None, retries)


def sent(box: Mailbox, *messages: Message) -> list[Message]:
    """Put the messages and send whatever there is room for."""
    for message in messages:
        box.put(message)
    return send_all(box)


def send_all(box: Mailbox) -> list[Message]:
    found = []
    while (message := box.next_to_send()) is not None:
        found.append(message)
    return found


def answered(box: Mailbox, seq: int) -> Message:
    """What an answer to the message of this number leads to."""
    message = box.expect(seq)
    box.complete(message)
    return message


# Sending


def test_messages_are_sent_in_the_order_they_were_put_and_numbered_from_one() -> None:
    """Numbers are consecutive within a generation."""
    box, messages = mailbox(), [call(name) for name in "abc"]
    assert sent(box, *messages) == messages
    assert [message.seq for message in messages] == [1, 2, 3]
    assert (box.last_seq, box.in_flight, len(box)) == (3, 3, 3)


def test_an_empty_mailbox_sends_nothing() -> None:
    """There is nothing to number."""
    box = mailbox()
    assert box.next_to_send() is None
    assert (box.last_seq, len(box)) == (0, 0)


def test_the_window_counts_consecutive_numbers_from_the_oldest_unanswered() -> None:
    """An answer in the middle makes no room, since the oldest is still on its way; its own answer does."""
    box, messages = mailbox(), [call(str(n)) for n in range(10)]
    assert sent(box, *messages) == messages[:WINDOW]
    for seq in range(2, WINDOW + 1):
        answered(box, seq)
        assert box.next_to_send() is None
    answered(box, 1)
    assert send_all(box) == messages[WINDOW:]


def test_a_number_that_was_taken_back_takes_room_until_it_has_been_skipped() -> None:
    """Its mark stands in a slot of the page that the number a window later would use."""
    box = Mailbox(4, 1000)
    messages = [call() for _ in range(8)]
    sent(box, *messages)
    in_flight = list(box.unanswered())
    assert [message.seq for message in in_flight] == [1, 2, 3, 4]
    box.recall(in_flight[1:])
    assert send_all(box) == []
    answered(box, 1)
    assert send_all(box) == [messages[1]]  # 5; the marks of 2, 3 and 4 still stand
    assert [box.is_recalled(seq) for seq in (2, 3, 4, 4)] == [True, True, True, False]
    assert [message.seq for message in send_all(box)] == [6, 7, 8]


def test_nothing_is_sent_before_what_is_in_doubt_is_answered() -> None:
    """It may have been skipped, and is sent again then, in its turn; only the stop of this generation goes past it."""
    box, messages = mailbox(), [call(str(n)) for n in range(5)]
    sent(box, *messages[:4])
    box.recall(messages[2:4], highest_racing=2)
    assert (send_all(box), box.number(messages[4], 1)) == ([], 0)
    box.put(messages[4])
    answered(box, 1)
    assert send_all(box) == []
    box.put_back(box.expect(2))
    assert [box.is_recalled(seq) for seq in (3, 4)] == [True, True]
    assert send_all(box) == messages[1:]
    box.recall(messages[2:], highest_racing=5)
    stop = Message("stop", b"", is_self_stop=True)
    box.push_front(stop)
    assert send_all(box) == [stop]
    box.next_generation()
    assert send_all(box) == messages[2:]


def test_the_window_bounds_the_bytes_on_the_way() -> None:
    """What is on its way has at most so many bytes together."""
    box, messages = mailbox(), [call("x" * 40) for _ in range(3)]
    assert sent(box, *messages) == messages[:2]
    answered(box, 2)
    assert box.next_to_send() is messages[2]


def test_exactly_as_many_bytes_as_the_window_has_fit() -> None:
    """The limit itself is allowed."""
    box = mailbox()
    assert len(sent(box, call("x" * 60), call("x" * 40), call("x"))) == 2


def test_a_message_larger_than_the_window_goes_alone() -> None:
    """It could never be sent otherwise."""
    box, large, small = mailbox(), call("x" * 1000), call("y")
    assert sent(box, large, small) == [large]
    answered(box, 1)
    assert send_all(box) == [small]


def test_nothing_follows_a_stop_in_the_same_generation() -> None:
    """Neither calls nor further stops."""
    box, stop = mailbox(), Message("stop", b"")
    assert sent(box, call(), stop, call(), Message("stop", b"")) == [box.unanswered()[0], stop]  # type: ignore[index]
    answered(box, 1)
    assert box.next_to_send() is None
    assert len(box) == 3


# Answers


def test_an_answer_takes_its_message_off_its_way() -> None:
    """In whatever order the answers come."""
    box, messages = mailbox(), [call(name) for name in "abc"]
    sent(box, *messages)
    assert [answered(box, seq) for seq in (2, 3, 1)] == [messages[1], messages[2], messages[0]]
    assert len(box) == 0


@pytest.mark.parametrize("seq", [0, -1, 3, 99, 2**64])
def test_an_answer_to_no_message_on_its_way_is_refused(seq: int) -> None:
    """And changes nothing."""
    box = mailbox()
    sent(box, call("a"), call("b"))
    with pytest.raises(UnknownSequence):
        answered(box, seq)
    assert box.in_flight == 2


def test_a_second_answer_is_refused() -> None:
    """A message has one outcome."""
    box = mailbox()
    sent(box, call())
    answered(box, 1)
    with pytest.raises(UnknownSequence):
        answered(box, 1)


def test_an_answer_to_a_stop_is_refused() -> None:
    """A stop is never answered, only ended, so a lying isolate cannot make it go away."""
    box = mailbox()
    sent(box, Message("stop", b""))
    with pytest.raises(UnknownSequence):
        answered(box, 1)
    assert box.in_flight == 1


def test_an_answer_under_a_number_of_the_generation_before_is_refused() -> None:
    """Numbers mean nothing across generations."""
    box = mailbox()
    sent(box, call("a"), call("b"))
    box.generation_ended(Evidence(0))
    with pytest.raises(UnknownSequence):
        answered(box, 2)


# Taking out


def test_who_gives_up_on_a_waiting_message_takes_it_out_once() -> None:
    """The second time it is not there any more."""
    box, message = mailbox(), call()
    box.put(message)
    assert box.give_up(message)
    assert not box.give_up(message)
    assert len(box) == 0


def test_a_message_on_its_way_cannot_be_taken_out() -> None:
    """It may have begun."""
    box, message = mailbox(), call()
    sent(box, message)
    assert box.is_in_flight(message)
    assert not box.give_up(message)
    assert box.in_flight == 1


def test_a_message_that_came_back_can_be_taken_out_though_another_has_its_old_number() -> None:
    """Numbers are of a generation; messages are themselves."""
    box, first, second = mailbox(), call("a"), call("b")
    sent(box, first, second)
    box.generation_ended(Evidence(0))
    assert box.give_up(first)
    assert send_all(box) == [second]
    assert second.seq == first.seq == 1
    assert box.is_in_flight(second)
    assert not box.is_in_flight(first)
    assert not box.give_up(first)


def test_what_is_to_be_tried_again_is_not_dropped_nor_taken_with_what_has_not_begun() -> None:
    """It has begun before: that it was not taken, or has not begun, would be wrong."""
    box, begun, waits, stop = mailbox(), call(retries=1), call(), Message("stop", b"")
    sent(box, begun)
    box.put(waits)
    box.put(stop)
    box.generation_ended(Evidence(begun.seq))
    assert box.take_calls(tried=False) == [waits]
    assert box.oldest() is None
    assert box.take_calls() == [begun]
    assert box.close() == [stop]


def test_the_oldest_waiting_message_is_dropped_and_stops_are_not() -> None:
    """A stop cannot be dropped to make room."""
    box, stop, old, new = mailbox(), Message("stop", b""), call("old"), call("new")
    for message in (stop, old, new):
        box.put(message)
    dropped = []
    while (oldest := box.oldest()) is not None:
        assert box.give_up(oldest)
        dropped.append(oldest)
    assert dropped == [old, new]
    assert box.close() == [stop]


def test_taking_the_calls_leaves_the_stops() -> None:
    """Calls and tells come out in their order; what is on its way stays there."""
    box = mailbox()
    way, one, stop, two = call(), call("1"), Message("stop", b""), Message("tell", b"2")
    sent(box, way)
    for message in (one, stop, two):
        box.put(message)
    assert box.take_calls() == [one, two]
    assert box.take_calls() == []
    assert box.in_flight == 1
    assert box.close() == [stop]


# In the middle of what runs


def nested(box: Mailbox) -> tuple[Message, list[Message], Message]:
    """One call runs, others were sent and are taken back, and the last one is to run in the middle of the first."""
    runs, *others = sent(box, *(call() for _ in range(WINDOW)))
    box.recall(others)
    last = others.pop()
    assert box.nest(last)
    return runs, others, last


def test_what_runs_in_the_middle_is_sent_alone_though_the_window_is_full() -> None:
    box = mailbox()
    runs, others, last = nested(box)
    assert send_all(box) == [last]
    assert last.seq == WINDOW + 1, "numbers go on, so nothing between the two has begun"
    assert box.number(call(), 1) == 0
    assert box.number_many([call()], 1) == 0
    for seq in range(2, WINDOW + 1):
        assert box.is_recalled(seq)
    answered(box, last.seq)
    answered(box, runs.seq)
    assert send_all(box) == others


def test_it_may_be_entered_more_often_than_the_window_is_long() -> None:
    box = mailbox()
    (runs,) = sent(box, call())
    for number in range(2, 10 * WINDOW):
        inner = call()
        box.put(inner)
        assert box.nest(inner)
        assert send_all(box) == [inner]
        assert inner.seq == number
        answered(box, number)
    assert box.depth() == 0
    assert sent(box, call()) == [], "but what does not run in its middle waits for it"
    answered(box, runs.seq)
    assert len(send_all(box)) == 1


def test_what_is_taken_back_does_not_run_in_the_middle_any_more() -> None:
    box = mailbox()
    runs, others, last = nested(box)
    send_all(box)
    box.recall([last])
    assert not box.nests(last)
    assert next(iter(box.waiting)) is last
    for seq in range(2, WINDOW + 2):
        assert box.is_recalled(seq)
    answered(box, runs.seq)
    assert send_all(box) == [last, *others]


@pytest.mark.parametrize("begun", [1, WINDOW + 1])
def test_what_runs_in_the_middle_has_begun_or_not_when_the_process_ends(begun: int) -> None:
    box = mailbox()
    runs, others, last = nested(box)
    send_all(box)
    aftermath = box.generation_ended(Evidence(begun))
    assert aftermath.crashed == ([runs] if begun == 1 else [runs, last])
    assert send_all(box) == ([last, *others] if begun == 1 else others)


def test_what_does_not_wait_cannot_be_next() -> None:
    box = mailbox()
    (runs,) = sent(box, call())
    assert not box.nest(runs)
    assert not box.nest(call())
    assert box.depth() == 0


def test_closing_takes_out_all_that_waits_and_nothing_is_sent_any_more() -> None:
    """What is on its way stays on its way."""
    box, way, waits = mailbox(), Message("stop", b""), call()
    sent(box, way, waits)
    assert box.close() == [waits]
    assert box.next_to_send() is None
    assert list(box.unanswered()) == [way]


# A generation's end


def test_what_had_begun_fails_and_what_had_not_comes_back_before_what_waits() -> None:
    """The order is kept across generations."""
    box, messages = mailbox(), [call(str(n)) for n in range(WINDOW + 2)]
    sent(box, *messages)
    answered(box, 1)
    aftermath = box.generation_ended(Evidence(3))
    assert aftermath.crashed == messages[1:3]
    assert (aftermath.poisoned, aftermath.dropped) == ([], [])
    assert send_all(box)[0] is messages[3]
    assert [message.seq for message in box.unanswered()] == [1, 2, 3, 4]
    assert list(box.unanswered()) == messages[3:]


def test_a_message_with_retries_is_tried_again_so_often_and_then_is_poison() -> None:
    """`attempts` says how many generations it has ended."""
    box, message = mailbox(), call(retries=2)
    for _ in range(2):
        assert sent(box, *([message] if not len(box) else [])) == [message]
        assert box.generation_ended(Evidence(1)) == ([], [], [], [message])
    send_all(box)
    assert box.generation_ended(Evidence(1)).poisoned == [message]
    assert message.attempts == 3
    assert len(box) == 0


def test_a_message_that_its_caller_gave_up_on_is_dropped_with_the_generation() -> None:
    """Begun or not, it is not tried again."""
    box, begun, waiting = mailbox(), call("a", retries=3), call("b")
    sent(box, begun, waiting)
    begun.given_up = waiting.given_up = True
    assert box.generation_ended(Evidence(1)).dropped == [begun, waiting]
    assert len(box) == 0


def test_stops_that_the_actor_wished_for_itself_vanish_with_their_generation() -> None:
    """On their way or waiting."""
    box = mailbox()
    way, waits = Message("stop", b"", is_self_stop=True), Message("stop", b"", is_self_stop=True)
    sent(box, way, waits)
    aftermath = box.generation_ended(Evidence(0))
    assert len(aftermath.dropped) == 2
    assert {id(message) for message in aftermath.dropped} == {id(way), id(waits)}
    assert sent(box, last := call()) == [last]


@pytest.mark.parametrize("evidence", [Evidence(0), Evidence(2), Evidence(99), Evidence(0, credible=False)])
def test_other_stops_survive_in_their_place(evidence: Evidence) -> None:
    """Whoever asked for a stop gets it, whatever the isolate says has begun."""
    box, stop, after = mailbox(), Message("stop", b""), call("after")
    sent(box, call("before"), stop, after)
    answered(box, 1)
    assert box.generation_ended(evidence) == ([], [], [], [])
    assert send_all(box) == [stop]
    assert box.close() == [after]


def test_numbers_and_the_stop_mark_begin_anew_with_each_generation() -> None:
    """A new generation has room again."""
    box = mailbox()
    sent(box, call("x" * WINDOW_BYTES), Message("stop", b"", is_self_stop=True))
    box.generation_ended(Evidence(1))
    assert (box.last_seq, box.in_flight) == (0, 0)
    assert len(sent(box, call("x" * WINDOW_BYTES))) == 1


# Lies


def test_what_the_answers_prove_counts_though_the_page_says_less() -> None:
    """Calls begin in order, so an answer to the third says that the first two have begun."""
    box, messages = mailbox(), [call(name) for name in "abcd"]
    sent(box, *messages)
    answered(box, 3)
    aftermath = box.generation_ended(Evidence(0))
    assert aftermath.crashed == messages[:2]
    assert send_all(box) == messages[3:]


@pytest.mark.parametrize(
    "evidence", [Evidence(4), Evidence(2**64 - 1), Evidence(0, credible=False), Evidence(1, credible=False)]
)
def test_evidence_that_cannot_be_true_means_that_everything_may_have_begun(evidence: Evidence) -> None:
    """Nothing is run twice on the word of a liar."""
    box, messages = mailbox(), [call(name) for name in "abc"]
    sent(box, *messages)
    assert box.generation_ended(evidence).crashed == messages
    assert len(box) == 0


@pytest.mark.parametrize("evidence", [Evidence(0), Evidence(-5), Evidence(1), Evidence(99), Evidence(0, False)])
def test_an_answered_message_never_comes_back(evidence: Evidence) -> None:
    """Whatever the page says."""
    box, messages = mailbox(), [call(name, retries=9) for name in "ab"]
    sent(box, *messages)
    answered(box, 2)
    box.generation_ended(evidence)
    assert messages[1] not in send_all(box)


def test_a_message_comes_back_as_not_begun_max_head_returns_times_and_then_counts_as_begun() -> None:
    """A liar cannot keep a call away from its outcome for ever."""
    box, head, behind = mailbox(), call("head"), call("behind")
    returns = 0
    sent(box, head, behind)
    while not (crashed := box.generation_ended(Evidence(0)).crashed):
        returns += 1
        assert returns < 50, "it comes back for ever"
        assert send_all(box) == [head, behind]
    assert crashed == [head]
    assert returns == MAX_HEAD_RETURNS


def test_returns_of_a_message_that_was_not_the_next_to_begin_are_not_counted() -> None:
    """What waits behind a bad message has done nothing wrong."""
    box, behind = mailbox(), call("behind")
    box.put(first := call())
    box.put(behind)
    for _ in range(5 * MAX_HEAD_RETURNS):
        assert send_all(box) == [first, behind]
        assert box.generation_ended(Evidence(1)).crashed == [first]
        first = call()
        box.close()
        box.put(first)
        box.put(behind)
    assert behind.head_returns == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=8))
def test_no_lie_keeps_a_mailbox_full_for_ever(kinds: list[tuple[int, int]]) -> None:
    """Every call gets an outcome within a bounded number of generations though the page always says 0."""
    box = mailbox()
    for retries, _ in kinds:
        box.put(call(retries=retries))
    bound = sum(1 + retries + MAX_HEAD_RETURNS for retries, _ in kinds)
    outcomes = 0
    for _ in range(bound):
        send_all(box)
        aftermath = box.generation_ended(Evidence(0))
        outcomes += len(aftermath.crashed) + len(aftermath.poisoned)
    assert (outcomes, len(box)) == (len(kinds), 0)


# Everything at once, against a model


class MailboxMachine(RuleBasedStateMachine):
    """A mailbox beside a simple model: lists of messages, and where each message is."""

    def __init__(self) -> None:
        super().__init__()
        self.box = mailbox()
        self.waiting: list[Message] = []
        self.way: dict[int, Message] = {}
        self.last = 0
        self.proven = 0  # the highest number answered in this generation
        self.stopped = False
        self.out: list[Message] = []
        self.put_so_far: list[Message] = []
        self.head_returns: dict[int, int] = {}
        self.counted: dict[int, int] = {}  # how often a message has counted as begun
        self.answered: set[int] = set()
        self.closed = False

    @initialize()
    def start(self) -> None:
        assert len(self.box) == 0

    # Steps

    @rule(kind=st.sampled_from(["call", "call", "tell"]), size=st.integers(0, 130), retries=st.integers(0, 2))
    def put_call(self, kind: Any, size: int, retries: int) -> None:
        self._put(Message(kind, b"x" * size, None, retries))

    @rule(own=st.booleans())
    def put_stop(self, own: bool) -> None:
        self._put(Message("stop", b"", None, is_self_stop=own))

    def _put(self, message: Message) -> None:
        if self.closed:
            return
        self.box.put(message)
        self.waiting.append(message)
        self.put_so_far.append(message)

    @rule()
    def send(self) -> None:
        message = self.box.next_to_send()
        if not self.waiting or self.stopped or not self._room(self.waiting[0]):
            assert message is None
            return
        expected = self.waiting.pop(0)
        assert message is expected
        assert id(expected) not in self.answered
        self.last += 1
        assert expected.seq == self.last
        self.way[self.last] = expected
        self.stopped = expected.kind == "stop"

    @rule(size=st.integers(0, 2 * SMALL))
    def number_at_once(self, size: int) -> None:
        """As `send`, for a message that need not wait first."""
        if self.closed:
            return
        message = Message("call", b"x" * size)
        is_free = not self.waiting and not self.stopped and self._room(message)
        assert bool(self.box.number(message, size)) == is_free
        if is_free:
            self.last += 1
            assert message.seq == self.last
            self.way[self.last] = message
            self.put_so_far.append(message)

    @rule(count=st.integers(1, 4), size=st.integers(0, 2 * SMALL))
    def number_many_at_once(self, count: int, size: int) -> None:
        """All of them, or none."""
        if self.closed:
            return
        messages = [Message("call", b"x" * size) for _ in range(count)]
        last = self.box.number_many(messages, size)
        if last == 0:
            assert size > SMALL or self.waiting or self.stopped or self.way or count * SMALL > WINDOW_BYTES
            return
        assert last == self.last + count
        for message in messages:
            assert not self.waiting
            assert not self.stopped
            assert self._room(message)
            self.last += 1
            assert message.seq == self.last
            self.way[self.last] = message
            self.put_so_far.append(message)

    @rule(count=st.integers(1, 4))
    def answer_many(self, count: int) -> None:
        """The oldest ones, at once."""
        messages = [message for message in list(self.way.values())[:count] if message.kind != "stop"]
        for message in messages:
            del self.box.by_number[message.seq], self.way[message.seq]
            self.answered.add(id(message))
            self.proven = max(self.proven, message.seq)
        self.out += messages
        if messages:
            self.box.completed(messages[-1].seq, sum(message.size for message in messages))

    def _room(self, message: Message) -> bool:
        if not self.way:
            return True
        numbers = range(min(self.way), self.last + 2)
        return len(numbers) <= WINDOW and self._bytes() + len(message.payload) <= WINDOW_BYTES

    def _bytes(self) -> int:
        return sum(len(message.payload) for message in self.way.values())

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        seq = data.draw(st.integers(-1, self.last + 2))
        expected = self.way.get(seq)
        if expected is None or expected.kind == "stop":
            with pytest.raises(UnknownSequence):
                answered(self.box, seq)
            return
        assert answered(self.box, seq) is expected
        del self.way[seq]
        self.proven = max(self.proven, seq)
        self.answered.add(id(expected))
        self.out.append(expected)

    @precondition(lambda self: self.put_so_far)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(self.put_so_far))
        found = any(message is other for other in self.waiting)
        assert self.box.is_in_flight(message) == any(message is other for other in self.way.values())
        assert self.box.give_up(message) == found
        if found:
            self._hand_out([message])
        elif self.box.is_in_flight(message) and message.kind != "stop":
            message.given_up = True

    @rule()
    def drop_oldest(self) -> None:
        calls = [message for message in self.waiting if message.kind != "stop" and not message.attempts]
        found = self.box.oldest()
        assert found is (calls[0] if calls else None)
        assert found is None or self.box.give_up(found)
        self._hand_out(calls[:1])

    @rule(tried=st.booleans())
    def take_calls(self, tried: bool) -> None:
        calls = [message for message in self.waiting if message.kind != "stop" and (tried or not message.attempts)]
        self._same(self.box.take_calls(tried=tried), calls)
        self._hand_out(calls)

    @rule()
    def take_own_stops(self) -> None:
        stops = [message for message in self.waiting if message.is_self_stop]
        self._same(self.box.take_own_stops(), stops)
        self._hand_out(stops)

    @rule(data=st.data(), what=st.sampled_from(["honest", "honest", "low", "high", "incredible"]))
    def end_generation(self, data: st.DataObject, what: str) -> None:
        begun = data.draw(st.integers(self.proven, self.last))  # what has really begun
        claim = {
            "honest": Evidence(begun),
            "low": Evidence(data.draw(st.integers(-1, begun))),
            "high": Evidence(self.last + data.draw(st.integers(1, 2**40))),
            "incredible": Evidence(data.draw(st.integers(0, self.last + 9)), credible=False),
        }[what]
        believed = max(claim.begun, self.proven) if what in ("honest", "low") else self.last
        aftermath = self.box.generation_ended(claim)
        handed = [*aftermath.crashed, *aftermath.poisoned, *aftermath.dropped]
        assert len({id(message) for message in handed}) == len(handed)
        lost = {id(message) for message in handed}
        dropped = {id(message) for message in aftermath.dropped}
        back: list[Message] = []
        for position, (seq, message) in enumerate(self.way.items()):
            self._check_fate(message, seq <= believed, position == 0, id(message) in lost, id(message) in dropped)
            if id(message) not in lost:
                back.append(message)
        stops = [message for message in self.waiting if message.is_self_stop]
        assert {id(message) for message in stops} <= dropped
        assert lost == {id(m) for m in self.way.values() if id(m) in lost} | {id(m) for m in stops}
        assert all(message.retries == 0 for message in aftermath.crashed)
        assert all(message.retries > 0 for message in aftermath.poisoned)
        self.out += handed
        self.waiting = back + [message for message in self.waiting if not message.is_self_stop]
        self.way = {}
        self.last = self.proven = 0
        self.stopped = False

    def _check_fate(self, message: Message, begun: bool, head: bool, lost: bool, dropped: bool) -> None:
        key = id(message)
        if message.kind == "stop":
            assert lost == dropped == message.is_self_stop
            return
        if message.given_up:
            assert dropped
            return
        assert not dropped
        if not begun and not head:
            assert not lost, "a message that had not begun has to be tried again"
            return
        if not begun:
            # By the rule it may come back so often; from when on it counts as begun has a test of its own.
            self.head_returns[key] = self.head_returns.get(key, 0) + 1
            if self.head_returns[key] < MAX_HEAD_RETURNS:
                assert not lost
                return
            begun = message.attempts > self.counted.get(key, 0)
            assert begun or self.head_returns[key] <= MAX_HEAD_RETURNS
        if begun:
            self.counted[key] = self.counted.get(key, 0) + 1
            assert message.attempts == self.counted[key]
            assert lost == (self.counted[key] > message.retries), "begun more often than its retries allow"

    @precondition(lambda self: len(self.put_so_far) > 10)
    @rule()
    def close(self) -> None:
        self._same(self.box.close(), self.waiting)
        self._hand_out(self.waiting)
        self.closed = True

    def _hand_out(self, messages: list[Message]) -> None:
        gone = {id(message) for message in messages}
        self.out += messages
        self.waiting = [message for message in self.waiting if id(message) not in gone]

    @staticmethod
    def _same(found: list[Message], expected: list[Message]) -> None:
        assert [id(message) for message in found] == [id(message) for message in expected]

    # What always holds

    @invariant()
    def every_message_is_in_exactly_one_place(self) -> None:
        places = [*self.waiting, *self.way.values(), *self.out]
        assert sorted(map(id, places)) == sorted(map(id, self.put_so_far))
        assert len(self.box) == len(self.waiting) + len(self.way)
        assert self.box.in_flight == len(self.way)
        assert self.box.last_seq == self.last
        self._same(list(self.box.unanswered()), list(self.way.values()))

    @invariant()
    def nothing_answered_is_here(self) -> None:
        assert not self.answered & {id(message) for message in (*self.waiting, *self.way.values())}

    @invariant()
    def the_window_holds(self) -> None:
        if self.way:
            assert self.last - min(self.way) < WINDOW
            assert len(self.way) == 1 or self._bytes() <= WINDOW_BYTES
        stops = [seq for seq, message in self.way.items() if message.kind == "stop"]
        assert stops in ([], [self.last])

    @invariant()
    def one_sender_is_never_overtaken(self) -> None:
        order = {id(message): position for position, message in enumerate(self.put_so_far)}
        here = [order[id(message)] for message in (*self.way.values(), *self.waiting)]
        assert here == sorted(here)

    def teardown(self) -> None:
        if not self.closed:
            self.end_nothing_is_lost()

    def end_nothing_is_lost(self) -> None:
        left = list(self.box.unanswered())
        self._same(left, list(self.way.values()))
        self._same(self.box.close(), self.waiting)


@pytest.fixture(autouse=True)
def little_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers_module, "_SMALL", SMALL)


TestMailbox = MailboxMachine.TestCase
TestMailbox.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


# Want of memory


FILES = (mailbox_module.__file__, numbers_module.__file__)


class _FailsAt:
    """Fails the call of this number that the mailbox makes."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        caller = frame.f_back if event == "call" else frame
        if event in ("call", "c_call") and caller is not None and caller.f_code.co_filename in FILES:
            self.left -= 1
            if self.left == -1:
                raise MemoryError


OPERATIONS: dict[str, Callable[[list[Message], Mailbox], object]] = {
    "recall": lambda messages, box: box.recall(messages[2:4], 1),
    "put_back": lambda messages, box: box.put_back(messages[1]),
    "take_calls": lambda _, box: box.take_calls(),
    "close": lambda _, box: box.close(),
    "generation_ended": lambda _, box: box.generation_ended(Evidence(2)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_fails_in_the_middle_no_message_is_nowhere_or_in_two_places(name: str) -> None:
    """Each call that the operation makes fails once; what it was to take out may be listed as leaving, besides."""
    for number in range(1000):
        box, messages = mailbox(), [call(str(n)) for n in range(8)]
        stop = Message("stop", b"", None, is_self_stop=True)
        assert sent(box, *messages) == messages[:WINDOW]
        box.push_front(stop)
        failing = _FailsAt(number)
        sys.setprofile(failing)
        try:
            OPERATIONS[name](messages, box)
        except MemoryError:
            pass
        else:
            assert failing.left >= 0
            assert number > 0
            return
        finally:
            sys.setprofile(None)
        for message in [*messages, *([] if name == "generation_ended" else [stop])]:
            in_flight = any(other is message for other in box.unanswered())
            places = [in_flight, message in box]
            assert sum(places) == 1 or message in box.leaving or (name == "generation_ended" and any(places)), (
                number,
                str(message.payload),
                places,
            )
    raise AssertionError("it never comes to an end")
