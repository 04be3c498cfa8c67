"""Whatever fails on the I/O thread costs what it belongs to: that thread, and all other isolates, go on."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import piactors
from piactors import ChildSpec, ProcessActor, Recycle, Supervisor
from piactors._host import runtime
from tests import inside
from tests.injecting import PACKAGE, Site, Watcher, watching
from tests.support import HostScripts, wait_until

OUTCOME_SECONDS = 30.0
SEED = 11
SAMPLE = 12
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning", "ignore:subprocess:ResourceWarning")
"""What a failing call leaves half-made has no owner any more: the garbage collector closes it, and says so."""
LARGE = 400_000
Life = Callable[[list[Any]], list[Any]]
KINDS: list[Callable[[], BaseException]] = [
    *(
        lambda number=number: OSError(number, os.strerror(number))  # type: ignore[misc]
        for number in (errno.EMFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EPIPE, errno.EIO)
    ),
    MemoryError,
    lambda: RuntimeError("can't start new thread"),
]


class Bystander(ProcessActor):
    """Has nothing to do with what fails."""

    def pid(self) -> int:
        """Return the pid."""
        return os.getpid()


class Victim(ProcessActor):
    """Does what makes the I/O thread do something."""

    def on_start(self) -> None:
        """Write something at once."""
        print("here")

    def echo(self, value: Any) -> Any:
        """Return the value."""
        return value

    def large(self) -> bytes:
        """Return what does not fit into a frame."""
        return bytes(LARGE)

    def speak(self) -> None:
        """Write, and log."""
        print("a line")
        print("another", file=sys.stderr)
        logging.getLogger("victim").warning("a record")

    def die(self) -> None:
        """End without a word."""
        os._exit(3)

    def nap(self, seconds: float) -> None:
        """Take a while."""
        time.sleep(seconds)


class Family(Supervisor):
    """One child, which may die."""

    max_restarts = 10

    def children(self) -> list[ChildSpec]:
        """See `Supervisor`."""
        return [ChildSpec("child", Victim.with_options(standby=True))]


def alone(lines: list[Any]) -> list[Any]:
    """Live the life of an isolate: everything that may come to it on the I/O thread."""
    options: dict[str, Any] = {"restart": "permanent", "max_restarts": 50, "output": lines.append}
    ref = Victim.with_options(**options, recycle=Recycle(after_calls=6)).start()
    futures: list[Any] = []
    try:
        proxy = ref.proxy()
        futures += [proxy.echo(number) for number in range(3)]
        futures += [proxy.large(), proxy.echo(bytes(LARGE)), proxy.speak(), proxy.nap(0.01), proxy.echo(1)]
        settle(futures)
        futures += [proxy.die(), proxy.echo(2), proxy.echo(3)]
        settle(futures)
        futures += [proxy.nap.with_options(call_timeout=0.05)(60), proxy.echo(4)]
        futures[-1].cancel()
        futures.append(proxy.echo(5))
        settle(futures)
        ref.resource_usage()
        futures += [proxy.nap(0.01), proxy.echo(6), ref.stop(block=False)]
        settle(futures)
    except piactors.PiactorsError:
        ref.terminate()
    finally:
        assert ref.wait_for_exit(OUTCOME_SECONDS) is not None
    return futures


def supervised(lines: list[Any]) -> list[Any]:
    """Live the life of a child with a standby."""
    tree = Family.start()
    futures: list[Any] = []
    try:
        child = tree.child("child")
        proxy = child.proxy()
        futures += [proxy.echo(1), proxy.die(), proxy.echo(2)]
        settle(futures)
        futures += [proxy.large(), child.proxy().die(), proxy.echo(3)]
        settle(futures)
    finally:
        assert tree.stop(timeout=OUTCOME_SECONDS)
    return futures


def bereft(lines: list[Any]) -> list[Any]:
    """Live the life of an isolate whose launcher is killed; nobody else has that launcher."""
    options: dict[str, Any] = {"restart": "permanent", "max_restarts": 50, "output": lines.append}
    ref = Victim.with_options(**options, preload=("json",)).start()
    futures: list[Any] = []
    try:
        futures.append(ref.proxy().echo(1))
        settle(futures)
        pid = ref.pid
        if pid is not None:
            futures += [ref.proxy().nap(5), ref.proxy().echo(2)]
            with contextlib.suppress(psutil.Error):
                psutil.Process(psutil.Process(pid).ppid()).kill()
        settle(futures)
        futures += [ref.proxy().echo(3), ref.stop(block=False)]
        settle(futures)
    except piactors.PiactorsError:
        ref.terminate()
    finally:
        assert ref.wait_for_exit(OUTCOME_SECONDS) is not None
    return futures


def settle(futures: list[Any]) -> None:
    """Wait until each has an outcome, whichever."""
    deadline = time.monotonic() + OUTCOME_SECONDS
    for future in futures:
        try:
            future.get(timeout=max(0.1, deadline - time.monotonic()))
        except piactors.Timeout as error:
            assert future.done(), f"no outcome: {error}"
        except BaseException as error:
            assert future.done(), repr(error)


SHORT: list[Life] = [alone, supervised]
LIVES: list[Life] = [*SHORT, bereft]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Keep what is logged by the hundred out of the way, and what is collected as garbage out of other tests."""
    caplog.set_level(logging.CRITICAL + 1, "piactors")
    yield
    gc.collect()


@pytest.fixture
def bystander() -> Iterator[Any]:
    """One that lives all the time."""
    ref = Bystander.start()
    yield ref
    ref.stop()


