"""A spare: an isolate forked before anybody has asked for one, so that a start need not wait for a fork.

The launcher keeps one.  It is an isolate in all but its work: it has left what is the launcher's, dies
with the launcher and with the host, and adopts its descendants.  It waits at a channel of its own for
the descriptors and the orders of the isolate that it will be.  Whoever takes it has another one made
as soon as the launcher has nothing else to do.
"""

from __future__ import annotations

import array
import os
import pickle
import select
import signal
import socket
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""So that what isolated code executes does not inherit the descriptors that came through a socket."""
_MAX_ORDER = 1 << 16
_DELAY_MS = 2
"""How long the launcher waits for something else to do before it makes a spare."""
_MANY = 3
"""From how many starts in a row on, none having ended, a spare is made at once: more will follow, and the fork is done
while the isolate before makes itself ready."""
_LEISURE_OF_MANY_MS = 50
"""How long such a spare waits before it rehearses: in a row it is taken before, and a rehearsal is more work than it
saves when all processors are busy with starts."""
_MOST_FAILURES = 3
_OF_THREADS = frozenset({"affinity", "nice", "io_class"})
"""Orders that hold for one thread and those that it starts: a spare has its second thread already."""


class Spare(NamedTuple):
    """The launcher's side of a spare."""

    pid: int
    channel: socket.socket


class Spares:
    """What a launcher knows of its spare."""

    def __init__(self) -> None:
        self.current: Optional[Spare] = None
        self._wanted = False
        self._failures = 0
        self._in_a_row = 0

    def pids(self) -> List[int]:
        """Return the pids of spares that live, as far as the launcher knows."""
        return [] if self.current is None else [self.current.pid]

    def want(self) -> None:
        """Have one made soon: isolates are being started here."""
        self._in_a_row += 1
        self._wanted = self._failures < _MOST_FAILURES and hasattr(socket, "SOCK_SEQPACKET")

    def patience(self) -> Optional[int]:
        """Return for how many milliseconds the launcher should wait for something else to do."""
        if not self._wanted or self.current is not None:
            return None
        return _DELAY_MS if self._in_a_row < _MANY else 0

    def leisure(self) -> int:
        """Return for how many milliseconds a spare should wait to be taken before it rehearses."""
        return 0 if self._in_a_row < _MANY else _LEISURE_OF_MANY_MS

    def make(self, fork: Callable[[socket.socket, socket.socket], int]) -> int:
        """Have `fork` make a spare that waits at its first channel and closes the second; return its pid or 0."""
        self._wanted = False
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:
            return 0
        try:
            ours.setblocking(False)
            theirs.setblocking(True)
            self.current = Spare(fork(theirs, ours), ours)
        except OSError:
            ours.close()  # too many processes: the one who starts an isolate will be told
            return 0
        finally:
            theirs.close()
        return self.current.pid

    def take(self, orders: Dict[str, Any]) -> Optional[Spare]:
        """Return the spare, if there is one that can carry out these orders."""
        spare = self.current
        if spare is None or not _OF_THREADS.isdisjoint(orders) or len(pickle.dumps(orders, 4)) > _MAX_ORDER:
            return None
        if not _runs(spare.pid):
            os.kill(spare.pid, signal.SIGKILL)  # a child that was not waited for: its pid is still its own
            self.dismiss()
            return None
        self.current = None
        return spare

    def dismiss(self) -> None:
        """Let the spare go, because a better one can be made."""
        spare, self.current = self.current, None
        if spare is not None:
            spare.channel.close()

    def died(self, pid: int) -> None:
        """Take note of the end of a child, which may have been the spare."""
        self._in_a_row = 0
        if pid not in self.pids():
            return
        self._failures += 1
        self.dismiss()


def _runs(pid: int) -> bool:
    """Whether a child is neither stopped nor dead: one that somebody has stopped would never become ready."""
    if not hasattr(os, "waitid"):
        return True
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except OSError:
        return True


def hand_over(spare: Spare, orders: Dict[str, Any], fds: List[int]) -> None:
    """Have a spare be an isolate; if it has just died, its death will tell; if it was stopped, it goes on."""
    try:
        os.kill(spare.pid, signal.SIGCONT)  # a child that was not waited for
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        spare.channel.sendmsg([pickle.dumps(orders, 4)], rights)
    except OSError:
        pass
    finally:
        spare.channel.close()


def wait(
    channel: socket.socket, host_pidfd: int, end: Callable[[], None], leisure: int, rehearse: Callable[[], None]
) -> Tuple[Dict[str, Any], List[int]]:
    """In the spare: wait for orders and descriptors, and rehearse if none have come after `leisure` milliseconds.

    `end` ends the process, if its host or launcher is gone.
    """
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    if host_pidfd >= 0:
        poller.register(host_pidfd, select.POLLIN)
    ready = poller.poll(leisure)
    if not ready:
        rehearse()
        ready = poller.poll()
    if host_pidfd in {fd for fd, _ in ready}:
        end()
    numbers = array.array("i")
    data, ancillary, _, _ = channel.recvmsg(_MAX_ORDER, socket.CMSG_SPACE(16 * numbers.itemsize), CLOSE_ON_EXEC)
    for level, kind, block in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(block[: len(block) - len(block) % numbers.itemsize])
    channel.close()
    if not data:
        end()
    orders: Dict[str, Any] = pickle.loads(data)
    return orders, list(numbers)
