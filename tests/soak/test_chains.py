"""What is wrong with a row of events is found, and nothing in a right one."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest

from tests.soak import chains
from tests.soak.chains import Told
from tests.soak.ledger import Facts

FACTS = Facts("a", restart="permanent", max_restarts=2, within=10.0)


def told(*words: str) -> list[Told]:
    """Return events from words such as ``started 1``, ``exited 1 signaled``, ``restarting 1``, a second apart."""
    kinds = {
        "started": "IsolateStarted",
        "exited": "IsolateExited",
        "failed": "IsolateStartFailed",
        "restarting": "IsolateRestarting",
        "exceeded": "RestartsExceeded",
    }
    found = []
    for at, word in enumerate(words):
        kind, number, *reason = word.split()
        event = Told(kinds[kind], "a", 100 + int(number), int(number), float(at), *reason)
        found.append(event)
    return found


def texts(events: Sequence[Told], facts: Facts = FACTS) -> str:
    return "\n".join(fault.text.rpartition(" [")[0] for fault in chains.judge({"a": events}, {"a": facts}))


LIFE = ("started 1", "exited 1 signaled", "restarting 1", "started 2", "exited 2 signaled", "restarting 2")


@pytest.mark.parametrize(
    ("facts", "events"),
    [
        (FACTS, [*LIFE, "started 3", "exited 3 signaled", "exceeded 3"]),
        (FACTS, [*LIFE, "failed 3 start_failed", "exceeded 3"]),
        (attrs.evolve(FACTS, stop_asked=True), [*LIFE]),
        (attrs.evolve(FACTS, stop_asked=True), [*LIFE, "started 3", "exited 3 shutdown"]),
        (attrs.evolve(FACTS, restart="temporary"), ["started 1", "exited 1 signaled"]),
        (attrs.evolve(FACTS, restart="transient"), ["started 1", "exited 1 normal"]),
        (attrs.evolve(FACTS, swaps=True, stop_asked=True), ["started 1", "started 3", "exited 1 x", "exited 3 x"]),
    ],
)
def test_nothing_is_found_in_a_right_row(facts: Facts, events: list[str]) -> None:
    assert texts(told(*events), facts) == ""


@pytest.mark.parametrize(
    ("facts", "events", "text"),
    [
        (FACTS, ["started 1", "exited 1 signaled", "restarting 1", "started 3", "exited 3 x"], "3 follows 1"),
        (FACTS, ["started 1", "started 2", "exited 1 x", "exited 2 x"], "starts while [1] has not ended"),
        (FACTS, ["started 2", "started 1", "exited 1 x", "exited 2 x"], "generation 1 starts after 2"),
        (FACTS, ["started 1", "exited 1 x", "exited 1 x"], "exits twice"),
        (FACTS, ["exited 1 x"], "exits, and has not started"),
        (FACTS, ["started 1", "failed 1 x"], "has started, and its start fails"),
        (FACTS, ["started 1"], "no event tells of the end of generations [1]"),
        (FACTS, [*LIFE, "started 3", "exited 3 x", "restarting 3", "started 4", "exited 4 x"], "3 restarts within"),
        (FACTS, ["started 1", "exited 1 x", "exceeded 1"], "used up after 0 of 2"),
        (FACTS, [*LIFE, "exceeded 2", "started 3", "exited 3 x"], "starts after its restarts were used up"),
        (FACTS, ["started 1", "exited 1 x", "started 2", "exited 2 x"], "0 restarts were announced"),
        (FACTS, ["started 1", "exited 1 signaled"], "a permanent isolate stays down"),
        (attrs.evolve(FACTS, restart="transient"), ["started 1", "exited 1 exited"], "a transient isolate stays down"),
        (attrs.evolve(FACTS, restart="temporary"), LIFE[:5], "a temporary isolate restarts"),
        (attrs.evolve(FACTS, restart="transient"), ["started 1", "exited 1 normal", "restarting 1"], "transient"),
    ],
)
def test_what_is_wrong_is_found(facts: Facts, events: list[str], text: str) -> None:
    assert text in texts(told(*events), facts)


def test_another_process_may_not_end_for_one() -> None:
    started, exited = told("started 1", "exited 1 signaled")
    assert "started as pid 101 and exits as 5" in texts([started, attrs.evolve(exited, pid=5)])


def test_the_loss_of_a_launcher_is_not_charged() -> None:
    events = told(*LIFE, "started 3", "exited 3 killed", "restarting 3", "started 4", "exited 4 shutdown")
    lost = [attrs.evolve(e, detail=chains.LAUNCHER_LOST) if e.generation == 3 else e for e in events]
    assert texts(lost, attrs.evolve(FACTS, stop_asked=True)) == ""
