"""Supervised isolates under load from four threads while `kill -9` hits them at random."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

from piactors import ChildSpec, IsolateCrashed, Supervisor, SupervisorRef
from tests.children.actors import Fragile
from tests.support import wait_until

SENDERS = 4
CALLS = 600
KILLS = 30
SECONDS = 0.002
"""How long a call takes, so that a kill mostly hits one."""
FAR = 1_000_000
"""How far the numbers of two senders are apart."""
IDS = ("a", "b", "c")


@attrs.define
class Sender:
    """One thread that sends its numbers to the children in turn, at least so many and until it is enough."""

    first: int
    tree: SupervisorRef
    enough: threading.Event
    futures: dict[int, Any] = attrs.field(factory=dict)

    def send(self) -> None:
        proxies = [self.tree.child(id).proxy() for id in IDS]
        for number in itertools.count(self.first):
            if len(self.futures) >= CALLS and self.enough.is_set():
                return
            self.futures[number] = proxies[number % len(proxies)].work_for(number, SECONDS)
            if number % 20 == 0:  # now and then wait, so that the kills meet senders that wait, too
                self.futures[number].exception(timeout=60)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_only_calls_that_had_begun_fail(strategy: Any, tmp_path: Path) -> None:
    """At most one call fails per kill, none runs twice, a sender's calls run in order, and all others are answered."""
    logs = {id: tmp_path / id for id in IDS}
    children = [ChildSpec(id, Fragile, args=(str(log),)) for id, log in logs.items()]
    tree = Supervisor.start(children=children, strategy=strategy, max_restarts=None)
    enough = threading.Event()
    senders = [Sender(start * FAR, tree, enough) for start in range(SENDERS)]
    threads = [threading.Thread(target=sender.send) for sender in senders]
    for thread in threads:
        thread.start()
    kills = kill_at_random(tree, KILLS)
    enough.set()
    for thread in threads:
        thread.join()
    outcomes = {number: future.exception(timeout=60) for sender in senders for number, future in sender.futures.items()}
    failed = {number for number, error in outcomes.items() if error is not None}
    ran = [[int(line) for line in log.read_text().split()] for log in logs.values()]

    assert kills == KILLS
    assert len(outcomes) >= SENDERS * CALLS
    assert [error for error in outcomes.values() if not isinstance(error, IsolateCrashed | None)] == []
    assert 0 < len(failed) <= KILLS
    everything = [number for numbers in ran for number in numbers]
    assert len(everything) == len(set(everything)), "a call ran twice"
    assert set(outcomes) - set(everything) <= failed, "a call was answered and never ran"
    for numbers in ran:
        for sender in senders:
            own = [number for number in numbers if sender.first <= number < sender.first + FAR]
            assert own == sorted(own), "calls of one sender overtook each other"
    wait_until(lambda: tree.count_children().active == len(IDS))
    tree.stop()


def kill_at_random(tree: SupervisorRef, kills: int) -> int:
    """Kill a child's process again and again, each time after its restart; returns how often one was hit."""
    dice = random.Random()
    hit = 0
    while hit < kills:
        ref = tree.child(dice.choice(IDS))
        pid, generation = ref.pid, ref.generation
        if pid is None or ref.state != "running":
            continue
        os.kill(pid, signal.SIGKILL)
        hit += 1
        wait_until(lambda: ref.generation > generation and ref.state == "running", 20)  # noqa: B023
    return hit
