"""`run`: a tree is the whole program, from its start to the signal that ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import threading
from collections.abc import Callable
from typing import Any, Self

from piactors import waiting
from piactors._platform.main_thread import interrupt_main_on
from piactors.sending import in_event_loop
from piactors.supervisor_ref import SupervisorRef

logger = logging.getLogger("piactors")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ENDED = 0


def run(tree: SupervisorRef) -> int:
    """Wait until the tree has ended, and return the exit code for the program.

    SIGTERM and Ctrl-C stop the tree in reverse order within its shutdown times; a second signal kills what is left.
    Called in another thread than the main one, it waits in the same way; there Python handles no signals, and SIGTERM
    raises KeyboardInterrupt in the main thread, as Ctrl-C does, whose end then stops the tree.

    Returns:
        128 + the number of the signal that ended the tree; 1 where it has used up its restarts, or ended abnormally;
        0 otherwise.  In another thread than the main one it knows of no signals: what the program exits with is then
        decided by its main thread (by KeyboardInterrupt, unless that is caught).

    Raises:
        TypeError: where `tree` is no ref of a supervisor.
        RuntimeError: where an event loop runs in this thread: ``await run_async(tree)`` there.

    Example:
        ::

            sys.exit(piactors.run(Shop.start("shop.db")))
    """
    _check(tree, "run")
    if in_event_loop():
        raise RuntimeError("run: an event loop runs in this thread; use `await piactors.run_async(tree)`")
    if threading.current_thread() is not threading.main_thread():
        return _run_in_thread(tree)
    with _Signals() as signals:
        unwatch = tree._ends.add(lambda _: signals.put(_ENDED))
        try:
            return _until_ended(tree, signals.wait)
        finally:
            unwatch()


async def run_async(tree: SupervisorRef) -> int:
    """Do what `run` does, in an event loop: the loop goes on meanwhile.

    Where it is cancelled, it stops the tree first.
    """
    _check(tree, "run_async")
    waiting.refuse_another_kind_of_loop("piactors.run, tree")
    loop = asyncio.get_running_loop()
    news: asyncio.Queue[int] = asyncio.Queue()
    state = _State(tree)
    with _Signals() as signals:
        loop.add_reader(signals.fileno(), _pass_on, signals, news)
        unwatch = tree._ends.add(lambda _: signals.put(_ENDED))
        try:
            while not state.over:
                state.take(await news.get())
        except asyncio.CancelledError:
            await asyncio.to_thread(tree.stop)
            raise
        finally:
            unwatch()
            loop.remove_reader(signals.fileno())
    return await asyncio.to_thread(state.code)


def _pass_on(signals: _Signals, news: asyncio.Queue[int]) -> None:
    for one in signals.take():
        news.put_nowait(one)


class _State:
    """What the signals so far mean."""

    def __init__(self, tree: SupervisorRef) -> None:
        self._tree = tree
        self._signal: int | None = None
        self.over = False

    def take(self, news: int) -> None:
        """Take the number of a signal, or 0 for the end of the tree."""
        runner = self._tree._runner
        if news == _ENDED:
            self.over = True
        elif self._signal is None:
            self._signal = news
            logger.info("supervisor %s stops on %s", self._tree.name, signal.Signals(news).name)
            runner.stop_wanted()
        else:
            logger.warning("supervisor %s is killed on a second signal", self._tree.name)
            runner.kill()

    def code(self) -> int:
        """Return the exit code, once all is gone."""
        reason = self._tree.wait_for_exit()
        if self._signal is not None:
            return 128 + self._signal
        failed = self._tree._runner.exhausted or (reason is not None and not reason.is_normal)
        return 1 if failed else 0


def _until_ended(tree: SupervisorRef, wait: Callable[[], list[int]]) -> int:
    state = _State(tree)
    while not state.over:
        for news in wait():
            state.take(news)
    return state.code()


def _run_in_thread(tree: SupervisorRef) -> int:
    take_back = interrupt_main_on(signal.SIGTERM)
    try:
        tree.wait_for_exit()
        return _State(tree).code()
    finally:
        if take_back is not None:
            take_back()


class _Signals:
    """Signals, and other news, as numbers that come through a pipe.

    The handler in C writes there itself, so a signal is seen however short before a wait it comes.  In another thread
    than the main one Python takes no signals; only the other news come then.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        for fd in (self._read, self._write):
            os.set_blocking(fd, False)
        self._before: dict[signal.Signals, Any] = {}
        self._fd_before = -1

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            before = {signum: signal.getsignal(signum) for signum in SIGNALS}
            self._before = {signum: handler for signum, handler in before.items() if handler is not signal.SIG_IGN}
            self._fd_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            for signum in self._before:
                signal.signal(signum, _nothing)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler or signal.SIG_DFL)
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._fd_before)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are news."""
        return self._read

    def put(self, news: int) -> None:
        """Add news, from any thread."""
        os.write(self._write, bytes([news]))

    def take(self) -> list[int]:
        """Return the news that have come; signals that are not ours go on to who had them before."""
        try:
            numbers = os.read(self._read, 256)
        except BlockingIOError:
            return []
        others = bytes(number for number in numbers if number != _ENDED and number not in self._before)
        if others and self._fd_before >= 0:
            with contextlib.suppress(OSError):
                os.write(self._fd_before, others)
        return [number for number in numbers if number == _ENDED or number in self._before]

    def wait(self) -> list[int]:
        """Return the next news, waiting for them."""
        poller = select.poll()
        poller.register(self._read, select.POLLIN)
        poller.poll()
        return self.take()


def _nothing(*_: object) -> None:
    """Handle a signal in Python: it has been seen already."""


def _check(tree: Any, what: str) -> None:
    if not isinstance(tree, SupervisorRef):
        raise TypeError(f"{what}: {tree!r} is no supervisor; pass what Supervisor.start(...) returns")
