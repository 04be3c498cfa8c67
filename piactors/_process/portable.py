"""Processes without a launcher: each is a child of the host, a fresh interpreter.

What is kept: the exact exit status, a kill of the whole tree, the end of an isolate with its host
(the kernel's parent-death signal if there is one, and the isolate's control thread).  What is
not: processes that left an isolate's tree as daemons are found only by their mark, and nothing looks
for them when the host is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Sequence
from functools import partial

from piactors._io import background
from piactors._io.loop import Loop
from piactors._platform import markers, pidfd
from piactors._platform.identity import Identity, Killed
from piactors._process.backend import RESOURCES, Order, ProcessListener
from piactors._process.launcher_env import MARKER_PREFIX
from piactors._text.logs import logger
from piactors.exit_reason import Rusage
from piactors.pihost.process import lacks

_SWEEP_SECONDS = 5.0
_END_SECONDS = 10.0


class PortableBackend:
    """Starts isolates as children of the host, from the loop's thread, which lives as long as they may."""

    def __init__(self, loop: Loop, host_pidfd: int) -> None:
        self._loop = loop
        self._host_pidfd = host_pidfd
        self._children: dict[int, tuple[subprocess.Popen[bytes], Identity | None]] = {}
        self._killed: dict[int, Killed] = {}

    def launch(self, order: Order, fds: Sequence[int], listener: ProcessListener) -> None:
        """Make one with the descriptors that `Backend.launch` names, which stay the caller's."""
        requests, replies, control, out, err, page, *stdin = fds
        inherited = [requests, replies, control, page, *([self._host_pidfd] if self._host_pidfd >= 0 else [])]
        marker = MARKER_PREFIX + os.urandom(12).hex()
        numbers = [os.getpid(), requests, replies, control, page, self._host_pidfd]
        try:
            process = subprocess.Popen(
                [*order.argv, *map(str, numbers), json.dumps(order.orders)],
                pass_fds=inherited,
                process_group=None if stdin else 0,
                start_new_session=bool(stdin),  # a process of the background would be stopped when it reads a terminal
                stdin=stdin[0] if stdin else subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**order.env, marker: "1"},
            )
        except OSError as error:
            self._loop.call_soon(listener.refused, RESOURCES if lacks.is_lack(error) else "os", str(error))
            return
        self._children[process.pid] = (process, Identity.of(process.pid))
        listener.launched(process.pid, pidfd.open_pid(process.pid))
        self._await(process, marker, listener)

    def _await(self, process: subprocess.Popen[bytes], marker: str, listener: ProcessListener) -> None:
        watched = pidfd.open_pid(process.pid)

        def ended() -> None:
            self._loop.unwatch(watched)
            os.close(watched)
            background.run(self._loop, "piactors-reap", self._reap, process, marker, listener)

        if watched >= 0:
            self._loop.watch(watched, ended, None, listener.failed)
        else:
            background.run(self._loop, "piactors-reap", self._reap, process, marker, listener)

    def _reap(self, process: subprocess.Popen[bytes], marker: str, listener: ProcessListener) -> None:
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except ChildProcessError:
            report = partial(listener.exited, None, None, lost=False)
        else:
            process.returncode = os.waitstatus_to_exitcode(status)
            spent = Rusage(usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024)
            report = partial(listener.exited, status, spent, lost=False)
        try:
            markers.kill_marked(marker, _SWEEP_SECONDS)
            # One that is being killed loses its mark a moment before it is gone.
            killed = self._killed.pop(process.pid, None)
            if killed is not None:
                killed.wait_ended(_SWEEP_SECONDS)
        except OSError:  # nothing can be looked at without a descriptor
            logger.exception("what process %s has left could not be looked for", process.pid)
        finally:
            self._children.pop(process.pid, None)
            self._loop.add_call(partial(listener.failed, over=True), report, ())

    def kill_tree(self, pid: int) -> bool:
        """Kill a process with all that it has started; False if killing it alone is enough."""
        _, identity = self._children.get(pid, (None, None))
        if identity is not None:
            identity.kill_tree(lambda killed: self._killed.update({pid: killed}))
        return True

    def expect(self, listener: ProcessListener, *, kill: bool) -> None:
        """Look for the end of a process that must have ended; a traced one is not waited for forever."""
        self._loop.call_later(_END_SECONDS, partial(self._give_up, listener), partial(listener.failed, over=True))

    def _give_up(self, listener: ProcessListener) -> None:
        if listener.pid is not None and listener.pid in self._children:
            text = "its process does not end, or is being traced, so that its end cannot be waited for"
            listener.exited(None, None, lost=False, note=text)

    def signal(self, listener: ProcessListener, number: int) -> bool:
        """Have a signal sent by whatever made the process, from any thread; False if that is the host itself."""
        return False

    def close(self) -> None:
        """End every process that is left, and what makes them."""
        for _, identity in list(self._children.values()):
            if identity is not None:
                with contextlib.suppress(PermissionError):  # it ends with its channels
                    identity.kill_tree()

    def abandon(self) -> None:
        """In a forked copy of the host: let go of the descriptors and touch nothing else."""
        for process, _ in self._children.values():
            process.returncode = 0
        self._children.clear()
