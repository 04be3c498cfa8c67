"""What a process says before its launcher has reported that there is one.

A spare takes its orders from the launcher and goes ahead, so it may be ready while the launcher, which has other things
to do or is stopped, has yet to report its pid.  Nobody could say then which process has started, and nothing could end
it but the launcher.
"""

from __future__ import annotations

from collections.abc import Callable

from piactors.errors import ProtocolError
from piactors.pihost.wire import wire

_MOST = 1000
"""Frames that an isolate may send before it is ready, its constructor's requests included."""


class EarlyFrames:
    """Passes frames on, and keeps them until the process is known; on the loop's thread.

    Args:
        pass_on: takes one frame.
    """

    def __init__(self, pass_on: Callable[[wire.Frame], None]) -> None:
        self._pass_on = pass_on
        self._kept: list[wire.Frame] | None = []

    @property
    def is_known(self) -> bool:
        """Whether the process is known, and frames are passed on at once."""
        return self._kept is None

    def hear(self, frame: wire.Frame) -> None:
        """Take a frame, in the order in which they have come.

        Raises:
            ProtocolError: if there are too many; also what `pass_on` raises.
        """
        if self._kept is None or frame.kind == wire.LOG:
            self._pass_on(frame)
        elif len(self._kept) < _MOST:
            self._kept.append(frame._replace(payload=bytes(frame.payload)))
        else:
            raise ProtocolError(f"it has sent more than {_MOST} frames, and its launcher has not reported it")

    def known(self) -> None:
        """Pass on what was kept: the process is known now.

        Raises:
            ProtocolError: as `hear`.
        """
        kept, self._kept = self._kept, None
        for frame in kept or ():
            self._pass_on(frame)
