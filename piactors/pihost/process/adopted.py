"""Reaping what an isolate has adopted: processes whose own parent ended before them.

An isolate is a subreaper, so that nothing of its tree escapes; so what a descendant leaves becomes its child,
and a zombie once it ends.  Nobody else waits for it.  But the isolate's own children are waited for by
the code that started them, and must be left to it: a wrong reap is worse than a zombie.

The kernel does not tell adopted children from its own.  These things do, and all have to hold before one is reaped:

- The kernel hands orphans to the main thread; what another thread has started is in that thread's own list.
- What Python starts is noted when it is started: here, around `os.fork` and below `subprocess`.
- Of the rest, which a library written in C may have started in the main thread, only what was born while a child of
  Python's lived can be an orphan; and such a library waits for its child as soon as that ends.  So one that
  has ended while the main thread is in no such call is nobody's, nor is one that is still there after a moment.

The end of each process that may leave orphans is told by its pidfd.  Orphans of what is further below are found when
there is something else to look for, and by looks that grow rare when they find nothing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import sys
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from . import linux, stdio

with contextlib.suppress(ImportError):
    import _posixsubprocess  # noqa: F401  # below `subprocess`, which takes a function from it when it is imported

_GRACE = 1.0
"""Seconds for which one that nobody knows has to have been seen dead, if the main thread might be waiting for it: on
a busy machine a thread that has something to do may get no processor for a while."""
_AGAIN = 0.05
"""Seconds until such a one is looked at again."""
_FIRST_LOOK, _LAST_LOOK = 1.0, 60.0
_HARMLESS = frozenset(("_pihost", "subprocess", "threading", "selectors", "asyncio"))
"""Packages in whose code the main thread is when it does not run other people's code."""
_MOST_SPANS = 256
_FOREVER = sys.maxsize
_AVAILABLE = hasattr(select, "epoll") and hasattr(os, "waitid")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class _Own(NamedTuple):
    """When a child of this process was born, in ticks: between the two."""

    after: int
    before: int


