"""A fork that isolated code makes of the isolate: a process of the user's, which never speaks for the isolate.

The copy has the isolate's channels and would answer its calls.  So they are cut in it, and code that uses
them there gets an error.  The copy has the isolate's stack as well: when the code that forked returns or raises,
it is back in the call loop, whose place is taken here: the copy ends, as a program of its own
would, with the exit code of `sys.exit`, or 1 and a traceback.

What the isolate has registered to run at its end is the isolate's, and does not run in the copy.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import logging
import os
import sys
import threading
import traceback
import weakref
from typing import TYPE_CHECKING, Any, List, NoReturn, Optional

from ..wire.page import DUMP_SIGNAL
from . import faults

if TYPE_CHECKING:
    from .calls import CallLoop
    from .control import HostLink
    from .records import HostHandler

_REFUSAL = "this process was forked by code of an isolate; only the isolate itself can reach its host"


class Forks:
    """What happens in forks of this isolate; the isolate itself never sees any of it.

    Args:
        loop: what a fork must not go on with.
        control: what it must not use.
        handler: what sent the isolate's logging records.
        level: the least level of the records that a fork writes to stderr.
    """

    def __init__(self, loop: CallLoop, control: HostLink, handler: HostHandler, level: int) -> None:
        self._loop = loop
        self._control = control
        self._handler = handler
        self._level = level
        self._is_fork = False
        self._fds: List[int] = []

    def watch(self, fds: List[int]) -> None:
        """From here on, see to each fork of this process.

        Args:
            fds: what a fork has no use for, besides the channels.
        """
        self._fds = fds
        os.register_at_fork(after_in_child=self._in_fork)

    def end_if_fork(self, error: Optional[BaseException] = None) -> None:
        """End this process if it is a fork that has come back from the code that made it."""
        if self._is_fork:
            _end(error)

    def _in_fork(self) -> None:
        if self._is_fork:
            return
        self._is_fork = True
        self._loop.cut(self._returned, self.end_if_fork)
        self._control.cut(_refuse)
        for fd in self._fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._handler.replace(_stderr_handler(self._level))
        _report_faults_on_stderr()
        _forget_exit_of_isolate()

    def _returned(self, *_: Any) -> NoReturn:
        _end(None)


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError(_REFUSAL)


def _stderr_handler(level: int) -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter("%(levelname)s:%(name)s:%(message)s"))
    return handler


def _report_faults_on_stderr() -> None:
    """What would stand in the isolate's page would be taken for the isolate's."""
    with contextlib.suppress(Exception):
        faulthandler.enable(2)
        if DUMP_SIGNAL and hasattr(faulthandler, "register"):
            faulthandler.register(DUMP_SIGNAL, 2)


def _forget_exit_of_isolate() -> None:
    """Leave temporary folders, servers and the like to the isolate, whose end removes them."""
    atexit._clear()
    atexit.register(logging.shutdown)
    registry: Any = getattr(weakref.finalize, "_registry", {})
    for finalizer in list(registry):
        finalizer.atexit = False
    atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]


def exit_code(error: SystemExit) -> int:
    """Return the code that the interpreter would exit with."""
    code = faults.attempt(lambda: error.code, 1)  # type: ignore[arg-type, return-value]
    if code is None:
        return 0
    if issubclass(type(code), int):
        return int.__and__(code, 0xFF)
    _show("{}\n".format(faults.attempt(lambda: str(code), "<the code of a SystemExit cannot be shown>")))
    return 1


def _show(text: str) -> None:
    """Write to stderr, whatever isolated code has put in its place."""
    try:
        sys.stderr.write(text)
    except BaseException:
        with contextlib.suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))


def _end(error: Optional[BaseException]) -> NoReturn:
    code = 0
    with contextlib.suppress(BaseException):
        if isinstance(error, SystemExit):
            code = exit_code(error)
        elif error is not None:
            code = 1
            traceback.print_exception(type(error), error, error.__traceback__)
    leave(code)


def leave(code: int) -> NoReturn:
    """End the process as an interpreter would, except for the objects that a fork shares with its parent."""
    # Nothing that user code does here, sys.exit() included, may keep the process.
    steps: List[Any] = [threading._shutdown, atexit._run_exitfuncs]  # type: ignore[attr-defined]
    for step in [*steps, lambda: sys.stdout.flush(), lambda: sys.stderr.flush()]:
        with contextlib.suppress(BaseException):
            step()
    os._exit(code)
