"""The order of one hook call, as pluggy has it: which implementation runs when, and what becomes of what it returns.

Pure: it calls what runs in the host, and says of what runs elsewhere that it is to be asked (`Ask`), or that it goes
around the rest (`Surround`).  Whoever drives it does that, in whichever way: waiting, or awaiting.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol

import attrs
import pluggy

Arguments = dict[str, Any]
_PASSES_DEFAULTS = tuple(int(part) for part in pluggy.__version__.split(".")[:2]) >= (1, 7)
"""Whether a parameter that has a default gets the caller's argument: pluggy does that since 1.7."""

_INSIDE = tuple(os.path.dirname(os.path.abspath(file)) + os.sep for file in (__file__, str(pluggy.__file__)))


class Place(Protocol):
    """Where implementations run."""

    def is_isolated(self, impl: pluggy.HookImpl) -> bool:
        """Whether one runs in an isolate."""

    def begin(self, impl: pluggy.HookImpl, kwargs: Mapping[str, Any]) -> Any:
        """Send a call of one with what it takes of these arguments; return what its result can be had from.

        None if it runs in the host.
        """


@attrs.frozen
class Ask:
    """The driver is to send the result of what was begun, or throw what it raises; None if it is left out."""

    begun: Any


@attrs.frozen
class Surround:
    """The driver is to have a wrapper in an isolate go around the rest, and send what comes of that."""

    impl: pluggy.HookImpl
    arguments: Arguments
    rest: Callable[[], Steps]


Steps = Generator[Ask | Surround, Any, Any]


class Stopped(Exception):
    """Carries a StopIteration of a plugin out of a generator, which would make a RuntimeError of it."""

    def __init__(self, error: StopIteration) -> None:
        super().__init__(error)
        self.error = error


def carried(error: BaseException) -> BaseException:
    """Return an error as it can be thrown into, and raised by, a generator."""
    return Stopped(error) if isinstance(error, StopIteration) else error


def plain(error: BaseException) -> BaseException:
    """Return the error behind one that was carried."""
    return error.error if isinstance(error, Stopped) else error


@attrs.frozen(kw_only=True)
class HookCall:
    """One call of a hook.

    Attributes:
        name: of the hook.
        kwargs: what the caller has given.
        firstresult: whether the first result that is not None ends it.
        place: where implementations run.
    """

    name: str
    kwargs: Mapping[str, Any]
    firstresult: bool
    place: Place

    def steps(self, methods: Sequence[pluggy.HookImpl]) -> Steps:
        """Return the steps of it; they end with the result of the call.

        Args:
            methods: as pluggy keeps them: the last one is called first.
        """
        ordered = list(reversed(methods))
        wrappers = [impl for impl in ordered if impl.wrapper or impl.hookwrapper]
        return self._around(wrappers, [impl for impl in ordered if not (impl.wrapper or impl.hookwrapper)])

    def _around(self, wrappers: list[pluggy.HookImpl], others: list[pluggy.HookImpl]) -> Steps:
        if not wrappers:
            return (yield from self._inner(others))
        first, rest = wrappers[0], wrappers[1:]
        arguments = arguments_of(first, self.kwargs)
        if self.place.is_isolated(first):
            return (yield Surround(first, arguments, lambda: self._around(rest, others)))
        wrapper = _entered(_called(first, arguments))
        try:
            result = yield from self._around(rest, others)
        except BaseException as error:
            return self._left(first, wrapper, None, plain(error))
        return self._left(first, wrapper, result, None)

    def _inner(self, impls: list[pluggy.HookImpl]) -> Steps:
        results: list[Any] = []
        begun = {} if self.firstresult else self._begun(impls)
        try:
            for impl in impls:
                if not self.place.is_isolated(impl):
                    result = _called(impl, arguments_of(impl, self.kwargs))
                else:
                    result = yield Ask(begun.pop(id(impl), None) or self.place.begin(impl, self.kwargs))
                if result is not None:
                    results.append(result)
                    if self.firstresult:
                        break
        finally:
            for left in begun.values():
                left.give_up()
        if self.firstresult:
            return results[0] if results else None
        return results

    def _begun(self, impls: list[pluggy.HookImpl]) -> dict[int, Any]:
        """Send the calls of all that run in isolates, before anything runs here."""
        begun: dict[int, Any] = {}
        try:
            for impl in impls:
                if self.place.is_isolated(impl):
                    begun[id(impl)] = self.place.begin(impl, self.kwargs)
        except BaseException:
            for left in begun.values():
                left.give_up()
            raise
        return begun

    def _left(self, impl: pluggy.HookImpl, wrapper: Any, result: Any, error: BaseException | None) -> Any:
        """Let a wrapper that runs in the host end, and return what it makes of a result, or of an error."""
        try:
            if impl.hookwrapper:
                return _left_old(impl, self.name, wrapper, pluggy.Result(result, error))
            return _left_new(wrapper, result, error)
        except StopIteration as stopped:
            raise Stopped(stopped) from None


