"""Failures at every call that the I/O thread makes: found by a look at one run, and made one at a time in the next."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

import piactors
from piactors._host import runtime

PACKAGE = piactors.__file__.removesuffix("__init__.py")
_OF_THE_LOOP = frozenset({"_turn", "_turn_until_stopped", "_run_timers", "_time_to_wait", "_run"})
"""What of the loop is no callback: what fails there belongs to nobody."""

_NEVER_FAIL = frozenset({"__exit__", "release"})
"""Of locks: they need nothing that could be lacking."""


class Site(NamedTuple):
    """A place where something is called: file, line, and what is called there."""

    file: str
    line: int
    callee: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.callee}"


class Watcher:
    """Sees each call on the I/O thread; raises `error` at the first one from `target`."""

    def __init__(self, target: Site | None = None, error: BaseException | None = None) -> None:
        self.sites: dict[Site, int] = {}
        self.struck = False
        self._target = target
        self._error = error

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """See `sys.setprofile`."""
        if self.struck or event not in ("call", "c_call"):
            return
        caller = frame.f_back if event == "call" else frame
        if caller is None or not _counts(caller):
            return
        callee = frame.f_code.co_name if event == "call" else getattr(argument, "__name__", "?")
        if callee in _NEVER_FAIL:
            return
        site = Site(caller.f_code.co_filename.removeprefix(PACKAGE), caller.f_lineno, callee)
        self.sites[site] = self.sites.get(site, 0) + 1
        if site == self._target and self._error is not None:
            self.struck = True
            raise self._error


def _counts(frame: FrameType) -> bool:
    """Whether a frame is one of ours within a callback; what the standard library does within is one step."""
    code = frame.f_code
    if not code.co_filename.startswith(PACKAGE):
        return False
    if code.co_filename.endswith("_io/loop.py") and code.co_name in _OF_THE_LOOP:
        return False
    # What tells of a failure is not made to fail as well: there is nobody left to tell.
    return not code.co_filename.endswith("containment.py")


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Have it see what the I/O thread calls meanwhile."""
    loop = runtime.current().loop
    _on_loop(loop, sys.setprofile, watcher)
    try:
        yield
    finally:
        if loop.thread.is_alive():
            _on_loop(loop, sys.setprofile, None)


def _on_loop(loop: Any, function: Any, *args: Any) -> None:
    done = threading.Event()

    def run() -> None:
        function(*args)
        done.set()

    loop.call_soon(run)
    assert done.wait(20), "the I/O thread does nothing any more"
