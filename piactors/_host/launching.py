"""How processes come to be: through a launcher, and what is asked of one."""

from __future__ import annotations

import array
import contextlib
import logging
import os
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import attrs

from piactors._host import pihost_files
from piactors._host.confining import Confiner
from piactors._host.flags import interpreter_flags
from piactors._host.loop import Loop
from piactors._platform import late_threads, markers, pidfd, process_stats
from piactors._platform.limits import cgroups
from piactors.exit_reason import Rusage
from piactors.pihost import inherit, segments, wire

logger = logging.getLogger("piactors")

MARKER_PREFIX = "PIACTORS_"
WARM_MODULES = ("piactors.actor",)
"""What a launcher of the host's own interpreter imports besides `preload`: what actors need in an isolate.

Little: each page that a launcher has makes each fork slower.  What only some isolates need, these ask for.
"""

_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_SWEEP_SECONDS = 5.0
_END_SECONDS = 5.0


@attrs.frozen
class Order:
    """One process to be made.

    Attributes:
        interpreter: the absolute path of the interpreter; empty where this program has none (see `own_python`).
        env: the process's environment.
        fresh: whether to start a fresh interpreter rather than fork a warm one.
        orders: what it does to itself before it runs anything (see `piactors.pihost.confine`).
        needs: modules that its launcher imports before it forks, where it can.
        flags: options for a fresh interpreter.
        stdin: whether its stdin is the host's; otherwise it is empty.
    """

    interpreter: str
    env: dict[str, str]
    fresh: bool
    orders: dict[str, Any] = attrs.field(factory=dict)
    needs: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    stdin: bool = False

    @property
    def argv(self) -> list[str]:
        """The command line of a fresh interpreter, up to its descriptors."""
        return [self.interpreter, *self.flags, *pihost_files.COMMAND, "isolate"]


class Listener(Protocol):
    """Who wants to know of one process; called on the loop's thread."""

    @property
    def process_fd(self) -> int:
        """The descriptor of the process, or -1."""

    def launched(self, pid: int, process_fd: int) -> None:
        """The process exists; the listener owns the descriptor (-1: there are no pidfds)."""

    def refused(self, why: str, text: str) -> None:
        """There is no process."""

    def spared(self) -> None:
        """A signal that `Backend.signal` was to have sent could not be sent either."""

    def exited(self, status: int | None, usage: Rusage | None, *, lost: bool) -> None:
        """The process and all that it left are gone; `lost` where its launcher died with it."""


