"""What an isolate of the host's own code may ask of the host itself: who has a name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from piactors import names
from piactors._codec import lending
from piactors._isolate.asked import Asked
from piactors.errors import PiactorsError, ProtocolError

NUMBER = 0
"""The number that stands for the host itself."""
_MOST_NAMES = 1024
"""Names that one isolate may have given."""


def perform(request: Asked) -> None:
    """Answer what an isolate asks of the host itself."""
    if request.operation == "answer":
        request.asker.delivery.direct.answered(request)
        return
    operation = _OPERATIONS.get(request.operation)
    if operation is None:
        raise ProtocolError(f"the host has no operation {request.operation[:40]!r}")
    request.asker.strand.put(partial(_answer, operation, request))


def _answer(operation: Callable[[Asked], object], request: Asked) -> None:
    if not request.begin():
        return
    try:
        request.reply(operation(request))
    except Exception as error:
        request.fail(error)


def _register(request: Asked) -> None:
    (ref,), _ = request.arguments()
    given = request.asker.names
    if request.name not in given and len(given) >= _MOST_NAMES:
        given.intersection_update([name for name in given if names.whereis(name) is not None])
        if len(given) >= _MOST_NAMES:
            raise PiactorsError(f"it has given actors {_MOST_NAMES:,} names already: unregister some of them")
    names.register(request.name, ref)
    given.add(request.name)


def _unregister(request: Asked) -> None:
    names.unregister(request.name)
    request.asker.names.discard(request.name)


lending.ways[names.NamedRef] = None  # it goes as the name that it is

_OPERATIONS: dict[str, Callable[[Asked], object]] = {
    "register": _register,
    "unregister": _unregister,
    "whereis": lambda request: names.whereis(request.name),
}