def all_sites(lives: list[Life] = LIVES) -> list[tuple[Life, Site]]:
    """Return every place of every life from which the I/O thread calls something."""
    found: list[tuple[Life, Site]] = []
    for life in lives:
        watcher = Watcher()
        with watching(watcher):
            live(life)
        found += [(life, site) for site in sorted(watcher.sites)]
    return found


def live(life: Life) -> None:
    """Live one life in a thread of its own, and see that it comes to its end."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            futures = life([])
            settle(futures)
        except BaseException as error:
            if isinstance(error, piactors.Timeout) or not isinstance(error, piactors.PiactorsError):
                failed.append(error)  # else it is a start that fails, and says why

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(2 * OUTCOME_SECONDS)
    assert not thread.is_alive(), "somebody waits for ever"
    if failed:
        raise failed[0]


def check(life: Life, site: Site, error: BaseException, bystander: Any, pid: int) -> bool:
    """Have one call fail, and see that nobody else notices; returns whether it was made at all."""
    watcher = Watcher(site, error)
    before, reader = runtime.current(), inside.process(bystander)._reader
    # What the I/O thread does for it after its last answer belongs to it, and could be what fails.
    wait_until(lambda: not (reader.is_unwatched or reader._unwatched))
    try:
        with watching(watcher):
            live(life)
        assert runtime.current() is before, "the I/O thread has ended"
        assert bystander.proxy().pid().get(timeout=OUTCOME_SECONDS) == pid, "another isolate has ended"
    except BaseException as failure:
        raise AssertionError(f"{life.__name__}: {error!r} at {site}") from failure
    return watcher.struck


def inject(sites: list[tuple[Life, Site]], bystander: Any, kinds: Any) -> None:
    """Have each of these calls fail once for each kind."""
    pid, struck, made = bystander.proxy().pid().get(timeout=OUTCOME_SECONDS), 0, 0
    for life, site in sites:
        for kind in kinds():
            struck += check(life, site, kind(), bystander, pid)
            made += 1
    assert struck > made // 2, f"{struck} of {made} failures were made"


@pytest.mark.parametrize("closed", ["loop._poller.close()", "os.close(loop._wake_write)"])
def test_an_io_thread_that_cannot_go_on_ends_its_isolates_and_the_next_start_has_a_new_one(
    host_script: HostScripts, closed: str
) -> None:
    """Somebody has closed its descriptors: nobody waits for ever."""
    host = host_script(f"""
        import logging, os, sys
        import piactors
        from piactors._host import runtime
        from tests.core.test_containment import Bystander, Victim

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
def test_a_failing_call_costs_what_it_belongs_to(bystander: Any) -> None:
    """A sample of all calls that there are, each with one kind of failure."""
    chance = random.Random(SEED)
    sites = all_sites(SHORT)
    assert len(sites) > 300
    inject(chance.sample(sites, SAMPLE), bystander, lambda: [chance.choice(KINDS)])


@pytest.mark.timeout(180)
def test_an_end_whose_telling_fails_leaves_nobody_waiting(bystander: Any) -> None:
    """Nothing is told a second time of a process that has ended, and of a launcher that is lost."""
    wanted = {
        ("_tell", "exited"),
        ("_tell_of_loss", "exited"),
        ("_end_what_escaped", "run"),
        ("_tell_lost", "_launcher_lost"),
        ("_tell_lost", "items"),
        ("_tell_lost", "_tell_of_loss"),
        ("_tell_lost", "pop"),
        ("_read", "_sort"),
        ("_sort", "extend"),
        ("_sort", "received_descriptors"),
        ("_sort", "add"),
        ("_handle", "_tell"),
    }
    names = {name: _functions(Path(PACKAGE, name)) for name in ("_process/launcher.py", "_process/launcher_channel.py")}
    sites = [
        (life, site)
        for life, site in all_sites([bereft])
        if site.file in names and (names[site.file](site.line), site.callee) in wanted
    ]
    assert len(sites) >= len(wanted)
    inject(sites, bystander, lambda: [MemoryError])


@pytest.mark.timeout(180)
def test_an_end_for_good_that_fails_at_its_last_steps_is_told_to_everybody(bystander: Any) -> None:
    """Once it has ended it cannot be ended any more, but those who wait for that have still to hear of it."""
    wanted = {
        "_take_steps",
        "_fail_not_run",
        "fail_all",
        "steps_of_end",
        "_steps_of_end",
        "_tell_parent",
        "tell",
        "_publish_exceeded",
        "_raise_start_error",
        "_closed",
        "_die_of_crash",
        "fail",
    }
    files = [f"_isolate/{name}.py" for name in ("performing", "telling", "news", "reply_ports", "deathwatch")]
    names = {name: _functions(Path(PACKAGE, name)) for name in files}
    sites = [
        (life, site)
        for life, site in all_sites([alone])
        if site.file in names and names[site.file](site.line) in wanted
    ]
    assert {names[site.file](site.line) for _, site in sites} >= {"_closed", "_take_steps", "fail_all", "tell", "fail"}
    inject(sites, bystander, lambda: [MemoryError])


def _functions(path: Path) -> Callable[[int], str]:
    """Return what names the function that a line of a module is in."""
    lines = path.read_text().splitlines()

    def name(line: int) -> str:
        above = (text.strip() for text in reversed(lines[:line]) if text.lstrip().startswith("def "))
        return next(above).split("(")[0].removeprefix("def ")

    return name


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
def test_every_failing_call_costs_what_it_belongs_to(bystander: Any) -> None:
    """All of them, with two kinds of failure each, another two in each run."""
    chance = random.Random()
    inject(all_sites(), bystander, lambda: chance.sample(KINDS, 2))
