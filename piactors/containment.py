"""What becomes of an isolate when piactors itself fails on it: that isolate pays for it, and nobody else.

A callback of the I/O thread that raises, for want of memory or by a defect, may have left things half done.  So the
process is ended, and its end is handled as any other; if that fails too, or if there is no process, the isolate ends
for good, whoever waits is told, and a supervisor may start it again.  All of it runs on the I/O thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from piactors import endings
from piactors._host.dispatcher import log
from piactors._lifecycle.states import State
from piactors.errors import PiactorsError
from piactors.exit_reason import ExitReason

if TYPE_CHECKING:
    from piactors.isolate import Isolate


def contain(isolate: Isolate, error: BaseException) -> None:
    """Something on the I/O thread that belongs to this isolate has raised: end its process, or the isolate."""
    with contextlib.suppress(BaseException):
        isolate.runtime.dispatcher.submit(_log, isolate.spec.name, error)
    try:
        if isolate.ended.is_set():
            _tell_the_rest(isolate, error)
        if isolate.ended.is_set() or _end_process(isolate, error):
            isolate.recycler.go_on_with_end()  # it may have been that which was to be done next
            return
    except BaseException as second:
        error = second
    give_up(isolate, _cause(f"piactors has failed on isolate {isolate.spec.name}: {error!r}", error))


def io_failed(isolate: Isolate, error: BaseException) -> None:
    """The I/O thread is gone: nobody may be left waiting."""
    give_up(isolate, _cause(f"the I/O thread of piactors has failed: {error!r}", error))


def give_up(isolate: Isolate, cause: PiactorsError) -> None:
    """End the isolate for good, whatever has been done of that already: each step is taken, though others fail."""
    reason = ExitReason(kind="killed", detail=str(cause))
    with isolate.lock:
        left = [*isolate.mailbox.leaving, *isolate.mailbox.unanswered(), *isolate.mailbox.close()]
        isolate.state, isolate.final, isolate.held = State.STOPPED, True, False
        isolate.final_reason = isolate.last_reason = reason
        isolate.actor_stopped.set()
        isolate.room.notify_all()
        generation, isolate.process = isolate.process, None
        timer, isolate.restart_timer = isolate.restart_timer, None
    steps: list[Callable[[], object] | None] = [
        None if timer is None else timer.cancel,
        None if generation is None else generation.kill,
        partial(isolate.recycler.kill_all, reason.detail or ""),
        isolate.recycler.standby.close,
        isolate.outbox.close,
        isolate.unregister,
        partial(endings.fail_all, left, lambda: cause),
        partial(isolate.started.fail, cause),
        partial(isolate.runtime.remove, isolate),
        partial(isolate.runtime.leave_lane, isolate.spec.urn),
        partial(endings.tell_keeper, isolate, reason, None),
        partial(isolate.ref._ends.tell, reason),
        isolate.ended.set,
    ]
    for step in steps:
        if step is not None:
            with contextlib.suppress(Exception):
                step()


def _end_process(isolate: Isolate, error: BaseException) -> bool:
    """End the process that runs; False if there is none whose end would still be told of."""
    with isolate.lock:
        generation = isolate.process
        if generation is None or generation.is_over:
            return False
        isolate.intend("killed", f"piactors has failed on it: {error!r}")
    isolate.recycler.kill_all("piactors has failed on its isolate")
    generation.hand_over(isolate)  # it may have been about to take over, and the isolate must hear of its end
    generation.kill()
    return True


def _tell_the_rest(isolate: Isolate, error: BaseException) -> None:
    """It has ended for good, and telling that has failed: go on with whoever has not been told, its stoppers last."""
    if isolate.final_reason is not None:
        with contextlib.suppress(BaseException):
            isolate.ref._ends.tell(isolate.final_reason)
    left, isolate.mailbox.leaving = isolate.mailbox.leaving, []
    for message in left:
        with contextlib.suppress(BaseException):
            endings.fail_all([message], lambda: _cause(f"piactors has failed on its end: {error!r}", error))


def _cause(text: str, error: BaseException) -> PiactorsError:
    cause = PiactorsError(text)
    cause.__cause__ = error
    return cause


def _log(name: str, error: BaseException) -> None:
    log(logging.ERROR, "piactors has failed on isolate %s, which ends", name, exc_info=error)
