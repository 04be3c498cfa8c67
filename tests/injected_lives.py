"""Lives of isolates with a failure at one call that the I/O thread makes: a program, started by `test_containment`.

It is one of its own because what a failing call leaves half-made has no owner any more: the garbage collector closes
it, whenever it comes to that.

    python -c 'from tests import injected_lives; injected_lives.main("everything")'
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

import piactors
from piactors import ChildSpec, ProcessActor, Recycle, Supervisor
from piactors._host import runtime
from tests import inside
from tests.injecting import PACKAGE, Site, Watcher, watching
from tests.support import wait_until

OUTCOME_SECONDS = 30.0
SEED = 11
SAMPLE = 12
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


@contextlib.contextmanager
def ending(ref: Any) -> Iterator[None]:
    """See that an isolate ends, whatever its life has come to."""
    try:
        yield
    except piactors.PiactorsError:
        ref.terminate()
    finally:
        assert ref.wait_for_exit(OUTCOME_SECONDS) is not None


def alone(lines: list[Any]) -> list[Any]:
    """Live the life of an isolate: everything that may come to it on the I/O thread."""
    options: dict[str, Any] = {"restart": "permanent", "max_restarts": 50, "output": lines.append}
    ref = Victim.with_options(**options, recycle=Recycle(after_calls=6)).start()
    futures: list[Any] = []
    with ending(ref):
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
    with ending(ref):
        futures.append(ref.proxy().echo(1))
        settle(futures)
        pid = ref.pid
        if pid is not None:
            futures += [ref.proxy().nap(0.3), ref.proxy().echo(2)]
            with contextlib.suppress(psutil.Error):
                psutil.Process(psutil.Process(pid).ppid()).kill()
        settle(futures)
        futures += [ref.proxy().echo(3), ref.stop(block=False)]
        settle(futures)
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


# What is made to fail


def some(bystander: Any) -> None:
    """A sample of all calls that there are, each with one kind of failure."""
    chance = random.Random(SEED)
    sites = all_sites(SHORT)
    assert len(sites) > 300
    inject(chance.sample(sites, SAMPLE), bystander, lambda: [chance.choice(KINDS)])


def the_end_of_a_process(bystander: Any) -> None:
    """What is told of a process that has ended, and of a launcher that is lost."""
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


def the_end_of_an_isolate(bystander: Any) -> None:
    """The last steps of an end for good."""
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


def everything(bystander: Any) -> None:
    """All calls that there are, with two kinds of failure each, another two in each run."""
    chance = random.Random()
    inject(all_sites(), bystander, lambda: chance.sample(KINDS, 2))


def _functions(path: Path) -> Callable[[int], str]:
    """Return what names the function that a line of a module is in."""
    lines = path.read_text().splitlines()

    def name(line: int) -> str:
        above = (text.strip() for text in reversed(lines[:line]) if text.lstrip().startswith("def "))
        return next(above).split("(")[0].removeprefix("def ")

    return name


def main(what: str) -> None:
    """Have what is named fail, beside an isolate that must not notice."""
    logging.getLogger("piactors").setLevel(logging.CRITICAL + 1)  # what is logged by the hundred
    warnings.simplefilter("ignore", ResourceWarning)
    chosen = {run.__name__: run for run in (some, the_end_of_a_process, the_end_of_an_isolate, everything)}
    bystander = Bystander.start()
    chosen[what](bystander)
    bystander.stop()
    print("nobody else has noticed")
