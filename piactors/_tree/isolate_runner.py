"""A child in a process of its own."""

from __future__ import annotations

from collections.abc import Callable

from piactors._isolate.isolate import Isolate
from piactors._isolate.replacing import same_isolate
from piactors._isolate.spec import IsolateSpec
from piactors._platform import process_stats
from piactors._tree.runner import ChildLink, Runner
from piactors.future import Future
from piactors.ref import IsolateRef


class IsolateRunner:
    """Runs an isolate under one ref: an `Isolate` from a start to the end that no restart follows, then another."""

    def __init__(self, link: ChildLink, ref: IsolateRef, *, kill: bool) -> None:
        self.link = link
        self.ref = ref
        self._kill = kill
        self._unused = True
        self._spec: IsolateSpec | None = None
        """What it is to run from its next start on, if that was declared anew."""

    @property
    def _isolate(self) -> Isolate:
        return self.ref._isolate

    def start(self) -> None:
        """Begin to start it, anew or in place of what has ended; report `started` or `start_failed`."""
        if self._isolate.start_held():
            return
        if not self._unused:
            self.ref._renew(self.link, self._spec)
        self._unused = False
        self._isolate.begin()

    def stop(self, keep: bool) -> None:
        """Begin to stop it within its shutdown time, even if it is starting; report `exited`."""
        isolate = self._isolate
        if isolate.ended.is_set():
            return  # it has reported already
        if keep and self._kill:
            isolate.kill_process("stopped with shutdown='kill'")
        elif keep:
            isolate.halt()
        elif self._kill:
            isolate.terminate()
        else:
            isolate.shut_down()

    def take_over(self, other: Runner) -> bool:
        """Run from the next start on what `other` was made for; False if that is of another kind."""
        if not isinstance(other, IsolateRunner):
            return False
        self._spec = other.ref._isolate.spec
        self._isolate.declare_anew(self._spec)
        self._kill = other._kill
        return True

    def swap_for(self, other: Runner) -> Callable[[], Future[int]]:
        """Return what has another process take over, of what `other` was made for; its future gets the generation."""
        isolate = self._isolate
        if not isinstance(other, IsolateRunner):
            raise TypeError(f"replace_child: {self.ref.name!r} runs in a process, and can be replaced by such a child")
        spec = same_isolate(isolate.spec, other.ref._isolate.spec)

        def swap() -> Future[int]:
            self._spec, self._kill = spec, other._kill
            if isolate.ended.is_set():  # it runs that from its next start on
                future: Future[int] = Future()
                future.settle_with(lambda: self.ref.generation)
                return future
            return isolate.replace("replaced", spec)

        return swap

    def release(self) -> None:
        """It stays down: fail what waits for it."""
        self._isolate.release()
        self._unused = False

    def await_end(self) -> None:
        """After `release`, at the end of the supervisor: wait until what stood by for its restart is gone as well."""
        self._isolate.await_end()

    def kill(self) -> None:
        """End it at once; report `exited`."""
        if not self._unused:
            self._isolate.terminate()

    def abandon(self) -> None:
        """Nothing: the runtime knows the isolate itself."""

    def describe(self, memory: bool) -> str:
        """Return what a view shows of it besides its name and state; with `memory` also how much it uses."""
        pid, parts = self.ref.pid, []
        resident = process_stats.resident(pid) if memory and pid is not None else 0
        if pid is not None:
            parts.append(f"pid {pid}")
        parts.append(f"generation {self.ref.generation}")
        if resident:
            parts.append(f"{resident / (1 << 20):.1f} MiB")
        return "  ".join(parts)
