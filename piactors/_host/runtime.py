"""What all isolates of one host process share: the I/O thread, the launchers, the dispatcher.

Made with the first isolate, ended with the interpreter's main thread.  A forked copy of the host
lets go of it and makes its own when it needs one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from piactors._host.confiner import Confiner
from piactors._host.monitor import Monitor
from piactors._io.dispatcher import Dispatcher, log
from piactors._io.loop import Loop
from piactors._platform import host_end, late_threads, own_python, pidfd, taken_away
from piactors._process import launcher_env
from piactors._process.backend import Backend, Order
from piactors._process.launcher import LauncherBackend
from piactors._process.launcher_process import LauncherProcess, Rights, rights, take_ahead
from piactors._rules.lanes import Lanes
from piactors.errors import StartError
from piactors.pihost.fork import patched
from piactors.pihost.process import linux, stdio

_CALLBACKS_AT_END = 2.0
_INSTEAD = (
    "its I/O thread would not be a real thread, and would wait for itself.  Use piactors in a program or process that "
    "is not patched (under gunicorn the worker class gthread or sync in place of gevent or eventlet); or leave these "
    "unpatched: gevent.monkey.patch_all(thread=False, select=False, socket=False, os=False, subprocess=False, "
    "signal=False, queue=False)"
)


class Member(Protocol):
    """An isolate, as the runtime sees it."""

    def shut_down(self) -> None:
        """Begin to stop: fail what has not begun, let the running call finish, kill after the shutdown time."""

    def kill_now(self) -> None:
        """End the process at once."""

    def wait_ended(self, timeout: float | None) -> bool:
        """Wait until it has ended for good."""

    def io_failed(self, error: BaseException) -> None:
        """The I/O thread is gone: fail everything with this cause."""

    def abandon(self) -> None:
        """This process is a forked copy of the host: be dead here, and touch nothing of the parent's."""


class Key(NamedTuple):
    """What the isolates of one launcher have in common."""

    interpreter: str
    preload: tuple[str, ...]
    rights: Rights
    env: launcher_env.EnvClass
    lane: int


