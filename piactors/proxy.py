"""pykka's proxies, with options for single calls."""

from __future__ import annotations

import math
import reprlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Generic

from pykka import ActorProxy, CallableProxy, messages

from piactors._validation.class_variables import A_co, P, T_co
from piactors._values.current import seconds_left
from piactors._values.streams import Stream
from piactors.future import Future

_LONGEST = 1e9


class IsolateProxy(ActorProxy[Any], Generic[A_co]):
    """A `pykka.ActorProxy` whose methods have `with_options`.

    A type checker does not see its attributes: it takes whatever is asked of a proxy.  What it checks is
    `IsolateRef.call`, or a protocol of your own; see docs/types.md.
    """

    def __init__(self, *, actor_ref: Any, attr_path: Any = None) -> None:
        # Not pykka's own __init__, which could not say why the isolate has ended, and looks at attributes one by one.
        actor_ref._check_alive()
        self.actor_ref = actor_ref
        self._actor = actor_ref._actor_weakref()
        self._attr_path = attr_path or ()
        self._known_attrs = self._actor._known()
        self._actor_proxies, self._callable_proxies = {}, {}

    def __repr__(self) -> str:
        return f"<ActorProxy for {_about(self.actor_ref)}, attr_path={self._attr_path!r}>"

    def __getattr__(self, name: str) -> Any:
        """Return a method, a proxy of a traversable attribute, or a future of any other one."""
        path = (*self._attr_path, name)
        if path not in self._known_attrs:
            self._known_attrs = self._actor._known(again=True)
            if path not in self._known_attrs:
                raise AttributeError(f"{self} has no attribute {name!r}")
        found = super().__getattr__(name)
        if type(found) is CallableProxy:
            window = getattr(self._known_attrs[path], "window", (0, 0))
            found = self._callable_proxies[path] = _method(self.actor_ref, path, window)
            self.__dict__[name] = found  # found at once from now on
        elif type(found) is ActorProxy:
            found = self._actor_proxies[path] = IsolateProxy(actor_ref=self.actor_ref, attr_path=path)
        return found

    def __dir__(self) -> list[str]:
        return sorted(set(super().__dir__()))


