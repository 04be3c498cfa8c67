"""What comes in the very moment of a swap: it concerns the old generation or the new one, and is never lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from piactors import ProcessActor, Recycle, supervised
from piactors._policies.recycling import Newcomer, Recycler
from piactors.isolate import Isolate

pytestmark = pytest.mark.timeout(60, method="signal")
WAYS: dict[str, Callable[[Isolate], object]] = {
    "terminate": Isolate.terminate,
    "shut_down": Isolate.shut_down,
    "kill_generation": lambda isolate: supervised.kill_generation(isolate, "by the test"),
}


class Plain(ProcessActor):
    """Says where it runs."""

    def pid(self) -> int:
        """Return the pid."""
        return os.getpid()


@pytest.mark.parametrize("way", WAYS)
def test_an_end_in_the_moment_of_a_swap_is_not_lost(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that was to act between the check and the swap has to wait, and ends the new generation."""
    threads: list[threading.Thread] = []
    take_over = Recycler._take_over

    def taken_over(self: Recycler, newcomer: Newcomer) -> None:
        if not threads:
            threads.append(threading.Thread(target=WAYS[way], args=(self._isolate,)))
            threads[0].start()
            threads[0].join(0.2)
            assert threads[0].is_alive() or way == "shut_down"  # that is done on the I/O thread, after this
        take_over(self, newcomer)

    monkeypatch.setattr(Recycler, "_take_over", taken_over)
    ref = Plain.with_options(recycle=Recycle(after_calls=1), shutdown_timeout=1).start()
    ref.proxy().pid().get(timeout=20)
    reason = ref.wait_for_exit(20)
    assert reason is not None
    assert reason.kind in ("killed", "shutdown")
    assert (ref.state, ref.pid) == ("stopped", None)
