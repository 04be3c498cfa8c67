"""Items of streams, as isolates encode them: made values of, one by one, when somebody wants them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from piactors._codec import encode, lending
from piactors._codec.decode import Decoder
from piactors._codec.lending import Carrying, Loan
from piactors.errors import ProtocolError
from piactors.pihost.memory import segments
from piactors.pihost.wire import batches, wire
from piactors.pihost.wire.yielded import Arrived, Batch, Item


def arrived(decoder: Decoder, flags: int, payload: Any) -> Any:
    """Return the items that the answer to a request for some holds, or the one large item that it is.

    Raises:
        ProtocolError: if it is malformed.
    """
    if not flags & wire.BATCH:
        return decoder.value(flags, payload)
    data, loans = lending.parts_of(payload)
    if type(data) is segments.Received or type(data) is segments.Lost:
        raise ProtocolError(f"isolate {decoder.name} sent items of a stream in shared memory")
    try:
        items, is_last = batches.unpacked(data)
    except ValueError as error:
        raise ProtocolError(f"isolate {decoder.name} sent items of a stream that cannot be read: {error}") from None
    return Arrived(items, is_last, partial(_value, decoder, loans))


def _value(decoder: Decoder, loans: Mapping[int, Loan], item: Item) -> Any:
    flags, data, _ = item
    if loans:
        return decoder.value(flags | wire.LENDS, Carrying(data, dict(loans)))
    return decoder.value(flags, data)


def encoded(item: Any, *, foreign: bool) -> tuple[Item, tuple[Loan, ...]]:
    """Return an item as this program sends it, and what it lends.

    Raises:
        NotSendable: naming what cannot be sent.
    """
    whole = encode.dumps_answer(item, foreign=foreign)
    return (wire.PICKLE, whole.data, 0), whole.loans


def once_more(found: Arrived, *, foreign: bool) -> Batch:
    """Return the items of one isolate as this program sends them to another one."""
    items: list[Item] = []
    lends: list[Loan] = []
    for item in found.items:
        (flags, data, _), loans = encoded(found.decode(item), foreign=foreign)
        items.append((flags, data, item[2]))
        lends += loans
    return Batch(items, found.is_last, lends)
