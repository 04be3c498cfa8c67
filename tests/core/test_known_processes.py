"""What is told of a process tells which one it is, whatever comes first: its own word, or that of its launcher."""

from __future__ import annotations

import collections
import os
import signal
import threading
import time
from typing import Any

import pytest

from piactors import Backoff, IsolateCrashed, ProtocolError, events
from piactors._host import runtime
from piactors._process.early import EarlyFrames
from piactors.pihost.wire import wire
from tests import inside
from tests.children.actors import Fragile
from tests.support import wait_until

PATIENCE = 20.0
STARTS = 8


def test_a_process_that_is_ready_has_a_pid_also_where_its_launcher_is_slow() -> None:
    """A spare is ready by itself; its launcher, stopped again and again here, tells of it later."""
    started: list[events.Event] = []
    unsubscribe = events.subscribe(started.append, events.IsolateStarted)
    Fragile.start().stop()
    (launcher, *_) = runtime.current().launcher_pids()
    over = threading.Event()
    thread = threading.Thread(target=stop_and_go, args=(launcher, over))
    thread.start()
    try:
        for _ in range(STARTS):
            ref = Fragile.start()
            assert ref.pid is not None
            ref.stop()
    finally:
        over.set()
        thread.join()
    wait_until(lambda: len(started) == STARTS + 1)
    unsubscribe()
    assert [event for event in started if event.pid is None] == []


def stop_and_go(pid: int, over: threading.Event) -> None:
    """Stop a process for most of the time."""
    while not over.is_set():
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.02)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.004)


def test_frames_of_a_process_that_is_not_known_wait_in_their_order() -> None:
    """All but log records, which name no process; not without end."""
    heard: list[Any] = []
    early = EarlyFrames(lambda frame: heard.append((frame.kind, frame.payload)))
    scratch = bytearray(b"one")
    early.hear(wire.Frame(wire.HELLO, 0, 1, 0, memoryview(scratch)))
    scratch[:] = b"two"
    early.hear(wire.Frame(wire.LOG, 0, 1, 0, b"record"))
    early.hear(wire.Frame(wire.READY, 0, 1, 0, b""))
    assert heard == [(wire.LOG, b"record")]
    early.known()
    early.hear(wire.Frame(wire.STOPPING, 0, 1, 0, b""))
    assert heard[1:] == [(wire.HELLO, b"one"), (wire.READY, b""), (wire.STOPPING, b"")]


def test_a_process_that_is_not_known_cannot_fill_the_host() -> None:
    early = EarlyFrames(lambda frame: None)
    frames = (wire.Frame(wire.REQUEST, 0, 1, 0, b"") for _ in range(10_000))
    with pytest.raises(ProtocolError, match="frames"):
        collections.deque(map(early.hear, frames), maxlen=0)


def test_a_stop_in_the_moment_of_a_restart_is_a_stop_and_no_failed_start() -> None:
    """Nothing was started, so no event tells of a start that failed, and the reason is that of a stop."""
    seen: list[events.Event] = []
    unsubscribe = events.subscribe(seen.append)
    ref = Fragile.with_options(restart="permanent", backoff=Backoff(initial=600, maximum=600)).start()
    with pytest.raises(IsolateCrashed):
        ref.proxy().die().get(timeout=PATIENCE)

    def strike() -> None:
        ref.stop(block=False)
        inside.life(ref).restart_due()

    inside.on_the_loop(ref, strike)
    reason = ref.wait_for_exit(PATIENCE)
    assert reason is not None
    assert reason.kind == "shutdown"
    assert runtime.current().dispatcher.drain(PATIENCE)
    told = [type(event).__name__ for event in seen if event.name == ref.name]
    unsubscribe()
    assert told == ["IsolateStarted", "IsolateExited", "IsolateRestarting"]
