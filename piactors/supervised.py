"""What a supervisor does with an isolate that is its child: end a generation and keep the mailbox for the next."""

from __future__ import annotations

import threading

from piactors import endings, stopping
from piactors._lifecycle.mailbox import Message
from piactors.isolate import Isolate

_SECONDS = 5.0
"""For an I/O thread that has failed meanwhile; one that works answers in much less."""


def succeed(isolate: Isolate, earlier: Isolate) -> None:
    """Go on where an isolate of the same ref has ended: count its generations, keep what was set."""
    isolate.generation_number, isolate.last_reason = earlier.generation_number, earlier.last_reason
    isolate.recycler.last_number = earlier.recycler.last_number
    isolate.data = earlier.data
    isolate.relay = earlier.relay  # what the earlier one has written is told first
    isolate.raw_description = earlier.raw_description  # for proxies, until the new one describes itself


def halt(isolate: Isolate) -> None:
    """Begin to end this generation within the shutdown time; what has not begun waits for the next one."""
    with isolate.lock:
        generation = isolate.process
        if isolate.halting or isolate.held:
            return
        isolate.halting = True
        isolate.recycler.abort("its supervisor stops it")
        if generation is None:
            return  # `launch`, or a cold recycling, is on its way, and will see it
        isolate.take_back()
        isolate.mailbox.put_first(Message("stop", b"", own_wish=True))
        isolate.pump()
    stopping.arm_shutdown(isolate)


def kill_generation(isolate: Isolate, detail: str) -> None:
    """End this generation at once; what has not begun waits for the next one."""
    with isolate.lock:
        isolate.halting = True
        isolate.recycler.abort(detail)
        isolate.intend("killed", detail)
        generation = isolate.process
    if generation is not None:
        generation.kill()


def revive(isolate: Isolate) -> bool:
    """Begin to start the next generation of an isolate that is held; False where it is not (any more)."""
    with isolate.lock:
        was_held, isolate.held = isolate.held, False
        isolate.halting = False
    if was_held:
        isolate.loop.call_soon(isolate.launch)
    return was_held


def put_down(isolate: Isolate, *, unused: bool) -> None:
    """End an isolate that is held, or that was never started (`unused`), and return when its ref says so."""
    done = threading.Event()

    def end_it() -> None:
        if unused:
            endings.ended_without_process(isolate, "its supervisor ended before it was to start")
        else:
            endings.stop_restarting(isolate)
        done.set()

    isolate.loop.call_soon(end_it)
    if not isolate.loop.is_current():
        done.wait(_SECONDS)


def await_end(isolate: Isolate) -> None:
    """Wait until an isolate that was put down is gone with its standby: that may have an `on_stop` to run."""
    seconds = isolate.options.shutdown_timeout
    if isolate.options.standby and not isolate.loop.is_current():
        isolate.ended.wait(None if seconds is None else seconds + _SECONDS)