class CallProxy(CallableProxy[Any], Generic[P, T_co]):
    """One method of an isolate, and how its calls are treated.

    For a type checker, ``CallProxy[[int], str]`` is a method that takes an int and has a str as its result.
    """

    def __init__(self, *, actor_ref: Any, attr_path: Any, **options: Any) -> None:
        super().__init__(actor_ref=actor_ref, attr_path=attr_path)
        self._options = options

    def __repr__(self) -> str:
        return f"<CallProxy {'.'.join(self._attr_path)} of {_about(self.actor_ref)}>"

    def with_options(
        self,
        *,
        call_timeout: float | None = None,
        retries: int = 0,
        timeout: float | None = None,
        direct: bool | None = None,
    ) -> CallProxy[P, T_co]:
        """Return the same method, to be called with other options; what is not given stays as it is.

        Args:
            call_timeout: seconds that a call may run, until its process is ended; `math.inf` for no limit.
            retries: how often a call may be tried again if its process ended while it ran.
            timeout: seconds after which a call is not wanted any more: if it has not begun by then it never begins, and
                fails with `Timeout`; else it sees `piactors.cancelled`, and what it asks of others ends with it.
            direct: in an isolate, whether its calls go to other isolates directly; None, the default: as
                `IsolationOptions(channels=...)` says.  Calls of the host have nobody in between.

        Example:
            ::

                proxy.resize.with_options(call_timeout=2)(data, 64)
        """
        check_call_options(retries, call_timeout)
        check_call_options(0, timeout, "timeout")
        options = {"call_timeout": call_timeout, "retries": retries, "timeout": timeout}
        given = {name: value for name, value in options.items() if value}
        return self._with({**self._options, **given})

    def _with(self, options: dict[str, Any]) -> CallProxy[P, T_co]:
        return CallProxy(actor_ref=self.actor_ref, attr_path=self._attr_path, **options)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Future[T_co]:
        """Call the method and return a future of its result."""
        call = self.actor_ref._call  # type: ignore[attr-defined]
        if self._options:
            return call(self._attr_path, args, kwargs, **self._options)  # type: ignore[no-any-return]
        return call(self._attr_path, args, kwargs)  # type: ignore[no-any-return]

    def map(
        self, items: Iterable[Any], *, window: int = 256, ordered: bool = True, return_exceptions: bool = False
    ) -> Iterator[T_co]:
        """Call the method for each item, and return an iterator over the results.

        Calls are made as results are asked for, up to `window` ahead.  Each item is a call of its own: it is answered,
        fails and is accounted for by itself; `with_options` holds for each.  The exception of a call is raised by
        `next`, and the iteration may go on with the item after it.  To drop the iterator, or to `close` it, cancels
        what has not begun.

        Args:
            items: the only argument of each call.
            window: how many calls may be under way, at least 1.
            ordered: whether results come in the order of the items, or as the calls are done.
            return_exceptions: whether exceptions of calls are returned among the results, instead of raised.

        Raises:
            TypeError: if `items` cannot be iterated over, or `window` is not a whole number.
            ValueError: if `window` is less than 1.

        Example:
            ::

                for thumbnail in proxy.resize.map(images):
                    save(thumbnail)
        """
        check_window(window)
        made: Iterator[T_co] = self.actor_ref._map(  # type: ignore[attr-defined]
            self._attr_path, items, window, ordered=ordered, return_exceptions=return_exceptions, options=self._options
        )
        return made

    def amap(self, items: Iterable[Any], *, window: int = 256, return_exceptions: bool = False) -> AsyncIterator[T_co]:
        """Do as `map` does, for ``async for``, without blocking the event loop.

        To cancel the task that iterates cancels what has not begun, and ends the iteration.

        Example:
            ::

                async for thumbnail in proxy.resize.amap(images):
                    await save(thumbnail)
        """
        check_window(window)
        made: AsyncIterator[T_co] = self.actor_ref._amap(  # type: ignore[attr-defined]
            self._attr_path, items, window, return_exceptions=return_exceptions, options=self._options
        )
        return made

    def defer(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call the method without waiting for anything; its exception ends the generation."""
        message = messages.ProxyCall(attr_path=self._attr_path, args=args, kwargs=kwargs)
        self.actor_ref.tell(message, **self._options)


class StreamProxy(CallProxy[P, T_co]):
    """One method of an isolate that is a generator, asynchronous or not: its calls return streams."""

    def __init__(self, *, window: tuple[int, int], **fields: Any) -> None:
        super().__init__(**fields)
        self._window = window

    def _with(self, options: dict[str, Any]) -> StreamProxy[P, T_co]:
        return StreamProxy(window=self._window, actor_ref=self.actor_ref, attr_path=self._attr_path, **options)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the method and return a `Stream` of what it yields."""
        future = super().__call__(*args, **kwargs)
        return Stream(origin=future, timeout=seconds_left(self._options.get("timeout")), window=self._window)


def _method(ref: Any, path: tuple[str, ...], window: tuple[int, int]) -> CallProxy[Any, Any]:
    if window[0]:
        return StreamProxy(window=window, actor_ref=ref, attr_path=path)
    return CallProxy(actor_ref=ref, attr_path=path)


def method_path(method: object) -> tuple[str, ...]:
    """Return the path of a method that `IsolateRef.call` was given.

    Raises:
        TypeError: if it is neither a name nor a function that has one.
        ValueError: if it is a text that is not a name.
    """
    if isinstance(method, str):
        path = tuple(method.split("."))
        if not all(part.isidentifier() for part in path):
            raise ValueError(f"call: {method!r} is not the name of a method; use one such as 'add' or 'part.add'")
        return path
    name = getattr(method, "__name__", None)
    if not callable(method) or isinstance(method, type) or not isinstance(name, str):
        raise TypeError(f"call: {method!r} is not a method; pass one of the class, such as Calc.add, or its name")
    if not name.isidentifier():
        raise TypeError(f"call: {method!r} has no name by which the isolate would know it; pass a method of its class")
    owner = getattr(method, "__self__", None)
    if owner is not None and not isinstance(owner, type):
        bound = type(owner).__name__
        raise TypeError(f"call: {method!r} belongs to an object of this process; pass {bound}.{name} or {name!r}")
    return (name,)


def _about(ref: object) -> str:
    """Return what the repr of a ref says of it."""
    return repr(ref).removeprefix("<ActorRef for ").removesuffix(">")


def check_window(window: object) -> None:
    """Raise if that many calls cannot be under way.

    Raises:
        TypeError: if it is not a whole number.
        ValueError: if it is less than 1.
    """
    if type(window) is not int or window < 1:
        kind = ValueError if type(window) is int else TypeError
        raise kind(f"window={window!r} is not allowed; use a whole number of at least 1")


def check_call_options(retries: object, call_timeout: object, name: str = "call_timeout") -> None:
    """Raise if the options of a call are not valid.

    Raises:
        TypeError: if a value is not a number.
        ValueError: if a number is not allowed.
    """
    if type(retries) is not int or retries < 0:
        kind = ValueError if isinstance(retries, int | float) else TypeError
        raise kind(f"retries={retries!r} is not allowed; use a whole number of at least 0")
    if call_timeout is None:
        return
    if not isinstance(call_timeout, int | float) or isinstance(call_timeout, bool):
        raise TypeError(f"{name}={call_timeout!r} is not allowed; use a number of seconds, more than 0")
    if not (0 < call_timeout <= _LONGEST or call_timeout == math.inf):
        allowed = f"use a number of seconds, more than 0 and at most {_LONGEST:g}, or math.inf"
        raise ValueError(f"{name}={reprlib.repr(call_timeout)} is not allowed; {allowed}")
