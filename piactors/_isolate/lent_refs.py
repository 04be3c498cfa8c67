"""Refs of isolates that are lent to other isolates: what these ask for goes into the mailbox, as it came."""

from __future__ import annotations

import contextlib
import math
import pickle
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from piactors._codec import lending
from piactors._codec.definitions import Needs
from piactors._codec.lending import Loan
from piactors._codec.passing import PassedOn, names_by_key
from piactors._isolate.asked import Asked, broken_off
from piactors._isolate.routed_replies import PullReply, RoutedReply, RoutedTell, expect_more
from piactors._rules.message import Kind, Message
from piactors._values import thread_refs as thread_refs  # it says how these refs are lent
from piactors._values.futures import answer_with
from piactors.errors import ActorDeadError, MailboxFull, NotPermitted, ProtocolError
from piactors.pihost.values.routed import HEAD

if TYPE_CHECKING:
    from piactors._isolate.delivery import Delivery
    from piactors._rules.capability import Capability
    from piactors.pihost.values.reading import StreamFacts

_MESSAGES = frozenset({"call", "get", "set", "message"})


class Guard(Protocol):
    """What a ref allows that does not allow everything."""

    @property
    def rules(self) -> Capability:
        """What it allows."""

    def check(self, method: str) -> None:
        """Allow one message, or raise."""

    def note(self, message: Message) -> None:
        """This message is being sent through it."""


class RefLoan(Loan):
    """A ref that isolates hold.

    Args:
        ref: it.
        isolate: returns what is behind it now.
        calls: returns what makes its calls.
        guard: allows what a holder asks for, or raises; None: all is allowed.
    """

    kind = "ref"

    def __init__(
        self, ref: Any, isolate: Callable[[], Any], calls: Callable[[], Any], guard: Guard | None = None
    ) -> None:
        super().__init__()
        self._ref, self._isolate, self._calls, self._guard = ref, isolate, calls, guard

    def facts(self) -> tuple[Any, ...]:
        """Return urn, name and class of the actor, whether the holder may stop it, and whether it takes messages.

        The last is None for a ref that does not allow everything: it may take none for other reasons.
        """
        ref = self._ref
        may_stop = self._guard is None or self._guard.rules.may_stop
        alive = ref.is_alive() if self._guard is None else None
        return ref.actor_urn, ref.name, ref.actor_class.__module__, ref.actor_class.__name__, may_stop, alive

    def tell_holders(self, *, alive: bool) -> None:
        """Have those who hold it know whether the actor takes messages."""
        for ledger in list(self.holding):
            ledger.tell(self.number, alive)

    def learned(self) -> RefLoan:
        """Return this, once it is known how the authors of the methods want their calls to be treated.

        Otherwise the first message of a holder would have to wait for that, and what is sent later could overtake it.
        """
        self._calls().learn()
        return self

    def home(self) -> Any:
        """Return the ref itself."""
        return self._ref

    def perform(self, request: Asked) -> None:
        """Put a message of another isolate into the mailbox, or answer what is asked about the actor."""
        if request.goal is not None:
            self._send_again(*request.goal)
        elif request.operation in _OF_CHANNELS:
            _OF_CHANNELS[request.operation](self, request)
        elif request.operation not in _MESSAGES:
            operation = _OPERATIONS.get(request.operation)
            if operation is None:
                raise ProtocolError(f"a ref has no operation {request.operation[:40]!r}")
            request.asker.strand.put(partial(_once, operation, self._ref, self._isolate(), request))
        elif names_by_key(request.payload):
            request.asker.strand.put(partial(self._send_decoded, request))
        elif request.asker.strand.waiting or not self._calls().knows_defaults:
            request.asker.strand.put(partial(self._route_later, request))  # it must not overtake what came before it
        else:
            self._route(request)

    def _open_channel(self, request: Asked) -> None:
        """Let who asks reach the actor directly, behind what it has sent, if the host need not look at anything."""
        if request.asker.strand.waiting or not self._calls().knows_defaults:
            request.asker.strand.put(partial(request.on_loop, partial(self._open_now, request)))
        else:
            request.on_loop(partial(self._open_now, request))

    def _open_now(self, request: Asked) -> None:
        delivery, asker, calls = self._isolate().delivery, request.asker, self._calls()
        is_plain = self._guard is None and calls.knows_defaults and delivery.may_be_reached(calls.has_defaults())
        if is_plain and asker.may_go_directly():
            delivery.direct.open(request)
        else:
            request.reply(None)

    def _waits(self, request: Asked) -> None:
        self._isolate().delivery.direct.waits(request)

    def _waited(self, request: Asked) -> None:
        self._isolate().delivery.direct.waited(request)

    @staticmethod
    def _send_again(delivery: Delivery, message: Message) -> None:
        """A KeyboardInterrupt has cut short how it was sent: it is sent once all the same."""
        with contextlib.suppress(ActorDeadError, MailboxFull):  # that was told before
            delivery.put(message, may_block=False, again=True)

    def _route_later(self, request: Asked) -> None:
        if request.begin():
            self._route(request)

    def _send_decoded(self, request: Asked) -> None:
        """Send a message whose arguments this program has to make first."""
        if not request.begin():
            return
        try:
            args, kwargs = request.arguments()
            parts = (request.operation, _path_of(request.name), args, kwargs)
            future = self._calls().pass_on(parts, request.timeout)
        except Exception as error:
            request.fail(error)
        else:
            request.leads_to(self._isolate().delivery, future)
            if request.is_wanted:
                answer_with(request, future)

    def _route(self, request: Asked) -> None:
        isolate, guard = self._isolate(), self._guard
        try:
            path = _path_of(request.name)
            if guard is not None:
                guard.check(request.name)
        except Exception as error:
            request.fail(error)
            return
        retries, call_timeout = self._calls().default_of(path)
        message = _routed(request, path, path, RoutedReply(request), retries)
        if guard is not None:
            guard.note(message)
            most = guard.rules.call_timeout
            call_timeout = call_timeout if most is None else most if call_timeout is None else min(most, call_timeout)
        message.ask_for(call_timeout, None, of_attribute=request.operation in ("get", "set"))
        _put(isolate, request, message)

    def route_to_stream(
        self, request: Asked, number: int, told: StreamFacts, explained: Callable[[BaseException], BaseException]
    ) -> Callable[[], object]:
        """Put what another isolate asks of a stream that the actor yields into the mailbox; return what cancels that.

        Args:
            explained: makes of an error what it means for the stream.
        """
        reply_to = PullReply(request, explained)
        message = _routed(request, (number, request.operation), (told.name,), reply_to, operation="stream")
        message.pin()
        call_timeout = self._calls().default_of((told.name.rpartition(".")[2],))[1]
        if call_timeout is not None:
            message.limit_to(call_timeout, math.inf)
        if told.exclusive:
            message.hold(number)
        isolate = self._isolate()
        _put(isolate, request, message)
        return partial(_cancel, isolate.delivery, message)


