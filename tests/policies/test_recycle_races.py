"""What comes in the very moment of a swap: it concerns the old generation or the new one, and is never lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from piactors import ProcessActor, Recycle
from piactors._isolate import telling
from piactors._isolate.isolate import Isolate
from piactors._isolate.life import Life
from piactors._rules import actions as do

pytestmark = pytest.mark.timeout(60, method="signal")
WAYS: dict[str, Callable[[Isolate], object]] = {
    "terminate": Isolate.terminate,
    "shut_down": Isolate.shut_down,
    "kill_generation": lambda isolate: isolate.kill_process("by the test"),
}


class Plain(ProcessActor):
    """Says where it runs."""

    def pid(self) -> int:
        """Return the pid."""
        return os.getpid()


@pytest.mark.parametrize("way", WAYS)
def test_an_end_in_the_moment_of_a_swap_is_not_lost(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread acts between the decision and its performance, and ends the new process."""
    threads: list[threading.Thread] = []
    attach, refs = Life._attach, []

    def attached(self: Life, action: do.Attach) -> None:
        if action.number > 1 and not threads:
            threads.append(threading.Thread(target=WAYS[way], args=(refs[0]._isolate,)))
            threads[0].start()
            threads[0].join(20)
        attach(self, action)

    monkeypatch.setitem(telling.PERFORM, do.Attach, attached)
    ref = Plain.with_options(recycle=Recycle(after_calls=1), shutdown_timeout=1).start()
    refs.append(ref)
    ref.proxy().pid().get(timeout=20)
    reason = ref.wait_for_exit(20)
    assert reason is not None
    assert reason.kind in ("killed", "shutdown")
    assert (ref.state, ref.pid) == ("stopped", None)
