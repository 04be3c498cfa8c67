"""What a plugin prints, which goes where the application's own output goes while it is called."""

from __future__ import annotations

import io
import sys
from typing import Any, Callable, Optional

_MOST = 8192


class HostOutput(io.TextIOBase):
    """Stands for `sys.stdout` or `sys.stderr` of the application.

    Args:
        name: of the two.
        usual: that of this process, where goes what no call of the host has written.
        write: writes a text there; returns False if there is no call of the host that it could be written in.
    """

    def __init__(self, name: str, usual: Any, write: Callable[[str, str], bool]) -> None:
        super().__init__()
        self._name, self._usual, self._write = name, usual, write
        self._text = ""
        self.buffer = _Bytes(self)

    encoding = "utf-8"
    errors = "backslashreplace"

    def writable(self) -> bool:
        """It can be written."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of this process, whose output goes to the log of the host."""
        return int(self._usual.fileno())

    def isatty(self) -> bool:
        """It is not a terminal."""
        return False

    def write(self, text: str) -> int:
        """Write a text: there as soon as a line is whole."""
        self._text += text
        if "\n" in text or len(self._text) > _MOST:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what has not been written."""
        text, self._text = self._text, ""
        if text and not self._write(self._name, text) and self._usual is not None:
            self._usual.write(text)
            self._usual.flush()


class _Bytes(io.RawIOBase):
    """The bytes of one."""

    def __init__(self, output: HostOutput) -> None:
        super().__init__()
        self._output = output

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> Optional[int]:
        self._output.write(bytes(data).decode("utf-8", "backslashreplace"))
        self._output.flush()
        return len(data)


def take_over(write: Callable[[str, str], bool]) -> None:
    """Have what is printed in this process go to the application from now on."""
    sys.stdout = HostOutput("stdout", sys.stdout, write)
    sys.stderr = HostOutput("stderr", sys.stderr, write)


def flush() -> None:
    """Write what has not been written."""
    for one in (sys.stdout, sys.stderr):
        if type(one) is HostOutput:
            one.flush()