class Runtime:
    """The shared machinery of one host process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        linux.keep_freed_memory()
        stdio.fill()
        self._members: weakref.WeakSet[Member] = weakref.WeakSet()
        self._alive: dict[int, Member] = {}
        self._trees: list[Member] = []
        self._lock = threading.RLock()  # isolates start and end on any thread, a signal handler in one of them included
        self._backends: dict[Key | None, Backend] = {}
        self._rights = rights()
        self.confiner = Confiner()
        self.monitor = Monitor()
        self.lanes = Lanes()
        self._host_pidfd = -1
        with contextlib.ExitStack() as undo:
            # Its thread begins now: the I/O thread must be able to count on it, however few threads there are later.
            self.dispatcher = Dispatcher(lambda seconds, callback: self.loop.call_later(seconds, callback))
            undo.callback(self.dispatcher.stop, 0.0)
            self.loop = Loop(self._loop_failed, self._callback_failed)
            undo.callback(self.loop.abandon)
            self._host_pidfd = pidfd.open_pid(self.pid)
            undo.callback(_close, self._host_pidfd)
            self.loop.start()
            undo.pop_all()

    def add(self, member: Member) -> None:
        """Take note of a member, from before its first process on."""
        with self._lock:
            self._members.add(member)
            self._alive[id(member)] = member

    def knows(self, member: Member) -> bool:
        """Whether a member was added, and has not ended."""
        return self._alive.get(id(member)) is member

    def remove(self, member: Member) -> None:
        """Let go of a member that has ended."""
        with self._lock:
            self._alive.pop(id(member), None)

    def add_tree(self, tree: Member) -> None:
        """Take note of a supervision tree, from its start on."""
        with self._lock:
            if tree not in self._trees:
                self._trees.append(tree)

    def remove_tree(self, tree: Member) -> None:
        """Let go of a tree that has ended."""
        with self._lock:
            if tree in self._trees:
                self._trees.remove(tree)

    def backend(self, order: Order, preload: Sequence[str], *, own: bool) -> Backend:
        """Return what makes a process; on the loop's thread, which may start a launcher.

        A launcher of the host's own interpreter serves all isolates that preload no others' modules, except those that
        may not have the host's whole environment (see `launcher_env`), and those that may have ended others (see
        `lanes`).  It keeps the rights that the host had when it was started; a host with other rights now gets another
        launcher.
        """
        if taken_away("launcher"):
            from piactors._process.portable import PortableBackend  # which only a test asks for

            return self._backends.setdefault(None, PortableBackend(self.loop, self._host_pidfd))
        interpreter = order.interpreter
        if order.fresh:
            # Any launcher can start it anew; if this program has no interpreter, one of that very interpreter.
            launcher = own_python.find()
            interpreter, preload, own = launcher or interpreter, (), launcher is not None
        lane = self.lanes.lane_of(order.member, time.monotonic())
        names = launcher_env.env_class(order.env, order.whole_env)
        key = Key(interpreter, tuple(preload), rights(), names, lane)
        backend = self._backends.get(key)
        if order.fresh and not _serves(backend):  # its environment comes with its order
            alike = (self._backends[k] for k in self._backends if k is not None and k._replace(env=names) == key)
            backend = next(filter(_serves, alike), backend)
        if backend is None or not _serves(backend):
            backend = self._backends[key] = self._new_launcher(key, own)
        return backend

    def _new_launcher(self, key: Key, own: bool) -> LauncherBackend:
        try:
            launcher = take_ahead(key.interpreter, key.preload, own, key.env, key.rights) or LauncherProcess(
                key.interpreter, key.preload, own, key.env, self._host_pidfd
            )
            return LauncherBackend(self.loop, launcher, key.interpreter, self.confiner, self._launcher_lost)
        except PermissionError as error:
            if key.rights == self._rights:
                raise
            text = f"this program has become another user (uid {os.geteuid()}) since it began, and that user may not"
            raise PermissionError(error.errno, f"{text} run {key.interpreter}") from error

    def _launcher_lost(self, members: Sequence[str]) -> None:
        self.lanes.lost(members, time.monotonic())

    def leave_lane(self, member: str) -> None:
        """An isolate has ended for good: end a launcher that served it alone; on the loop's thread."""
        self.lanes.forget(member)
        used = self.lanes.in_use()
        for key in [key for key in self._backends if key is not None and key.lane not in used]:
            backend = self._backends.pop(key)
            if isinstance(backend, LauncherBackend):
                backend.retire()

    def launcher_pids(self) -> list[int]:
        """Return the pids of the launchers that are alive."""
        return [b.pid for b in list(self._backends.values()) if isinstance(b, LauncherBackend) and not b.lost]

    def end(self) -> None:
        """Stop the trees in reverse order, then all other members together, then the machinery itself.

        Everything stops within its shutdown time.
        """
        try:
            for tree in reversed(list(self._trees)):
                tree.shut_down()
                tree.wait_ended(None)
            members = list(self._alive.values())
            for member in members:
                member.shut_down()
            for member in members:
                member.wait_ended(None)
        except BaseException:  # a second Ctrl-C: at once, then
            for member in [*self._trees, *self._alive.values()]:
                member.kill_now()
            self._close()
            raise
        self._close()

    def _close(self) -> None:
        if self.loop.thread.is_alive():
            done = threading.Event()
            self.loop.call_soon(self._close_backends, done)
            done.wait()
            self.loop.stop()
        self.monitor.stop()
        self.confiner.close()
        self.dispatcher.stop(_CALLBACKS_AT_END)
        _close(self._host_pidfd)
        self._host_pidfd = -1

    def _close_backends(self, done: threading.Event) -> None:
        try:
            for backend in self._backends.values():
                backend.close()
        finally:
            done.set()

    def _callback_failed(self, error: BaseException) -> None:
        """Something on the I/O thread has failed that belongs to nobody: a defect, or no memory left."""
        self.dispatcher.submit(_log_failure, "piactors failed on its I/O thread, which goes on", error)

    def _loop_failed(self, error: BaseException) -> None:
        """On the dying I/O thread: no caller may be left waiting for what will never come."""
        _forget(self)
        with contextlib.suppress(BaseException):
            text = "the I/O thread of piactors has failed: its isolates end, and the next start begins with a new one"
            self.dispatcher.submit(_log_failure, text, error)
        for member in list(self._alive.values()):
            with contextlib.suppress(Exception):
                member.io_failed(error)
        for tree in list(self._trees):
            with contextlib.suppress(Exception):
                tree.io_failed(error)
        for backend in self._backends.values():
            with contextlib.suppress(Exception):
                backend.close()

    def abandon(self) -> None:
        """In a forked copy of the host: close the copies of the descriptors, and nothing more."""
        self._lock = threading.RLock()  # another thread of the parent may have held the old one
        self.loop.abandon()
        self.monitor.abandon()
        for backend in self._backends.values():
            backend.abandon()
        _close(self._host_pidfd)
        for member in [*self._members, *self._trees]:
            member.abandon()


