"""How processes come to be: through a launcher, and what is asked of one."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from piactors._io import background
from piactors._io.loop import Loop
from piactors._platform import markers, pidfd
from piactors._platform.limits import cgroups
from piactors._process import launcher_channel, launcher_sweep, launcher_watch
from piactors._process.backend import RESOURCES, LauncherCgroups, Order, ProcessListener
from piactors._process.launcher_channel import AFTER_FAILURE, MOST_FAILURES, LauncherChannel
from piactors._process.launcher_news import LauncherNews, rusage_of
from piactors._process.launcher_process import LauncherProcess
from piactors._process.launcher_watch import LauncherWatch
from piactors._text.logs import logger
from piactors.pihost.process import lacks
from piactors.pihost.wire import wire

_END_SECONDS = 3.0
_MOST_REQUEST = 1 << 25
"""Bytes of a request to the launcher, half of what it takes at once."""
_LAST_NEWS = frozenset({wire.EXITED, wire.REFUSED})
"""After these nothing more is reported of a process."""


class LauncherBackend(LauncherChannel):
    """The host's end of a launcher process (see `piactors.pihost.fork.launcher`), on the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        launcher: LauncherProcess,
        interpreter: str,
        confiner: LauncherCgroups,
        on_lost: Callable[[Sequence[str]], None],
    ) -> None:
        self._on_lost = on_lost
        self._members: dict[int, str] = {}
        self._loop = loop.share(self._failed)
        self._failures = 0
        self._copies: dict[int, int] = {}
        self._own: frozenset[int] = frozenset()
        self._has_to_sweep = False
        """Whether it is lost, and nothing has been done yet to end what escaped."""
        self._is_swept = False
        self._exit_code = -signal.SIGKILL
        self._cgroup, self._remove_cgroup = confiner.launcher_cgroup(), confiner.remove_launcher_cgroup
        self._listeners: dict[int, ProcessListener] = {}
        self._groups: dict[int, list[str]] = {}
        self._next_id = 1
        self._fds: list[int] = []
        self._spare_fd = -1
        self._is_warm = False
        self._interpreter = interpreter
        self.marker = launcher.marker
        self.lost = False
        self._news = LauncherNews(1 << 20)
        self._unsorted = None
        self._outbox: deque[tuple[bytes, Sequence[int], int]] = deque()
        if launcher.unsent:
            self._outbox.append((launcher.unsent, (), 0))
        self._watch = LauncherWatch(self._loop, self, self._pid_if_ended)
        self._sock, self._process = launcher.sock, launcher.process
        self.process_fd = -1
        try:
            self.process_fd = pidfd.open_pid(self._process.pid)
            self._watch_it()
            self._send(wire.JOIN, 0, {"cgroup": self._cgroup or "", "bases": cgroups.possible_bases()})
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The launcher's pid."""
        return self._process.pid

    def launch(self, order: Order, fds: Sequence[int], listener: ProcessListener) -> None:
        """Make one with the descriptors for data, control, stdout, stderr and page, which stay the caller's."""
        if self.lost:
            self._loop.call_soon(lambda: listener.exited(None, None, lost=True))
            return
        launch_id, self._next_id = self._next_id, self._next_id + 1
        self._listeners[launch_id] = listener
        self._members[launch_id] = order.member
        self._groups[launch_id] = order.orders.get("join", [])
        env = {**order.env, self.marker: "1"}
        request = {
            "argv": order.argv if order.fresh else None,
            "env": env if order.fresh else None,
            "orders": order.orders,
            "needs": () if order.fresh else order.needs,
            "fds": len(fds),
        }
        data = wire.encode(wire.LAUNCH, 0, 0, launch_id, pickle.dumps(request, 4))
        if len(data) > _MOST_REQUEST:
            self._forget(launch_id)
            text = f"its environment and its limits take {len(data):,} bytes, but only {_MOST_REQUEST:,} are allowed"
            self._loop.call_soon(lambda: listener.refused("os", text))
            return
        self._outbox.append((data, fds, launch_id))
        self._flush()
        if self._is_warm:
            self._watch.expect(launch_id)

    def _failed(self, error: BaseException) -> None:
        """What this did on the loop has failed, perhaps for lack of memory: it is done once more in a moment."""
        self._failures += not lacks.is_lack(error)
        if self._failures <= MOST_FAILURES:
            self._loop.unwatch(self._sock.fileno())  # what waits there would have this fail again at once
            self._loop.call_later(AFTER_FAILURE, self._go_on)
        elif self.lost:
            self._has_to_sweep = False
            self._tell_lost()
        else:
            background.run(self._loop, "piactors-log", launcher_channel.log_given_up, self.pid, error)
            self._lose()

    def _go_on(self) -> None:
        if self._has_to_sweep:
            self._end_what_escaped()
        elif self._is_swept:
            self._tell_lost()
        elif not self.lost:
            self._watch_it()
            self._flush()
            self._sort()
            self._handle_news()

    def _handle(self, frame: wire.Frame) -> None:
        listener = self._listeners.get(frame.seq)
        news = pickle.loads(frame.payload)  # the launcher runs nothing but our code and preload
        if frame.kind == wire.WARM:
            self._warmed_up()
            if "spare" in news:
                launcher_channel.close_quietly(self._spare_fd)
                self._spare_fd = self._next_fd()
            return
        if frame.kind == wire.LOOKED:
            self._watch.looked(frame.seq, news["state"])
            return
        if frame.kind == wire.HANDED or not news.get("spare"):  # a spare still waits for what its launcher hands it
            self._watch.came(frame.seq)
        if frame.kind == wire.HANDED:
            return
        fd = self._fd_of(news) if frame.kind == wire.LAUNCHED else -1  # if this fails, the frame is handled once more
        is_known = listener is not None
        if listener is not None:
            try:
                self._tell(listener, frame, news, fd)
            except BaseException as error:  # it costs the one process that it concerns
                listener.failed(error, over=frame.kind in _LAST_NEWS)
                is_known = listener.pid is not None
        if frame.kind == wire.LAUNCHED and not is_known:
            self._send(wire.LOOK, frame.seq, {"kill": True})  # it was given up meanwhile, or nobody could be told of it
            launcher_channel.close_quietly(fd)

    def _fd_of(self, news: dict[str, Any]) -> int:
        """Return the descriptor of a process that was launched; a spare's has been here before."""
        if not news["spare"]:
            return self._next_fd()
        fd, self._spare_fd = self._spare_fd, -1
        return fd

    def _tell(self, listener: ProcessListener, frame: wire.Frame, news: dict[str, Any], fd: int) -> None:
        if frame.kind == wire.LAUNCHED:
            listener.launched(news["pid"], fd)
        elif frame.kind == wire.SPARED:
            listener.spared()
        elif frame.kind == wire.REFUSED:
            self._forget(frame.seq)
            listener.refused(RESOURCES if lacks.is_lack_number(news.get("errno")) else news["why"], news["text"])
        elif frame.kind == wire.EXITED:
            self._forget(frame.seq)
            self._watch.statuses.pop(frame.seq, None)
            listener.exited(news["status"], rusage_of(news["rusage"]), lost=False)
            if self._cgroup is not None:  # an isolate that was a host itself may have left groups in it
                with contextlib.suppress(OSError):
                    cgroups.remove_stale(self._cgroup, kill=False)

    def _forget(self, launch_id: int) -> None:
        del self._listeners[launch_id], self._groups[launch_id], self._members[launch_id]

    def _warmed_up(self) -> None:
        if not self._is_warm:
            self._is_warm = True
            for launch_id in self._listeners:
                self._watch.expect(launch_id)

    # News that is due (see `launcher_watch`)

    def expect(self, listener: ProcessListener, *, kill: bool) -> None:
        """The process has ended, or is to (`kill`), on the loop's thread: see to it that news of that comes."""
        launch_id = next((number for number, known in self._listeners.items() if known is listener), 0)
        if not launch_id or self.lost:
            return
        if self._is_warm:
            self._watch.expect(launch_id, kill=kill)
        else:
            self.conclude(launch_id, "its launcher is still importing what is in preload")

    def _pid_if_ended(self, launch_id: int) -> int | None:
        listener = self._listeners.get(launch_id)
        return listener.pid if listener is not None and pidfd.has_ended(listener.process_fd) else None

    def ask_to_look(self, launch_id: int, *, kill: bool) -> None:
        """Ask the launcher to look for the end of a process, or to kill it."""
        self._send(wire.LOOK, launch_id, {"kill": kill})

    def conclude(self, launch_id: int, note: str) -> None:
        """Tell the owner what is known: what was not sent yet will not be sent, and would have no descriptors."""
        self._watch.came(launch_id)
        self._outbox = deque(entry for entry in self._outbox if entry[2] != launch_id or not entry[1])
        listener = self._listeners.pop(launch_id, None)
        self._groups.pop(launch_id, None)
        self._members.pop(launch_id, None)
        if listener is None:
            return
        try:
            listener.exited(self._watch.statuses.pop(launch_id, None), None, lost=False, note=note)
        except BaseException as error:
            listener.failed(error, over=True)

    def replace(self, why: str) -> None:
        """Give this launcher up: it is ended, and the next start gets another one."""
        text = "the launcher (pid %s) %s, and news of it is due: it is ended"
        background.run(self._loop, "piactors-log", logger.error, text, self.pid, why)
        self._lose()

    def _ended(self) -> None:
        """The launcher is gone: hear first what it had reported, so that all its processes are known."""
        while not self.lost and self._read():
            pass
        self._lose()

    def _lose(self) -> None:
        """The launcher is gone: end what escaped, then tell its listeners."""
        if self.lost:
            return
        self.lost = self._has_to_sweep = True
        self._end_what_escaped()

    def _end_what_escaped(self) -> None:
        """Begin with that; if a step fails, all of it is done once more."""
        self._watch.close()
        self._own = launcher_sweep.own_children(self.marker, self._all_groups())
        processes = [self._spare_fd, *(listener.process_fd for listener in self._listeners.values())]
        for fd in processes:
            if fd >= 0 and fd not in self._copies:
                try:
                    self._copies[fd] = os.dup(fd)
                except OSError:  # nobody can wait for its end then; otherwise it may reap its own children first
                    with contextlib.suppress(PermissionError):
                        pidfd.kill(fd)
        self._close_descriptors()
        background.run(self._loop, "piactors-sweep", self._sweep, list(self._copies.values()))
        self._has_to_sweep = False

    def _all_groups(self) -> list[str]:
        groups = [folder for folders in self._groups.values() for folder in folders]
        return [*groups, self._cgroup] if self._cgroup else groups

    def _sweep(self, processes: Sequence[int]) -> None:
        try:
            logger.error("the launcher (pid %s) is gone; its isolates end with it", self._process.pid)
            self._exit_code = launcher_sweep.sweep(self._process, processes, self._all_groups(), self.marker, self._own)
            if self._cgroup is not None:
                self._remove_cgroup(self._cgroup)
        except Exception:  # nothing can be looked at without a descriptor: what is left ends with its parent
            logger.exception("the processes of a lost launcher could not be looked for")
        finally:
            self._is_swept = True
            self._loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        """Tell all listeners; each is forgotten only once it has heard, so that this can be done once more."""
        with contextlib.suppress(Exception):  # which ones are suspect matters to later starts
            known = self._watch.statuses
            self._on_lost([member for launch_id, member in self._members.items() if launch_id not in known])
        self._members.clear()
        while self._listeners:
            launch_id = next(iter(self._listeners))
            self._tell_of_loss(launch_id, self._listeners[launch_id])
            self._listeners.pop(launch_id, None)

    def _tell_of_loss(self, launch_id: int, listener: ProcessListener) -> None:
        code = self._exit_code
        try:
            if launch_id in self._watch.statuses:  # it had ended before, by itself
                listener.exited(self._watch.statuses[launch_id], None, lost=False)
            elif not self._is_warm and code >= 0:  # the launcher has ended by itself, before it could serve anybody
                text = f"{self._interpreter} cannot run a launcher: it ended with exit code {code}; see its stderr"
                listener.refused(RESOURCES if code == lacks.OUT_OF_RESOURCES else "launcher", text)
            else:
                listener.exited(None, None, lost=True)
        except BaseException as error:
            listener.failed(error, over=True)

    def kill_tree(self, pid: int) -> bool:
        """False: it is enough to kill the process, since the launcher ends what it leaves."""
        return False

    def signal(self, listener: ProcessListener, number: int) -> bool:
        """Have the launcher send a signal: it is the user that the host was when it started it."""
        self._loop.call_soon(self._ask_for_signal, listener, number)
        return True

    def _ask_for_signal(self, listener: ProcessListener, number: int) -> None:
        for launch_id, known in self._listeners.items():
            if known is listener and not self.lost:
                self._send(wire.SIGNAL, launch_id, {"number": number})

    def close(self) -> None:
        """Close the channel: the launcher sees its end, kills what is left, and ends."""
        seconds = _END_SECONDS if self._is_warm else 0.0  # one that is still importing sees nothing of it
        if not self.lost:
            self.lost = True
            state = launcher_watch.state_of(self.pid)
            if state == "T":
                launcher_watch.wake(self.process_fd)
            elif state in ("t", "F"):
                seconds = 0.0
            self._close_descriptors()
        self._await_end(seconds)

    def retire(self) -> None:
        """End a launcher that no longer serves anybody, on the loop's thread, which does not wait for that."""
        if not self.lost:
            self.lost = True
            self._close_descriptors()
            background.run(self._loop, "piactors-launcher-end", self._await_end, _END_SECONDS)

    def _await_end(self, seconds: float) -> None:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            launcher_sweep.end_process(self._process, _END_SECONDS)
            markers.kill_marked(self.marker, _END_SECONDS)

    def abandon(self) -> None:
        """In a forked copy of the host: let go of the descriptors and touch nothing else."""
        self.lost = True
        self._sock.close()
        self._process.returncode = 0  # not our child: nothing to wait for
        for fd in (self.process_fd, self._spare_fd, *self._fds):
            launcher_channel.close_quietly(fd)

    def _close_descriptors(self) -> None:
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        self._loop.unwatch(self.process_fd)
        fds = [self.process_fd, self._spare_fd, *self._fds]
        self.process_fd, self._spare_fd, self._fds = -1, -1, []
        for fd in fds:
            launcher_channel.close_quietly(fd)
