"""Publications of topics on their way to actors: messages among the others of each, a few at a time."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from piactors._codec import decode, encode, published
from piactors._codec.decode import Decoder
from piactors._io import dispatcher
from piactors._isolate import capacity
from piactors._isolate.delivery import Delivery
from piactors._isolate.reply_ports import Trust
from piactors._rules.backlog import Backlog
from piactors._rules.message import Message
from piactors.errors import ActorDeadError, IsolateCrashed
from piactors.pihost.wire import wire


class Publication:
    """One value that is published: serialised once for each method that takes it, and once for streams.

    Args:
        many: whether more than one may take it, so that a large one is shared.
    """

    def __init__(self, value: Any, *, many: bool) -> None:
        self._value = value
        self._packed: dict[tuple[str, bool], encode.Packed] = {}
        self._whole: encode.Whole | None = None
        self._shared = published.shared(value) if many else None

    def copy(self) -> Any:
        """Return a copy of the value, as it would arrive elsewhere.

        Raises:
            NotSendable: if it cannot be sent.
        """
        if self._whole is None:
            self._whole = encode.dumps_answer(self._value, foreign=False)
        return decode.loads_own(self._whole.data, self._whole.loans)

    def for_actor(self, delivery: Delivery, method: str, *, foreign: bool) -> encode.Packed:
        """Return the message that has a method of an actor called with it."""
        if self._shared is not None and self._may_share(delivery, foreign):
            with contextlib.suppress(OSError):  # without a descriptor for it, it goes in the usual way
                return self._shared.packed(method)
        return self.packed(method, foreign=foreign)

    @staticmethod
    def _may_share(delivery: Delivery, foreign: bool) -> bool:
        return not foreign and delivery.outbox.offers

    def check(self, delivery: Delivery, method: str, *, foreign: bool) -> None:
        """See that it can be sent to an actor.

        Raises:
            NotSendable: if it cannot be serialised.
            ValueError: if it is larger than the actor's isolate takes.
        """
        if self._shared is not None and self._may_share(delivery, foreign):
            capacity.check_bytes(delivery, self._shared.size)
        else:
            capacity.check_size(delivery, self.packed(method, foreign=foreign).data)

    def packed(self, method: str, *, foreign: bool) -> encode.Packed:
        """Return the message that has a method called with it, whole.

        Raises:
            NotSendable: if it cannot be sent.
        """
        found = self._packed.get((method, foreign))
        if found is None:
            made = encode.dumps_call("call", (method,), (self._value,), {}, foreign=foreign)
            found = made if type(made) is encode.Packed else encode.Packed(made, None)
            self._packed[method, foreign] = found
        return found


class Delivered:
    """Takes the outcome of one publication: it is done, whatever it is."""

    __slots__ = ("_done",)

    def __init__(self, done: Callable[[BaseException | None], object]) -> None:
        self._done = done

    def flags(self, trust: Trust) -> int:
        """Return how the answer is to be sent."""
        return wire.PICKLE | wire.INLINE

    def reply(self, decoder: Decoder, flags: int, payload: wire.Payload) -> None:
        """Its method has returned; nobody wants what."""
        self._done(None)

    def error(self, decoder: Decoder, payload: wire.Payload) -> None:
        """Its method has raised."""
        self._done(decoder.error(payload))

    def fail(self, error: BaseException) -> None:
        """It was not run, or its process has ended meanwhile."""
        self._done(error)


class ActorSubscriber:
    """One actor that has subscribed, as what passes publications on to it.

    Args:
        ref: the ref of the actor's isolate.
        method: what is called.
        backlog: what waits.
        ended: is called when the actor takes nothing any more.
    """

    def __init__(
        self, ref: Any, method: str, backlog: Backlog[Publication], ended: Callable[[ActorSubscriber], object]
    ) -> None:
        self.ref, self.method = ref, method
        self._backlog = backlog
        self._ended = ended
        self._lock = threading.Lock()  # publishers add, and the end of each publication makes room
        self._has_room = threading.Condition(self._lock)
        self._is_over = False
        self.lost = 0
        """Publications that its process had begun when it ended."""

    @property
    def dropped(self) -> int:
        """How many publications did not fit."""
        return self._backlog.dropped

    def check(self, publication: Publication) -> None:
        """Serialise a publication.

        Raises:
            NotSendable: if that is not possible.
            ValueError: if it is larger than the actor's isolate takes.
        """
        publication.check(self.ref._isolate.delivery, self.method, foreign=self._is_foreign)

    def offer(self, publication: Publication, *, may_wait: bool) -> bool:
        """Take a publication, and wait for room if that is allowed; False if there is none."""
        with self._lock:
            while not self._is_over and not self._backlog.offer(publication):
                if not may_wait:
                    self._backlog.refuse()
                    return False
                self._has_room.wait()
        self.pump()
        return True

    @property
    def _is_foreign(self) -> bool:
        return not self.ref._isolate.spec.own_interpreter

    def pump(self) -> None:
        """Send what the actor may have now."""
        while True:
            with self._lock:  # the next one is taken, and its message put, by one thread at a time: they stay in order
                publication = None if self._is_over else self._backlog.next()
                if publication is None:
                    return
                self._has_room.notify()
                try:
                    self._send(publication)
                    continue
                except ActorDeadError:
                    pass
            self._actor_ended()

    def _send(self, publication: Publication) -> None:
        isolate = self.ref._isolate
        packed = publication.for_actor(isolate.delivery, self.method, foreign=self._is_foreign)
        message = Message("call", packed.data, Delivered(self._done), path=(self.method,))
        message.ask_for(None, packed.needs)
        message.count_elsewhere()
        isolate.delivery.put(message, may_block=False)

    def _done(self, error: BaseException | None) -> None:
        """One is done; on whichever thread finds that, perhaps under the isolate's lock."""
        self.ref._isolate.loop.call_soon(self._go_on, error)

    def _go_on(self, error: BaseException | None) -> None:
        with self._lock:
            self._backlog.done()
            self.lost += isinstance(error, IsolateCrashed)
        if isinstance(error, ActorDeadError):
            self._actor_ended()
        elif error is not None:
            text = "%s failed at what was published: it takes the next one"
            dispatcher.log(logging.ERROR, text, f"{self.ref.name}.{self.method}", exc_info=error)
        self.pump()

    def _actor_ended(self) -> None:
        self.end()
        self._ended(self)

    def end(self) -> None:
        """Pass nothing on any more, and let those go on who wait for room."""
        with self._lock:
            self._is_over = True
            self._backlog.clear()
            self._has_room.notify_all()
