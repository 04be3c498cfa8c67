"""The part of a ProcessActor that works in the isolate: pykka's hooks, and the actor's own ref."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pykka
from pykka import ActorRegistry, messages
from pykka.messages import _ActorStop

from piactors._values.requested import RequestedFuture
from piactors.future import Future
from piactors.pihost.serve import hosted

if TYPE_CHECKING:
    from piactors.pihost.wire import wire

logger = logging.getLogger("pykka")

_expected = threading.local()


def adopt(actor: pykka.Actor) -> None:
    """Give the actor that this isolate was started for its identity; others keep their own."""
    host: ActorHost | None = getattr(_expected, "host", None)
    if host is not None and type(actor) is host.actor_class:
        _expected.host = None
        host.identify(actor)


class ActorHost(hosted.Hosted):
    """Hosts one ProcessActor, as pykka's own loop would."""

    def __init__(self, actor_class: type[pykka.Actor], control: Any, urn: str, loop: Any) -> None:
        super().__init__(None)
        self.actor_class = actor_class
        self._control = control
        self._urn = urn
        self._loop = loop
        self._ref: SelfRef | None = None
        ways = sys.modules["_pihost.pickles.lending"].ways
        ways.update({RequestedFuture: None, Future: lambda future: control.border.lend(future, "future", ())})

    def identify(self, actor: pykka.Actor) -> None:
        """Make an instance the one that the host's ref stands for."""
        actor.actor_urn = self._urn
        self._ref = SelfRef(actor, self._control)
        actor._actor_ref = self._ref
        self._control.lend_self(self._ref)

    def make(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Make the actor, and host it."""
        self.obj = self.create(args, kwargs)

    def create(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> pykka.Actor:
        """Make the instance."""
        _expected.host = self
        try:
            actor = self.actor_class(*args, **kwargs)
        finally:
            _expected.host = None
        if self._ref is None:
            raise TypeError(
                f"{self.actor_class.__name__}.__init__() has not called super().__init__(), which every actor must"
            )
        ActorRegistry.register(self._ref)
        return actor

    def receive(self, message: Any) -> Any:
        """Handle a message that is not a call."""
        return self.obj.on_receive(message)

    def on_start(self) -> None:
        """Run before the first message."""
        try:
            self._loop.settle(self.obj.on_start())
        except Exception:
            logger.error(f"Unhandled exception in {self.obj}:", exc_info=True)
            raise

    def on_stop(self) -> None:
        """Run after the last message."""
        self._end()
        self._hook(self.obj.on_stop)
        ActorRegistry.stop_all()

    def on_failure(self, error: BaseException) -> None:
        """Run when a message that nobody waits for has raised."""
        self._end()
        info = (type(error), error, error.__traceback__)
        logger.error(f"Unhandled exception in {self.obj}:", exc_info=info)
        self._hook(self.obj.on_failure, *info)
        ActorRegistry.stop_all()

    def on_returned_exception(self, error: BaseException) -> None:
        """Run when an exception goes back to the caller: who gets it logs it, unless code here has its own handlers."""
        handlers = (*logger.handlers, *logging.getLogger().handlers)
        if any(type(handler) is not logging.NullHandler for handler in handlers):
            info = (type(error), error, error.__traceback__)
            logger.info(f"Exception returned from {self.obj} to caller:", exc_info=info)

    def on_base_exception(self, error: BaseException) -> None:
        """Run when an exception that is not an Exception ends the process."""
        logger.debug(f"{error!r} in {self.obj}. Stopping all actors.")

    def is_self_proxy(self, attribute: Any) -> bool:
        """Whether an attribute is a proxy of this very isolate, which a description must not follow."""
        return isinstance(attribute, pykka.ActorProxy) and attribute.actor_ref is self._ref

    def warn_of_self_proxy(self, path: hosted.Path) -> None:
        """Tell the author of an actor of a public attribute that leads back to the actor."""
        name = path[-1]
        logger.warning(
            f"{self.obj} attribute {'.'.join(path)!r} is a proxy to itself. "
            f"Consider making it private by renaming it to {'_' + name!r}."
        )

    def _end(self) -> None:
        if self._ref is not None:
            ActorRegistry.unregister(self._ref)
        self.obj.actor_stopped.set()

    def _hook(self, hook: Callable[..., Any], *args: Any) -> None:
        try:
            self._loop.settle(hook(*args))
        except Exception:
            logger.error(f"Unhandled exception in {self.obj}:", exc_info=True)


class SelfRef(pykka.ActorRef[Any]):
    """An actor's own ref, in its isolate.  Messages go through the host's mailbox, behind what waits there."""

    def __init__(self, actor: pykka.Actor, control: Any) -> None:
        super().__init__(actor)
        self._control = control

    def __repr__(self) -> str:
        return f"<ActorRef for {self}>"

    def tell(self, message: Any) -> None:
        """Send a message to this actor itself."""
        if isinstance(message, _ActorStop):
            self._request(("stop",), _ignore)
        else:
            self._request(("tell", *self._packed(message)), _ignore)

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Send a message to this actor itself and return a future of the answer.

        With `block` it waits, which a method of this actor must not: it would wait for itself.
        """
        future = RequestedFuture(self._control)
        if isinstance(message, _ActorStop):
            self.tell(message)
            future.set(None)
        else:
            future.is_of(self._request(("ask", *self._packed(message)), future.take))
        return future.get(timeout=timeout) if block else future

    def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of this actor itself, a function of its class or a name, and return a future of the result."""
        path = (method if isinstance(method, str) else method.__name__).split(".")
        return self.ask(messages.ProxyCall(tuple(path), args, kwargs), block=False)

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:
        """Ask for this actor to be stopped.  It cannot wait for its own end, so `block` makes no difference in time."""
        self.tell(_ActorStop())
        future: Future[bool] = Future()
        future.set(True)
        return future.get() if block else future

    def set_timer(self, number: int, seconds: float, how: int, method: str, args: tuple[Any, ...]) -> None:
        """Have a method of this actor called after that many seconds (see `timers`)."""
        packed, lends = self._control.dumps(("call", (method,), args, {}))
        self._control.request_plain(("timer", number, seconds, how, packed, lends), _ignore, uses=bool(lends))

    def end_timer(self, number: int) -> bool:
        """Have a timer tick no more; whether it would have."""
        future = RequestedFuture(self._control)
        future.is_of(self._request(("end_timer", number), future.take))
        return bool(future.get())

    def _packed(self, message: Any) -> tuple[bytes, bytes]:
        """Return a message as it goes to this very actor, and what it lends."""
        packed: tuple[bytes, bytes] = self._control.dumps(_operation(message))
        return packed

    def _request(self, request: tuple[Any, ...], on_answer: Callable[[int, wire.Frame], None]) -> int:
        number: int = self._control.request_plain(request, on_answer, uses=len(request) > 2 and bool(request[2]))
        return number


def _ignore(_: int, __: wire.Frame) -> None:
    """A message that nobody waits for has been taken."""


def _operation(message: Any) -> tuple[str, tuple[str, ...], tuple[Any, ...], dict[str, Any]]:
    if isinstance(message, messages.ProxyCall):
        return "call", tuple(message.attr_path), tuple(message.args), dict(message.kwargs)
    if isinstance(message, messages.ProxyGetAttr):
        return "get", tuple(message.attr_path), (), {}
    if isinstance(message, messages.ProxySetAttr):
        return "set", tuple(message.attr_path), (message.value,), {}
    return "message", (), (message,), {}
