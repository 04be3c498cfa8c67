"""Pipelines of streams whose processes are killed at random: a beginning arrives, and nothing waits for ever."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from typing import Any

import pytest

import piactors
from piactors import IsolateCrashed
from tests.children.streaming import Maker
from tests.support import wait_until

SECONDS = 30


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random(seed: int) -> None:
    """Of a maker, two that double, and what the host lends: one dies while items pass."""
    chance = random.Random(seed)
    refs = [
        Maker.with_options(restart="permanent", max_restarts=None, backoff=piactors.Backoff(initial=0)).start()
        for _ in range(3)
    ]
    outcomes = {"whole": 0, "crashed": 0}
    for _ in range(40):
        first, second, third = (ref.proxy() for ref in refs)
        count = chance.choice([0, 10, 500, 3000])
        method = chance.choice(["count", "acount", "doubled", "adoubled"])
        factor, given = (1, count) if "count" in method else (2, piactors.stream(range(count)))
        source = getattr(first, method)(given)
        found = third.adoubled(second.doubled(source))
        victim = chance.choice(refs)
        killer = threading.Timer(chance.random() * 0.01, _kill, (victim,))
        killer.start()
        items: list[int] = []
        try:
            while True:
                items.append(found.get_next(SECONDS))
        except StopIteration:
            outcomes["whole"] += 1
            assert len(items) == count
        except IsolateCrashed:
            outcomes["crashed"] += 1
        assert items == [number * 4 * factor for number in range(len(items))]
        killer.join()
        for ref in refs:
            wait_until(lambda ref=ref: ref.state == "running", SECONDS)  # type: ignore[misc]
    assert min(outcomes.values()) > 0
    for ref in refs:
        assert list(ref.proxy().count(50)) == list(range(50))
        ref.stop(timeout=SECONDS)


def _kill(ref: Any) -> None:
    pid = ref.pid
    with contextlib.suppress(ProcessLookupError):  # it may be ending of another's end
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
