"""The ways in which an isolate is told to end; no restart follows any of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from piactors import dead, endings, sending
from piactors._lifecycle.mailbox import Message
from piactors._lifecycle.states import State
from piactors._platform.reentry import Reentered
from piactors.errors import ActorDeadError
from piactors.sinks import StopSink

if TYPE_CHECKING:
    from piactors.future import Future
    from piactors.isolate import Isolate


def stop(isolate: Isolate, future: Future[bool]) -> None:
    """Stop once what is in the mailbox has run; `future` gets True when all of it is gone.

    Raises:
        ActorDeadError: where it has stopped already.
    """
    _wholly(isolate, _stop, Message("stop", b"", StopSink(future)))


def _wholly(isolate: Isolate, step: Callable[..., None], *args: Any) -> None:
    """Do what does no harm if it is done twice; what a KeyboardInterrupt cut short is done once more, on the loop."""
    if isolate.is_mine():
        raise Reentered(f"isolate {isolate.spec.name}")
    try:
        step(isolate, *args)
    except BaseException as error:
        if not isinstance(error, ActorDeadError):
            isolate.loop.call_soon(_again, isolate, step, *args)
        raise


def _again(isolate: Isolate, step: Callable[..., None], *args: Any) -> None:
    with contextlib.suppress(ActorDeadError):
        step(isolate, *args)


def _stop(isolate: Isolate, message: Message) -> None:
    with isolate.lock:
        if isolate.state is State.STOPPED:
            raise dead.takes_nothing(isolate)
        isolate.stop_requested = isolate.clock.runs = True
        if not (message in isolate.mailbox or isolate.mailbox.is_on_way(message)):
            isolate.mailbox.put(message)
        isolate.pump()
        idle = isolate.state is State.RESTARTING
    if idle:
        isolate.loop.call_soon(endings.stop_restarting, isolate)


def shut_down(isolate: Isolate) -> None:
    """Begin to stop: fail what has not begun, let running calls finish, kill after the shutdown time."""
    isolate.stop_requested = True
    if isolate.loop.is_current():
        _shut_down(isolate)
    else:  # what is taken out of the mailbox there must not be lost, as it could be here by a KeyboardInterrupt
        isolate.loop.call_soon(_shut_down, isolate)


def _shut_down(isolate: Isolate) -> None:
    with isolate.lock:
        if isolate.state is State.STOPPED:
            return
        isolate.recycler.abort("the isolate is shut down", for_good=True)
        left, recalled = isolate.mailbox.take_calls(), sending.recall(isolate, "stopped")
        isolate.mailbox.put(Message("stop", b""))
        isolate.pump()
        idle = isolate.state is State.RESTARTING and isolate.process is None
    endings.fail_not_run(isolate, [*left, *recalled], unless_given_up=False)
    if idle:
        endings.stop_restarting(isolate)
    else:
        arm_shutdown(isolate)


def terminate(isolate: Isolate) -> None:
    """End the process tree at once."""
    _wholly(isolate, _terminate)


def _terminate(isolate: Isolate) -> None:
    with isolate.lock:
        if isolate.state is State.STOPPED:
            return
        isolate.stop_requested = True
        isolate.intend("killed", "terminated")
        generation = isolate.process
    isolate.loop.call_soon(isolate.recycler.kill_all, "terminated")
    if generation is not None:
        generation.kill()
    isolate.loop.call_soon(endings.stop_restarting, isolate)


def arm_shutdown(isolate: Isolate) -> None:
    """Kill the isolate where it has not stopped within its shutdown time."""
    seconds = isolate.options.shutdown_timeout
    if seconds is not None:
        with isolate.lock:
            isolate.after(seconds, partial(_too_late, isolate))


def _too_late(isolate: Isolate) -> None:
    with isolate.lock:
        isolate.intend("killed", f"did not stop within shutdown_timeout, {isolate.options.shutdown_timeout:g} s")
        generation = isolate.process
    isolate.recycler.kill_all("did not stop within the shutdown time")
    if generation is not None:
        generation.kill()
