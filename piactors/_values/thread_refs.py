"""Refs of actors in threads of this program, and of supervisors, that isolates hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pykka
from pykka import messages
from pykka._envelope import Envelope

from piactors._codec import lending
from piactors._codec.lending import Loan
from piactors._values.futures import answer_with
from piactors.errors import ActorDeadError, NotPermitted, ProtocolError
from piactors.future import Future

_Message = Callable[[str, tuple[Any, ...], dict[str, Any]], Any]


class ThreadRefLoan(Loan):
    """The ref of an actor in a thread, as its borrowers know it."""

    kind = "ref"

    def __init__(self, ref: pykka.ActorRef[Any]) -> None:
        super().__init__()
        self._ref = ref

    def facts(self) -> tuple[Any, ...]:
        """Return urn, name and class of the actor, that the holder may stop it, and that nobody tells of its end."""
        ref: Any = self._ref
        cls = ref.actor_class
        return ref.actor_urn, getattr(ref, "name", cls.__name__), cls.__module__, cls.__name__, True, None

    def home(self) -> Any:
        """Return the ref itself."""
        return self._ref

    def perform(self, request: Any) -> None:
        """Send the actor a message, or answer what is asked about it."""
        operation = _OPERATIONS.get(request.operation)
        if operation is None:
            raise ProtocolError(f"a ref has no operation {request.operation[:40]!r}")
        request.asker.strand.put(lambda: _performed(operation, self._ref, request))


def _performed(operation: Callable[[Any, Any], None], ref: Any, request: Any) -> None:
    if not request.begin():
        return
    try:
        operation(ref, request)
    except pykka.ActorDeadError as error:
        request.fail(ActorDeadError(str(error), name=str(ref), reason=None))
    except Exception as error:
        request.fail(error)


def _send(ref: Any, request: Any) -> None:
    message = _MESSAGES[request.operation](request.name, *request.arguments())
    if not ref.is_alive():
        raise ActorDeadError(f"{ref} takes no messages: it has stopped", name=str(ref), reason=None)
    if not request.is_wanted:
        ref.tell(message)
        return
    future: Future[Any] = Future()
    answer_with(request, future)
    ref.actor_inbox.put(Envelope(message, reply_to=future))  # pykka's own future could not be watched


def _path(name: str) -> tuple[str, ...]:
    path = tuple(name.split("."))
    if any(not part.isidentifier() or part.startswith("_") for part in path):
        raise NotPermitted(f"{name[:100]!r} is not the name of a public attribute")
    return path


def _about(ref: Any, request: Any) -> None:
    alive = ref.is_alive()
    request.reply({"alive": alive, "state": getattr(ref, "state", _STATES[alive]), "generation": _generation(ref)})


def _generation(ref: Any) -> int:
    found = getattr(ref, "generation", 1)
    return found if type(found) is int else 1


_STATES = {True: "running", False: "stopped"}


def _describe(ref: Any, request: Any) -> None:
    known = pykka.ActorProxy(actor_ref=ref)._known_attrs
    entries = ((path, entry) for path, entry in known.items())
    request.reply({".".join(path): (entry.callable, entry.traversable, 0, 0.0, 0, 0) for path, entry in entries})


def _stop(ref: Any, request: Any) -> None:
    ref.stop(block=False)
    request.reply(True)


_MESSAGES: dict[str, _Message] = {
    "call": lambda name, args, kwargs: messages.ProxyCall(attr_path=_path(name), args=args, kwargs=kwargs),
    "get": lambda name, args, kwargs: messages.ProxyGetAttr(attr_path=_path(name)),
    "set": lambda name, args, kwargs: messages.ProxySetAttr(attr_path=_path(name), value=args[0]),
    "message": lambda name, args, kwargs: args[0],
}


def _watch(ref: Any, request: Any) -> None:
    request.fail(
        TypeError(f"watch: {ref} is an actor in a thread of another process, which can be watched there alone")
    )


_OPERATIONS: dict[str, Callable[[Any, Any], None]] = {
    **dict.fromkeys(_MESSAGES, _send),
    "about": _about,
    "channel": lambda ref, request: request.reply(None),
    "describe": _describe,
    "stop": _stop,
    "watch": _watch,
}

_ATTRIBUTE = "_piactors_loan"


def lend(ref: pykka.ActorRef[Any]) -> Loan:
    """Return what stands for a ref in isolates; the same each time."""
    found: Loan | None = ref.__dict__.get(_ATTRIBUTE)
    if found is None:
        found = ref.__dict__[_ATTRIBUTE] = ThreadRefLoan(ref)
    return found


lending.ways[pykka.ActorRef] = lend
