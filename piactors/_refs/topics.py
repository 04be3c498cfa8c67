"""`Topic`: values that are published once, and passed on to all who have subscribed."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, get_args

from piactors._codec import lending
from piactors._codec.lending import Loan
from piactors._future import waiting
from piactors._refs.publishing import ActorSubscriber, Publication
from piactors._rules.backlog import Backlog, Overflow
from piactors._values.lent import by_ref, in_isolate
from piactors._values.uploads import stream
from piactors.errors import MailboxFull, Timeout
from piactors.pihost.values.performing import Worker
from piactors.ref import IsolateRef

T = TypeVar("T")
_AT_ONCE = 8
"""Publications that an actor's mailbox has at once; the rest waits here."""
_LENT = ("publish", "subscribe", "unsubscribe", "stream", "subscribers")


class Topic(Generic[T]):
    """What values are published to, and passed on from to all who have subscribed.

    A publication reaches each subscriber of that moment at most once, and those of one publisher in order.  One slow
    subscriber costs the others nothing: what does not fit its buffer is dealt with as `overflow` says, and counted.
    The host's topics may be sent to isolates, which publish and subscribe as the host does.

    Args:
        name: what it is called in messages.
        buffer: how many publications may wait for one subscriber, beyond the few that its isolate has.
        overflow: what is done if one does not fit: ``drop_oldest``; ``latest``, the newest alone waits; ``block``, the
            publisher waits, except in an event loop; ``fail``, `publish` raises `MailboxFull`, and all other
            subscribers have the publication.

    Raises:
        ValueError: if the buffer is less than 1, or `overflow` is something else.
        RuntimeError: in an isolate: the host makes topics, and sends them.

    Example:
        ::

            prices = piactors.Topic("prices")
            prices.subscribe(ref, "on_price")
            prices.publish({"gold": 1912.5})
    """

    def __init__(
        self,
        name: str,
        *,
        buffer: int = 1000,
        overflow: Literal["drop_oldest", "latest", "block", "fail"] = "drop_oldest",
    ) -> None:
        if type(buffer) is not int or buffer < 1:
            raise ValueError(f"Topic: buffer={buffer!r} is not allowed; use a whole number of at least 1")
        if overflow not in get_args(Overflow):
            raise ValueError(f"Topic: overflow={overflow!r} is not allowed; use one of {', '.join(get_args(Overflow))}")
        if in_isolate():
            raise RuntimeError("Topic: an isolate cannot make one; have the host make it, and send it as an argument")
        self.name = name
        self._buffer, self._overflow = buffer, overflow
        self._lock = threading.RLock()  # held while subscribers change; a stream may be collected here
        self._actors: dict[tuple[str, str], ActorSubscriber] = {}
        self._inboxes: list[_Inbox[T]] = []
        self._handle: Any = None

    def __repr__(self) -> str:
        return f"<piactors.Topic {self.name}, subscribers: {len(self._actors) + len(self._inboxes)}>"

    def publish(self, value: T) -> None:
        """Pass a value on to all who have subscribed; this waits for none of them, unless ``overflow="block"``.

        Raises:
            NotSendable: if it cannot be sent; then nobody gets it.
            ValueError: if it is larger than the `max_frame` of a subscriber; likewise.
            MailboxFull: if it does not fit somewhere and ``overflow="fail"``, or ``"block"`` in an event loop; those
                where it fits get it.
        """
        with self._lock:
            actors, inboxes = list(self._actors.values()), list(self._inboxes)
        publication = Publication(value, many=len(actors) > 1)
        for actor in actors:
            actor.check(publication)
        copies = [publication.copy() for _ in inboxes]
        may_wait = self._overflow == "block" and waiting.running_loop() is None
        full = []
        for actor in actors:
            if not actor.offer(publication, may_wait=may_wait):
                full.append(f"{actor.ref.name}.{actor.method}")
        for inbox, copy in zip(inboxes, copies, strict=True):
            if not inbox.offer(copy, may_wait=may_wait):
                full.append("a stream")
        if full:
            raise MailboxFull(f"topic {self.name}: no room for a publication at {', '.join(full)}")

    def subscribe(self, ref: IsolateRef[Any], method: str) -> None:
        """Have a method of an actor called with each publication from now on.

        That is a message among the others of the actor.  If the method raises, that is logged.  The subscription
        outlives the actor's restarts, and ends when the actor does.  To subscribe the same method again changes
        nothing.

        Raises:
            TypeError: if that is not the ref of an actor in a process of its own.
            ValueError: if it is not the name of one of its public methods.
            ActorDeadError: if the actor has ended.
        """
        if not isinstance(ref, IsolateRef):
            raise TypeError(f"subscribe: {ref!r} is not the ref of an actor in a process of its own")
        ref._check_alive()
        described = ref._description()
        if not (isinstance(method, str) and method in described and described[method][0]):
            raise ValueError(f"subscribe: {method!r} is not the name of a public method of {ref.name}")
        backlog: Backlog[Publication] = Backlog(self._buffer, self._overflow, _AT_ONCE)
        with self._lock:
            self._actors.setdefault((ref.actor_urn, method), ActorSubscriber(ref, method, backlog, self._forget))

    def unsubscribe(self, ref: IsolateRef[Any], method: str) -> bool:
        """Stop calling a method; the few publications that its actor has still reach it.

        Returns whether it was subscribed.
        """
        with self._lock:
            found = self._actors.pop((ref.actor_urn, method), None)
        if found is not None:
            found.end()
        return found is not None

    def _forget(self, actor: ActorSubscriber) -> None:
        """It takes nothing any more."""
        with self._lock:
            if self._actors.get((actor.ref.actor_urn, actor.method)) is actor:
                del self._actors[actor.ref.actor_urn, actor.method]

    def stream(self) -> Publications[T]:
        """Subscribe, and return an iterator over each publication from now on, until it is closed or let go of."""
        inbox: _Inbox[T] = _Inbox(Backlog(self._buffer, self._overflow, _ENDLESS), self._leave)
        with self._lock:
            self._inboxes.append(inbox)
        return Publications(self.name, inbox)

    def _leave(self, inbox: _Inbox[T]) -> None:
        with self._lock:
            if inbox in self._inboxes:
                self._inboxes.remove(inbox)

    def subscribers(self) -> dict[str, int]:
        """Return how many publications each subscriber has missed, by actor and method; streams are counted together.

        What did not fit counts, and what a process had begun when it ended.
        """
        with self._lock:
            actors = [actor for actor in self._actors.values() if actor.ref.is_alive()]
            missed = {f"{actor.ref.name}.{actor.method}": actor.dropped + actor.lost for actor in actors}
            if self._inboxes:
                missed["streams"] = sum(inbox.dropped for inbox in self._inboxes)
        return missed

    def _lend(self) -> Loan:
        """Return what stands for it in isolates; where a publisher may have to wait, on a thread of its own."""
        with self._lock:
            if self._handle is None:
                run: Any = _TopicThread() if self._overflow == "block" else "dispatcher"
                self._handle = by_ref(self, methods=_LENT, run=run)
            return lending.ways[type(self._handle)](self._handle)  # type: ignore[misc]


