"""The launcher: one small, single-threaded process that forks isolates and outlives none of them.

It is the parent of every isolate of one host, whether forked warm from here or started as a fresh
interpreter.  It is also the subreaper of all of them: what a dead isolate leaves behind becomes
its child.  Since every living isolate is a subreaper too, any child here that is not an isolate was
left by a dead one, and is killed.  That needs no list of who forked whom, and `setsid` or a double
fork do not escape it.

It learns of the host's death from the host's pidfd, kills until it has no child left, and ends.
"""

from __future__ import annotations

import array
import contextlib
import errno
import importlib
import os
import pickle
import select
import signal
import socket
import sys
import threading
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence, Tuple

from ..memory import descriptors
from ..process import adopted, confine, inherit, linux
from ..serve import control, isolate
from ..wire import wire
from . import deaths, fresh, heap, patched, prefork, rehearsal

_MAX_FRAME = 1 << 26


class Launcher:
    """The launcher's loop: requests of the host, deaths of children, the death of the host."""

    def __init__(self, control: socket.socket, host_pidfd: int) -> None:
        self._control = control
        self._host_pidfd = host_pidfd
        self._cgroup = ""
        self._bases: List[str] = []
        self._decoder = wire.FrameDecoder(_MAX_FRAME)
        self._fds: List[int] = []
        self._refusal: Optional[str] = None
        self._spares = prefork.Spares()
        self._isolates = deaths.Isolates(self._spares.pids, self._spares.died)
        self._state: Dict[str, Any] = {}
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> None:
        """Serve until the host is gone, then kill everything and end the process."""
        self._take_signals()
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._wake_read, select.POLLIN)
        if self._host_pidfd >= 0:
            poller.register(self._host_pidfd, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll(self._spares.patience())}
            if not ready and self._may_fork():
                self._make_spare()
            if self._host_pidfd in ready:
                self._end_all()
            if self._wake_read in ready:
                _drain(self._wake_read)
                self._tell_dead(self._isolates.reap())
            if self._control.fileno() in ready:
                self._read_control()

    def _take_signals(self) -> None:
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)
        self._control.setblocking(False)
        # The host ends the launcher by closing; a stray signal to the group must not.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.siginterrupt(signal.SIGCHLD, False)
        # What the host's thread has blocked came along: if blocked, SIGCHLD would never report a death.
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    # Requests of the host

    def _read_control(self) -> None:
        try:
            data, ancillary, flags, _ = self._control.recvmsg(65536, socket.CMSG_SPACE(64 * 4), prefork.CLOSE_ON_EXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._end_all()
            return
        self._fds.extend(descriptors.received_descriptors(ancillary, flags & socket.MSG_CTRUNC))
        if not data:
            self._end_all()
        for frame in self._decoder.feed(data):
            self._handle(frame)

    def _handle(self, frame: wire.Frame) -> None:
        request = pickle.loads(frame.payload)
        if frame.kind == wire.SETUP:
            self._warm_up(request)
        elif frame.kind == wire.JOIN:
            self._join(request["cgroup"], request["bases"])
        elif frame.kind == wire.SIGNAL:
            self._signal(frame.seq, request["number"])
        elif frame.kind == wire.LOOK:
            self._look(frame.seq, request["kill"])
        elif frame.kind == wire.LAUNCH:
            fds = self._take_descriptors(request["fds"])
            try:
                self._launch(frame.seq, request, fds)
            finally:
                for fd in fds:
                    if fd >= 0:
                        os.close(fd)

    def _signal(self, launch_id: int, number: int) -> None:
        """Send a signal to an isolate, for a host that may not: it has become another user since this process began."""
        pid = self._isolates.pid_of(launch_id)
        if pid:
            try:
                os.kill(pid, number)  # a child that was not waited for: its pid cannot have passed to another
            except PermissionError:
                self._tell(wire.SPARED, launch_id, {})

    def _look(self, launch_id: int, kill: bool) -> None:
        """The host waits for news of an isolate, and none comes: do what can be done, and report its state."""
        if kill:
            self._isolates.kill(launch_id)
        state, dead = self._isolates.look_after(launch_id)
        self._tell_dead(dead)
        self._tell(wire.LOOKED, launch_id, {"state": state})

    def _take_descriptors(self, count: int) -> List[int]:
        """Return those of one launch; -1 stands last if this process could not have all of them."""
        fds = self._fds[:count]
        if -1 in fds:
            fds = fds[: fds.index(-1) + 1]
        del self._fds[: len(fds)]
        return fds

    def _join(self, cgroup: str, bases: List[str]) -> None:
        """Move into a group of its own, in which all its forks begin."""
        self._cgroup, self._bases = cgroup, bases
        if cgroup:
            with contextlib.suppress(OSError):
                confine.join(cgroup)

    def _warm_up(self, request: Dict[str, Any]) -> None:
        if request["sys_path"] is not None:
            sys.path[:] = request["sys_path"]
        for name in request["preload"]:
            self._refusal = patched.imported(name)
            if self._refusal is not None:
                break
        self._rehearse()
        self._state = inherit.read()
        heap.settle()
        linux.die_with_parent(False)
        self._tell(wire.WARM, 0, {"refusal": self._refusal})

    def _import_more(self, names: Sequence[str]) -> None:
        """Import what the next isolate needs; what cannot be imported here, the isolate will report."""
        missing = [name for name in names if name not in sys.modules]
        for name in missing:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        if missing:
            self._spares.dismiss()
            heap.settle()

    def _rehearse(self) -> None:
        """Fill the caches that every isolate would fill for itself."""
        with contextlib.suppress(Exception):
            rehearsal.rehearse(threads=False)
            threading.current_thread().name = "launcher"

    def _launch(self, launch_id: int, request: Dict[str, Any], fds: List[int]) -> None:
        threads = len(sys._current_frames())
        request["orders"] = inherit.without_known(request["orders"], self._state)
        if self._refusal is not None:
            self._tell(wire.REFUSED, launch_id, {"why": "preload", "text": self._refusal})
        elif min(fds, default=-1) < 0:
            text = "its launcher has no descriptors left (RLIMIT_NOFILE, ulimit -n)"
            self._tell(wire.REFUSED, launch_id, {"why": "os", "text": text})
        elif request["argv"] is not None:
            self._launch_by(lambda: fresh.spawn(request, fds, self._host_pidfd), launch_id, request)
        elif threads > 1:
            text = "preloaded modules run {} Python threads, and a fork would lose them".format(threads - 1)
            self._tell(wire.REFUSED, launch_id, {"why": "threads", "text": text})
        else:
            self._import_more(request["needs"])
            spare = self._spares.take(request["orders"])
            if spare is None:
                self._launch_by(lambda: self._fork(request["orders"], fds), launch_id, request)
            else:
                # First the news, then the work: the host must know of a process before it is ready.
                self._isolates.born(spare.pid, launch_id, request["orders"].get("join", []))
                self._tell(wire.LAUNCHED, launch_id, {"pid": spare.pid, "spare": True})
                prefork.hand_over(spare, request["orders"], fds)
                self._tell(wire.HANDED, launch_id, {})
            self._spares.want()

    def _launch_by(self, make: Callable[[], int], launch_id: int, request: Dict[str, Any]) -> None:
        try:
            pid = make()
        except OSError as error:
            self._tell(wire.REFUSED, launch_id, {"why": "os", "text": str(error), "errno": error.errno})
        else:
            self._isolates.born(pid, launch_id, request["orders"].get("join", []))
            self._tell_with(wire.LAUNCHED, launch_id, {"pid": pid, "spare": False}, linux.pidfd_open(pid))

    def _may_fork(self) -> bool:
        return self._refusal is None and len(sys._current_frames()) == 1

    def _fork(self, orders: Dict[str, Any], fds: List[int]) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_isolate(parent, lambda: (orders, fds), fds[1])
        return pid

    def _make_spare(self) -> None:
        pid = self._spares.make(self._fork_spare)
        if pid:
            # The host has its descriptor from now on: if this launcher dies, it sees to the spare's end as well.
            self._tell_with(wire.WARM, 0, {"spare": pid}, linux.pidfd_open(pid))

    def _fork_spare(self, channel: socket.socket, launchers: socket.socket) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            launchers.close()
            self._be_isolate(parent, lambda: self._wait_as_spare(channel))
        return pid

    def _wait_as_spare(self, channel: socket.socket) -> Tuple[Dict[str, Any], List[int]]:
        def rehearse() -> None:
            rehearsal.rehearse(threads=True)

        return prefork.wait(channel, self._host_pidfd, control.end_with_host, self._spares.leisure(), rehearse)

    def _be_isolate(
        self, parent: int, wait: Callable[[], Tuple[Dict[str, Any], List[int]]], replies: int = -1
    ) -> NoReturn:
        """In a fork: be an isolate, once `wait` returns what it is to do and its descriptors."""
        try:
            self._leave()
            isolate.prepare_fork(parent)
            orders, fds = wait()
            isolate.run_forked(fds, self._host_pidfd, orders)
        except BaseException as error:
            isolate.tell_failure(replies, error)
        finally:
            os._exit(70)

    def _leave(self) -> None:
        """In a fork: drop what is the launcher's."""
        isolate.usual_signals()
        os.setpgid(0, 0)
        self._control.close()
        spare = self._spares.current
        if spare is not None:
            spare.channel.close()
        for fd in [self._wake_read, self._wake_write, *self._fds]:
            os.close(fd)

    # Deaths

    def _tell_dead(self, dead: List[deaths.Dead]) -> None:
        for news in dead:
            self._tell(wire.EXITED, news.launch_id, {"status": news.status, "rusage": news.rusage})

    def _end_all(self) -> None:
        """The host is gone: kill every child until none is left, then end."""
        self._isolates.end_all(self._cgroup)
        self._remove_groups()
        os._exit(0)

    def _remove_groups(self) -> None:
        """Leave the control groups as they were before this host made its own."""
        confine.remove_groups(self._bases)

    def _tell_with(self, kind: int, launch_id: int, news: Dict[str, Any], pidfd: int) -> None:
        """Tell something, and pass on a descriptor.  Kept here, each fork would have to close those of its siblings."""
        self._tell(kind, launch_id, news, pidfd)
        if pidfd >= 0:
            os.close(pidfd)

    def _tell(self, kind: int, launch_id: int, news: Dict[str, Any], pidfd: int = -1) -> None:
        data = wire.encode(kind, 0, 0, launch_id, pickle.dumps(news, 4))
        ancillary = []
        if pidfd >= 0:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [pidfd]))]
        while data:
            try:
                data = data[self._control.sendmsg([data], ancillary) :]
                ancillary = []
            except BlockingIOError:
                self._wait_for_room()
            except OSError as error:
                if error.errno in (errno.EPIPE, errno.ECONNRESET):
                    self._end_all()
                raise

    def _wait_for_room(self) -> None:
        """Wait until the host reads again, or is gone: a forked copy of it may hold the socket open."""
        poller = select.poll()
        poller.register(self._control, select.POLLOUT)
        if self._host_pidfd >= 0:
            poller.register(self._host_pidfd, select.POLLIN)
        if self._host_pidfd in {fd for fd, _ in poller.poll()}:
            self._end_all()


def _drain(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass


def main(arguments: List[str]) -> None:
    """Run the launcher on the inherited descriptors named by the arguments."""
    linux.keep_freed_memory()  # and all its forks do
    control = socket.socket(fileno=int(arguments[0]))
    control.set_inheritable(False)
    host_pidfd = int(arguments[1])
    if host_pidfd >= 0:
        os.set_inheritable(host_pidfd, False)
    # Only until it forks: a host that dies during a long import must not leave the launcher, but
    # once there are isolates, the launcher has to live on to end them.
    linux.die_with_parent()
    if host_pidfd >= 0:
        poller = select.poll()  # `select.select` knows no descriptor from 1024 on
        poller.register(host_pidfd, select.POLLIN)
        if poller.poll(0):
            return
    linux.become_subreaper()
    adopted.install()
    linux.name_process("pi-launcher")
    sys.modules["__main__"] = type(sys)("__main__")
    threading.current_thread().name = "launcher"
    Launcher(control, host_pidfd).run()
