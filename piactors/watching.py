"""`watch` and `link`: to learn of the end of any actor, and to let two end together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs
import pykka

from piactors._host import runtime
from piactors._io.dispatcher import call
from piactors._isolate.deathwatch import DeathWatch
from piactors.exit_reason import ExitReason
from piactors.ref import IsolateRef

_lock = threading.Lock()
"""Held while an actor of pykka's gets its watch, which several threads may ask for at once."""


@attrs.frozen
class Down:
    """An actor has ended: its `ref`, and the `ExitReason`."""

    ref: pykka.ActorRef[Any]
    reason: ExitReason


def watch(ref: pykka.ActorRef[Any], callback: Callable[[Down], object]) -> Callable[[], None]:
    """Have `callback` called once with a `Down` when an actor has ended for good; at once if it has already.

    A restart is not an end.  It runs on the thread for callbacks (see `piactors.events`), so a slow one delays others.

    Args:
        ref: of an isolate, a supervisor, a child of one, or any other actor of pykka that runs in a thread; in an
            isolate, of another isolate.

    Returns:
        A function that ends the watch.

    Raises:
        TypeError: if `ref` is not a ref, or `callback` cannot be called.
    """
    if not callable(callback):
        raise TypeError(f"watch: {callback!r} cannot be called")
    elsewhere = getattr(ref, "_watch", None)
    if elsewhere is not None:  # in an isolate, of an actor of another process
        return elsewhere(lambda reason: callback(Down(ref, reason)))  # type: ignore[no-any-return]
    dispatcher = runtime.current().dispatcher
    return _ends_of(ref, "watch").add(
        lambda reason: dispatcher.submit(call, callback, (Down(ref, reason),), "a watch has failed: %r", callback)
    )


def link(a: pykka.ActorRef[Any], b: pykka.ActorRef[Any]) -> Callable[[], None]:
    """Let two actors end together: when one has ended for good, the other is ended, and no restart follows.

    An isolate is terminated; an actor in a thread, or a supervisor, is told to stop.

    Returns:
        A function that takes them apart.

    Raises:
        TypeError: if one of them is not a ref.
    """
    ends_of_a, ends_of_b = _ends_of(a, "link"), _ends_of(b, "link")
    undo = [ends_of_a.add(lambda _: _end(b)), ends_of_b.add(lambda _: _end(a))]

    def unlink() -> None:
        for one in undo:
            one()

    return unlink


def _end(ref: pykka.ActorRef[Any]) -> None:
    if isinstance(ref, IsolateRef):
        ref._isolate.terminate()
    elif ref.is_alive():
        ref.stop(block=False)


def _ends_of(ref: pykka.ActorRef[Any], what: str) -> DeathWatch:
    if not isinstance(ref, pykka.ActorRef):
        raise TypeError(f"{what}: {ref!r} is not a ref of an actor")
    ends = getattr(ref, "_ends", None)
    return ends if isinstance(ends, DeathWatch) else _ends_of_plain(ref)


def _ends_of_plain(ref: pykka.ActorRef[Any]) -> DeathWatch:
    """Return who waits for the end of an actor that pykka runs alone; kept with its event, which all its refs share."""
    event: Any = ref.actor_stopped
    with _lock:
        found: DeathWatch | None = getattr(event, "_piactors_ends", None)
        if found is not None:
            return found
        ends = event._piactors_ends = DeathWatch()
        failures = _failures_of(ref._actor_weakref())
        really_set = event.set

        def set_and_tell() -> None:
            really_set()
            ends.tell(ExitReason(kind="error", error=failures[0]) if failures else ExitReason(kind="normal"))

        event.set = set_and_tell
    if event.is_set():
        ends.tell(ExitReason(kind="normal", detail="it had ended before it was watched"))
    return ends


def _failures_of(actor: Any) -> list[str]:
    """Return a list that will hold the exception which ends the actor, if one does."""
    failures: list[str] = []
    if actor is None:
        return failures
    really_handle = actor._handle_failure

    def keep_and_handle(kind: Any, error: Any, traceback: Any) -> None:
        failures.append(f"{kind.__name__}: {error}")
        really_handle(kind, error, traceback)

    actor._handle_failure = keep_and_handle
    return failures
