"""How calls to an isolate are made: their payload, and the options that their callers or authors gave."""

from __future__ import annotations

import itertools
import pickle
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
from piactors._rules.message import Message
from piactors.proxy import check_call_options

_NOT_KNOWN: Any = object()


class Calls:
    """Makes and sends the calls to one isolate; from any thread."""

    def __init__(self, isolate: Isolate, *, foreign: bool) -> None:
        self._isolate = isolate
        self._foreign = foreign
        self._defaults: dict[str, tuple[int, float]] = {}
        """What the authors of its methods have said of their calls: retries and seconds."""
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
    ) -> Call:
        """Call a method of the hosted object; what its proxies do."""
        isolate = self._isolate
        delivery = isolate.delivery
        if delivery.sails and not retries and call_timeout is None and self._plain_as is isolate.life.description:
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
            self._send(call, ("call", path, args, kwargs), retries, call_timeout)
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
        if is_plain and not options and not events.instruments and bulk.all_fixed(items):
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

    def ask(self, message: Any, retries: int, call_timeout: float | None, until: float | None) -> Call:
        """Send a message, pykka's own or any other, that wants an answer."""
        delivery = self._isolate.delivery
        call = Call(delivery, envelopes.path_of(message))
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
    ) -> None:
        if retries or call_timeout is not None or self._is_special():
            retries, call_timeout = self._options(call.path, retries, call_timeout)
        payload, needs = self._packed(parts, retries)
        call.carry(payload, retries)
        call.ask_for(call_timeout, needs, of_attribute=of_attribute)
        self._put(call, until)

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

    def tell(self, message: Any, retries: int, call_timeout: float | None, until: float | None) -> None:
        """Send a message that wants no answer."""
        path = envelopes.path_of(message)
        if retries or call_timeout is not None or self._known_defaults():
            retries, call_timeout = self._options(path, retries, call_timeout)
        payload, needs = self._packed(envelopes.described(message), 0)
        envelope = Message("tell", payload, None, retries, path=path)
        envelope.ask_for(call_timeout, needs)
        self._isolate.delivery.put(envelope, until=until)

    def invoke(self, target: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Have the isolate call a function that need not be part of its object."""
        name = target.rpartition(":")[2] if isinstance(target, str) else getattr(target, "__qualname__", "")
        call = trusting.call_of(self._isolate.delivery, target, (name,))
        try:
            payload, needs = self._packed(("invoke", (), (target, *args), kwargs), 0)
            call.carry(payload, 0)
            call.ask_for(None, needs)
            self._put(call, None)
        except Exception as error:
            call.fail(error)
        return call

    def _packed(self, parts: Parts, retries: int) -> tuple[Any, Any]:
        """Serialise a call; return that, and the definitions that it needs."""
        payload = self._payload(parts, retries)
        return payload if type(payload) is encode.Packed else (payload, None)

    def _payload(self, parts: Parts, retries: int) -> Any:
        """Serialise a call, into shared memory if it is large.

        What may be run again does not go there: the first run may have changed it.
        """
        outbox = self._isolate.delivery.outbox
        if not retries and outbox.offers and encode.may_be_large(parts[2], parts[3]):
            packed = encode.pack_call(outbox, *parts, foreign=self._foreign)
            if packed is not None:
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
        found = {path: entry[2:] for path, entry in described.items() if any(entry[2:])}
        if raw is not None:  # not before it has been ready once
            self._defaults, self._defaults_of = found, raw
            self._plain_as = _NOT_KNOWN if found else raw
        return found
