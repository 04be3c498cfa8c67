"""`run`: a tree is the whole program, from its start to the signal that ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from piactors._platform.main_thread import interrupt_main_on
from piactors.isolate import in_event_loop
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
        128 + the number of the signal that ended the tree; 1 where it has used up its restarts; 0 otherwise.

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
    news: queue.SimpleQueue[int] = queue.SimpleQueue()
    tree._ends.add(lambda _: news.put(_ENDED))
    with _handlers(news.put):
        return _until_ended(tree, news.get)


async def run_async(tree: SupervisorRef) -> int:
    """Do what `run` does, in an event loop: the loop goes on meanwhile.

    Where it is cancelled, it stops the tree first.
    """
    _check(tree, "run_async")
    loop = asyncio.get_running_loop()
    news: asyncio.Queue[int] = asyncio.Queue()
    unwatch = tree._ends.add(lambda _: loop.call_soon_threadsafe(partial(news.put_nowait, _ENDED)))
    installed = _add_to_loop(loop, news.put_nowait)
    state = _State(tree)
    try:
        while not state.over:
            state.take(await news.get())
    except asyncio.CancelledError:
        await asyncio.to_thread(tree.stop)
        raise
    finally:
        unwatch()
        for signum in installed:
            loop.remove_signal_handler(signum)
    return await asyncio.to_thread(state.code)


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
        self._tree.wait_for_exit()
        if self._signal is not None:
            return 128 + self._signal
        return 1 if self._tree._runner.exhausted else 0


def _until_ended(tree: SupervisorRef, next_news: Callable[[], int]) -> int:
    state = _State(tree)
    while not state.over:
        state.take(next_news())
    return state.code()


def _run_in_thread(tree: SupervisorRef) -> int:
    take_back = interrupt_main_on(signal.SIGTERM)
    try:
        tree.wait_for_exit()
        return _State(tree).code()
    finally:
        if take_back is not None:
            take_back()


@contextlib.contextmanager
def _handlers(put: Callable[[int], object]) -> Iterator[None]:
    """Install handlers that only pass the signal on, and put back those that were there."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    wanted = [signum for signum, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for signum in wanted:
            signal.signal(signum, lambda number, _: put(number))
        yield
    finally:
        for signum in wanted:
            signal.signal(signum, before[signum] or signal.SIG_DFL)


def _add_to_loop(loop: asyncio.AbstractEventLoop, put: Callable[[int], object]) -> list[signal.Signals]:
    installed: list[signal.Signals] = []
    try:
        for signum in SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                loop.add_signal_handler(signum, put, int(signum))
                installed.append(signum)
    except (ValueError, RuntimeError, NotImplementedError):
        return installed  # no loop of the main thread
    return installed


def _check(tree: Any, what: str) -> None:
    if not isinstance(tree, SupervisorRef):
        raise TypeError(f"{what}: {tree!r} is no supervisor; pass what Supervisor.start(...) returns")
