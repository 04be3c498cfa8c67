"""piactors, and the bare pipe that everything is compared with."""

from __future__ import annotations

import multiprocessing.connection
from typing import Any

from benchmarks import subjects, victims
from benchmarks.peers import CRASH_SECONDS
from benchmarks.pipes import RawPipe
from piactors import ChildSpec, IsolationOptions, Supervisor


class Member(victims.Plain, subjects.Echo):
    """Returns what it is given, and dies when told to."""


class Piactors:
    """A permanent child of a supervisor, whose module the launcher has imported before it forks."""

    @staticmethod
    def check() -> None:
        """It is there."""

    def __init__(self) -> None:
        options = IsolationOptions(preload=(__name__,))
        self._tree = Supervisor.start(children=[ChildSpec("member", Member, options=options)], max_restarts=None)
        self._ref = self._tree.child("member")
        self._proxy = self._ref.proxy()

    def call(self, value: Any) -> Any:
        """See `Peer`."""
        return self._proxy.echo(value).get()

    def call_with_timeout(self, value: Any, timeout: float) -> Any:
        """See `Peer`."""
        return self._proxy.echo(value).get(timeout=timeout)

    def pipelined(self, value: Any, calls: int) -> None:
        """See `Peer`."""
        for future in [self._proxy.echo(value) for _ in range(calls)]:
            future.get()

    def array(self, value: Any) -> Any:
        """See `Peer`."""
        return self.call(value)

    def worker_pid(self) -> int:
        """See `Peer`."""
        pid: int = self._ref.pid
        return pid

    def crash(self) -> bool:
        """See `Peer`."""
        return self._proxy.crash().exception(timeout=CRASH_SECONDS) is not None

    def close(self) -> None:
        """See `Peer`."""
        self._tree.stop()


class RawPipePeer:
    """A process at the other end of a `multiprocessing.Pipe`, 64 calls under way."""

    @staticmethod
    def check() -> None:
        """It is there."""

    def __init__(self) -> None:
        self._pipe = RawPipe()
        self.call = self._pipe.call
        self.array = self._pipe.call

    def call_with_timeout(self, value: Any, timeout: float) -> Any:
        """See `Peer`."""
        self._pipe.connection.send(value)
        if not self._pipe.connection.poll(timeout):
            raise TimeoutError
        return self._pipe.connection.recv()

    def pipelined(self, value: Any, calls: int) -> None:
        """See `Peer`."""
        self._pipe.pipelined(value, calls, 64)

    def worker_pid(self) -> int:
        """See `Peer`."""
        return self._pipe.pid

    def crash(self) -> bool:
        """See `Peer`."""
        self._pipe.connection.send(victims.Bomb())
        if not multiprocessing.connection.wait([self._pipe.connection], CRASH_SECONDS):
            return False
        try:
            self._pipe.connection.recv()
        except (EOFError, ConnectionResetError):
            return True
        return False

    def close(self) -> None:
        """See `Peer`."""
        self._pipe.close()
