"""The descriptors of one process: our ends of its channels and output, its ends, and the page."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

import attrs

from piactors._platform import memory_file
from piactors.pihost.process import stdio
from piactors.pihost.wire import page
from piactors.pihost.wire.ends import PipeEnd

_STREAM_HOLDS = 1 << 20
"""Bytes that a one-way socket may hold, if the kernel lets it have so many."""


@attrs.define
class ProcessDescriptors:
    """What a generation is born with.

    Attributes:
        data, control: our ends of the channels: two pipes or one-way sockets, and a socket, which carries descriptors.
        outputs: our ends of the pipes behind stdout and stderr; empty if the output goes elsewhere.
        page: our descriptor of the sequence page.
        theirs: the process's requests and replies (its ends of the pipes), control, stdout, stderr and page, and its
            stdin if that is ours; to be closed here once it has them.
    """

    data: PipeEnd
    control: socket.socket
    outputs: dict[str, int]
    page: int
    theirs: list[int]

    def take_page(self) -> int:
        """Return the descriptor of the page, which is somebody else's from now on."""
        fd, self.page = self.page, -1
        return fd

    def close_theirs(self) -> None:
        """Let go of the process's ends."""
        while self.theirs:  # one by one: if this fails half-way, the next one goes on
            os.close(self.theirs.pop())

    def close(self) -> None:
        """Let go of all of them: there will be no process."""
        with contextlib.ExitStack() as closing:  # each of them, whatever becomes of the others
            for fd in [self.page, *self.outputs.values()]:
                if fd >= 0:
                    closing.callback(os.close, fd)
            closing.callback(self.control.close)
            closing.callback(self.data.close)
            closing.callback(self.close_theirs)
            self.outputs = {}


def open_descriptors(output: str, stdin: bool = False, streams: bool = False) -> ProcessDescriptors:
    """Open the descriptors of one process; if that fails half-way, nothing stays open.

    Args:
        output: ``inherit`` and ``discard`` as in the options; anything else makes pipes.
        stdin: whether the process gets our stdin, if we have one.
        streams: whether the data channel has to carry large messages, as there is no shared memory for them.

    Raises:
        OSError: if the system has no more descriptors.
    """
    stdio.fill()  # once more: a program may become a daemon at any time
    with contextlib.ExitStack() as undo:
        fd, page_child = memory_file.create(page.SIZE)
        undo.callback(os.close, fd)
        undo.callback(os.close, page_child)
        one_way = _stream if streams else _pipe
        requests, to_requests = one_way(undo)
        from_replies, replies = one_way(undo)
        control, control_child = _pair(undo)
        outputs: dict[str, int] = {}
        theirs = [_output(undo, stream, output, outputs) for stream in ("stdout", "stderr")]
        further = [page_child, *_input(undo, stdin)]
        data = PipeEnd(from_replies, to_requests)
        ends = ProcessDescriptors(
            data, control, outputs, fd, [requests, replies, control_child.detach(), *theirs, *further]
        )
        undo.pop_all()
    return ends


def _pipe(undo: contextlib.ExitStack) -> tuple[int, int]:
    """Return the two ends of a pipe."""
    fds = os.pipe()
    for fd in fds:
        undo.callback(os.close, fd)
    return fds


def _stream(undo: contextlib.ExitStack) -> tuple[int, int]:
    """Return the two ends of a socket, which takes small messages more slowly than a pipe, and large ones faster."""
    read, write = socket.socketpair()
    for end in (read, write):
        end.setblocking(True)  # as in `_pair`
    write.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _STREAM_HOLDS)
    fds = read.detach(), write.detach()
    for fd in fds:
        undo.callback(os.close, fd)
    return fds


def _pair(undo: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    try:
        theirs.setblocking(True)  # whatever time-out the program has made the default of its sockets
        undo.callback(ours.close)
        undo.callback(theirs.close)
    except BaseException:
        ours.close()
        theirs.close()
        raise
    return ours, theirs


def _output(undo: contextlib.ExitStack, stream: str, output: str, outputs: dict[str, int]) -> int:
    if output == "inherit":
        write = os.dup(1 if stream == "stdout" else 2)
    elif output == "discard":
        write = os.open(os.devnull, os.O_WRONLY)
    else:
        outputs[stream], write = os.pipe()
        undo.callback(os.close, outputs[stream])
    undo.callback(os.close, write)
    return write


def _input(undo: contextlib.ExitStack, stdin: bool) -> list[int]:
    if not stdin:
        return []
    try:
        fd = os.dup(0)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        return []  # this process has no stdin itself
    undo.callback(os.close, fd)
    return [fd]
