"""The process of a launcher, from its start to the moment when a `LauncherBackend` takes it over.

The first one of a program may have a head start: it is started before the host has imported what it needs for an
isolate itself, so that both interpreters load their modules at the same time.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from piactors._platform import own_python, pidfd, taken_away
from piactors._process import launcher_env, pihost_files
from piactors._process.flags import interpreter_flags
from piactors._process.launcher_env import MARKER_PREFIX
from piactors.pihost.fork import patched
from piactors.pihost.process import inherit, stdio
from piactors.pihost.wire import wire

if TYPE_CHECKING:
    from piactors.options import IsolationOptions

WARM_MODULES = ("piactors.actor", "piactors._values.actor_host")
"""What a launcher of the host's own interpreter imports besides `preload`: what actors need in an isolate.

Little: each page that a launcher has makes each fork slower.  Isolates ask for what only some of them need.
"""

Rights = tuple[Any, ...]


def rights() -> Rights:
    """Return the user that this process acts as: what is started now has the same rights."""
    return os.getresuid(), os.getresgid(), tuple(sorted(os.getgroups()))


class LauncherProcess:
    """A launcher that has been started, and told what to import."""

    def __init__(
        self, interpreter: str, preload: Sequence[str], own: bool, names: launcher_env.EnvClass, host_pidfd: int
    ) -> None:
        self.marker = MARKER_PREFIX + os.urandom(12).hex()
        self._made_of = _made_of(interpreter, preload, own, names)
        self.sock, theirs = socket.socketpair()
        try:
            self.sock.setblocking(False)
            theirs.setblocking(True)  # whatever time-out the program has made the default of its sockets
            command = [interpreter, *interpreter_flags(own), *pihost_files.COMMAND]
            self.process = subprocess.Popen(
                [*command, "launcher", str(theirs.fileno()), str(host_pidfd)],
                pass_fds=[theirs.fileno(), *([host_pidfd] if host_pidfd >= 0 else [])],
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=launcher_env.launcher_env(names, self.marker),
            )
            request = {
                "sys_path": inherit.absolute(sys.path) if own else None,
                "preload": [*(WARM_MODULES if own else ()), *preload],
            }
            self.unsent = wire.encode(wire.SETUP, 0, 0, 0, pickle.dumps(request, 4))
            """What the launcher has to be told first, or what is left of it."""
        except BaseException:
            self.sock.close()
            raise
        finally:
            theirs.close()
        with contextlib.suppress(OSError):  # whoever sends the rest finds out
            self.unsent = self.unsent[self.sock.send(self.unsent) :]

    def is_alike(
        self, interpreter: str, preload: Sequence[str], own: bool, names: launcher_env.EnvClass, now: Rights
    ) -> bool:
        """Whether one that is started now, by a host with these rights, would be the same."""
        return now == rights() and self._made_of == _made_of(interpreter, preload, own, names)

    def end(self) -> None:
        """End it: nobody has taken it over, and it has no children yet."""
        self.sock.close()
        self.process.kill()
        self.process.wait()


def _made_of(interpreter: str, preload: Sequence[str], own: bool, names: launcher_env.EnvClass) -> tuple[Any, ...]:
    """Return all that makes one launcher different from another."""
    return (
        os.getpid(),  # a forked copy of the host has launchers of its own
        rights(),
        interpreter,
        tuple(preload),
        inherit.absolute(sys.path) if own else None,
        launcher_env.launcher_env(names, ""),
    )


_ahead: list[LauncherProcess] = []
"""Those that have a head start and were not taken over yet."""


@contextlib.contextmanager
def head_start(options: IsolationOptions | None) -> Iterator[None]:
    """Start the launcher that an isolate with these options needs; it ends if it has not been taken over by the end.

    Args:
        options: None: the usual ones, which have not been made yet.
    """
    started = _start_ahead(options)
    if started is not None:
        _ahead.append(started)
    try:
        yield
    finally:
        if started is not None and started in _ahead:
            with contextlib.suppress(ValueError):  # it has just been taken over
                _ahead.remove(started)
                started.end()


def take_ahead(
    interpreter: str, preload: Sequence[str], own: bool, names: launcher_env.EnvClass, now: Rights
) -> LauncherProcess | None:
    """Return a launcher that had a head start, if there is one of this kind; it is the caller's from now on."""
    for found in list(_ahead):
        if found.is_alike(interpreter, preload, own, names, now):
            with contextlib.suppress(ValueError):  # another has just taken it
                _ahead.remove(found)
                return found
    return None


def _start_ahead(options: IsolationOptions | None) -> LauncherProcess | None:
    interpreter = own_python.find()
    if options is not None and not _is_usual(options):
        return None
    if interpreter is None or not pihost_files.COMMAND or taken_away("launcher"):
        return None
    if threading.current_thread() is not threading.main_thread() or patched.patched_by() is not None:
        return None  # until it is ready, a launcher ends with the thread that has started it
    host_pidfd = -1
    try:
        stdio.fill()
        host_pidfd = pidfd.open_pid(os.getpid())
        return LauncherProcess(interpreter, () if options is None else options.preload, True, None, host_pidfd)
    except Exception:  # whoever needs the launcher will try again, and tell why
        return None
    finally:
        if host_pidfd >= 0:
            os.close(host_pidfd)


def _is_usual(options: IsolationOptions) -> bool:
    own = options.python is None and options.environment is None
    return own and options.start_method != "spawn" and options.inherit_env in (None, True)
