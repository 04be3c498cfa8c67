"""Rules of `DeathWatch`: whoever waits for an end is told of it once, also if telling another one fails."""

from __future__ import annotations

import pytest

from piactors._isolate.deathwatch import DeathWatch
from piactors.exit_reason import ExitReason

NORMAL = ExitReason(kind="normal")


def test_telling_goes_on_where_it_has_failed() -> None:
    """Those who were told are not told again, and the first reason stands."""
    ends, told = DeathWatch(), list[tuple[str, ExitReason]]()
    failures = [MemoryError()]

    def second(reason: ExitReason) -> None:
        if failures:
            raise failures.pop()
        told.append(("second", reason))

    ends.add(lambda reason: told.append(("first", reason)))
    ends.add(second)
    ends.add(lambda reason: told.append(("third", reason)))
    with pytest.raises(MemoryError):
        ends.tell(NORMAL)
    assert told == [("first", NORMAL)]
    for _ in range(2):
        ends.tell(ExitReason(kind="killed"))
    assert told == [("first", NORMAL), ("second", NORMAL), ("third", NORMAL)]


def test_who_comes_late_or_has_called_it_off() -> None:
    """The first is told at once, the second not at all."""
    ends, told = DeathWatch(), list[ExitReason]()
    ends.add(told.append)()
    ends.tell(NORMAL)
    assert told == []
    ends.add(told.append)
    assert told == [NORMAL]
    ends.begin_again()
    ends.add(told.append)
    assert told == [NORMAL]