def at_once(methods: Sequence[pluggy.HookImpl], kwargs: Mapping[str, Any], place: Place) -> list[Any]:
    """Run a call without wrappers, whose results all count, and wait for those that run elsewhere.

    Raises:
        Exception: the first one that an implementation raises, in their order.
    """
    impls = methods[::-1]
    begun: list[Any] = []
    results, done = [], 0
    try:
        begun += (place.begin(impl, kwargs) for impl in impls)
        for impl, asked in zip(impls, begun, strict=True):
            done += 1
            result = _called_plainly(impl, arguments_of(impl, kwargs)) if asked is None else asked.result()
            if result is not None:
                results.append(result)
    finally:
        for left in begun[done:]:
            if left is not None:
                left.give_up()
    return results


def arguments_of(impl: pluggy.HookImpl, kwargs: Mapping[str, Any]) -> Arguments:
    """Return what an implementation takes of the arguments of a call.

    Raises:
        HookCallError: if there is not all that it needs.
    """
    try:
        found = {name: kwargs[name] for name in impl.argnames}
    except KeyError as error:
        raise pluggy.HookCallError(f"hook call must provide argument {error.args[0]!r}") from error
    if impl.kwargnames and _PASSES_DEFAULTS:
        found.update({name: kwargs[name] for name in impl.kwargnames if name in kwargs})
    return found


def _called(impl: pluggy.HookImpl, arguments: Arguments) -> Any:
    try:
        return _called_plainly(impl, arguments)
    except StopIteration as error:
        raise Stopped(error) from None


def _called_plainly(impl: pluggy.HookImpl, arguments: Arguments) -> Any:
    positional = [arguments[name] for name in impl.argnames]
    others = {name: value for name, value in arguments.items() if name not in impl.argnames}
    return impl.function(*positional, **others)


def _entered(wrapper: Any) -> Any:
    try:
        next(wrapper)
    except StopIteration:
        _refuse(wrapper, "did not yield")
    return wrapper


def _left_new(wrapper: Any, result: Any, error: BaseException | None) -> Any:
    try:
        if error is None:
            wrapper.send(result)
        else:
            wrapper.throw(error)
    except StopIteration as end:
        return end.value
    except RuntimeError as raised:
        if isinstance(error, StopIteration) and raised.__cause__ is error:  # its generator has let it through
            raise error from None
        raise
    wrapper.close()
    return _refuse(wrapper, "has second yield")


def _left_old(impl: pluggy.HookImpl, hook: str, wrapper: Any, outcome: pluggy.Result[Any]) -> Any:
    try:
        wrapper.send(outcome)
    except StopIteration:
        return outcome.get_result()
    except BaseException as error:
        text = (
            "A plugin raised an exception during an old-style hookwrapper teardown.\n"
            f"Plugin: {impl.plugin_name}, Hook: {hook}\n{type(error).__name__}: {error}"
        )
        warnings.warn(pluggy.PluggyTeardownRaisedWarning(text), stacklevel=_depth())
        raise
    finally:
        wrapper.close()
    return _refuse(wrapper, "has second yield")


def _refuse(wrapper: Any, why: str) -> Any:
    code = wrapper.gi_code
    place = f"{code.co_name!r} {code.co_filename}:{code.co_firstlineno}"
    raise RuntimeError(f"wrap_controller at {place} {why}")


def _depth() -> int:
    """Return how far up the one stands who has called the hook: above pluggy, and above this package."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame, depth = frame.f_back, depth + 1
    return depth