def _cancel(delivery: Delivery, message: Message) -> None:
    """Give up on a message; one that runs is told, though it may have been answered."""
    if not broken_off(delivery, message, CancelledError()):
        delivery.cancel_begun(message, None)


def _routed(
    request: Asked,
    path: tuple[Any, ...],
    shown: tuple[str, ...],
    reply_to: RoutedReply,
    retries: int = 0,
    operation: str = "",
) -> Message:
    """Return the message that has an isolate do what another one asks for: a head, and the arguments as they came.

    Args:
        path: what it is about, as the isolate is told.
        shown: what it is about, for people.
    """
    head = pickle.dumps((operation or request.operation, path, request.flags, tuple(request.loans)), 4)
    passed = request.payload if type(request.payload) is PassedOn else None
    payload = b"".join((HEAD.pack(len(head)), head, passed.travelling() if passed else request.payload))
    kind: Kind = "call" if request.is_wanted else "tell"
    message = Message(kind, payload, reply_to if request.is_wanted else RoutedTell(request.kept), retries, path=shown)
    if request.loans or passed:
        lent = (passed.lent,) if passed else ()
        message.ask_for(None, Needs((), (), lent, tuple(request.loans.values())))
    if request.timeout is not None:
        message.want_until(time.monotonic() + request.timeout)
    return message


def _put(isolate: Any, request: Asked, message: Message) -> None:
    """Put a message that answers a request into the mailbox."""
    request.leads_to(isolate.delivery, message)
    try:
        isolate.delivery.put(message, may_block=False)
    except Exception as error:
        request.fail(error)
        return
    if request.is_wanted:  # else nobody waits for it
        isolate.services.cycles.look()
        expect_more(isolate.delivery)
    if request.timeout is not None:
        text = f"{isolate.delivery.name}: no answer {message.asked} within its time"
        expire = partial(isolate.delivery.expire, message, text)
        request.end_with(isolate.loop.call_later(request.timeout, expire))


def _path_of(name: str) -> tuple[str, ...]:
    path = tuple(name.split(".")) if name else ()
    if any(not part.isidentifier() or part.startswith("_") for part in path):
        raise NotPermitted(f"{name[:100]!r} is not the name of a public attribute")
    return path


def _once(operation: Callable[[Any, Any, Asked], None], ref: Any, isolate: Any, request: Asked) -> None:
    if request.begin():
        operation(ref, isolate, request)


def _about(ref: Any, isolate: Any, request: Asked) -> None:
    request.reply({"alive": ref.is_alive(), "state": ref.state, "generation": ref.generation})


def _describe(ref: Any, isolate: Any, request: Asked) -> None:
    try:
        request.reply(ref._description())
    except Exception as error:
        request.fail(error)


def _stop(ref: Any, isolate: Any, request: Asked) -> None:
    try:
        answer_with(request, ref.stop(block=False))
    except NotPermitted as error:
        request.fail(error)


def _watch(ref: Any, isolate: Any, request: Asked) -> None:
    """Have a function of the isolate called with the reason once the actor has ended for good."""
    try:
        (function,), _ = request.arguments()
        loan = function._loan
        key = lending.key_of(loan)
        loan.lender.watches(key, ref._ends.add(function.defer, key=key))  # once for each function that it lends
    except Exception as error:  # it was sent something else
        request.fail(error)
    else:
        request.reply(None)


def _unwatch(ref: Any, isolate: Any, request: Asked) -> None:
    """Call that function no more."""
    try:
        (function,), _ = request.arguments()
        function._loan.lender.watches_no_longer(lending.key_of(function._loan))
    except Exception as error:  # as in `_watch`
        request.fail(error)
    else:
        request.reply(None)


_OPERATIONS: dict[str, Callable[[Any, Any, Asked], None]] = {
    "about": _about,
    "describe": _describe,
    "stop": _stop,
    "watch": _watch,
    "unwatch": _unwatch,
}


_OF_CHANNELS: dict[str, Callable[[RefLoan, Asked], None]] = {
    "channel": RefLoan._open_channel,
    "waits": RefLoan._waits,
    "waited": RefLoan._waited,
}
