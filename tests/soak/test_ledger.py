"""The ledger finds what is planted in a history, and nothing in a right one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from tests.soak import ledger
from tests.soak.ledger import Call, Facts, Fault, Outcome, Run

PIDS = {100: 1, 200: 2, 300: 3}
MIDDLE = 4


@attrs.define
class History:
    """Calls of two senders to one isolate, which dies once, in the middle, and is killed at its end."""

    calls: dict[int, Call] = attrs.field(factory=dict)
    runs: list[Run] = attrs.field(factory=list)
    ends: dict[int, str] = attrs.field(factory=dict)
    facts: Facts = attrs.field(factory=lambda: Facts("a", restart="permanent", drains=True, last_exit="shutdown"))

    def faults(self) -> list[Fault]:
        return ledger.judge(self.calls, {"a": self.facts}, {"a": self.runs}, {"a": PIDS}, {"a": self.ends})

    def ran(self, number: int, pid: int, marks: str = "BE") -> None:
        last = self.runs[-1].at if self.runs else 0.0
        self.runs += [Run(mark, number, pid, last + 0.1 * place) for place, mark in enumerate(marks, 1)]

    def runs_without(self, number: int) -> list[Run]:
        return [run for run in self.runs if run.number != number]

    def settled(self, number: int, outcome: Outcome, **fields: Any) -> Call:
        fields = {"callbacks": 1, "outcomes": [outcome], "way": "proxy", **fields}
        call = Call(number, "a", f"sender{number % 2}", method="fast", **fields)
        self.calls[number] = call
        return call


def crash(kind: str = "IsolateCrashed", generation: int = 1, reason: str = "signaled", **fields: Any) -> Outcome:
    return Outcome("error", kind, generation=generation, reason=reason, **fields)


def right() -> History:
    """Return a history in which all is as it should be, with every kind of outcome."""
    made = History(ends={1: "signaled", 2: "shutdown"})
    for number in (1, 2, 3):
        made.settled(number, Outcome("value"))
        made.ran(number, 100)
    made.settled(MIDDLE, crash())
    made.ran(MIDDLE, 100, "B")
    made.settled(5, Outcome("cancelled"), cancelled_by_us=True)
    made.settled(6, Outcome("error", "ValueError"), raises=frozenset({"ValueError"}))
    made.ran(6, 200, "BR")
    made.settled(7, Outcome("value"), retries=1)
    made.ran(7, 200, "B")
    made.ran(7, 200)
    tell = made.settled(8, Outcome("value"), has_future=False, callbacks=0, way="tell")
    tell.outcomes.clear()
    made.ran(8, 200)
    made.settled(9, Outcome("error", "ActorDeadError"))
    made.settled(10, Outcome("gave_up", at=100.0), way="blocking ask", callbacks=0)
    made.ran(10, 200)
    return made


def test_nothing_is_found_in_a_right_history() -> None:
    assert right().faults() == []


def lost_outcome(history: History) -> None:
    history.calls[2].outcomes.clear()


def two_outcomes(history: History) -> None:
    history.calls[2].outcomes.append(crash())


def two_callbacks(history: History) -> None:
    history.calls[2].callbacks = 2


def no_callback(history: History) -> None:
    history.calls[2].callbacks = 0


def ran_twice(history: History) -> None:
    history.runs += [Run("B", 8, 200, 5.0), Run("E", 8, 200, 5.1)]


def retried_too_often(history: History) -> None:
    history.runs += [Run("B", 7, 200, 5.0)]


def answered_and_never_ran(history: History) -> None:
    history.runs = history.runs_without(2)


def answered_and_not_ended(history: History) -> None:
    history.runs = [run for run in history.runs if run != next(r for r in history.runs if r[:2] == ("E", 2))]


def cancelled_and_ran(history: History) -> None:
    history.ran(5, 200)


def dead_and_ran(history: History) -> None:
    history.ran(9, 200)


def begun_after_it_was_given_up(history: History) -> None:
    history.runs = [*history.runs_without(10), Run("B", 10, 200, 200.0), Run("E", 10, 200, 200.1)]


def out_of_order(history: History) -> None:
    second = [run for run in history.runs if run.number == 2]
    history.runs = [*history.runs_without(2), *(run._replace(pid=200) for run in second)]


def earlier_generation_goes_on(history: History) -> None:
    history.runs[-2:] = [run._replace(pid=100) for run in history.runs[-2:]]


def unknown_process(history: History) -> None:
    history.runs[-2:] = [run._replace(pid=999) for run in history.runs[-2:]]


def called_by_nobody(history: History) -> None:
    history.ran(77, 200)


def wrong_answer(history: History) -> None:
    history.calls[3].outcomes = [Outcome("value", right=False)]


def timed_out_without_a_limit(history: History) -> None:
    history.calls[MIDDLE].outcomes = [crash("CallTimeout")]


def limit_without_limits(history: History) -> None:
    history.calls[MIDDLE].outcomes = [crash("LimitExceeded")]


def poison_without_retries(history: History) -> None:
    history.calls[MIDDLE].outcomes = [crash("PoisonMessage", attempts=1)]


def poison_too_early(history: History) -> None:
    history.calls[7].outcomes = [crash("PoisonMessage", 2, "shutdown", attempts=1)]


def undocumented_error(history: History) -> None:
    history.calls[3].outcomes = [Outcome("error", "KeyError")]


def cancelled_by_nobody(history: History) -> None:
    history.calls[5].cancelled_by_us = False


def full_without_a_bound(history: History) -> None:
    history.calls[9].outcomes = [Outcome("error", "MailboxFull")]


def two_crashed_at_once(history: History) -> None:
    history.settled(11, crash())


def crashed_and_nothing_ended(history: History) -> None:
    history.calls[MIDDLE].outcomes = [crash(generation=3)]


def another_reason(history: History) -> None:
    history.calls[MIDDLE].outcomes = [crash(reason="limit")]


def two_tells_lost(history: History) -> None:
    for number in (20, 21):
        history.settled(number, Outcome("value"), has_future=False, callbacks=0, way="tell").outcomes.clear()


def late_verdict(history: History) -> None:
    history.calls[MIDDLE].call_timeout = 1.0
    history.calls[MIDDLE].outcomes = [crash("CallTimeout")]
    begun = next(place for place, run in enumerate(history.runs) if run.number == MIDDLE)
    history.runs.insert(begun + 1, history.runs[begun]._replace(mark="E", at=history.runs[begun].at + 0.1))


def watch_tells_twice(history: History) -> None:
    history.facts.watches = [1, 2]


def watch_tells_nothing(history: History) -> None:
    history.facts.watches = [0]


PLANTED: dict[Callable[[History], None], str] = {
    lost_outcome: "unset",
    two_outcomes: "two outcomes",
    two_callbacks: "callbacks",
    no_callback: "callbacks",
    ran_twice: "ran twice",
    retried_too_often: "ran twice",
    answered_and_never_ran: "answered and never ran",
    answered_and_not_ended: "answered and never ran",
    cancelled_and_ran: "ran although it never begins",
    dead_and_ran: "ran although it never begins",
    begun_after_it_was_given_up: "begun after it was given up",
    out_of_order: "order",
    earlier_generation_goes_on: "split",
    unknown_process: "unknown process",
    called_by_nobody: "ran elsewhere",
    wrong_answer: "wrong answer",
    timed_out_without_a_limit: "impossible",
    limit_without_limits: "impossible",
    poison_without_retries: "impossible",
    poison_too_early: "attempts",
    undocumented_error: "impossible",
    cancelled_by_nobody: "impossible",
    full_without_a_bound: "impossible",
    two_crashed_at_once: "too many crashed",
    crashed_and_nothing_ended: "crash without an end",
    another_reason: "another reason",
    two_tells_lost: "lost tells",
    late_verdict: "late verdict",
    watch_tells_twice: "watch",
    watch_tells_nothing: "watch",
}


@pytest.mark.parametrize(("plant", "rule"), PLANTED.items(), ids=lambda value: getattr(value, "__name__", "to"))
def test_each_planted_fault_is_found(plant: Callable[[History], None], rule: str) -> None:
    history = right()
    plant(history)
    assert rule in {fault.rule for fault in history.faults()}


def test_with_a_pause_a_late_verdict_is_none() -> None:
    """An isolate that is stopped between the end of its call and the answer has not answered in time."""
    history = right()
    late_verdict(history)
    history.facts.pauses = [(0.7, 2.0)]
    assert "late verdict" not in {fault.rule for fault in history.faults()}


def test_a_journal_is_read_as_it_was_written() -> None:
    assert ledger.parse("B 7 100 1500000000\nE 7 100 2000000000\n") == [Run("B", 7, 100, 1.5), Run("E", 7, 100, 2.0)]
