"""How calls to an isolate are made: their payload, and the options that their callers or authors gave."""

from __future__ import annotations

import contextlib
import itertools
import math
import pickle
import time
from collections.abc import Iterable
from typing import Any

from piactors import events
from piactors._codec import encode
from piactors._isolate import bulk, envelopes, trusting
from piactors._isolate.bulk import AsyncMapped, CallMany, ItemCall, Mapped, MappedAsDone
from piactors._isolate.call import Call
from piactors._isolate.delivery import Delivery
from piactors._isolate.envelopes import Parts
from piactors._isolate.instruments import put_watched
from piactors._isolate.isolate import Isolate
from piactors._isolate.pulling import Pull
from piactors._rules.message import Message
from piactors._values import current
from piactors._values.current import scopes
from piactors.errors import ProtocolError, Timeout
from piactors.pihost.memory.segments import Parcel
from piactors.proxy import check_call_options

_NOT_KNOWN: Any = object()
_SHORT = 1 << 16
"""Bytes up to which a description is short: it is read within a few milliseconds."""


class Calls:
    """Makes and sends the calls to one isolate; from any thread."""

    def __init__(self, isolate: Isolate, *, foreign: bool) -> None:
        self._isolate = isolate
        self._foreign = foreign
        self._defaults: dict[str, tuple[int, float]] = {}
        """What the authors of its methods have said of their calls: retries and seconds."""
        self._marked: frozenset[str] = frozenset()
        """The methods that they have marked as reentrant."""
        isolate.delivery.find_marks_with(self._is_reentrant, self._has_marks)
        self._defaults_of: Any = _NOT_KNOWN
        """The description that they are from; another process may have given a different one."""
        self._plain_as: Any = _NOT_KNOWN
        """The same, if they have said nothing."""

    def call(
        self,
        path: tuple[str, ...],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        retries: int = 0,
        call_timeout: float | None = None,
        timeout: float | None = None,
    ) -> Call:
        """Call a method of the hosted object; what its proxies do."""
        isolate = self._isolate
        delivery = isolate.delivery
        is_usual = not retries and call_timeout is None and timeout is None and not scopes
        if delivery.sails and is_usual and self._plain_as is isolate.life.description:
            payload = encode.dumps_simple_call(path, args, kwargs, self._foreign)
            if payload is not None and not events.instruments:
                call = Call(delivery, path, payload)
                try:
                    if not delivery.post(call):
                        self._put(call, None)
                except Exception as error:
                    call.fail(error)
                return call
        call = Call(delivery, path)
        try:
            self._check_open(delivery)
            self._send(call, ("call", path, args, kwargs), retries, call_timeout, wanted=timeout)
        except Exception as error:
            call.fail(error)
        return call

    def _is_special(self) -> bool:
        """Whether the author of some method has said how its calls are to be treated, or may have said so."""
        return bool(self._defaults) or self._defaults_of is not self._isolate.life.description

    @staticmethod
    def _check_open(delivery: Delivery) -> None:
        """Say why it takes nothing before something is serialised, whatever that holds."""
        if delivery.refusal is not None:
            raise delivery.refusal()

    def call_many(self, path: tuple[str, ...], items: list[Any], **options: Any) -> Iterable[Call]:
        """Call a method for each item; at once, if nothing is special about the calls nor the items."""
        isolate = self._isolate
        delivery = isolate.delivery
        is_plain = delivery.sails and delivery.concurrency == 1 and self._plain_as is isolate.life.description
        if is_plain and not options and not scopes and not events.instruments and bulk.all_fixed(items):
            calls = list(map(ItemCall, itertools.repeat(delivery), itertools.repeat(path), items))
            if delivery.post_many(calls, pickle.dumps((path, items), 5)):
                return calls
        return [self.call(path, (item,), {}, **options) for item in items]

    def map(
        self,
        path: tuple[str, ...],
        items: Iterable[Any],
        window: int,
        *,
        ordered: bool,
        return_exceptions: bool,
        options: dict[str, Any],
    ) -> Mapped:
        """Call a method for each item, and return an iterator over the results."""
        make = Mapped if ordered else MappedAsDone
        return make(self._caller(path, options), items, self._within(window), return_exceptions=return_exceptions)

    def amap(
        self,
        path: tuple[str, ...],
        items: Iterable[Any],
        window: int,
        *,
        return_exceptions: bool,
        options: dict[str, Any],
    ) -> AsyncMapped:
        """Do so for ``async for``."""
        made = self._caller(path, options)
        return AsyncMapped(made, items, self._within(window), return_exceptions=return_exceptions)

    def _caller(self, path: tuple[str, ...], options: dict[str, Any]) -> CallMany:
        return lambda items: self.call_many(path, items, **options)

    def _within(self, window: int) -> int:
        """Return how many calls may be under way: no more than the mailbox holds."""
        return min(window, self._isolate.delivery.capacity or window)

    def ask(
        self,
        message: Any,
        retries: int,
        call_timeout: float | None,
        until: float | None,
        wanted_until: float | None = None,
    ) -> Call:
        """Send a message, pykka's own or any other, that wants an answer.

        Args:
            until: until when to wait for room in the mailbox; None: for as long as it takes.
            wanted_until: when who asks does not wait any more; None: never.
        """
        delivery = self._isolate.delivery
        call = Call(delivery, envelopes.path_of(message))
        if wanted_until is not None:
            call.want_until(wanted_until)
        try:
            self._check_open(delivery)
            of_attribute = isinstance(message, envelopes.OF_ATTRIBUTE)
            self._send(call, envelopes.described(message), retries, call_timeout, of_attribute, until)
        except Exception as error:
            call.fail(error)
        return call

    def _send(
        self,
        call: Call,
        parts: Parts,
        retries: int,
        call_timeout: float | None,
        of_attribute: bool = False,
        until: float | None = None,
        wanted: float | None = None,
    ) -> None:
        if retries or call_timeout is not None or self._is_special():
            retries, call_timeout = self._options(call.path, retries, call_timeout)
        payload, needs = self._packed(parts, retries)
        call.carry(payload, retries)
        call.ask_for(call_timeout, needs, of_attribute=of_attribute)
        self._put(call, self._bound(call, wanted, until) if wanted is not None or scopes else until)

    def _bound(self, call: Call, wanted: float | None, until: float | None) -> float | None:
        """Let a call not be wanted any more after a moment; return until when to wait for room for it.

        Args:
            wanted: for how many seconds it is; None: for as long as it takes, within the deadlines of this code.
            until: until when to wait for room otherwise; None: for as long as it takes.

        Raises:
            Timeout: if it is not wanted any more now.
        """
        end = min(call.until, current.until(wanted))
        if end == math.inf:
            return until
        call.want_until(end)
        delivery, seconds = self._isolate.delivery, end - time.monotonic()
        text = f"{delivery.name}: no answer {call.asked} within its time"
        if seconds <= 0:
            raise Timeout(text)
        call.end_with(delivery.loop.call_later(seconds, lambda: delivery.expire(call, text)))
        return end if until is None else min(end, until)

    def _put(self, call: Call, until: float | None) -> None:
        """Have it sent; what keeps it from being sent is its outcome."""
        delivery = self._isolate.delivery
        try:
            if events.instruments:
                put_watched(delivery, call, until)
            else:
                delivery.put(call, until=until)
        except Exception as error:
            call.fail(error)

    def tell(self, message: Any, retries: int, call_timeout: float | None, until: float | None) -> Message:
        """Send a message that wants no answer, and return it."""
        path = envelopes.path_of(message)
        if retries or call_timeout is not None or self._known_defaults():
            retries, call_timeout = self._options(path, retries, call_timeout)
        payload, needs = self._packed(envelopes.described(message), 0)
        envelope = Message("tell", payload, None, retries, path=path)
        envelope.ask_for(call_timeout, needs)
        self._isolate.delivery.put(envelope, until=until)
        return envelope

    def invoke(self, target: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Have the isolate call a function that need not be part of its object."""
        name = target.rpartition(":")[2] if isinstance(target, str) else getattr(target, "__qualname__", "")
        call = trusting.call_of(self._isolate.delivery, target, (name,))
        try:
            payload, needs = self._packed(("invoke", (), (target, *args), kwargs), 0)
            call.carry(payload, 0)
            call.ask_for(None, needs)
            self._put(call, self._bound(call, None, None) if scopes else None)
        except Exception as error:
            call.fail(error)
        return call

    def new_pull(self, name: str) -> Pull:
        """Return what is to get items of a stream that the actor yields."""
        return Pull(self._isolate.delivery, (name,))

    def pull(
        self, pull: Pull, number: int, items: int, size: int, wanted: float | None, *, exclusive: bool = False
    ) -> None:
        """Ask for at most so many items, or bytes, of a stream by its number; they are wanted for so many seconds."""
        if exclusive:
            pull.hold(number)
        try:
            self._check_open(self._isolate.delivery)
            payload, needs = self._packed(("stream", (number, "pull"), (items, size), {}), 0)  # type: ignore[arg-type]
            pull.carry(payload, 0)
            pull.ask_for(self.default_of((pull.path[0].rpartition(".")[2],))[1], needs)
            self._put(pull, self._bound(pull, wanted, None) if wanted is not None or scopes else None)
        except Exception as error:
            pull.fail(error)

    def close_stream(self, number: int, *, exclusive: bool = False) -> None:
        """Close the stream with a number: a message among the others of the actor.

        Raises:
            ActorDeadError: if it takes none any more.
            MailboxFull: if it has no room for one.
        """
        payload, needs = self._packed(("stream", (number, "close"), (), {}), 0)  # type: ignore[arg-type]
        message = Message("tell", payload)
        message.ask_for(None, needs)
        message.pin()
        if exclusive:
            message.hold(number)
        self._isolate.delivery.put(message, may_block=False)

    def pass_on(self, parts: Parts, seconds: float | None) -> Call:
        """Send what another isolate asks for and wants for so many seconds, whose arguments this program has made."""
        call = Call(self._isolate.delivery, parts[1])
        try:
            self._check_open(self._isolate.delivery)
            self._send(call, parts, 0, None, parts[0] in ("get", "set"), wanted=seconds)
        except Exception as error:
            call.fail(error)
        return call

    @property
    def knows_defaults(self) -> bool:
        """Whether it is known what the authors of methods have said of their calls; else `default_of` reads it."""
        return self._defaults_of is self._isolate.life.description

    def learn(self) -> None:
        """Know what the authors of methods have said of their calls, if a process has been ready once."""
        with contextlib.suppress(ProtocolError):  # that is told to whoever makes a proxy
            self._known_defaults()

    def _has_marks(self) -> bool:
        self._known_defaults()
        return bool(self._marked)

    def has_defaults(self) -> bool:
        """Whether the authors of methods have said something of their calls."""
        return bool(self._known_defaults())

    def _is_reentrant(self, path: tuple[str, ...]) -> bool:
        """Whether the author of a method has marked it; on the I/O thread, where no long description is read."""
        raw = self._isolate.life.description
        if self._defaults_of is not raw and raw is not None and len(raw) < _SHORT:
            self.learn()
        return ".".join(path) in self._marked

    def default_of(self, path: tuple[str, ...]) -> tuple[int, float | None]:
        """Return retries and timeout of a call as the method's author has set them."""
        found = self._known_defaults().get(".".join(path)) if path else None
        return (0, None) if found is None else (found[0], found[1] or None)

    def _packed(self, parts: Parts, retries: int) -> tuple[Any, Any]:
        """Serialise a call; return that, and the definitions that it needs."""
        payload = self._payload(parts, retries)
        return payload if type(payload) is encode.Packed else (payload, None)

    def _payload(self, parts: Parts, retries: int) -> Any:
        """Serialise a call, into shared memory if it is large.

        What may be run again does not go there: the first run may have changed it.
        """
        if encode.may_be_large(parts[2], parts[3]):
            outbox = self._isolate.delivery.outbox
            packed = encode.pack_call(None if retries else outbox, *parts, foreign=self._foreign)
            if packed is not None:
                if type(packed.data) is Parcel:
                    self._isolate.idle_memory.used()
                return packed
        return encode.dumps_call(*parts, foreign=self._foreign)

    def _options(self, path: tuple[str, ...], retries: int, call_timeout: float | None) -> tuple[int, float | None]:
        """Return retries and timeout of a call: those of its caller, else those of the method's author."""
        if retries or call_timeout is not None:
            check_call_options(retries, call_timeout)
        default = self._known_defaults().get(".".join(path)) if path else None
        if default is None:
            return retries, call_timeout
        return retries or default[0], call_timeout or default[1] or None

    def _known_defaults(self) -> dict[str, tuple[int, float]]:
        raw = self._isolate.life.description
        if self._defaults_of is raw:
            return self._defaults
        described = self._isolate.description()
        found = {path: entry[2:4] for path, entry in described.items() if any(entry[2:4])}
        self._marked = frozenset(path for path, entry in described.items() if entry[6])
        if raw is not None:  # not before it has been ready once
            self._defaults, self._defaults_of = found, raw
            self._plain_as = _NOT_KNOWN if found else raw
        return found
