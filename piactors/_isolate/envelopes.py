"""pykka's messages and envelopes, in the form in which calls are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pykka import messages

if TYPE_CHECKING:
    from piactors.future import Future

OF_ATTRIBUTE = messages.ProxyGetAttr | messages.ProxySetAttr
Parts = tuple[str, tuple[str, ...], tuple[Any, ...], dict[str, Any]]


def described(message: Any) -> Parts:
    """Return what a message asks for: the operation, the path, the arguments."""
    if isinstance(message, messages.ProxyCall):
        return "call", tuple(message.attr_path), tuple(message.args), message.kwargs
    if isinstance(message, messages.ProxyGetAttr):
        return "get", tuple(message.attr_path), (), {}
    if isinstance(message, messages.ProxySetAttr):
        return "set", tuple(message.attr_path), (message.value,), {}
    return "message", (), (message,), {}


def path_of(message: object) -> tuple[str, ...]:
    """Return which method or attribute a message is about."""
    return tuple(message.attr_path) if isinstance(message, messages.ProxyCall | OF_ATTRIBUTE) else ()


class Target(Protocol):
    """The ref that envelopes are for."""

    @property
    def mailbox_size(self) -> int:
        """How many messages wait."""

    def tell(self, message: Any) -> None:
        """Send a message that wants no answer."""

    def ask(self, message: Any, *, block: bool) -> Any:
        """Send a message, and return the future of its answer if `block` is False."""


class EnvelopeInbox:
    """Takes pykka's envelopes, for code that puts them itself."""

    def __init__(self, ref: Target) -> None:
        self._ref = ref

    def put(self, envelope: Any) -> None:
        """Send the envelope's message."""
        if envelope.reply_to is None:
            self._ref.tell(envelope.message)
        else:
            _forward(self._ref.ask(envelope.message, block=False), envelope.reply_to)

    def empty(self) -> bool:
        """Whether no message waits."""
        return self._ref.mailbox_size == 0


def _forward(source: Future[Any], target: Any) -> None:
    def done(_: Future[Any]) -> None:
        error = source.exception()
        if error is None:
            target.set(source.get())
        else:
            target.set_exception((type(error), error, error.__traceback__))

    source.add_done_callback(done)
