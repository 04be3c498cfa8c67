"""How calls to an isolate are made: their payload, and the options that their callers or authors gave."""

from __future__ import annotations

from typing import Any

from piactors._codec import encode
from piactors._isolate import dead, envelopes, trusting
from piactors._isolate.isolate import Isolate
from piactors._isolate.reply_ports import CallFuture
from piactors._rules.mailbox import Message
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
        """The description that they are from; another process may have said another one."""

    def call(
        self, path: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any], retries: int = 0,
        call_timeout: float | None = None,
    ) -> CallFuture:  # fmt: skip
        """Call a method of the hosted object; what its proxies do."""
        isolate = self._isolate
        future = CallFuture(isolate.delivery)
        try:
            if isolate.actor_stopped.is_set():
                raise dead.takes_nothing(isolate)
            self._send(future, path, ("call", path, args, kwargs), retries, call_timeout)
        except Exception as error:
            future.fail(error)
        return future

    def ask(self, message: Any, retries: int, call_timeout: float | None, until: float | None) -> CallFuture:
        """Send a message, pykka's own or any other, that wants an answer."""
        isolate = self._isolate
        future = CallFuture(isolate.delivery)
        try:
            if isolate.actor_stopped.is_set():
                raise dead.takes_nothing(isolate)
            of_attribute = isinstance(message, envelopes.OF_ATTRIBUTE)
            call = envelopes.described(message)
            self._send(future, envelopes.path_of(message), call, retries, call_timeout, of_attribute, until)
        except Exception as error:
            future.fail(error)
        return future

    def _send(
        self, future: CallFuture, path: tuple[str, ...], call: Call, retries: int, call_timeout: float | None,
        of_attribute: bool = False, until: float | None = None,
    ) -> None:  # fmt: skip
        isolate = self._isolate
        message = future.message = Message("call", b"", future)
        message.path = path
        if of_attribute:
            message.of_attribute = True
        if retries or call_timeout is not None or self._defaults or self._defaults_of is not isolate.life.description:
            self._set_options(message, path, retries, call_timeout)
        payload = self._payload(call, message.retries)
        if type(payload) is encode.Packed:  # as `_fill` does, without a step more
            payload, message.needs = payload
        message.payload = payload
        isolate.delivery.put(message, until=until)

    def tell(self, message: Any, retries: int, call_timeout: float | None, until: float | None) -> None:
        """Send a message that wants no answer."""
        envelope = Message("tell", b"")
        self._fill(envelope, envelopes.described(message), 0)
        envelope.path = envelopes.path_of(message)
        if retries or call_timeout is not None or self._known_defaults():
            self._set_options(envelope, envelope.path, retries, call_timeout)
        self._isolate.delivery.put(envelope, until=until)

    def invoke(self, target: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallFuture:
        """Have the isolate call a function that need not be part of its object."""
        delivery = self._isolate.delivery
        future = CallFuture(delivery) if delivery.named else trusting.future_of(delivery, target)
        try:
            name = target.rpartition(":")[2] if isinstance(target, str) else getattr(target, "__qualname__", "")
            message = future.message = Message("call", b"", future)
            self._fill(message, ("invoke", (), (target, *args), kwargs), 0)
            message.path = (name,)
            delivery.put(message)
        except Exception as error:
            future.fail(error)
        return future

    def _fill(self, message: Message, call: Call, retries: int) -> None:
        payload = self._payload(call, retries)
        if type(payload) is encode.Packed:
            payload, message.needs = payload
        message.payload = payload

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

    def _set_options(
        self, message: Message, path: tuple[str, ...], retries: int, call_timeout: float | None
    ) -> None:
        if retries or call_timeout is not None:
            check_call_options(retries, call_timeout)
        default = self._known_defaults().get(".".join(path)) if path else None
        if default is not None:
            retries, call_timeout = retries or default[0], call_timeout or default[1] or None
        if retries or call_timeout is not None:
            message.retries, message.call_timeout = retries, call_timeout

    def _known_defaults(self) -> dict[str, tuple[int, float]]:
        raw = self._isolate.life.description
        if self._defaults_of is raw:
            return self._defaults
        described = self._isolate.description()
        found = {path: entry[2:] for path, entry in described.items() if any(entry[2:])}
        if raw is not None:  # and not before it has been ready once
            self._defaults, self._defaults_of = found, raw
        return found