class Backend(Protocol):
    """Makes processes."""

    def launch(self, order: Order, fds: Sequence[int], listener: Listener) -> None:
        """Make one with the descriptors for data, control, stdout, stderr and page, which stay the caller's.

        A sixth one is its stdin.
        """

    def kill_tree(self, pid: int) -> bool:
        """Kill a process with all that it has started; False where killing it alone is enough.

        Raises:
            PermissionError: where it belongs to a user whose processes this host may not end (any more).
        """

    def signal(self, listener: Listener, number: int) -> bool:
        """Have a signal sent by whoever made the process, from any thread; False where that is the host itself."""

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
        self._spare_fd = -1
        self._is_warm = False
        self._interpreter = interpreter
        self.marker = MARKER_PREFIX + secrets.token_hex(12)
        self.lost = False
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(True)  # whatever time-out the program has made the default of its sockets
        self._sock = ours
        self._decoder = wire.FrameDecoder(1 << 20)
        self._outbox: deque[tuple[bytes, Sequence[int]]] = deque()
        try:
            self._process = self._start([interpreter, *interpreter_flags(own)], theirs, host_pidfd)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._pidfd = pidfd.open_pid(self._process.pid)
        loop.watch(ours.fileno(), self._read, self._flush)
        if self._pidfd >= 0:
            loop.watch(self._pidfd, self._ended)
        modules = [*(WARM_MODULES if own else ()), *preload]
        setup = {
            "sys_path": inherit.absolute(sys.path) if own else None, "preload": modules,
            "bases": cgroups.possible_bases(),
        }  # fmt: skip
        self._send(wire.SETUP, 0, setup)

    @property
    def pid(self) -> int:
        """The launcher's pid."""
        return self._process.pid

    def _start(self, command: list[str], theirs: socket.socket, host_pidfd: int) -> subprocess.Popen[bytes]:
        inherited = [theirs.fileno(), *([host_pidfd] if host_pidfd >= 0 else [])]
        return subprocess.Popen(
            [*command, *pihost_files.COMMAND, "launcher", str(theirs.fileno()), str(host_pidfd), self._pen or ""],
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
            "needs": () if order.fresh else order.needs, "fds": len(fds),
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

    def _read(self) -> bool:
        """Take what the launcher has told; False where nothing was there."""
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(65_536, socket.CMSG_SPACE(64 * 4), _CLOSE_ON_EXEC)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data, ancillary, flags = b"", [], 0
        self._fds.extend(segments.received_descriptors(ancillary, flags))
        if not data:
            self._lose()
            return True
        try:
            for frame in self._decoder.feed(data):
                self._handle(frame)
        except wire.WireError:
            self._lose()
        return True

    def _handle(self, frame: wire.Frame) -> None:
        news = pickle.loads(frame.payload)  # the launcher runs nothing but our code and preload
        if frame.kind == wire.WARM:
            self._is_warm = True
            if "spare" in news:
                _close(self._spare_fd)
                self._spare_fd = self._next_fd()
            return
        listener = self._listeners.get(frame.seq)
        if listener is None:
            return  # what was to be signalled has ended meanwhile
        if frame.kind == wire.LAUNCHED:
            process_fd, self._spare_fd = (self._spare_fd, -1) if news["spare"] else (self._next_fd(), self._spare_fd)
            listener.launched(news["pid"], process_fd)
        elif frame.kind == wire.SPARED:
            listener.spared()
        elif frame.kind == wire.REFUSED:
            del self._listeners[frame.seq], self._groups[frame.seq]
            listener.refused(news["why"], news["text"])
        elif frame.kind == wire.EXITED:
            del self._listeners[frame.seq], self._groups[frame.seq]
            if self._pen is not None:  # an isolate that was a host itself may have left groups in it
                cgroups.remove_stale(self._pen, kill=False)
            listener.exited(news["status"], _rusage(news["rusage"]), lost=False)

    def _next_fd(self) -> int:
        """Return the descriptor that came with what is being handled; -1 where there are no pidfds."""
        return self._fds.pop(0) if self._fds else -1

    def _ended(self) -> None:
        """The launcher is gone: hear first what it had told, so that all its processes are known."""
        while not self.lost and self._read():
            pass
        self._lose()

    def _lose(self) -> None:
        """The launcher is gone: end what escaped, then tell its listeners."""
        if self.lost:
            return
        self.lost = True
        processes = [self._spare_fd, *(listener.process_fd for listener in self._listeners.values())]
        processes = [os.dup(fd) for fd in processes if fd >= 0]
        self._close_descriptors()
        sweep = threading.Thread(target=self._sweep, args=(processes,), name="piactors-sweep", daemon=True)
        late_threads.start_or_run(sweep)

    def _sweep(self, processes: Sequence[int]) -> None:
        logger.error("the launcher (pid %s) is gone; its isolates end with it", self._process.pid)
        code = self._end_process()
        for fd in processes:
            # The kernel's parent-death signal spares a process that has changed its user.
            with contextlib.suppress(PermissionError):
                pidfd.kill(fd)
            pidfd.wait_ended(fd, _SWEEP_SECONDS)
            _close(fd)
        groups = [folder for folders in self._groups.values() for folder in folders]
        left = cgroups.kill_all([*groups, *([self._pen] if self._pen else [])], _SWEEP_SECONDS)
        left += markers.kill_marked(self.marker, _SWEEP_SECONDS)
        self._reap_adopted()
        if left:
            logger.error("processes %s of a lost launcher do not end", left)
        self._loop.call_soon(self._tell_lost, code)

    def _reap_adopted(self) -> None:
        """Reap what came to this process from the launcher, as it does to the first process of a container.

        A spare may be among it of which the launcher had not told yet.  All have the launcher's session.
        """
        deadline = time.monotonic() + _SWEEP_SECONDS
        while time.monotonic() < deadline:
            adopted = [pid for pid in process_stats.children(os.getpid()) if _session(pid) == self._process.pid]
            for pid in adopted:
                with contextlib.suppress(OSError):
                    os.waitpid(pid, os.WNOHANG)
            if not adopted:
                return
            time.sleep(0.01)

    def _tell_lost(self, code: int) -> None:
        listeners, self._listeners = self._listeners, {}
        useless = not self._is_warm and code >= 0  # it has ended by itself, before it could serve anybody
        for listener in listeners.values():
            if useless:
                text = f"{self._interpreter} cannot run a launcher: it ended with exit code {code}; see its stderr"
                listener.refused("launcher", text)
            else:
                listener.exited(None, None, lost=True)

    def kill_tree(self, pid: int) -> bool:
        """See `Backend`: the launcher ends what a dead isolate leaves."""
        return False

    def signal(self, listener: Listener, number: int) -> bool:
        """See `Backend`: the launcher is the user that the host was when it started it."""
        self._loop.call_soon(self._ask_for_signal, listener, number)
        return True

    def _ask_for_signal(self, listener: Listener, number: int) -> None:
        for launch_id, known in self._listeners.items():
            if known is listener and not self.lost:
                self._send(wire.SIGNAL, launch_id, {"number": number})

    def close(self) -> None:
        """See `Backend`: the launcher sees the end of its channel, kills what is left, and ends."""
        if not self.lost:
            self.lost = True
            self._close_descriptors()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._end_process()
            markers.kill_marked(self.marker, _SWEEP_SECONDS)

    def _end_process(self) -> int:
        """Kill the launcher and return its exit code, as far as that is to be had.

        One that was started before the host gave up its rights cannot be killed: it ends with its channel, unless
        somebody has stopped it, and is left to itself then.
        """
        with contextlib.suppress(PermissionError):
            self._process.kill()
        try:
            return self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            logger.error("the launcher (pid %s) does not end, and this program may not end it", self._process.pid)
            self._process.returncode = -signal.SIGKILL
            return self._process.returncode

    def abandon(self) -> None:
        """See `Backend`."""
        self.lost = True
        self._sock.close()
        self._process.returncode = 0  # not our child: nothing to wait for
        for fd in (self._pidfd, self._spare_fd, *self._fds):
            _close(fd)

    def _close_descriptors(self) -> None:
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        if self._pidfd >= 0:
            self._loop.unwatch(self._pidfd)
        for fd in (self._pidfd, self._spare_fd, *self._fds):
            _close(fd)
        self._pidfd, self._spare_fd, self._fds = -1, -1, []


def _rusage(values: Sequence[float]) -> Rusage:
    """Make a `Rusage` of what `wait4` returned; Linux counts memory in KiB there, macOS in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return Rusage(float(values[0]), float(values[1]), int(values[2]) * unit)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _close(fd: int) -> None:
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.close(fd)
