"""How processes come to be: through a launcher, and what is asked of one."""

from __future__ import annotations

import array
import contextlib
import logging
import os
import pickle
import secrets
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs

from piactors._host.confining import Confiner
from piactors._host.loop import Loop
from piactors._platform import markers, pidfd
from piactors._platform.limits import cgroups
from piactors.exit_reason import Rusage
from piactors.pihost import wire

logger = logging.getLogger("piactors")

PIHOST = str(Path(__file__).resolve().parent.parent / "pihost" / "__main__.py")
MARKER_PREFIX = "PIACTORS_"
WARM_MODULES = ("piactors.actor", "dill")
"""What a launcher of the host's own interpreter imports besides `preload`: what actors need in an isolate."""

_SWEEP_SECONDS = 5.0
_END_SECONDS = 5.0


@attrs.frozen
class Order:
    """One process to be made.

    Attributes:
        interpreter: the absolute path of the interpreter.
        env: the process's environment.
        fresh: whether to start a fresh interpreter rather than fork a warm one.
        orders: what it does to itself before it runs anything (see `piactors.pihost.confine`).
    """

    interpreter: str
    env: dict[str, str]
    fresh: bool
    orders: dict[str, Any] = attrs.field(factory=dict)

    @property
    def argv(self) -> list[str]:
        """The command line of a fresh interpreter, up to its descriptors."""
        return [self.interpreter, PIHOST, "isolate"]


class Listener(Protocol):
    """Who wants to know of one process; called on the loop's thread."""

    @property
    def process_fd(self) -> int:
        """The descriptor of the process, or -1."""

    def launched(self, pid: int, process_fd: int) -> None:
        """The process exists; the listener owns the descriptor (-1: there are no pidfds)."""

    def refused(self, why: str, text: str) -> None:
        """There is no process."""

    def exited(self, status: int | None, usage: Rusage | None, *, lost: bool) -> None:
        """The process and all that it left are gone; `lost` where its launcher died with it."""


class Backend(Protocol):
    """Makes processes."""

    def launch(self, order: Order, fds: Sequence[int], listener: Listener) -> None:
        """Make one with the descriptors for data, control, stdout, stderr and page, which stay the caller's."""

    def kill_tree(self, pid: int) -> bool:
        """Kill a process with all that it has started; False where killing it alone is enough."""

    def close(self) -> None:
        """End every process that is left, and what makes them."""

    def abandon(self) -> None:
        """In a forked copy of the host: let go of the descriptors and touch nothing else."""


