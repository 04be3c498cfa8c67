"""Whatever fails on the I/O thread costs what it belongs to: that thread, and all other isolates, go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from piactors._host import runtime
from tests.injected_lives import OUTCOME_SECONDS, Bystander, Victim
from tests.support import HostScripts, wait_until


@pytest.fixture
def bystander() -> Iterator[Any]:
    """One that lives all the time."""
    ref = Bystander.start()
    yield ref
    ref.stop()


def have_fail(what: str, host_script: HostScripts, seconds: float) -> None:
    """Have a program make these calls fail, one at a time, and see that nobody else noticed."""
    host = host_script(f"""
        from tests import injected_lives

        if __name__ == "__main__":
            injected_lives.main({what!r})
        """)
    out, err = host.communicate(timeout=seconds)
    assert host.returncode == 0, err
    assert out.endswith("nobody else has noticed\n")


@pytest.mark.parametrize("closed", ["loop._poller.close()", "os.close(loop._wake_write)"])
def test_an_io_thread_that_cannot_go_on_ends_its_isolates_and_the_next_start_has_a_new_one(
    host_script: HostScripts, closed: str
) -> None:
    """Somebody has closed its descriptors: nobody waits for ever."""
    host = host_script(f"""
        import logging, os, sys
        import piactors
        from piactors._host import runtime
        from tests.injected_lives import Bystander, Victim

        if __name__ == "__main__":
            logging.basicConfig(level=logging.CRITICAL, format="%(message)s")
            ref = Victim.start()
            future = ref.proxy().nap(60)
            loop = runtime.current().loop
            {closed}
            loop.call_soon(int)
            try: future.get(timeout=20)
            except piactors.PiactorsError as error: print(type(error).__name__, "I/O thread" in str(error))
            print(Bystander.start().proxy().pid().get(timeout=20) > 0, ref.is_alive())
        """)
    out, err = host.communicate(timeout=40)
    assert host.returncode == 0, err
    assert "the next start begins with a new one" in err, (out, err)
    assert "PiactorsError True" in out
    assert "True False" in out


@pytest.mark.timeout(180)
def test_a_failing_call_costs_what_it_belongs_to(host_script: HostScripts) -> None:
    """A sample of all calls that there are, each with one kind of failure."""
    have_fail("some", host_script, 170)


@pytest.mark.timeout(180)
def test_an_end_whose_telling_fails_leaves_nobody_waiting(host_script: HostScripts) -> None:
    """Nothing is told a second time of a process that has ended, and of a launcher that is lost."""
    have_fail("the_end_of_a_process", host_script, 170)


@pytest.mark.timeout(180)
def test_an_end_for_good_that_fails_at_its_last_steps_is_told_to_everybody(host_script: HostScripts) -> None:
    """Once it has ended it cannot be ended any more, but those who wait for that have still to hear of it."""
    have_fail("the_end_of_an_isolate", host_script, 170)


def test_a_launcher_whose_news_cannot_be_read_for_a_while_lives(
    bystander: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits in its channel would fail again at once; it is read when there is memory again."""
    pid = bystander.proxy().pid().get(timeout=OUTCOME_SECONDS)
    ref = Victim.with_options(restart="permanent").start()
    lacking, tries = threading.Event(), []
    launcher = psutil.Process(pid).ppid()
    backend: Any = next(found for found in runtime.current()._backends.values() if getattr(found, "pid", 0) == launcher)
    sock = backend._sock

    class Lacking:
        def __getattr__(self, name: str) -> Any:
            return getattr(sock, name)

        def recvmsg(self, *args: Any) -> Any:
            if lacking.is_set():
                tries.append(time.monotonic())
                raise MemoryError
            return sock.recvmsg(*args)

    monkeypatch.setattr(backend, "_sock", Lacking())
    lacking.set()
    ref.proxy().die()
    wait_until(lambda: len(tries) >= 20)
    assert tries[-1] - tries[0] > 0.5, "it reads without a pause"
    lacking.clear()
    assert ref.proxy().echo(1).get(timeout=OUTCOME_SECONDS) == 1
    assert bystander.proxy().pid().get(timeout=OUTCOME_SECONDS) == pid
    ref.stop()


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_every_failing_call_costs_what_it_belongs_to(host_script: HostScripts) -> None:
    """All of them, with two kinds of failure each, another two in each run."""
    have_fail("everything", host_script, 7100)
