"""A program that does not run for a while: what was in time is in time."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from piactors._io.loop import Loop
from tests.support import HostScripts, wait_until

PAUSED = """
import os, sys, time
import piactors
from piactors import ProcessActor
from piactors._host import runtime

class Worker(ProcessActor):
    def on_start(self):
        time.sleep(self.slow)
    def __init__(self, slow=0.0):
        super().__init__()
        self.slow = slow
    def work(self, seconds):
        time.sleep(seconds)
        return "worked"
    def pid(self):
        return os.getpid()

ways = {
    "timeout": {"call_timeout": 0.7}, "many": {"call_timeout": 0.7, "concurrency": 2}, "plain": {"heartbeat": 0.3},
    "stands by": {"standby": True, "heartbeat": 0.3, "start_timeout": 2.0}, "stops": {"shutdown_timeout": 0.7},
}
refs = {name: Worker.with_options(restart="permanent", name=name, **fields).start() for name, fields in ways.items()}
for ref in refs.values():
    ref.proxy().pid().get(timeout=20)
late = piactors.ChildSpec("late", Worker)
calls = {name: refs[name].proxy().work(0.3) for name in ("timeout", "many", "plain", "stops")}
slow = Worker.with_options(name="slow", start_timeout=0.9)
import threading
started = []
thread = threading.Thread(target=lambda: started.append(slow.start(0.4)))
thread.start()
print(*runtime.current().launcher_pids(), *(ref.pid for ref in refs.values()), flush=True)
sys.stdin.readline()
print(*(call.get(timeout=20) for call in calls.values()))
thread.join(20)
print(len(started), *(ref.generation for ref in refs.values()))
print(*(ref.stop(timeout=20) for ref in refs.values()))
"""


@pytest.mark.parametrize("who", ["host", "all"])
def test_nothing_is_ended_because_the_program_was_stopped(host_script: HostScripts, who: str) -> None:
    """Alone, as by a debugger; or together with its isolates, as by a hypervisor."""
    host = host_script(PAUSED)
    assert host.stdout is not None
    pids = [int(word) for word in host.stdout.readline().split()]
    stopped = [host.pid, *(pids if who == "all" else [])]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(1.6)  # longer than any of the times
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    out, err = host.communicate("\n", timeout=50)
    assert out.splitlines() == ["worked worked worked worked", "1 1 1 1 1 1", "True True True True True"], err


def test_a_deadline_does_not_count_what_the_loop_missed_and_comes_all_the_same() -> None:
    """It is put off by as much as it is late, once."""
    loop, came, late = Loop(lambda _: None, lambda _: None), threading.Event(), threading.Event()
    loop.start()
    try:
        start = time.monotonic()
        loop.deadline(0.3, came.set)
        loop.call_later(0.1, late.set)
        loop.call_soon(time.sleep, 0.8)
        assert late.wait(5)
        assert not came.is_set()
        assert came.wait(5)
        assert 1.05 <= time.monotonic() - start < 4
        cancelled = loop.deadline(0.05, lambda: came.clear())
        loop.call_soon(time.sleep, 0.5)
        wait_until(lambda: not loop._calls)
        cancelled.cancel()
        assert came.is_set()
    finally:
        loop.stop()
