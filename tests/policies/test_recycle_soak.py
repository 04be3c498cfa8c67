"""A million calls through recyclings; runs for minutes, with `-m soak`."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest

from piactors import Recycle
from piactors.events import IsolateRecycled
from tests.children.policed import Policed
from tests.policies.conftest import Seen
from tests.policies.test_recycle import check_chain, check_log, crashes, send_from_threads

CALLS = 1_000_000


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_million_calls(seen: Seen, tmp_path: Path) -> None:
    """Each is answered once, in order, and the host has what it had before: descriptors, threads, memory."""
    log, me = tmp_path / "log", psutil.Process()
    ref = Policed.with_options(recycle=Recycle(after_calls=1000), restart="temporary").start(str(log))
    first = ref.pid
    assert first is not None
    send_from_threads(ref, 4, 12_500)
    before = me.num_fds(), threading.active_count(), me.memory_info().rss
    warm_up = len(seen.of(IsolateRecycled))
    log.unlink()
    Path(log).touch()
    while len(seen.of(IsolateRecycled)) < warm_up + 3:  # until no process writes to the old log any more
        ref.proxy().pid().get(timeout=20)
    seconds, pause = send_from_threads(ref, 4, CALLS // 4)
    after = me.num_fds(), threading.active_count(), me.memory_info().rss
    print(
        f"{CALLS} calls in {seconds:.0f} s, longest pause {1000 * pause:.0f} ms, {ref.generation} generations, "
        f"descriptors {before[0]} -> {after[0]}, resident {before[2] >> 20} -> {after[2] >> 20} MiB"
    )
    assert ref.stop(timeout=20)
    check_log(log, 4, CALLS // 4)
    assert check_chain(seen, first) == ref.generation - 1 >= 200
    assert crashes(seen) == []
    assert abs(after[0] - before[0]) <= 30
    assert after[1] == before[1]
    assert after[2] - before[2] < 300 << 20  # a list of a million results, and the events
    assert pause < 1.0
