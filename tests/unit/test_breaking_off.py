"""Calls that are not to begin, as they keep others waiting in a circle: what whoever waits for them is told."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from typing import Any

import attrs
import pytest

from piactors._isolate.asked import Asked, broken_off
from piactors._isolate.call import Call
from piactors.errors import DeadlockError

LOCK = threading.RLock()


@attrs.define
class Line:
    """A delivery that gives up whatever it is told to, while somebody comes to wait for that."""

    name: str = "actor"
    lock: Any = LOCK
    given_up: bool = False

    def give_up(self, call: Call) -> bool:
        self.given_up = True
        call.abandon()
        with pytest.raises(DeadlockError):
            call.get(timeout=0)  # what it says now, it says for ever
        return True

    def has_given_up(self, call: Call) -> bool:
        return self.given_up

    def wake_reader(self) -> None:
        """Nobody reads."""


def test_whoever_comes_to_wait_while_it_is_broken_off_is_told_why() -> None:
    """The call was given up, which looked as if its own caller had cancelled it."""
    line, error = Line(), DeadlockError("a circle", cycle=("a", "b"))
    call = Call(line, ("ask",))  # type: ignore[arg-type]
    assert broken_off(line, call, error)  # type: ignore[arg-type]
    with pytest.raises(DeadlockError):
        call.get()
    assert not call.cancelled()


def test_one_that_its_caller_gives_up_is_cancelled() -> None:
    line = Line(given_up=True)
    call = Call(line, ("ask",))  # type: ignore[arg-type]
    call.abandon()
    with pytest.raises(CancelledError):
        call.get(timeout=0)
    assert call.cancelled()


def test_what_a_request_has_come_to_wait_for_since_is_not_broken_off() -> None:
    """A circle was seen a moment ago, and is gone: the next call of the same thread is none of it."""
    line = Line()
    request = Asked.__new__(Asked)
    before: Any = (line, Call(line, ("first",)))  # type: ignore[arg-type]
    after: Any = (line, Call(line, ("second",)))  # type: ignore[arg-type]
    request.goal, request._is_of_future = after, False
    error = DeadlockError("a circle", cycle=("a", "b"))
    assert not request.break_off(error, before)
    assert not line.given_up
    assert request.break_off(error, after)
    with pytest.raises(DeadlockError):
        after[1].get()