class LauncherBackend:
    """The host's end of a launcher process (see `piactors.pihost.launcher`), on the loop's thread."""

    def __init__(
        self, loop: Loop, interpreter: str, preload: Sequence[str], own: bool, host_pidfd: int, confiner: Confiner
    ) -> None:
        self._loop = loop
        self._pen = confiner.pen()
        self._listeners: dict[int, Listener] = {}
        self._groups: dict[int, list[str]] = {}
        self._next_id = 1
        self._fds: list[int] = []
        self.marker = MARKER_PREFIX + secrets.token_hex(12)
        self.lost = False
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._sock = ours
        self._decoder = wire.FrameDecoder(1 << 20)
        self._outbox: deque[tuple[bytes, Sequence[int]]] = deque()
        self._process = self._start(interpreter, theirs, host_pidfd)
        theirs.close()
        self._pidfd = pidfd.open_pid(self._process.pid)
        loop.watch(ours.fileno(), self._read, self._flush)
        if self._pidfd >= 0:
            loop.watch(self._pidfd, self._lose)
        modules = [*(WARM_MODULES if own else ()), *preload]
        setup = {
            "sys_path": list(sys.path) if own else None, "preload": modules, "bases": cgroups.possible_bases(),
        }  # fmt: skip
        self._send(wire.SETUP, 0, setup)

    @property
    def pid(self) -> int:
        """The launcher's pid."""
        return self._process.pid

    def _start(self, interpreter: str, theirs: socket.socket, host_pidfd: int) -> subprocess.Popen[bytes]:
        inherited = [theirs.fileno(), *([host_pidfd] if host_pidfd >= 0 else [])]
        return subprocess.Popen(
            [interpreter, PIHOST, "launcher", str(theirs.fileno()), str(host_pidfd), self._pen or ""],
            pass_fds=inherited,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, self.marker: "1"},
        )

    def launch(self, order: Order, fds: Sequence[int], listener: Listener) -> None:
        """See `Backend`."""
        if self.lost:
            self._loop.call_soon(lambda: listener.exited(None, None, lost=True))
            return
        launch_id, self._next_id = self._next_id, self._next_id + 1
        self._listeners[launch_id] = listener
        self._groups[launch_id] = order.orders.get("join", [])
        env = {**order.env, self.marker: "1"}
        request = {
            "argv": order.argv if order.fresh else None, "env": env if order.fresh else None, "orders": order.orders,
        }  # fmt: skip
        self._send(wire.LAUNCH, launch_id, request, fds)

    def _send(self, kind: int, launch_id: int, request: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Queue one request.  It may wait: the launcher may itself be waiting for us to read."""
        self._outbox.append((wire.encode(kind, 0, 0, launch_id, pickle.dumps(request, 4)), fds))
        self._flush()

    def _flush(self) -> None:
        while self._outbox:
            data, fds = self._outbox[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._sock.sendmsg([data], rights)
            except BlockingIOError:
                self._loop.want_write(self._sock.fileno(), True)
                return
            except OSError:
                self._loop.call_soon(self._lose)
                return
            if sent < len(data):
                self._outbox[0] = (data[sent:], ())
            else:
                self._outbox.popleft()
        self._loop.want_write(self._sock.fileno(), False)

    def _read(self) -> None:
        try:
            data, ancillary, _, _ = self._sock.recvmsg(65_536, socket.CMSG_SPACE(64 * 4))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, block in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(block[: len(block) - len(block) % numbers.itemsize])
                self._fds.extend(numbers)
        if not data:
            self._lose()
            return
        try:
            for frame in self._decoder.feed(data):
                self._handle(frame)
        except wire.WireError:
            self._lose()

    def _handle(self, frame: wire.Frame) -> None:
        news = pickle.loads(frame.payload)  # the launcher runs nothing but our code and preload
        if frame.kind == wire.WARM:
            return
        listener = self._listeners[frame.seq]
        if frame.kind == wire.LAUNCHED:
            listener.launched(news["pid"], self._fds.pop(0) if self._fds else -1)
        elif frame.kind == wire.REFUSED:
            del self._listeners[frame.seq], self._groups[frame.seq]
            listener.refused(news["why"], news["text"])
        elif frame.kind == wire.EXITED:
            del self._listeners[frame.seq], self._groups[frame.seq]
            if self._pen is not None:  # an isolate that was a host itself may have left groups in it
                cgroups.remove_stale(self._pen, kill=False)
            listener.exited(news["status"], _rusage(news["rusage"]), lost=False)

    def _lose(self) -> None:
        """The launcher is gone: end what escaped, then tell its listeners."""
        if self.lost:
            return
        self.lost = True
        self._close_descriptors()
        processes = [os.dup(listener.process_fd) for listener in self._listeners.values() if listener.process_fd >= 0]
        threading.Thread(target=self._sweep, args=(processes,), name="piactors-sweep", daemon=True).start()

    def _sweep(self, processes: Sequence[int]) -> None:
        logger.error("the launcher (pid %s) is gone; its isolates end with it", self._process.pid)
        self._process.kill()
        self._process.wait()
        for fd in processes:
            # The kernel's parent-death signal spares a process that has changed its user.
            pidfd.kill(fd)
            pidfd.wait_ended(fd, _SWEEP_SECONDS)
            _close(fd)
        groups = [folder for folders in self._groups.values() for folder in folders]
        left = cgroups.kill_all([*groups, *([self._pen] if self._pen else [])], _SWEEP_SECONDS)
        left += markers.kill_marked(self.marker, _SWEEP_SECONDS)
        if left:
            logger.error("processes %s of a lost launcher do not end", left)
        self._loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        listeners, self._listeners = self._listeners, {}
        for listener in listeners.values():
            listener.exited(None, None, lost=True)

    def kill_tree(self, pid: int) -> bool:
        """See `Backend`: the launcher ends what a dead isolate leaves."""
        return False

    def close(self) -> None:
        """See `Backend`: the launcher sees the end of its channel, kills what is left, and ends."""
        if not self.lost:
            self.lost = True
            self._close_descriptors()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            markers.kill_marked(self.marker, _SWEEP_SECONDS)

    def abandon(self) -> None:
        """See `Backend`."""
        self.lost = True
        self._sock.close()
        self._process.returncode = 0  # not our child: nothing to wait for
        for fd in (self._pidfd, *self._fds):
            _close(fd)

    def _close_descriptors(self) -> None:
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        if self._pidfd >= 0:
            self._loop.unwatch(self._pidfd)
        for fd in (self._pidfd, *self._fds):
            _close(fd)
        self._pidfd, self._fds = -1, []


def _rusage(values: Sequence[float]) -> Rusage:
    """Make a `Rusage` of what `wait4` returned; Linux counts memory in KiB there, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return Rusage(float(values[0]), float(values[1]), int(values[2]) * unit)


def _close(fd: int) -> None:
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.close(fd)
