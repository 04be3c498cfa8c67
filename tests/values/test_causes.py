"""What causes what: a message that follows from another one, through the host, does not overtake it."""

from __future__ import annotations

from typing import Any

import pytest

from piactors import IsolateCrashed
from tests.children.talking import Store

SECONDS = 20


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


@pytest.mark.parametrize("restarts", [False, True])
def test_what_the_host_asks_after_an_answer_finds_what_was_told_before_it(user: Any, restarts: bool) -> None:
    """Also the first message of all to an actor, or to its next process."""
    for number in range(10):
        other = Store.with_options(restart="permanent").start()
        if restarts:
            get(user.proxy().tell(other, "before"))
            with pytest.raises(IsolateCrashed):
                get(other.proxy().die())
        get(user.proxy().tell(other, number))
        assert get(other.proxy().all()) == [number]
        other.stop(timeout=SECONDS)
