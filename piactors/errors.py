"""Every error of piactors, in one tree.  All of them pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pykka

from piactors._text import shown

if TYPE_CHECKING:
    from piactors.exit_reason import ExitReason


class PiactorsError(Exception):
    """Base of all errors that piactors raises itself.  Their texts can be shown: what could harm is escaped."""

    def __str__(self) -> str:
        return "\n".join(map(shown.words, super().__str__().split("\n")))


class _KeywordError(PiactorsError):
    """An error with keyword fields, which a pickle keeps."""

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.__dict__.update(fields)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self.args[0]), dict(self.__dict__))


def _rebuild(cls: type[_KeywordError], message: str, fields: dict[str, Any]) -> _KeywordError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(fields)
    return error


class NotSendable(PiactorsError, TypeError):
    """Something cannot be sent to another process, and must not be copied: a lock, an open file, a ref of an actor.

    Its text names what it is, where in the message or the code it is, and what to do instead.  What
    was to be sent is unchanged, and nothing has been sent.
    """


class StartError(PiactorsError):
    """An isolate did not start.  Its `__cause__` is what its `__init__` or `on_start` raised, if that is why.

    Unlike `IsolateCrashed`, no message was ever handled: what was asked for does not exist.
    """

    def __init__(self, message: str, reason: ExitReason | None = None) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.reason), dict(self.__dict__)


class Timeout(PiactorsError, pykka.Timeout, TimeoutError):
    """A caller has waited for as long as it wanted to; what it waited for goes on.

    It is pykka's `Timeout`, and Python's `TimeoutError`, which is that of `concurrent.futures` and `asyncio` as well.
    """


class ActorDeadError(_KeywordError, pykka.ActorDeadError):
    """What was called takes no messages, or has ended before it began this one, so the call was not executed.

    Attributes:
        name: the name of the isolate, supervisor or actor.
        reason: the `ExitReason` of its end, or None if it has not ended (yet): it is stopping, or restarting.
    """

    name: str
    if TYPE_CHECKING:
        reason: ExitReason | None


class IsolateCrashed(_KeywordError):
    """The process ended while a call ran in it, so the call may have been executed, wholly or in part.

    A call that had not begun never gets this error: it goes to the next generation, or fails with
    `ActorDeadError` if there is none.

    Attributes:
        name: the isolate's name.
        pid: of the process that ended, or None if it never had one.
        generation: which generation it was.
        reason: the `ExitReason`.
    """

    name: str
    pid: int | None
    generation: int
    if TYPE_CHECKING:
        reason: ExitReason


class LimitExceeded(IsolateCrashed):
    """The process was ended for breaking a limit.

    Attributes:
        limit: the name of the limit, as in `IsolationLimits`.
        allowed: what it allows, in the limit's unit: bytes, seconds or tasks.
        observed: what was measured.
        culprit_pid, culprit: pid and command line of the process of the tree that used most, as last sampled.
    """

    limit: str
    allowed: float
    observed: float
    culprit_pid: int
    culprit: str


class CallTimeout(IsolateCrashed):
    """The process was ended because a call ran longer than its `call_timeout`.

    Not `Timeout`, which only says that the caller has waited long enough.

    Attributes:
        stack: the Python stacks of all threads, taken before the end, as far as available.
    """

    stack: str


class PoisonMessage(IsolateCrashed):
    """The message has ended every generation that it was tried in, and is not tried again.

    Attributes:
        attempts: how many generations it has ended.
    """

    attempts: int


class RemoteError(PiactorsError):
    """An exception of the isolate whose class the host does not rebuild.

    Attributes:
        type_name: the class, as ``module.qualname``.
        message: the exception's text.
        remote_traceback: the traceback in the isolate, as text.
    """

    def __init__(self, type_name: str, message: str, remote_traceback: str) -> None:
        super().__init__(f"{type_name}: {message}" if message else type_name)
        self.type_name = type_name
        self.message = message
        self.remote_traceback = remote_traceback

    def __str__(self) -> str:
        return Exception.__str__(self)  # the exception's own words, as they were

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.type_name, self.message, self.remote_traceback), dict(self.__dict__)


class RemoteTraceback(PiactorsError):
    """The traceback of an exception in its isolate, as text: the `__cause__` of what arrives in the host.

    `text` is the traceback as it came; shown, each line of it is escaped and indented.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{shown.below(self.text)}" if self.text else ""


class MailboxFull(PiactorsError):
    """The mailbox holds as many messages as `mailbox_capacity` allows, and this one was not taken."""


class UntrustedReply(PiactorsError):
    """A reply holds what the isolate's trust does not allow; the call itself has run.

    Name the class in `accept`, return plain data, or give the isolate ``trust="code"`` if you would
    run its code in the host as well.
    """


class Released(PiactorsError):
    """What was lent by reference is lent no longer: its owner has released it, or has ended."""


class Moved(PiactorsError):
    """A stream was passed on to somebody else, who reads it from then on."""


class Revoked(PiactorsError):
    """A ref does not lead to its actor any more: it was revoked, or has expired."""


class NotPermitted(PiactorsError, PermissionError):
    """A ref, or what is lent by reference, does not allow this to its holder."""


class NoCaller(PiactorsError):
    """What is lent with ``run="caller"`` was called where no thread waits for the call that it was called in."""


class DeadlockError(_KeywordError):
    """Calls wait for each other in a circle, so that none of them would ever go on: this one is not begun.

    Attributes:
        cycle: what waits for what, as ``name.method``: each for the next one, and the last one for the first.
    """

    cycle: tuple[str, ...]


class NameTaken(PiactorsError):
    """A name belongs to another actor, which lives."""


class TooManyLoans(PiactorsError):
    """A process has lent, or holds, as many things as it may."""


class ProtocolError(PiactorsError):
    """A process at the other end of a channel does not keep to the protocol, and is ended for it."""


class InvalidTarget(PiactorsError):
    """A target names nothing that can be run; the text says which part was not found."""


class ChildNotFound(PiactorsError):
    """A supervisor has no child with that id."""


class ChildAlreadyStarted(PiactorsError):
    """A supervisor has a child with that id, and it is running."""


class ChildAlreadyPresent(PiactorsError):
    """A supervisor has a child with that id, and it does not run: call `restart_child` or `delete_child`."""


class ChildRunning(PiactorsError):
    """The child runs, and the call is for children that do not."""


class ChildRestarting(PiactorsError):
    """The child is about to be restarted, and the call is for children that are not."""


class TooManyChildren(PiactorsError):
    """A supervisor has as many children as its `max_children` allows."""