def _log_failure(text: str, error: BaseException) -> None:
    log(logging.CRITICAL, text, exc_info=error)


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


def _serves(backend: Backend | None) -> bool:
    return backend is not None and not getattr(backend, "lost", False)


_lock = threading.Lock()
"""Held to look whether there is a runtime and to make or take it, in one step; never while one ends."""
_end_lock = threading.Lock()
"""Held while a runtime ends; taken alone, since what ends may ask which runtime there is."""
_last_thread: threading.Thread | None = None
_last_starts = True
_last_runs = False
"""Whether the work of that thread, which could not be started, is being done by another one."""
_current: Runtime | None = None
_hooks_in_place = False
_has_ended = False
_last: Runtime | None = None
"""The runtime that was ended last."""
_TOO_LATE = (
    "the main thread of this program has ended, and with it the program begins to end: its isolates were stopped, and "
    "nothing would stop those that start now.  Start isolates before, and keep the main thread until they have done "
    "their work: join() the threads that use them"
)
_after_fork: list[Callable[[], None]] = []


def current() -> Runtime:
    """Return the runtime of this process, made now if there is none.

    Raises:
        StartError: if gevent or eventlet has patched what it would run on, or if this program is about to end, so that
            nothing would stop what is started now.
    """
    global _current
    with _lock:
        if _current is None:
            refuse_patched()
            if _has_ended and _last is not None:
                return _last  # what is being ended still has news to report
            if _has_ended or not _put_hooks():
                raise StartError(_TOO_LATE)
            _current = Runtime()
        return _current


def for_start() -> Runtime:
    """Return the runtime that something is to be started in.

    Raises:
        StartError: as `current`, and also while the program ends.
    """
    if _has_ended:
        raise StartError(_TOO_LATE)
    return current()


def refuse_patched() -> None:
    """Refuse to run where threads are not real threads.

    Raises:
        StartError: if gevent or eventlet has patched what piactors runs on.
    """
    found = patched.patched_by()
    if found is not None:
        raise StartError(f"{found} in this program, where piactors cannot run: {_INSTEAD}")


def after_fork(callback: Callable[[], None]) -> None:
    """Have `callback` run in forked copies of the host, if a runtime exists."""
    _after_fork.append(callback)


def end_current() -> None:
    """End the runtime of this process, if there is one: what the end of the main thread does."""
    global _current, _last, _last_runs
    with _lock:
        runtime, _current = _current, None
        _last = runtime if _last is None or runtime is not None else _last
    with _end_lock:  # whoever comes second waits for the end that is under way
        if runtime is not None:
            runtime.end()
    if _last_thread is not None and _last_thread is not threading.current_thread():
        if _last_starts:
            _last_thread.join()  # it ends the process, with a code of its own
        elif not _last_runs:  # what it does calls this
            _last_runs = True
            _last_thread.run()


def end_by(thread: threading.Thread) -> None:
    """Start a thread that ends the process; the main thread's own end waits for it."""
    global _last_thread, _last_starts
    if _last_thread is None:
        _last_thread, _last_starts = thread, True
        _last_starts = late_threads.start(thread)  # if not, the code that ends the runtime does its work


def _forget(runtime: Runtime) -> None:
    global _current
    if _current is runtime:
        _current = None


def _put_hooks() -> bool:
    """See to the end of this process and to its forks; False if its end has begun."""
    global _hooks_in_place
    if not _hooks_in_place:
        _hooks_in_place = host_end.at_host_end(_end_for_good)
        if _hooks_in_place:
            os.register_at_fork(after_in_child=_in_forked_child)
    return _hooks_in_place


def _end_for_good() -> None:
    """The main thread has ended: stop everything, and let nothing start any more."""
    global _has_ended
    with _lock:
        _has_ended = True
    end_current()


def _in_forked_child() -> None:
    global _current, _last, _lock, _end_lock, _last_thread
    _lock, _end_lock = threading.Lock(), threading.Lock()
    _last_thread = None
    runtime, _current, _last = _current, None, None
    if runtime is not None:
        for callback in _after_fork:
            callback()
        runtime.abandon()
