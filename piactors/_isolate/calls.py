"""How calls to an isolate are made: their payload, and the options that their callers or authors gave."""

from __future__ import annotations

from typing import Any

from piactors import events
from piactors._codec import encode
from piactors._isolate import envelopes, trusting
from piactors._isolate.instruments import put_watched
from piactors._isolate.isolate import Isolate
from piactors._isolate.reply_ports import CallFuture
from piactors._rules.message import Message
from piactors.proxy import check_call_options

Call = envelopes.Call
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

    def call(
        self,
        path: tuple[str, ...],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        retries: int = 0,
        call_timeout: float | None = None,
    ) -> CallFuture:
        """Call a method of the hosted object; what its proxies do."""
        delivery = self._isolate.delivery
        future = CallFuture(delivery)
        try:
            if delivery.refusal is not None:  # before it is serialised: it is said why, whatever it holds
                raise delivery.refusal()
            self._send(future, path, ("call", path, args, kwargs), retries, call_timeout)
        except Exception as error:
            future.fail(error)
        return future

    def ask(self, message: Any, retries: int, call_timeout: float | None, until: float | None) -> CallFuture:
        """Send a message, pykka's own or any other, that wants an answer."""
        delivery = self._isolate.delivery
        future = CallFuture(delivery)
        try:
            if delivery.refusal is not None:  # before it is serialised: it is said why, whatever it holds
                raise delivery.refusal()
            of_attribute = isinstance(message, envelopes.OF_ATTRIBUTE)
            call = envelopes.described(message)
            self._send(future, envelopes.path_of(message), call, retries, call_timeout, of_attribute, until)
        except Exception as error:
            future.fail(error)
        return future

    def _send(
        self,
        future: CallFuture,
        path: tuple[str, ...],
        call: Call,
        retries: int,
        call_timeout: float | None,
        of_attribute: bool = False,
        until: float | None = None,
    ) -> None:
        isolate = self._isolate
        if retries or call_timeout is not None or self._defaults or self._defaults_of is not isolate.life.description:
            retries, call_timeout = self._options(path, retries, call_timeout)
        payload, needs = self._payload(call, retries), None
        if type(payload) is encode.Packed:
            payload, needs = payload
        message = Message("call", payload, future, retries, path=path)
        if of_attribute or needs is not None or call_timeout is not None:
            message.ask_for(call_timeout, needs, of_attribute=of_attribute)
        future.carry(message)
        if events.instruments:
            put_watched(isolate.delivery, message, future, until)
        else:
            isolate.delivery.put(message, until=until)

    def tell(self, message: Any, retries: int, call_timeout: float | None, until: float | None) -> None:
        """Send a message that wants no answer."""
        path = envelopes.path_of(message)
        if retries or call_timeout is not None or self._known_defaults():
            retries, call_timeout = self._options(path, retries, call_timeout)
        payload, needs = self._packed(envelopes.described(message), 0)
        envelope = Message("tell", payload, None, retries, path=path)
        envelope.ask_for(call_timeout, needs)
        self._isolate.delivery.put(envelope, until=until)

    def invoke(self, target: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallFuture:
        """Have the isolate call a function that need not be part of its object."""
        delivery = self._isolate.delivery
        future = CallFuture(delivery) if delivery.named else trusting.future_of(delivery, target)
        try:
            name = target.rpartition(":")[2] if isinstance(target, str) else getattr(target, "__qualname__", "")
            payload, needs = self._packed(("invoke", (), (target, *args), kwargs), 0)
            message = Message("call", payload, future, path=(name,))
            message.ask_for(None, needs)
            future.carry(message)
            if events.instruments:
                put_watched(delivery, message, future, None)
            else:
                delivery.put(message)
        except Exception as error:
            future.fail(error)
        return future

    def _packed(self, call: Call, retries: int) -> tuple[Any, Any]:
        """Serialise a call; return that, and the definitions that it needs."""
        payload = self._payload(call, retries)
        return payload if type(payload) is encode.Packed else (payload, None)

    def _payload(self, call: Call, retries: int) -> Any:
        """Serialise a call, into shared memory if it is large.

        What may be run again does not go there: the first run may have changed it.
        """
        outbox = self._isolate.delivery.outbox
        if not retries and outbox.offers and encode.may_be_large(call[2], call[3]):
            packed = encode.pack_call(outbox, *call, foreign=self._foreign)
            if packed is not None:
                self._isolate.idle_memory.used()
                return packed
        return encode.dumps_call(*call, foreign=self._foreign)

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
        return found
