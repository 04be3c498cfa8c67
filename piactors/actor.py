"""`ProcessActor`: a pykka actor whose instance lives in a process of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

import pykka

if TYPE_CHECKING:
    from typing import Concatenate, Unpack

    from piactors._spawn.starter import ActorStarter
    from piactors._validation.class_variables import P
    from piactors._validation.type_variables import A, AnyArgument
    from piactors._values import actor_host
    from piactors._values.timers import Timer
    from piactors.future import Future
    from piactors.option_fields import OptionFields
    from piactors.options import IsolationOptions
    from piactors.ref import IsolateRef

# What only some programs need, or an isolate but not its host, is imported where that is: a program's first launcher
# waits for this module, and each isolate of an actor has it.

F = TypeVar("F", bound=Callable[..., Any])


class _UsualOptions:
    """The options of classes that set none, until somebody looks at them."""

    def __get__(self, instance: object, owner: type) -> IsolationOptions:
        from piactors.options import IsolationOptions

        with _making:
            if vars(ProcessActor)["isolation"] is self:
                ProcessActor.isolation = IsolationOptions()
        return ProcessActor.isolation


_making = threading.RLock()


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

    if TYPE_CHECKING:  # its type is not loaded before there is a use for it
        isolation: IsolationOptions
    else:
        isolation = _UsualOptions()
    """The options that `start` uses; a subclass may set its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        from piactors._values import actor_host

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
        from piactors._spawn import ahead

        with ahead.launcher_for(_options_so_far(cls)):
            from piactors._spawn import start

            return start.start_actor(cls, cls.isolation, args, kwargs)

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
        from piactors._spawn import ahead

        with ahead.launcher_for(_options_so_far(cls)):
            from piactors._spawn import start

            return await start.start_actor_async(cls, cls.isolation, args, kwargs)

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
        from piactors._spawn.starter import starter

        return starter(cls, options or cls.isolation, fields)

    def after(self, seconds: float, method: str | Callable[..., Any], *args: Any) -> Timer:
        """Have a method of this actor called once, after that many seconds: as a message, in order with all others.

        Nobody waits for what comes of it: as with a `tell`, an exception ends the process.  The timer ends with it.

        Args:
            method: a public method, or its name.
            args: what it is called with; sent now, so changed later they stay as they are.

        Raises:
            TypeError, ValueError: if `seconds` is not a number of at least 0.
            AttributeError: if there is no such method.
        """
        from piactors._values import timers

        return timers.set_timer(self, seconds, method, args, 0)

    def every(
        self,
        seconds: float,
        method: str | Callable[..., Any],
        *args: Any,
        coalesce: bool = True,
        persistent: bool = False,
    ) -> Timer:
        """Have a method of this actor called each time that many seconds have passed, as `after` does.

        Args:
            coalesce: whether a tick is missed if the last one has not begun; else both come.
            persistent: whether it goes on in the processes that follow this one; else it ends with its process.
        """
        from piactors._values import timers

        how = timers.EVERY | timers.COALESCE * bool(coalesce) | timers.PERSISTENT * bool(persistent)
        return timers.set_timer(self, seconds, method, args, how)

    @classmethod
    def _pihost_adapter(cls, control: Any, urn: str, loop: Any) -> actor_host.ActorHost:
        """Return what hosts an instance of this class in an isolate; pihost calls it there."""
        from piactors._values import actor_host

        return actor_host.ActorHost(cls, control, urn, loop)

    @staticmethod
    def _create_actor_inbox() -> Any:
        return queue.SimpleQueue()

    @staticmethod
    def _create_future() -> Future[Any]:
        from piactors.future import Future

        return Future()

    def _start_actor_loop(self) -> NoReturn:
        raise NotImplementedError("an isolate runs its own loop")


def _options_so_far(actor_class: type[ProcessActor]) -> IsolationOptions | None:
    """Return the options of a class; None: the usual ones, which nobody has looked at yet."""
    found = next(vars(cls)["isolation"] for cls in actor_class.__mro__ if "isolation" in vars(cls))
    return None if isinstance(found, _UsualOptions) else actor_class.isolation


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


def reentrant(method: F) -> F:
    """Mark a method that a call of its own chain may run, or interrupt, while it waits for the answer to that.

    If one actor asks another, which asks the first one in turn, the second ask cannot begin before the first call has
    ended.  It fails with `DeadlockError`, unless the method that waits, or the one that is asked for, is marked: then
    it runs at once, in the thread that waits.  So the state of the actor may have changed when an answer is there.

    Example:
        ::

            @piactors.reentrant
            def price_of(self, item): ...
    """
    if not callable(method):
        raise TypeError(f"reentrant: {method!r} is not a method; write @reentrant without arguments")
    method._piactors_reentrant = True  # type: ignore[attr-defined]
    return method


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
    from piactors.proxy import check_call_options

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


def stream_options(
    *,
    window: int = 16,
    window_bytes: int | str = "4 MiB",
    exclusive: bool = False,
    batch: int | Literal["auto"] = "auto",
) -> Callable[[F], F]:
    """Set how the items of a method are sent that is a generator, or returns one.

    Args:
        window: how many items it may have yielded beyond those that were consumed by whoever reads the `Stream`.
        window_bytes: how many bytes these may have, the last one not counted; or a text such as ``"64 KiB"``.
        exclusive: whether the actor runs nothing else from the first item on until the stream has ended, or was closed;
            by default it is free for other calls between two requests for items.
        batch: how many items travel together: "auto", those that are there within a few milliseconds; or a number of at
            most `window`, which are waited for.  The half of the window is the most.

    Example:
        ::

            @piactors.stream_options(window=256)
            def lines(self, path): ...
    """
    from piactors._values.streams import checked_options

    options = checked_options("stream_options", window, window_bytes, exclusive, batch)

    def mark(function: F) -> F:
        if not callable(function):
            raise TypeError(f"stream_options: {function!r} is not a method")
        function._piactors_stream = options  # type: ignore[attr-defined]
        return function

    return mark


def __getattr__(name: str) -> Any:
    if name != "ActorStarter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from piactors._spawn.starter import ActorStarter

    return ActorStarter
