"""`run`: a tree is the whole program, from its start to the signal that ends it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from typing import TYPE_CHECKING, Any, Self

from piactors._future import waiting
from piactors._platform.main_thread import interrupt_main_on
from piactors._text.logs import plain as logger
from piactors.supervisor import Supervisor, root_of
from piactors.supervisor_ref import SupervisorRef

if TYPE_CHECKING:
    import asyncio

    from piactors.future import Future

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ENDED = 0


def run(tree: SupervisorRef | Supervisor | type[Supervisor], /, *args: Any, **kwargs: Any) -> int:
    """Run a tree to its end, and return the exit code for the program.

    SIGTERM and Ctrl-C stop the tree in reverse order within its shutdown times; a second signal kills what is left.
    What is given as a class, or as an instance, is started here, and the signals hold for its start, too: children that
    run already are stopped in order, their `on_stop` included.  A tree that was started before is covered from here on.

    Called in another thread than the main one, it waits in the same way; there Python handles no signals, and SIGTERM
    raises KeyboardInterrupt in the main thread, as Ctrl-C does, whose end then stops the tree.

    Args:
        tree: a subclass of `Supervisor`, which is made with `args` and `kwargs`; an instance of one; or the ref that
            `Supervisor.start` returns.

    Returns:
        128 + the number of the signal that ended the tree; 1 if it has used up its restarts, or ended abnormally;
        0 otherwise.  In another thread than the main one it knows of no signals: what the program exits with is then
        decided by its main thread (by KeyboardInterrupt, unless that is caught).

    Raises:
        TypeError: if `tree` is none of these, or arguments are given and it is not a class.
        TypeError, ValueError: if a setting or a child's specification is wrong; nothing was started.
        StartError: if a child does not start, and no signal has come; those before it have been stopped again.
        RuntimeError: if an event loop runs in this thread: ``await run_async(tree)`` there.

    Example:
        ::

            sys.exit(piactors.run(Shop, "shop.db"))
    """
    _check(tree, args, kwargs, "run")
    if waiting.running_loop() is not None:
        raise RuntimeError("run: an event loop runs in this thread; use `await piactors.run_async(tree)`")
    if threading.current_thread() is not threading.main_thread():
        return _run_in_thread(tree, args, kwargs)
    with _Signals() as signals:
        state = _State(*_begun(tree, args, kwargs))
        unwatch = state.tree._ends.add(lambda _: signals.put(_ENDED))
        try:
            while not state.over:
                for news in signals.wait():
                    state.take(news)
        finally:
            unwatch()
        return state.code()


async def run_async(tree: SupervisorRef | Supervisor | type[Supervisor], /, *args: Any, **kwargs: Any) -> int:
    """Do what `run` does, in an event loop: the loop goes on meanwhile.

    If it is cancelled, it stops the tree first; if it is cancelled again meanwhile, the stop goes on.
    """
    _check(tree, args, kwargs, "run_async")
    waiting.refuse_another_kind_of_loop("piactors.run, tree")
    import asyncio  # whoever awaits this has it

    loop = asyncio.get_running_loop()
    news: asyncio.Queue[int] = asyncio.Queue()
    with _Signals() as signals:
        state = _State(*_begun(tree, args, kwargs))
        loop.add_reader(signals.fileno(), _pass_on, signals, news)
        unwatch = state.tree._ends.add(lambda _: signals.put(_ENDED))
        try:
            while not state.over:
                state.take(await news.get())
        except asyncio.CancelledError:
            await state.tree.stop_async()
            raise
        finally:
            unwatch()
            loop.remove_reader(signals.fileno())
    await state.tree.stop_async()  # it has reported its end, and is over in a moment
    return state.code()


def _begun(tree: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[SupervisorRef, Future[None] | None]:
    """Return the ref of a tree, whose start begins here unless it has, and what will tell how the start went."""
    if isinstance(tree, SupervisorRef):
        return tree, None
    return root_of(tree, args, kwargs).begin()


def _pass_on(signals: _Signals, news: asyncio.Queue[int]) -> None:
    for one in signals.take():
        news.put_nowait(one)


class _State:
    """What the signals so far mean.

    Args:
        ready: tells how the start went, or fails if that did not succeed; None of a tree that was started before.
    """

    def __init__(self, tree: SupervisorRef, ready: Future[None] | None = None) -> None:
        self.tree = tree
        self._ready = ready
        self._signal: int | None = None
        self.over = False

    def take(self, news: int) -> None:
        """Take the number of a signal, or 0 for the end of the tree."""
        runner = self.tree._runner
        if news == _ENDED:
            self.over = True
        elif self._signal is None:
            self._signal = news
            logger.info("supervisor %s stops on %s", self.tree.name, signal.Signals(news).name)
            runner.stop_wanted()
        else:
            logger.warning("supervisor %s is killed on a second signal", self.tree.name)
            runner.kill()

    def code(self) -> int:
        """Return the exit code, once all is gone.

        Raises:
            StartError: if it did not start, and no signal was the reason.
        """
        reason = self.tree.wait_for_exit()
        if self._signal is not None:
            return 128 + self._signal
        if self._ready is not None:
            error = self._ready.exception()
            if error is not None and self.tree._runner.is_wanted_to_stop:
                return 0  # it was told to stop while it started: by its ref, or at the end of the main thread
            self._ready.get()
        failed = self.tree._runner.exhausted or (reason is not None and not reason.is_normal)
        return 1 if failed else 0


def _run_in_thread(tree: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    take_back = interrupt_main_on(signal.SIGTERM)
    try:
        state = _State(*_begun(tree, args, kwargs))
        state.tree.wait_for_exit()
        return state.code()
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
        """Return the descriptor that is readable when there is news."""
        return self._read

    def put(self, news: int) -> None:
        """Add news, from any thread."""
        os.write(self._write, bytes([news]))

    def take(self) -> list[int]:
        """Return the news that has come; signals that are not ours go on to their previous handlers."""
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


def _check(tree: Any, args: tuple[Any, ...], kwargs: dict[str, Any], what: str) -> None:
    is_class = isinstance(tree, type) and issubclass(tree, Supervisor)
    if not is_class and not isinstance(tree, (SupervisorRef, Supervisor)):
        raise TypeError(
            f"{what}: {tree!r} is not a supervisor; pass what Supervisor.start(...) returns, a Supervisor subclass or "
            "an instance of one"
        )
    if not is_class and (args or kwargs):
        raise TypeError(f"{what}: arguments are for a class, which is called with them, and {tree!r} is not a class")
