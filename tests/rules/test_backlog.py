"""What waits for one subscriber: a model of each way to deal with what does not fit."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piactors._rules.backlog import Backlog, Overflow


@pytest.mark.parametrize("overflow", get_args(Overflow))
@given(most=st.integers(1, 4), at_once=st.integers(1, 3), steps=st.lists(st.sampled_from(["offer", "next", "done"])))
def test_it_is_a_bounded_queue(overflow: Any, most: int, at_once: int, steps: list[str]) -> None:
    backlog: Backlog[int] = Backlog(most, overflow, at_once)
    waiting: list[int] = []
    under_way = dropped = offered = 0
    bound = 1 if overflow == "latest" else most
    for step in steps:
        if step == "offer":
            fits = len(waiting) < bound
            if not fits and overflow in ("drop_oldest", "latest"):
                waiting.pop(0)
                dropped += 1
                fits = True
            assert backlog.offer(offered) is fits
            waiting += [offered] if fits else []
            offered += 1
        elif step == "next":
            expected = waiting.pop(0) if waiting and under_way < at_once else None
            assert backlog.next() == expected
            under_way += expected is not None
        elif under_way:
            backlog.done()
            under_way -= 1
        assert (len(backlog), backlog.under_way, backlog.dropped) == (len(waiting), under_way, dropped)
