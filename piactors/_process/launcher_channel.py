"""The channel to a launcher: requests out, news in; whatever fails of that is done again, and nothing of it is lost."""

from __future__ import annotations

import array
import contextlib
import os
import pickle
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from piactors._io.loop import Share
from piactors._process.launcher_news import LauncherNews
from piactors._text.logs import logger
from piactors.pihost.memory import descriptors
from piactors.pihost.process import lacks
from piactors.pihost.wire import wire

_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
MOST_FAILURES = 10
"""How many times in a row taking what a launcher reports may fail before that launcher counts as lost."""
AFTER_FAILURE = 0.05

_Received = tuple[bytes, list[tuple[int, int, bytes]], int]
"""What has come in one read: bytes, what came beside them, flags."""


class LauncherChannel:
    """On the loop's thread; `LauncherBackend` opens it."""

    process_fd: int
    _loop: Share
    _sock: socket.socket
    _news: LauncherNews
    _fds: list[int]
    _outbox: deque[tuple[bytes, Sequence[int], int]]
    _unsorted: _Received | None
    _failures: int

    def _handle(self, frame: wire.Frame) -> None:
        """The launcher has told this."""
        raise NotImplementedError

    def _lose(self) -> None:
        """There is no launcher any more."""
        raise NotImplementedError

    def _ended(self) -> None:
        """Its process has ended."""
        raise NotImplementedError

    def _send(self, kind: int, launch_id: int, request: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Queue one request.  It may wait: the launcher may itself be waiting for us to read."""
        self._outbox.append((wire.encode(kind, 0, 0, launch_id, pickle.dumps(request, 4)), fds, launch_id))
        self._flush()

    def _flush(self) -> None:
        while self._outbox:
            data, fds, launch_id = self._outbox[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._sock.sendmsg([data], rights)
            except BlockingIOError:
                self._loop.want_write(self._sock.fileno(), True)
                return
            except OSError as error:  # if it has ended, that is reported separately
                self._failures += not lacks.is_lack(error)
                if self._failures <= MOST_FAILURES:
                    self._loop.call_later(AFTER_FAILURE, self._flush)
                else:
                    self._loop.call_soon(self._lose)
                return
            if sent < len(data):
                self._outbox[0] = (data[sent:], (), launch_id)
            else:
                self._outbox.popleft()
        self._loop.want_write(self._sock.fileno(), False)

    def _read(self) -> bool:
        """Take what the launcher has reported; False if nothing was there."""
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(65_536, socket.CMSG_SPACE(64 * 4), _CLOSE_ON_EXEC)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if lacks.is_lack(error) or self._failures < MOST_FAILURES:
                raise  # it is read once more (see `_failed`)
            data, ancillary, flags = b"", [], 0
        if not data:
            self._lose()
            return True
        self._unsorted = (data, ancillary, flags)
        self._sort()
        self._handle_news()
        return True

    def _sort(self) -> None:
        """Take over what was read; if that fails it is done once more, and nothing of it is lost or comes twice."""
        if self._unsorted is None:
            return
        data, ancillary, flags = self._unsorted
        if ancillary or flags:
            self._fds.extend(descriptors.received_descriptors(ancillary, flags))
            self._unsorted = (data, [], 0)
        self._news.add(data)
        self._unsorted = None

    def _watch_it(self) -> None:
        """Hear of it; even if that was so before, in part."""
        for fd, on_read, on_write in (
            (self._sock.fileno(), self._read, self._flush),
            (self.process_fd, self._ended, None),
        ):
            self._loop.unwatch(fd)
            if fd >= 0:
                self._loop.watch(fd, on_read, on_write)

    def _handle_news(self) -> None:
        try:
            for frame in self._news.frames():
                self._handle(frame)
                self._failures = 0
        except wire.WireError:
            self._lose()

    def _next_fd(self) -> int:
        """Return the descriptor that came with what is being handled; -1 if there are no pidfds."""
        return self._fds.pop(0) if self._fds else -1


def log_given_up(pid: int, error: BaseException) -> None:
    """Log that a launcher fails at everything."""
    logger.error("the launcher (pid %s) is given up", pid, exc_info=error)


def close_quietly(fd: int) -> None:
    """Let go of a descriptor, if there is one."""
    if fd >= 0:
        with contextlib.suppress(OSError):
            os.close(fd)
