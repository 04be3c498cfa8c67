"""What an isolate is asked besides its calls: its control thread answers while a call runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from piactors._codec.decode import Decoder
from piactors._codec.encode import Whole
from piactors._isolate import frames
from piactors._isolate.remote_attributes import Described
from piactors._isolate.reply_ports import raise_from
from piactors._process.control_channel import Answer
from piactors._process.placement import Process
from piactors.errors import ProtocolError
from piactors.future import Future
from piactors.pihost.plain import decode as plain_decode
from piactors.pihost.wire import wire

_BUDGET = 64 << 20
"""Bytes of memory that the description of an object may take, whatever `max_frame` is."""


def request(
    process: Process | None, decoder: Decoder, gone: Callable[[], BaseException], operation: str, *args: Any
) -> Future[Any]:
    """Ask the control thread of a process.

    Args:
        gone: makes the error if there is no process to answer.
    """
    future, answer = _future(decoder, gone)
    if process is None:
        answer(None)
    else:
        process.request(operation, args, answer)
    return future


def set_data(
    process: Process | None, decoder: Decoder, gone: Callable[[], BaseException], key: str, value: Whole
) -> Future[Any]:
    """Have a process know a value; see `request`."""
    future, answer = _future(decoder, gone)
    if process is None:
        answer(None)
    else:
        process.set_data(key, value, answer)
    return future


def _future(decoder: Decoder, gone: Callable[[], BaseException]) -> tuple[Future[Any], Answer]:
    """Return the future of an answer, and what settles it."""
    future: Future[Any] = Future()

    def answer(frame: wire.Frame | None) -> None:
        if frame is None:
            future.fail(gone())
        elif frame.kind == wire.RESPONSE:
            generous = attrs.evolve(decoder, budget=max(decoder.budget, _BUDGET))
            future.settle_with(partial(generous.value, frame.flags, frame.payload))
        else:
            future.settle_with(partial(raise_from, decoder, frame.payload))

    return future, answer


def description(name: str, raw: bytes | None) -> Described:
    """Return what a hosted object offered when it became ready (see `pihost.serve.hosted.Described`).

    Raises:
        ProtocolError: if the isolate sent something else.
    """
    if raw is None:
        return {}
    try:
        return frames.check_description(plain_decode.decode(raw, budget=_BUDGET))
    except plain_decode.BadPlain as error:
        raise ProtocolError(f"{name} described itself in a way that cannot be read: {error}") from None