class _TopicThread:
    """An executor of one thread, which ends with the program."""

    def __init__(self) -> None:
        self._worker = Worker("piactors-topic")

    def submit(self, job: Any, *args: Any) -> None:
        """Have a job done after those before it."""
        self._worker.later(lambda: job(*args))


_ENDLESS = 1 << 62


class _Inbox(Generic[T]):
    """What waits for one stream of publications."""

    def __init__(self, backlog: Backlog[T], left: Callable[[_Inbox[T]], object]) -> None:
        self._backlog = backlog
        self._left = left
        self._lock = threading.Condition()  # publishers add, and whoever reads takes
        self._wakers: list[Callable[[], object]] = []
        self.is_closed = False

    @property
    def dropped(self) -> int:
        """How many did not fit."""
        return self._backlog.dropped

    def offer(self, value: T, *, may_wait: bool) -> bool:
        """Take a publication, and wait for room if that is allowed; False if there is none."""
        with self._lock:
            while not self.is_closed and not self._backlog.offer(value):
                if not may_wait:
                    self._backlog.refuse()
                    return False
                self._lock.wait()
            self._wake()
        return True

    def _wake(self) -> None:
        self._lock.notify_all()
        wakers, self._wakers = self._wakers, []
        for wake in wakers:
            with contextlib.suppress(RuntimeError):  # its event loop is closed
                wake()

    def take(self, until: float) -> tuple[T] | None:
        """Return the next one, once it is there; None if this was closed.

        Raises:
            TimeoutError: if it is not there by then.
        """
        with self._lock:
            while not len(self._backlog):
                if self.is_closed:
                    return None
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._lock.wait(None if left == math.inf else min(left, threading.TIMEOUT_MAX))
            found = self._backlog.next()
            self._backlog.done()
            self._lock.notify_all()
        return (found,)  # type: ignore[return-value]

    def wake_by(self, wake: Callable[[], object]) -> bool:
        """Have something called when there may be one; False if there may be one now."""
        with self._lock:
            if len(self._backlog) or self.is_closed:
                return False
            self._wakers.append(wake)
        return True

    def close(self) -> None:
        """Take no more, and let go whoever waits."""
        self._left(self)
        with self._lock:
            self.is_closed = True
            self._backlog.clear()
            self._wake()


class Publications(Generic[T]):
    """The publications of a topic from a moment on, one after the other: see `Topic.stream`."""

    closes_anywhere = True
    """It may be closed while another thread waits for the next one, which then ends."""

    def __init__(self, name: str, inbox: _Inbox[T]) -> None:
        self._name, self._inbox = name, inbox

    def __del__(self) -> None:
        self._inbox.close()

    def __repr__(self) -> str:
        return f"<publications of topic {self._name}>"

    @property
    def dropped(self) -> int:
        """How many did not fit."""
        return self._inbox.dropped

    def get_next(self, timeout: float | None = None) -> T:
        """Return the next one, waiting for it for at most `timeout` seconds; None: for as long as it takes.

        Raises:
            StopIteration: if this was closed.
            Timeout: if the time runs out first.
        """
        seconds = waiting.seconds_of(timeout)
        try:
            found = self._inbox.take(math.inf if seconds is None else time.monotonic() + seconds)
        except TimeoutError:
            raise Timeout(waiting.too_late("nothing was published", timeout)) from None
        if found is None:
            raise StopIteration
        return found[0]

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self.get_next()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        import asyncio

        loop = asyncio.get_running_loop()
        while True:
            woken = loop.create_future()
            wake = functools.partial(loop.call_soon_threadsafe, _set, woken)
            if self._inbox.wake_by(wake):
                await woken
            with contextlib.suppress(TimeoutError):
                found = self._inbox.take(0.0)
                if found is None:
                    raise StopAsyncIteration
                return found[0]

    def close(self) -> None:
        """Subscribe no longer."""
        self._inbox.close()

    async def aclose(self) -> None:
        """Do as `close` does."""
        self._inbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: object, _: object) -> None:
        self.close()

    def _lend(self) -> Loan:
        return stream(self)._loan  # type: ignore[no-any-return]


def _set(future: Any) -> None:
    if not future.done():
        future.set_result(None)


lending.ways[Topic] = Topic._lend
lending.ways[Publications] = Publications._lend
