"""The ref and the mailbox of an actor in a thread, both of which stay over its restarts."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import pykka
from pykka._envelope import Envelope
from pykka.messages import ProxyCall, _ActorStop

from piactors._future import waiting
from piactors._isolate import dead
from piactors._isolate.deathwatch import DeathWatch
from piactors.errors import ActorDeadError, Timeout
from piactors.exit_reason import ExitReason
from piactors.future import Future


class WantedStop(_ActorStop):
    """A stop that somebody else asks for through the ref, so that no restart follows."""


class Sent(Envelope[Any]):
    """A message with what its retries need: how often it may be tried again, and how often it has ended its actor."""

    __slots__ = ("attempts", "retries")

    def __init__(self, message: Any, reply_to: Any = None, retries: int = 0) -> None:
        super().__init__(message, reply_to)
        self.retries = retries
        self.attempts = 0

    def count_attempt(self) -> int:
        """It has ended its actor once more; return how often that is."""
        self.attempts += 1
        return self.attempts


class _Answer(Future[Any]):
    """The answer of an actor in a thread."""

    def __init__(self, name: str = "the actor") -> None:
        self._name = name

    def _late(self, timeout: float | None) -> BaseException:
        return waiting.too_late(f"{self._name}: no answer", timeout)


class ThreadMailbox:
    """What waits for an actor; the side of pykka's `actor_inbox` that actors and refs use."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Envelope[Any]] = deque()
        self._closed = True
        self._refusing = False
        self.taken = False
        """Whether a message has been taken out that is not finished with."""

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self) -> None:
        """Take messages."""
        with self._changed:
            self._closed = self._refusing = False

    def put(self, envelope: Envelope[Any]) -> None:
        """Take a message.

        Raises:
            ActorDeadError: if none is taken (any more).
        """
        with self._changed:
            if self._closed or self._refusing:
                text = "is restarting, and takes no messages" if self._refusing else "has stopped"
                raise dead.dead("the actor", text, None)
            self._waiting.append(envelope)
            self._changed.notify()

    def push_front(self, envelope: Envelope[Any]) -> bool:
        """Put a message before all that wait; False if none is taken (any more)."""
        with self._changed:
            if self._closed or self._refusing:
                return False
            self._waiting.appendleft(envelope)
            return True

    def get(self) -> Envelope[Any]:
        """Return the next message, waiting for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            return self._waiting.popleft()

    def next_unless(self, halted: Callable[[], bool]) -> Envelope[Any] | None:
        """Return the next message, waiting for it; None once `halted()` is true and `wake` has been called."""
        with self._changed:
            self.taken = False
            while not self._waiting and not halted():
                self._changed.wait()
            if halted():
                return None
            self.taken = True
            return self._waiting.popleft()

    def empty(self) -> bool:
        """Whether no message waits."""
        return not self._waiting

    def wake(self) -> None:
        """Let the thread that waits in `get` look again."""
        with self._changed:
            self._changed.notify_all()

    def refuse(self) -> list[Envelope[Any]]:
        """Take no messages until `open`, and return those that wait."""
        with self._changed:
            self._refusing = True
            return self._take()

    def close(self) -> list[Envelope[Any]]:
        """Take no messages any more, and return those that wait."""
        with self._changed:
            self._closed = True
            return self._take()

    def _take(self) -> list[Envelope[Any]]:
        left = list(self._waiting)
        self._waiting.clear()
        return left


class ThreadRef(pykka.ActorRef[Any]):
    """Reference to an actor in a thread of the host that a supervisor runs; it stays valid across restarts."""

    def __init__(
        self,
        actor_class: type[pykka.Actor],
        urn: str,
        name: str,
        *,
        on_wanted_stop: Callable[[], object],
        on_terminate: Callable[[], object],
    ) -> None:
        self.actor_class = actor_class
        self.actor_urn = urn
        self.actor_inbox: ThreadMailbox = ThreadMailbox()
        self.actor_stopped = threading.Event()
        self.actor_stopped.set()
        self.name = name
        """The child's id."""
        self.generation = 0
        """How many threads it has had, the current one included."""
        self.pid: int | None = None
        """None: it has no process of its own."""
        self._state = "starting"
        self._stop_wanted = False
        self._actor: pykka.Actor | None = None
        self._stoppers: list[Envelope[Any]] = []
        self._on_wanted_stop, self._on_terminate = on_wanted_stop, on_terminate
        self._data: dict[str, Any] = {}
        self._ends = DeathWatch()
        self._over = threading.Event()

    def __repr__(self) -> str:
        reason = self._ends.reason
        why = "" if reason is None else f": {reason.summary}"
        about = f"{self.actor_class.__name__}, {self.state}, generation {self.generation}{why}"
        return f"<ActorRef for {self.name} ({about}, {self.actor_urn})>"

    # For what runs it (see `thread_runner`)

    def begin_generation(self) -> None:
        """Another thread is about to run it."""
        self._state = "starting" if self.generation == 0 else "restarting"
        self.generation += 1
        self.actor_inbox.open()

    def show(self, state: str) -> None:
        """Be seen in this state."""
        self._state = state

    def host(self, actor: pykka.Actor) -> None:
        """This is the actor."""
        self._actor = actor

    def host_class(self, actor_class: type[pykka.Actor]) -> None:
        """Stand for this class from now on."""
        self.actor_class = actor_class

    def _actor_weakref(self) -> pykka.Actor | None:  # type: ignore[override]
        """Return the actor, or while it restarts the one before: proxies look at its attributes."""
        return self._actor

    @property
    def state(self) -> str:
        """``starting``, ``running``, ``restarting``, ``stopping`` or ``stopped``."""
        return "stopping" if self._stop_wanted and self._state != "stopped" else self._state

    @property
    def mailbox_size(self) -> int:
        """How many messages wait for it."""
        return len(self.actor_inbox)

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None, retries: int = 0) -> Any:
        """Send a message and wait for the answer, or return a `Future` of it if `block` is False.

        Args:
            retries: how often the message may be tried again if it has ended the actor.

        Raises:
            Timeout: if the time runs out first; a call that has not begun by then never will.
            ActorDeadError: if the actor takes no messages, or ended before it handled this one.
            IsolateCrashed: if the actor's thread ended while it handled the message.
            Exception: what the handler raised.
        """
        future = _Answer(self.name)
        if type(message) is _ActorStop:
            message = WantedStop()
        envelope = Sent(message, future, self._retries(message, retries))
        future.cancel_with(partial(self._give_up, envelope))
        try:
            self.tell_envelope(envelope)
        except ActorDeadError as error:
            future.fail(error)
        if isinstance(message, WantedStop):
            self._stop_wanted = self.is_alive()
            self._on_wanted_stop()
        return future.get_or_cancel(timeout) if block else future

    def tell(self, message: Any) -> None:
        """Send a message without waiting for an answer; an exception of its handler ends the actor.

        Raises:
            ActorDeadError: if the actor takes no messages (any more).
        """
        self.tell_envelope(Sent(message))

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:
        """Stop it once it has handled what is in its mailbox; no restart follows.

        Returns True if it was alive, False if it was not; a future of that if `block` is False.

        Raises:
            Timeout: if `timeout` seconds pass first; the stop goes on.
        """
        try:
            return super().stop(block=block, timeout=timeout)
        except pykka.Timeout:
            said = waiting.too_late(f"{self.name} has not stopped", timeout)
        raise Timeout(f"{said}; the stop goes on, and terminate() gives it up at once")

    def _retries(self, message: Any, retries: int) -> int:
        path = message.attr_path if isinstance(message, ProxyCall) else ()
        method = getattr(self.actor_class, path[0], None) if len(path) == 1 else None
        return retries or getattr(method, "_piactors_retries", 0)

    def tell_envelope(self, envelope: Envelope[Any]) -> None:
        """Put a message, and the future of its answer, into the mailbox."""
        try:
            self.actor_inbox.put(envelope)
        except ActorDeadError as error:
            said = str(error).removeprefix(f"{error.name} ")
            raise dead.dead(self.name, said, self._ends.reason) from None

    def _give_up(self, envelope: Envelope[Any]) -> bool:
        with self.actor_inbox._changed:
            try:
                self.actor_inbox._waiting.remove(envelope)
            except ValueError:
                return False
            return True

    def wait_for_exit(self, timeout: float | None = None) -> ExitReason | None:
        """Wait until it has ended for good, and return why; None if `timeout` seconds pass first."""
        return self._ends.reason if self._over.wait(waiting.seconds_of(timeout)) else None

    def terminate(self, timeout: float | None = 5.0) -> ExitReason | None:
        """End it at once, and return why it ended; None if that takes more than `timeout` seconds.

        A thread cannot be killed: what it runs goes on, with nobody listening to it any more.
        """
        if self.is_alive():
            self._on_terminate()
        return self.wait_for_exit(timeout)

    def resource_usage(self) -> None:
        """Return None: it has no process of its own."""

    def set_data(self, key: str, value: Any) -> None:
        """Set a value that `get_data` returns; later generations have it too."""
        self._data[key] = value

    def get_data(self, key: str) -> Any:
        """Return a value that was set.

        Raises:
            KeyError: if there is no such key.
        """
        return self._data[key]

    def begin(self) -> None:
        """Its first generation starts, or one after it had ended for good."""
        self._stop_wanted = False
        self.actor_stopped.clear()
        self._over.clear()
        self._ends.begin_again()
        pykka.ActorRegistry.register(self)

    def take_no_more(self) -> list[Envelope[Any]]:
        """Be dead, so that nobody sends it any more; return what waits."""
        if not self.actor_stopped.is_set():
            self.actor_stopped.set()
            pykka.ActorRegistry.unregister(self)
        return self.actor_inbox.close()

    def abandon(self) -> None:
        """This process is a forked copy of the host, where its thread does not exist: be dead here."""
        self.actor_inbox = ThreadMailbox()
        self.actor_stopped = threading.Event()
        self.actor_stopped.set()
        self._state = "stopped"
        self._over = threading.Event()
        self._over.set()
        pykka.ActorRegistry.unregister(self)

    def end(self, reason: ExitReason) -> None:
        """It has ended for good."""
        self._state = "stopped"
        stoppers, self._stoppers = self._stoppers, []
        fail_all([*stoppers, *self.take_no_more()], self, reason)
        self._ends.tell(reason)
        self._over.set()


def fail_all(envelopes: list[Envelope[Any]], ref: ThreadRef, reason: ExitReason | None = None) -> None:
    """Fail the futures of messages that will not be handled."""
    for envelope in envelopes:
        if envelope.reply_to is not None:
            stop = isinstance(envelope.message, _ActorStop)
            error = None if stop else dead.dead(ref.name, "has ended, and has not begun the call", reason)
            settle(envelope, error=error)


def settle(envelope: Envelope[Any], value: Any = None, error: BaseException | None = None) -> None:
    """Give a message its outcome, if it has none yet."""
    future = envelope.reply_to
    if future is None:
        return
    if isinstance(future, Future):
        future.fail(error) if error is not None else future.settle_with(lambda: value)
    elif error is not None:
        with contextlib.suppress(queue.Full):
            future.set_exception((type(error), error, error.__traceback__))
    else:
        with contextlib.suppress(queue.Full):
            future.set(value)
