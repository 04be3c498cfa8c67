"""Isolates that ask each other: the I/O thread reads what they say, and stays awake for it; else callers read."""

from __future__ import annotations

from typing import Any

import pytest

from piactors import by_ref
from piactors._io import awake, caller_turns
from tests.children.talking import Store, User

SECONDS = 20
ASKS = 100

pytestmark = pytest.mark.skipif(not awake.several_cores(), reason="nothing stays awake on one core")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the I/O thread stayed awake, and a caller read."""
    monkeypatch.setattr(caller_turns, "_TALKS", 60.0)  # however slow the machine is
    counts = {"look": 0, "_read_for": 0}
    for owner, name in ((awake.Awake, "look"), (caller_turns.CallerTurns, "_read_for")):
        _count(monkeypatch, owner, name, counts)
    return counts


def _count(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, counts: dict[str, int]) -> None:
    method = getattr(owner, name)

    def counting(self: Any, *args: Any) -> Any:
        counts[name] += 1
        return method(self, *args)

    monkeypatch.setattr(owner, name, counting)


def test_callers_leave_the_reading_to_it(counted: dict[str, int], store: Any, user: Any) -> None:
    for number in range(ASKS):
        assert user.proxy().call(store, "add", number).get(timeout=SECONDS) is not None
    assert counted["look"] > 0
    assert counted["_read_for"] < ASKS / 2


def test_what_the_caller_runs_itself_it_reads_itself(counted: dict[str, int], store: Any, user: Any) -> None:
    """Also in an isolate that has asked others before."""
    for number in range(10):
        user.proxy().call(store, "add", number).get(timeout=SECONDS)
    counted["_read_for"] = 0
    function = by_ref(abs, run="caller")
    for number in range(ASKS):
        assert user.proxy().run(function, -number).get(timeout=SECONDS) == number
    assert counted["_read_for"] > ASKS / 2


def test_without_spin_it_sleeps(counted: dict[str, int]) -> None:
    store, user = (actor.with_options(spin=False).start() for actor in (Store, User))
    for number in range(ASKS):
        user.proxy().call(store, "add", number).get(timeout=SECONDS)
    assert counted["look"] == 0
    for ref in (user, store):
        ref.stop(timeout=SECONDS)
