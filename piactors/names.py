"""Names of actors: `register`, `whereis`, and refs that look a name up at each use; isolates ask their host."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

import pykka

from piactors.errors import ActorDeadError, NameTaken

_LONGEST = 255
_HOST = 0
"""The number by which isolates ask things of their host itself."""
_lock = threading.Lock()
_names: dict[str, pykka.ActorRef[Any]] = {}


def register(name: str, ref: pykka.ActorRef[Any]) -> None:
    """Give an actor a name, by which `whereis` and `named` find it, here and in isolates of the host's own code.

    The name is free again when the actor takes no more messages: before its `on_stop` runs, and at its end.  It stays
    through restarts.

    Raises:
        NameTaken: if another actor that lives has it.
        TypeError, ValueError: if it is not a name, or `ref` not a ref of an actor.
    """
    _check(name)
    if not isinstance(ref, pykka.ActorRef):
        raise TypeError(f"register: {ref!r} is not the ref of an actor")
    link = _link()
    if link is not None:
        _ask(link, "register", name, ref)
        return
    with _lock:
        holder = _alive(name)
        if holder is not None and holder.actor_urn != ref.actor_urn:
            raise NameTaken(f"the name {name!r} belongs to {holder!r}")
        _names[name] = ref


def unregister(name: str) -> None:
    """Take a name back; nothing is done if nobody has it."""
    _check(name)
    link = _link()
    if link is not None:
        _ask(link, "unregister", name)
        return
    with _lock:
        _names.pop(name, None)


def whereis(name: str) -> pykka.ActorRef[Any] | None:
    """Return the ref of the actor that has a name; None if none has."""
    _check(name)
    link = _link()
    if link is not None:
        found: pykka.ActorRef[Any] | None = _ask(link, "whereis", name)
        return found
    with _lock:
        return _alive(name)


def named(name: str) -> NamedRef:
    """Return a ref that looks a name up each time it is used; whether somebody has it now makes no difference.

    It can be sent as the name that it is.

    Example:
        ::

            piactors.named("store").proxy().get("key")
    """
    _check(name)
    return NamedRef(name)


class NamedRef(pykka.ActorRef[Any]):
    """The ref of whichever actor has a name at the moment of each use."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<ActorRef for whoever is named {self._name!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedRef) and other._name == self._name

    def __hash__(self) -> int:
        return hash(self._name)

    def __reduce__(self) -> tuple[Any, ...]:
        return named, (self._name,)

    def is_alive(self) -> bool:
        """Whether somebody has the name, and takes messages."""
        found = whereis(self._name)
        return found is not None and found.is_alive()

    def tell(self, message: Any, **options: Any) -> None:
        """Send a message to whoever has the name.

        Raises:
            ActorDeadError: if nobody has.
        """
        self._found().tell(message, **options)

    def ask(self, message: Any, **options: Any) -> Any:
        """Send a message to whoever has the name, and return the answer, or a future of it if `block` is False."""
        return self._found().ask(message, **options)

    def stop(self, **options: Any) -> Any:
        """Stop whoever has the name."""
        return self._found().stop(**options)

    def proxy(self) -> Any:
        """Return a proxy of whoever has the name now."""
        return self._found().proxy()

    def __getattr__(self, attribute: str) -> Any:
        """Return what else the ref of whoever has the name has."""
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(self._found(), attribute)

    def _found(self) -> pykka.ActorRef[Any]:
        found = whereis(self._name)
        if found is None:
            raise ActorDeadError(f"nobody is named {self._name!r}", name=self._name, reason=None)
        return found


def _alive(name: str) -> pykka.ActorRef[Any] | None:
    found = _names.get(name)
    if found is not None and not found.is_alive():
        del _names[name]
        return None
    return found


def _check(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is not a name; use a text")
    if not 0 < len(name) <= _LONGEST:
        raise ValueError(f"{name[:80]!r} is not a name; use a text of 1 to {_LONGEST} characters")


def _link() -> Any:
    """Return what leads to the host, in an isolate."""
    return getattr(sys.modules.get("_pihost.serve.control"), "current", None)


def _ask(link: Any, operation: str, name: str, *args: Any) -> Any:
    asking: Any = importlib.import_module("_pihost.values.asking")
    return asking.wait(link, _HOST, operation, name, args)
