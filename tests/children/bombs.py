"""Fork bombs, held by themselves: each process of one holds a lock on a byte of a file, and there are only so many.

Locks are not inherited by forks and go with their process, however that ends: so what is left of a bomb is counted
exactly, whatever it has done to its environment.  A bomb is over when its file is empty, or after a while.

- ``deaf``: each process forks for ever, and is deaf to all signals that can be ignored;
- ``daemons``: each forks for ever, and stands in a session of its own, and is no one's child;
- ``bare``: each forks for ever, as another program with an empty environment;
- ``runner``: one process that forks and ends, over and over, so that it has another pid each time.
"""

import fcntl
import os
import signal
import sys
import time

KINDS = ("deaf", "daemons", "bare", "runner")
SLOTS = 8
LONGEST = 25.0


def burn(kind, path):
    """Be a bomb, in the calling process too."""
    end = time.monotonic() + LONGEST
    if kind == "bare":
        if os.fork() == 0:
            os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, path, str(end)], {})
        time.sleep(LONGEST)
    if kind == "deaf":
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            signal.signal(number, signal.SIG_IGN)
    fd = os.open(path, os.O_RDWR)
    _live(kind, fd, end, first=True)


def _live(kind, fd, end, first):
    while _is_on(fd, end):
        time.sleep(0.005 if kind == "runner" else 0.1)  # two hundred forks a second in all, for the machine's sake
        pid = _fork()
        if pid < 0:
            continue
        if pid == 0:
            if kind == "daemons":
                os.setsid()
                if _fork():
                    os._exit(0)
            if not _take_slot(fd):
                os._exit(0)
            first = False
        elif kind == "runner" and not first:
            os._exit(0)
        elif kind == "runner":
            time.sleep(LONGEST)
        else:
            _reap()
    os._exit(0)


def _fork():
    try:
        return os.fork()
    except OSError:  # its limit holds it
        return -1


def _is_on(fd, end):
    return os.fstat(fd).st_size > 0 and time.monotonic() < end


def _take_slot(fd):
    for place in range(SLOTS):
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            return True
        except OSError:
            pass
    return False


def _reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except OSError:
        pass


if __name__ == "__main__":
    _live("bare", os.open(sys.argv[1], os.O_RDWR), float(sys.argv[2]), first=True)
