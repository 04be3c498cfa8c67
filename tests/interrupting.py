"""Interrupts at chosen instructions of piactors: a KeyboardInterrupt, or the call of a signal handler.

CPython runs signal handlers at a few instructions only: where a function begins, where a loop goes back, and after a
call.  Here one comes before any instruction of piactors' own code, which includes all of these.  Only those that do
nothing are left out, and the last steps of a ``with`` block, in which it calls ``__exit__``: no signal handler ever
runs there, and Python has no way to write a lock that would bear it.
"""

from __future__ import annotations

import dis
import os
import sys
import threading
from collections.abc import Callable
from functools import cache, lru_cache
from types import CodeType, FrameType
from typing import Any

import piactors

PIACTORS = os.path.dirname(piactors.__file__) + os.sep
_MONITORED = hasattr(sys, "monitoring")
_TOOL = 4


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


@cache
def leaving_with(code: CodeType) -> frozenset[int]:
    """The offsets at which a ``with`` block has ended and calls ``__exit__(None, None, None)``.

    And those that do nothing, as at the word ``try``: CPython covers them by no ``with`` block around them.
    """
    nothing = {found.offset for found in dis.get_instructions(code) if found.opname == "NOP"}
    instructions = [found for found in dis.get_instructions(code) if found.opname not in ("CACHE", "PRECALL")]
    offsets: set[int] = nothing
    for before, first, second, third, call in zip(*(instructions[n:] for n in range(5)), strict=False):
        loads = (first, second, third)
        if all(found.opname == "LOAD_CONST" and found.argval is None for found in loads) and call.opname == "CALL":
            start = before if before.opname == "SWAP" else first  # of what the block returns
            offsets.update(range(start.offset, call.offset + 1))
    return frozenset(offsets)


class Injector:
    """Does something at the n-th instruction of piactors in the thread that runs a function."""

    def __init__(self, at: int, action: Callable[[], None] = interrupt) -> None:
        self.at = at
        self.action = action
        self.points = 0
        self.where = ""
        """The place, once it has been done."""

    def run(self, function: Callable[[], Any]) -> Any:
        """Run a function; return what it returns, or the KeyboardInterrupt."""
        self._begin()
        try:
            return function()
        except KeyboardInterrupt as error:
            return error
        finally:
            self._end()

    def _step(self, code: CodeType, offset: int) -> None:
        if offset in leaving_with(code):
            return
        self.points += 1
        if self.points == self.at:
            self._end()
            name = code.co_filename.removeprefix(PIACTORS)
            lines = [line for start, end, line in code.co_lines() if start <= offset < end]
            self.where = f"{name}:{lines[0] if lines else 0} {code.co_qualname}+{offset}"
            self.action()

    if _MONITORED:

        def _begin(self) -> None:
            self._thread = threading.get_ident()
            monitoring, events = sys.monitoring, sys.monitoring.events
            monitoring.use_tool_id(_TOOL, "interrupts")
            monitoring.register_callback(_TOOL, events.PY_START, self._started)
            monitoring.register_callback(_TOOL, events.INSTRUCTION, self._at_instruction)
            for code in _codes():
                monitoring.set_local_events(_TOOL, code, events.INSTRUCTION)

        def _end(self) -> None:
            monitoring = sys.monitoring
            if monitoring.get_tool(_TOOL) is not None:
                for code in _codes():
                    monitoring.set_local_events(_TOOL, code, 0)
                monitoring.free_tool_id(_TOOL)

        def _started(self, code: CodeType, offset: int) -> None:
            """Nothing: events are set for each code object."""

        def _at_instruction(self, code: CodeType, offset: int) -> None:
            if threading.get_ident() == self._thread:
                self._step(code, offset)

    else:

        def _begin(self) -> None:
            sys.settrace(self._trace)

        def _end(self) -> None:
            sys.settrace(None)

        def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
            if self.where or not frame.f_code.co_filename.startswith(PIACTORS):
                return None
            if event == "call":
                frame.f_trace_opcodes = True
                frame.f_trace_lines = False
            elif event == "opcode":
                self._step(frame.f_code, frame.f_lasti)
            return self._trace


@lru_cache(maxsize=1)
def _codes() -> list[CodeType]:
    """All code of piactors that is loaded."""
    import gc
    from types import FunctionType

    found: dict[int, CodeType] = {}
    todo = [item.__code__ for item in gc.get_objects() if isinstance(item, FunctionType)]
    while todo:
        code = todo.pop()
        if code.co_filename.startswith(PIACTORS) and id(code) not in found:
            found[id(code)] = code
            todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return list(found.values())