class Adopted:
    """Watches the children of this process for its control thread, and reaps those that it has adopted."""

    def __init__(self) -> None:
        self._list = "/proc/self/task/{}/children".format(os.getpid())
        self._epoll: Optional[Any] = select.epoll() if _AVAILABLE else None
        self._own: Dict[int, _Own] = {}
        self._watched: Dict[int, Tuple[int, int]] = {}
        """By descriptor: the pid, and when it was born at the earliest."""
        self._spans: List[Tuple[int, int]] = []
        """When children have lived that have ended: who was born in one of these may be what it left."""
        self._dead: Dict[int, Tuple[int, float]] = {}
        """Those that nobody has noted: when they were born, and since when they are known to be dead."""
        self._earlier: Dict[int, Set[int]] = {}
        """By thread: the children that it had before the fork that it is making."""
        self._making: Dict[int, int] = {}
        """By thread: since when it has been starting a process of which it does not know the pid yet."""
        self._pause = _FIRST_LOOK
        self._next_look = 0.0
        self._is_unsettled = False
        """Whether the last look found something: what that has left itself may have come after the look."""
        self._is_idle = True
        self._wake: Tuple[int, int] = (-1, -1)

    def fileno(self) -> int:
        """Return the descriptor that tells when to call `look`, or -1 if nothing can be done."""
        return -1 if self._epoll is None else int(self._epoll.fileno())

    def abandon(self) -> None:
        """In a fork: it has no children, and adopts none."""
        epoll, self._epoll = self._epoll, None
        if epoll is not None:
            epoll.close()
        watched, self._watched = self._watched, {}
        for fd in {*watched, *self._wake} - {-1}:
            with contextlib.suppress(OSError):
                os.close(fd)

    def patience(self) -> Optional[float]:
        """Return how many seconds the control thread may wait before it should `look`; None: until it is told."""
        if self._dead:
            return _AGAIN
        left = self._next_look - time.monotonic()
        self._is_idle = not (self._watched or self._is_unsettled) and left <= 0
        return None if self._is_idle else max(0.0, left)

    # Noting what is started, on whichever thread does

    def making(self, make: Callable[..., Any], args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
        """Have a process started, and note it."""
        me, after = threading.get_ident(), self._now()
        self._making[me] = after
        try:
            pid = make(*args, **kwargs)
            self._add(pid, after)
            return pid
        finally:
            self._making.pop(me, None)

    def will_fork(self) -> None:
        """The calling thread is about to fork."""
        me = threading.get_ident()
        self._making[me] = self._now()
        self._earlier[me] = _children_of_thread()

    def forked(self) -> None:
        """It has forked."""
        me = threading.get_ident()
        for pid in _children_of_thread() - self._earlier.pop(me, set()):
            self._add(pid, self._making.get(me, 0))
        self._making.pop(me, None)

    def _add(self, pid: int, after: int) -> None:
        if self._epoll is not None and isinstance(pid, int) and pid > 0:
            self._own[pid] = _Own(after, self._now())
            self._watch(pid, after)

    def _watch(self, pid: int, born: int) -> None:
        fd = stdio.above(linux.pidfd_open(pid))
        if fd >= 0:
            self._watched[fd] = (pid, born)
            self._tell(fd)
            if self._is_idle:
                self.wake_up()

    def _tell(self, fd: int) -> None:
        epoll = self._epoll
        if epoll is not None:
            with contextlib.suppress(OSError):
                epoll.register(fd, select.EPOLLIN)

    def wake_up(self) -> None:
        """Have the control thread ask for its patience again."""
        self._is_idle = False
        with contextlib.suppress(OSError):
            if self._wake[1] < 0:
                read, write = os.pipe()
                self._wake = stdio.above(read), stdio.above(write)
                self._tell(self._wake[0])
            os.write(self._wake[1], b"\0")

    # Looking, on the control thread

    def look(self) -> None:
        """Reap what has ended and belongs to nobody."""
        ended = self._take_ended()
        now = time.monotonic()
        due = (self._watched or self._is_unsettled) and now >= self._next_look
        if not (ended or self._dead or due):
            return
        try:
            children = _read_pids(self._list)
        except OSError:  # there is no /proc
            self._next_look = now + _LAST_LOOK
            return
        self._forget(children)
        found = sum([self._consider(pid, now) for pid in children])
        self._is_unsettled = bool(found or ended)
        self._pause = _FIRST_LOOK if self._is_unsettled else min(self._pause * 2, _LAST_LOOK)
        self._next_look = now + self._pause

    def _take_ended(self) -> bool:
        epoll = self._epoll
        ready = [] if epoll is None else [fd for fd, _ in epoll.poll(0)]
        if self._wake[0] in ready:
            os.read(self._wake[0], 4096)
        ended = [fd for fd in ready if fd in self._watched]
        for fd in ended:
            _, born = self._watched.pop(fd)
            with contextlib.suppress(OSError):
                # Not left to its closing: a process that is just being started may hold a copy for a moment.
                epoll.unregister(fd)  # type: ignore[union-attr]
            os.close(fd)
            self._spans.append((born, self._now()))
        if len(self._spans) > _MOST_SPANS:
            self._spans = _merged(self._spans)[-_MOST_SPANS // 2 :]
        return bool(ended)

    def _forget(self, children: List[int]) -> None:
        here = set(children)
        for pid, own in list(self._own.items()):
            # It may be a child of another thread, or have been born since the list was read: gone is what has no stat.
            if pid not in here and _stat(pid) is None and self._own.get(pid) is own:
                del self._own[pid]
        for pid in [pid for pid in self._dead if pid not in here]:
            del self._dead[pid]

    def _consider(self, pid: int, now: float) -> bool:
        """Look at one child; True if it is one to reap, now or soon."""
        found = _stat(pid)
        if found is None:
            return False
        state, born = found
        if self._is_own(pid, born) or not self._may_be_orphan(born):
            self._dead.pop(pid, None)
            return False
        if state not in "ZX":
            if all(pid != other for other, _ in list(self._watched.values())):
                self._watch(pid, born)
            return False
        first = self._dead.get(pid)
        if first is None or first[0] != born:
            first = self._dead[pid] = (born, now)
        if (now - first[1] >= _GRACE or _main_thread_is_in_python()) and not self._may_be_in_making(born):
            del self._dead[pid]
            with contextlib.suppress(OSError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        return True

    def _is_own(self, pid: int, born: int) -> bool:
        own = self._own.get(pid)
        return own is not None and own.after - 1 <= born <= own.before + 1

    def _may_be_in_making(self, born: int) -> bool:
        return any(born >= after - 1 for after in list(self._making.values()))

    def _may_be_orphan(self, born: int) -> bool:
        living = [(start, _FOREVER) for _, start in list(self._watched.values())]
        return any(start <= born <= end + 1 for start, end in [*self._spans, *living])

    def _now(self) -> int:
        return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)


_MAKERS = (
    ("os", "posix_spawn"),
    ("os", "posix_spawnp"),
    ("_posixsubprocess", "fork_exec"),
    ("subprocess", "_fork_exec"),
)
"""Where Python starts programs; the last name is a copy of the one before, from Python 3.11 on."""


current: Optional[Adopted] = None
"""The one of this process, if it is an isolate, or going to be one."""


def install() -> None:
    """Have noted what Python starts, in forks of this process that are isolates; once, because it costs pages there."""
    if not _AVAILABLE:
        return
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_fork)
    for module, name in _MAKERS:
        _note(sys.modules.get(module), name)


_over = False


def wake() -> None:
    """Have the control thread of this isolate ask for its patience again."""
    if current is not None:
        current.wake_up()


def start_nothing_more() -> None:
    """Have whichever thread would start a process from now on wait for the end of this one."""
    global _over
    _over = True


def _wait_if_over() -> None:
    while _over:
        time.sleep(1)


def prepare() -> None:
    """In a process that is going to be an isolate: begin to note."""
    global current
    current = Adopted()


def _note(module: Any, name: str) -> None:
    make = getattr(module, name, None)
    if make is None or hasattr(make, "_pihost_notes"):
        return

    @functools.wraps(make)
    def noting(*args: Any, **kwargs: Any) -> Any:
        _wait_if_over()
        return make(*args, **kwargs) if current is None else current.making(make, args, kwargs)

    noting._pihost_notes = True  # type: ignore[attr-defined]
    setattr(module, name, noting)


def _before_fork() -> None:
    _wait_if_over()
    if current is not None:
        current.will_fork()


def _after_fork() -> None:
    if current is not None:
        current.forked()


def _in_fork() -> None:
    global current
    if current is not None:
        current.abandon()
        current = None


def _main_thread_is_in_python() -> bool:
    """Whether the main thread is running nothing that could wait for a child of its own below Python.

    That is so when it waits for a message, or in a module that waits for known children only.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    module = "" if frame is None else str(frame.f_globals.get("__name__"))
    return module.partition(".")[0] in _HARMLESS


def _merged(spans: List[Tuple[int, int]]) -> List[Tuple[int, int]]:
    merged: List[Tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _read_pids(path: str) -> List[int]:
    with open(path, "rb", buffering=0) as file:
        return [int(word) for word in file.readall().split()]


def _children_of_thread() -> Set[int]:
    try:
        return set(_read_pids("/proc/thread-self/children"))
    except OSError:
        return set()


def _stat(pid: int) -> Optional[Tuple[str, int]]:
    """Return the state of a process and when it was born, in ticks; None if it is gone."""
    try:
        with open("/proc/{}/stat".format(pid), "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        return fields[0].decode("ascii"), int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
