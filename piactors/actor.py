"""`ProcessActor`: a pykka actor whose instance lives in a process of its own."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, overload

import attrs
import pykka

from piactors._values import actor_host
from piactors.future import Future
from piactors.options import IsolationOptions
from piactors.proxy import A_co, P, check_call_options

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Concatenate, Unpack

    from piactors._validation.type_variables import A, AnyArgument
    from piactors.option_fields import OptionFields
    from piactors.ref import IsolateRef

F = TypeVar("F", bound=Callable[..., Any])


class ProcessActor(pykka.Actor):
    """An actor in a process of its own.

    It is written as any pykka actor is: ``__init__`` (which calls ``super().__init__()``), `on_start`,
    `on_receive`, `on_stop`, `on_failure` and methods for its proxies, all of which run in the
    isolate.  Methods may be coroutines.  Unless its options say otherwise, the isolate inherits the host's
    environment, ``sys.argv`` and working directory.

    Example:
        ::

            class Thumbnailer(piactors.ProcessActor):
                def __init__(self, quality):
                    super().__init__()
                    self.quality = quality

                def resize(self, data, width): ...

            ref = Thumbnailer.start(quality=90)
            ref.proxy().resize(data, 64).get(timeout=2)
    """

    isolation: IsolationOptions = IsolationOptions()
    """The options that `start` uses; a subclass may set its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        actor_host.adopt(self)

    __init__._piactors_passes_on = True  # type: ignore[attr-defined]

    # Of each pair of overloads a checker takes the second for a class that is named, whose arguments it knows.

    @overload
    @classmethod
    def start(cls: Callable[Concatenate[AnyArgument, ...], A], *args: Any, **kwargs: Any) -> IsolateRef[A]: ...

    @overload
    @classmethod
    def start(cls: Callable[P, A], *args: P.args, **kwargs: P.kwargs) -> IsolateRef[A]: ...

    @classmethod
    def start(cls: Any, *args: Any, **kwargs: Any) -> IsolateRef[Any]:
        """Start an isolate, make the actor in it with these arguments, and return its ref once `on_start` is done.

        Raises:
            StartError: if that fails; its cause is what `__init__` or `on_start` raised.
            TypeError: if arguments are given that the class does not take, as far as that can be seen here.
        """
        return _start(cls, cls.isolation, args, kwargs)

    @overload
    @classmethod
    async def start_async(
        cls: Callable[Concatenate[AnyArgument, ...], A], *args: Any, **kwargs: Any
    ) -> IsolateRef[A]: ...

    @overload
    @classmethod
    async def start_async(cls: Callable[P, A], *args: P.args, **kwargs: P.kwargs) -> IsolateRef[A]: ...

    @classmethod
    async def start_async(cls: Any, *args: Any, **kwargs: Any) -> IsolateRef[Any]:
        """Start the actor as `start` does, and let the event loop run meanwhile; if cancelled, nothing stays behind.

        Raises:
            StartError, TypeError: as `start`.
        """
        return await _start_async(cls, cls.isolation, args, kwargs)

    @overload
    @classmethod
    def with_options(
        cls: Callable[Concatenate[AnyArgument, ...], A],
        options: IsolationOptions | None = None,
        /,
        **fields: Unpack[OptionFields],
    ) -> ActorStarter[A, ...]: ...

    @overload
    @classmethod
    def with_options(
        cls: Callable[P, A], options: IsolationOptions | None = None, /, **fields: Unpack[OptionFields]
    ) -> ActorStarter[A, P]: ...

    @classmethod
    def with_options(
        cls: Any, options: IsolationOptions | None = None, /, **fields: Unpack[OptionFields]
    ) -> ActorStarter[Any, Any]:
        """Return something whose `start` starts the actor with other options.

        Args:
            options: the options to use in place of the class's own.
            fields: single fields of `IsolationOptions` to change.
        """
        return ActorStarter(cls, attrs.evolve(options or cls.isolation, **fields))

    @classmethod
    def _pihost_adapter(cls, control: Any, urn: str, loop: Any) -> actor_host.ActorHost:
        """Return what hosts an instance of this class in an isolate; pihost calls it there."""
        return actor_host.ActorHost(cls, control, urn, loop)

    @staticmethod
    def _create_actor_inbox() -> Any:
        return queue.SimpleQueue()

    @staticmethod
    def _create_future() -> Future[Any]:
        return Future()

    def _start_actor_loop(self) -> NoReturn:
        raise NotImplementedError("an isolate runs its own loop")


@attrs.frozen
class ActorStarter(Generic[A_co, P]):
    """A ProcessActor class together with the options to start it with."""

    actor_class: type[A_co]
    options: IsolationOptions

    def start(self, *args: P.args, **kwargs: P.kwargs) -> IsolateRef[A_co]:
        """Start the actor; see `ProcessActor.start`."""
        return _start(self.actor_class, self.options, args, kwargs)

    async def start_async(self, *args: P.args, **kwargs: P.kwargs) -> IsolateRef[A_co]:
        """Start the actor, and let the event loop run meanwhile; see `ProcessActor.start_async`."""
        return await _start_async(self.actor_class, self.options, args, kwargs)


def _start(
    actor_class: type[Any], options: IsolationOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> IsolateRef[Any]:
    with _ahead(options):
        # Not before it is needed: an isolate has this module, and seldom starts isolates of its own.
        from piactors._spawn import start

        return start.start_actor(actor_class, options, args, kwargs)


async def _start_async(
    actor_class: type[Any], options: IsolationOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> IsolateRef[Any]:
    with _ahead(options):
        from piactors._spawn import start  # as above

        return await start.start_actor_async(actor_class, options, args, kwargs)


def _ahead(options: IsolationOptions) -> AbstractContextManager[None]:
    """Have the launcher start while this program imports the rest, if this is its first isolate."""
    if "piactors._host.runtime" in sys.modules:
        return nullcontext()
    from piactors._process import launcher_process

    return launcher_process.head_start(options)


@overload
def idempotent(method: F) -> F: ...


@overload
def idempotent(*, retries: int = 1) -> Callable[[F], F]: ...


def idempotent(method: F | None = None, *, retries: int = 1) -> F | Callable[[F], F]:
    """Mark a method that may safely run again if its process ended while it ran.

    Args:
        retries: how often it is tried again.

    Example:
        ::

            @piactors.idempotent(retries=2)
            def lookup(self, key): ...
    """
    if method is not None and not callable(method):
        raise TypeError(f"idempotent: {method!r} is not a method; write @idempotent(retries=1)")
    if type(retries) is not int or retries < 1:
        raise ValueError(f"idempotent: retries={retries!r} is not allowed; use a whole number of at least 1")

    def mark(function: F) -> F:
        function._piactors_retries = retries  # type: ignore[attr-defined]
        return function

    return mark if method is None else mark(method)


def call_options(*, call_timeout: float | None = None, retries: int = 0) -> Callable[[F], F]:
    """Set how calls of a method are treated, unless the call itself says otherwise.

    Args:
        call_timeout: seconds that a call may run, until its process is ended; `math.inf` for no limit.
        retries: how often a call may be tried again if its process ended while it ran.

    Example:
        ::

            @piactors.call_options(call_timeout=2)
            def resize(self, data, width): ...
    """
    check_call_options(retries, call_timeout)

    def mark(function: F) -> F:
        if not callable(function):
            raise TypeError(f"call_options: {function!r} is not a method")
        if retries:
            function._piactors_retries = retries  # type: ignore[attr-defined]
        if call_timeout is not None:
            function._piactors_call_timeout = float(call_timeout)  # type: ignore[attr-defined]
        return function

    return mark
