"""Stand-ins of pykka's kinds in an isolate: refs of actors of other processes, their proxies, and futures.

Only isolates load this, and only when something of the kind comes.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pykka
from pykka import messages
from pykka.messages import _ActorStop

from piactors._values import pipelined
from piactors._values.lent import by_ref
from piactors._values.peer_futures import PeerAnswer as PeerAnswer
from piactors._values.peer_futures import PeerDirect as PeerDirect
from piactors._values.peer_futures import PeerFuture
from piactors._values.peer_futures import PeerPull as PeerPull
from piactors._values.peer_proxies import PeerProxy
from piactors._values.streams import Stream
from piactors.errors import ActorDeadError
from piactors.exit_reason import ExitReason
from piactors.future import Future, run_callbacks_with

_log = logging.getLogger("piactors")
_lending: Any = importlib.import_module("_pihost.pickles.lending")
_plain: Any = importlib.import_module("_pihost.values.peers")
_objects: Any = importlib.import_module("_pihost.values.objects")
_given: Any = importlib.import_module("_pihost.values.given_streams")


class PeerRef(pykka.ActorRef[Any]):
    """Reference to an actor of another process: it takes messages by way of the host, and outlives restarts."""

    def __init__(self, link: Any, number: int, facts: tuple[Any, ...]) -> None:
        # Not pykka's own __init__, which takes the actor itself.
        self._facts = _plain.ActorFacts(*facts)
        self._asker = _plain.Reach(link, number)
        self._asker.starts_with(self._facts)
        self.actor_urn = self._facts.urn
        self.actor_stopped = _Stopped(self)  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<ActorRef for {self}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, pykka.ActorRef) and other.actor_urn == self.actor_urn

    def __hash__(self) -> int:
        return hash(self.actor_urn)

    @property
    def actor_class(self) -> Any:  # type: ignore[override]
        """The actor's class if that is loaded here, else a class of its name."""
        return _class_named(self._facts.module, self._facts.class_name)

    @property
    def name(self) -> str:
        """The actor's name."""
        return str(self._facts.name)

    @property
    def state(self) -> str:
        """``starting``, ``running``, ``restarting``, ``stopping`` or ``stopped``."""
        return str(self._asker.wait("about")["state"])

    @property
    def generation(self) -> int:
        """How many processes it has had."""
        return int(self._asker.wait("about")["generation"])

    def is_alive(self) -> bool:
        """Whether it takes messages: True also while it restarts."""
        return bool(self._asker.wait("about")["alive"])

    def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of it, a function of its class or a name, and return a future of the result."""
        name = method if isinstance(method, str) else method.__name__
        return self._asker.begin("call", name, args, kwargs, None, self)

    def tell(self, message: Any) -> None:
        """Send a message without waiting for an answer.

        Raises:
            ActorDeadError: if it takes none (any more).
        """
        if isinstance(message, _ActorStop):
            self._asker.begin("stop", "", holder=self)
            return
        if self._asker.is_dead() or (self._facts.alive is None and not self.is_alive()):
            raise ActorDeadError(f"{self.name} takes no messages: it has stopped", name=self.name, reason=None)
        self._asker.tell(*_parts(message), self)

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Send a message and return the answer, or a future of it if `block` is False."""
        if isinstance(message, _ActorStop):
            future = self._asker.begin("stop", "", holder=self)
        else:
            future = self._asker.begin(*_parts(message), timeout, self)
        return future.get(timeout=timeout) if block else future

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:
        """Stop it once it has handled what is in its mailbox, if this ref may.

        Raises:
            NotPermitted: if it may not.
        """
        future = self._asker.begin("stop", "", holder=self)
        return future.get(timeout=timeout) if block else future

    def _watch(self, told: Callable[[ExitReason], object]) -> Callable[[], None]:
        """Have `told(reason)` called once it has ended for good, where what is lent runs; return what ends that."""
        handle = by_ref(told)
        self._asker.wait("watch", "", handle)

        def end() -> None:
            self._asker.begin("unwatch", "", (handle,), holder=self)
            handle.release()

        return end

    def proxy(self) -> Any:
        """Return a `pykka.ActorProxy`: its attributes and methods, as futures."""
        return PeerProxy(actor_ref=self)


def _parts(message: Any) -> tuple[str, str, tuple[Any, ...], dict[str, Any]]:
    if isinstance(message, messages.ProxyCall):
        return "call", ".".join(message.attr_path), tuple(message.args), dict(message.kwargs)
    if isinstance(message, messages.ProxyGetAttr):
        return "get", ".".join(message.attr_path), (), {}
    if isinstance(message, messages.ProxySetAttr):
        return "set", ".".join(message.attr_path), (message.value,), {}
    return "message", "", (message,), {}


def _class_named(module: str, name: str) -> Any:
    """Return the class of an actor, or what stands for it: that need not be here, and is not loaded for this."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else type(name, (), {"_create_future": staticmethod(Future)})


class _Stopped:
    """Whether an actor of another process has stopped, as pykka asks for it."""

    def __init__(self, ref: PeerRef) -> None:
        self._ref = ref

    def is_set(self) -> bool:
        """Whether it takes no more messages."""
        return not self._ref.is_alive()


class SeenActors(list[Any]):
    """pykka's registry of an isolate: look-ups also find what this isolate was given; what is its own is listed."""

    def __init__(self, own: list[Any], border: Any) -> None:
        super().__init__(own)
        self._border = border

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        for ref in self._border.borrowed():
            if isinstance(ref, PeerRef):
                yield ref


def _call_back_by(performer: Any) -> None:
    """Have done-callbacks run where what is lent runs: the thread that finds an outcome must wait for nothing."""

    def run(callback: Callable[..., object], *args: Any) -> None:
        try:
            callback(*args)
        except Exception:
            _log.exception("a done-callback has raised")

    run_callbacks_with(lambda callback, *args: performer.later(lambda: run(callback, *args)))


def _see_peers(border: Any) -> None:
    with pykka.ActorRegistry._actor_refs_lock:
        if not isinstance(pykka.ActorRegistry._actor_refs, SeenActors):
            pykka.ActorRegistry._actor_refs = SeenActors(list(pykka.ActorRegistry._actor_refs), border)


def peer(link: Any, number: int, facts: tuple[Any, ...]) -> Any:
    """Return the ref of an actor: of another one, or this isolate's own."""
    _see_peers(link.border)
    _call_back_by(link.border.performer)
    own = link.border.own_ref
    return own if own is not None and own.actor_urn == facts[0] else PeerRef(link, number, facts)


def stream(reach: Any) -> Any:
    """Return a stream of another process."""
    return Stream(reach)


def _way(thing: Any) -> Any:
    return (thing._number, *_lending.HOME)


def _way_of_ref(ref: PeerRef) -> Any:
    return (ref._asker.number, *_lending.HOME)


def _begin(thing: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if isinstance(thing, _objects.Borrowed):
        return thing._method(name).future(*args, **kwargs)
    if name:
        raise AttributeError(f"{thing!r} has no method {name!r}")
    return thing.future(*args, **kwargs)


pipelined.begins[_objects.Borrowed] = pipelined.begins[_objects.BorrowedFunction] = _begin
_lending.ways.update({PeerFuture: _way, PeerRef: _way_of_ref, Stream: _given.way})
