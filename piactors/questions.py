"""What an isolate is asked besides its calls: its control thread answers while a call runs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from piactors import arrivals, dead
from piactors.errors import ProtocolError
from piactors.future import Future
from piactors.pihost import plain_decode, wire
from piactors.shape import Described
from piactors.sinks import raise_from

if TYPE_CHECKING:
    from piactors.isolate import Isolate


_BUDGET = 64 << 20
"""Bytes of memory that the description of an object may take, whatever `max_frame` is."""


def ask(isolate: Isolate, operation: str, *args: Any) -> Future[Any]:
    """Ask the isolate's control thread.

    The future fails with `ActorDeadError` where no process runs to answer.
    """
    future: Future[Any] = Future()

    def answer(frame: wire.Frame | None) -> None:
        if frame is None:
            reason = dead.reason_of_end(isolate)
            future.fail(dead.dead(isolate.spec.name, "has no process that could answer", reason))
        elif frame.kind == wire.RESPONSE:
            decoder = attrs.evolve(isolate.decoder, budget=max(isolate.decoder.budget, _BUDGET))
            future.settle_with(partial(decoder.value, frame.flags, frame.payload))
        else:
            future.settle_with(partial(raise_from, isolate.decoder, frame.payload))

    with isolate.lock:
        generation = isolate.process if isolate.current.ready_at is not None else None
    if generation is None:
        answer(None)
    else:
        generation.request(operation, args, answer)
    return future


def description(isolate: Isolate) -> Described:
    """Return what the hosted object offered when it became ready (see `pihost.hosted.Described`).

    Raises:
        ProtocolError: where the isolate sent something else.
    """
    raw = isolate.raw_description
    if raw is None:
        return {}
    try:
        return arrivals.check_description(plain_decode.decode(raw, budget=_BUDGET))
    except plain_decode.BadPlain as error:
        raise ProtocolError(f"{isolate.spec.name} described itself in a way that cannot be read: {error}") from None
