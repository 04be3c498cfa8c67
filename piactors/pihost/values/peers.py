"""The ref of an actor of another process, for isolates in which piactors is not installed."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple

from ..pickles import lending
from ..wire import direct
from . import asking
from .ways import Way

_IN_ORDER = direct.OPERATIONS | {"stop"}
"""What a holder's messages are, which arrive in the order in which they were sent."""


class ActorFacts(NamedTuple):
    """What is told of an actor with its ref."""

    urn: str
    name: str
    module: str
    class_name: str
    may_stop: bool
    alive: Optional[bool]
    """Whether it took messages when the ref was sent; None if the host does not tell when that changes."""


class Reach:
    """What can be done with an actor of another process, by its number; the parts of a ref."""

    def __init__(self, link: Any, number: int) -> None:
        self.link, self.number = link, number
        self._way: Optional[Way] = None

    def starts_with(self, facts: ActorFacts) -> None:
        """This was told of the actor with its ref."""
        if facts.alive is False:
            self.link.border.note_alive(self.number, False)

    def is_dead(self) -> bool:
        """Whether the host has told that it takes no messages."""
        return self.number in self.link.border.dead

    def begin(
        self,
        operation: str,
        name: str,
        args: Tuple[Any, ...] = (),
        kwargs: Optional[Dict[str, Any]] = None,
        timeout: Optional[float] = None,
        holder: Any = None,
        directly: Optional[bool] = None,
    ) -> Any:
        """Ask for something, and return a future of the answer; `holder` is kept until then.

        Args:
            directly: whether it may, or shall, go directly; None: as the options of this isolate say.
        """
        way = self._way if self._way is not None and directly is None else self._way_for(directly)
        if way is not None and operation in _IN_ORDER:
            future = self.link.border.new_direct()
            may = directly or (directly is None and self.link.channels_after >= 0)
            way.ask(operation, name, args, kwargs, timeout, holder, future, may)
            return future
        future = self.link.border.new_future()

        def answered(_: int, frame: Any, holder: Any = holder) -> None:
            future.take(frame)

        future.is_of(asking.begin(self.link, self.number, operation, name, args, kwargs, timeout, answered))
        return future

    def wait(self, operation: str, name: str = "", *args: Any, timeout: Optional[float] = None) -> Any:
        """Ask for something, and return the answer."""
        if operation in _IN_ORDER and self._way_for(None) is not None:
            return self.begin(operation, name, args, None, timeout, self).get(timeout=timeout)
        return asking.wait(self.link, self.number, operation, name, args, None, timeout)

    def tell(
        self,
        operation: str,
        name: str,
        args: Tuple[Any, ...],
        kwargs: Optional[Dict[str, Any]] = None,
        holder: Any = None,
    ) -> None:
        """Ask for something without an answer; `holder` is kept until it is done."""
        way = self._way_for(None)
        if way is None or operation not in _IN_ORDER:
            asking.begin(self.link, self.number, operation, name, args, kwargs)
        else:
            way.ask(operation, name, args, kwargs, None, holder, None, self.link.channels_after >= 0)

    def _way_for(self, directly: Optional[bool]) -> Optional[Way]:
        """Return what keeps messages in order that may go directly; None: all go by way of the host."""
        if self._way is None and (directly or self.link.channels_after >= 0):
            self._way = self.link.channels.way(self.number, self.link.channels_after)
        if directly and self._way is not None:
            self._way.ask_for_channel()
        return self._way


class Peer:
    """Reference to an actor of another process: it takes messages by way of the host, and outlives restarts."""

    def __init__(self, link: Any, number: int, facts: Tuple[Any, ...]) -> None:
        self._asker = Reach(link, number)
        self._facts = ActorFacts(*facts)
        self._asker.starts_with(self._facts)

    def __repr__(self) -> str:
        return "<Peer {} ({}, {})>".format(self.name, self._facts.class_name, self.actor_urn)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Peer) and other._asker.number == self._asker.number

    def __hash__(self) -> int:
        return hash(self._asker.number)

    @property
    def actor_urn(self) -> str:
        """The actor's own name, which no other one has."""
        return self._facts.urn

    @property
    def name(self) -> str:
        """The actor's name."""
        return self._facts.name

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

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of it, by its name, and return a future of the result."""
        return self._asker.begin("call", method, args, kwargs, holder=self)

    def ask(self, message: Any, *, block: bool = True, timeout: Optional[float] = None) -> Any:
        """Send a message and return the answer, or a future of it if `block` is False."""
        future = self._asker.begin("message", "", (message,), None, timeout, holder=self)
        return future.get(timeout) if block else future

    def tell(self, message: Any) -> None:
        """Send a message without waiting for an answer."""
        self._asker.tell("message", "", (message,), holder=self)

    def stop(self, *, block: bool = True, timeout: Optional[float] = None) -> Any:
        """Stop it once it has handled what is in its mailbox, if this ref may."""
        future = self._asker.begin("stop", "", holder=self)
        return future.get(timeout) if block else future

    def proxy(self) -> PlainProxy:
        """Return what calls its methods: each call returns a future."""
        return PlainProxy(self)


class PlainProxy:
    """The methods of an actor of another process, and its other attributes, as futures."""

    def __init__(self, ref: Peer) -> None:
        self._ref = ref
        self._described: Dict[str, Any] = ref._asker.wait("describe")

    def __repr__(self) -> str:
        return "<proxy of {!r}>".format(self._ref)

    def __getattr__(self, name: str) -> Any:
        """Return a method, or a future of any other attribute."""
        entry = self._described.get(name)
        if entry is None:
            raise AttributeError("{!r} has no attribute {!r}".format(self, name))
        if not entry[0]:
            return self._ref._asker.begin("get", name, holder=self._ref)
        return PlainStreams(self._ref, name) if entry[4] else PlainMethod(self._ref, name)


class PlainMethod:
    """One method of an actor of another process."""

    def __init__(self, ref: Peer, name: str) -> None:
        self._ref, self._name = ref, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it and return a future of the result."""
        return self._ref.call(self._name, *args, **kwargs)

    def defer(self, *args: Any, **kwargs: Any) -> None:
        """Call it without waiting for anything."""
        self._ref._asker.tell("call", self._name, args, kwargs, self._ref)


class PlainStreams(PlainMethod):
    """One method that yields items: its calls return streams."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it and return a stream of what it yields."""
        from . import given_streams  # most isolates read none

        return given_streams.PlainStream(origin=super().__call__(*args, **kwargs))


def _way(peer: Peer) -> lending.Entry:
    return (peer._asker.number, *lending.HOME)


lending.ways[Peer] = _way
