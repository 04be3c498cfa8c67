"""A short run of messages between isolates that are killed; `python -m tests.soak.talking` sends a million."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from piactors import ProcessActor, by_ref
from tests.soak import talking
from tests.tiers import sizes


class Asker(ProcessActor):
    """Asks the host for something."""

    def ask(self, function: Any) -> Any:
        return function(1)


@sizes("messages", 20_000, soak=[1_000_000])
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("channels", ["routed", "direct", "auto"])
def test_every_message_between_isolates_is_accounted_for(messages: int, channels: str) -> None:
    found = talking.run(messages, seed=3, channels=channels)
    assert found.faults == []
    assert found.kills["sender"]
    assert found.kills["receiver"]
    assert found.fates[talking.ANSWERED] > messages / 4
    assert bool(found.directly) == (channels != "routed")


def test_an_answer_that_comes_after_the_end_is_written_nowhere(tmp_path: Path) -> None:
    """The descriptor that it would have gone to may be that of a file which the program has opened since."""
    asked, go_on = threading.Event(), threading.Event()

    def slow(_: int) -> str:
        asked.set()
        assert go_on.wait(20)
        return "SECRET" * 10

    with ThreadPoolExecutor(1) as executor:
        ref = Asker.with_options(restart="temporary").start()
        call = ref.proxy().ask(by_ref(slow, run=executor))
        assert asked.wait(20)
        os.kill(ref.pid, signal.SIGKILL)
        assert call.exception(timeout=20) is not None
        ref.wait_for_exit(20)
        files = [open(tmp_path / str(number), "w+b", buffering=0) for number in range(50)]  # noqa: SIM115
        go_on.set()
        executor.shutdown(wait=True)
        for file in files:
            file.close()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b""] * 50
