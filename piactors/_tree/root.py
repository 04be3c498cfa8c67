"""The supervisor at the top of a tree: nobody above it, so its end is the end of the tree."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from piactors._codec import importing
from piactors._future import waiting
from piactors._host import runtime
from piactors._isolate import dead
from piactors._isolate.parent import MakeError
from piactors._platform import late_threads
from piactors._rules.exit import Exit
from piactors._rules.supervisor.rules import ChildRule
from piactors._tree.runner import ChildLink
from piactors._tree.tree_runner import TreeBackend, TreeRunner
from piactors.errors import StartError
from piactors.exit_reason import ExitReason
from piactors.future import Future


class RootSupervisor(ChildLink):
    """Stands in for a supervisor above: it starts the tree once, and accepts its end."""

    def __init__(self, backend: TreeBackend, name: str, make: Callable[[], Any]) -> None:
        super().__init__(ChildRule(id=name, type="supervisor", restart="temporary"))
        self.runner = TreeRunner(self, name, backend, make, None)
        self._ready: Future[None] = Future()
        self._called_off = False

    def start(self) -> Any:
        """Start the tree and return its ref once all of it is ready.

        Raises:
            StartError: if a child does not start.
        """
        try:
            self._begin()
            self._ready.get()
        except BaseException:
            self._call_off()
            raise
        return self.runner.ref

    async def start_async(self) -> Any:
        """Start the tree as `start` does, and let the event loop run meanwhile.

        Raises:
            StartError: as `start`.
            RuntimeError: if another event loop than asyncio's runs here.
        """
        waiting.refuse_another_kind_of_loop("start, ...")
        try:
            self._begin()
            await self._ready
        except StartError:
            self._call_off()
            raise
        except BaseException:
            self._call_off()
            await self.runner.ends.wait_briefly()
            raise
        return self.runner.ref

    def begin(self) -> tuple[Any, Future[None]]:
        """Begin to start the tree; return its ref, and a future that fails if it does not start."""
        self._begin()
        return self.runner.ref, self._ready

    def _begin(self) -> None:
        importing.check()
        runtime.for_start().add_tree(self)
        self.runner.start_wholly(self._enter)

    def _enter(self) -> bool:
        """On the tree's thread, as it begins: whether the tree is still wanted."""
        runtime.current().add_tree(self)
        return not self._called_off

    def _call_off(self) -> None:
        """The caller that starts it no longer wants it, and was perhaps interrupted, at any step of that."""
        self.kill_now()
        if not self.runner.begun:
            runtime.current().remove_tree(self)  # its thread will not come, or puts it there again

    # News of the tree (see `ChildLink`)

    def started(self) -> None:
        """The tree has started: whoever waits for that goes on."""
        self._ready.settle_with(lambda: None)

    def start_failed(self, reason: ExitReason, error: MakeError) -> None:
        """The tree could not start: whoever waits for that gets the reason."""
        self.runner.note_reason(reason)
        made = error()
        self._over()
        self._ready.fail(made)

    def exited(self, exit: Exit) -> None:
        """The tree has ended by itself: nothing above it decides, so it stays down."""
        self._over()
        self._ready.fail(dead.supervisor(self.runner.name, "was stopped while it started", exit.reason))

    def terminated(self) -> None:
        """The tree has ended as it was told to."""

    def _over(self) -> None:
        self.runner.release(wait=True)
        runtime.current().remove_tree(self)

    # For the runtime (see `Member`)

    def shut_down(self) -> None:
        """Begin to stop the whole tree, in order."""
        self.runner.stop_wanted()

    def kill_now(self) -> None:
        """End the whole tree at once."""
        self._called_off = True  # even if the caller that starts it was interrupted before the tree had come to life
        self.runner.kill()

    def wait_ended(self, timeout: float | None) -> bool:
        """Wait until it has ended for good."""
        return self.runner.over.wait(waiting.seconds_of(timeout))

    def io_failed(self, error: BaseException) -> None:
        """The I/O thread is gone: end the tree, since nothing of it would be heard any more."""
        late_threads.start_or_run(threading.Thread(target=self.runner.kill, name="piactors-kill", daemon=True))

    def abandon(self) -> None:
        """This process is a forked copy of the host: be dead here, and touch nothing of the parent's."""
        self.runner.abandon()
