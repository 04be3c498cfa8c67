"""What an isolate hosts: one object, behind the few operations that messages ask for.

A plain class or function is hosted as it is; it knows nothing of this.  A ProcessActor brings its
own adapter (`piactors._child`), which adds pykka's hooks.
"""

from __future__ import annotations

import types
from typing import Any, Callable, Dict, List, Tuple

from . import targets

Path = Tuple[str, ...]
Described = Dict[str, Tuple[bool, bool, int, float]]
"""Dotted path of each public attribute: is it callable, is it traversable, how often may it be retried, and how many
seconds may it run (0: as long as the options say)."""

MAX_DESCRIBED = 10_000


class Hosted:
    """Hosts `obj`, an instance of some class that has no idea of it."""

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def on_start(self) -> None:
        """Run before the first message."""

    def on_stop(self) -> None:
        """Run after the last message."""

    def on_failure(self, error: BaseException) -> None:
        """Run where a message that nobody waits for has raised."""

    def on_returned_exception(self, error: BaseException) -> None:
        """Run where an exception goes back to the caller."""

    def on_base_exception(self, error: BaseException) -> None:
        """Run where an exception that is no Exception ends the process."""

    def receive(self, message: Any) -> Any:
        """Handle a message that is no call."""
        handler = getattr(self.obj, "on_receive", None)
        if handler is None:
            raise TypeError(
                "{} has no on_receive, so it takes calls through ref.proxy() and no messages".format(
                    type(self.obj).__name__
                )
            )
        return handler(message)

    def is_self_proxy(self, attribute: Any) -> bool:
        """Whether an attribute is a proxy of this very isolate, which a description must not follow."""
        return False

    def perform(self, operation: str, path: Path, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
        """Do what one message asks for and return the answer."""
        if operation == "call":  # nearly always, so without a step more than it takes
            target = self.obj
            for name in path:
                target = getattr(target, name)
            return target(*args, **kwargs)
        return _OPERATIONS[operation](self, path, args, kwargs)

    def describe(self) -> Described:
        """Return what a proxy may offer of the object."""
        found: Described = {}
        todo: List[Path] = [(name,) for name in dir(self.obj)]
        while todo and len(found) < MAX_DESCRIBED:
            path = todo.pop(0)
            if path[-1].startswith("_"):
                continue
            parent = _walk(self.obj, path[:-1])
            attribute = _static_attributes(parent).get(path[-1])
            if self.is_self_proxy(attribute):
                self.warn_of_self_proxy(path)
                continue
            traversable = _marked(attribute, "_pykka_traversable") or _marked(attribute, "pykka_traversable")
            found[".".join(path)] = (callable(attribute), traversable, *_call_options(attribute))
            if traversable:
                todo.extend((*path, name) for name in dir(attribute))
        return found

    def warn_of_self_proxy(self, path: Path) -> None:
        """Tell the author of an actor of a public attribute that leads back to the actor."""


class FunctionHost:
    """What is hosted for a function: its call is the proxy's `call`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.call = function


class Toolbox:
    """What is hosted for a ProcessIsolator: nothing but calls of targets by name."""


def host(target: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Hosted:
    """Make the object that `target` asks for and return its host."""
    if isinstance(target, str):
        target = targets.resolve(target)
    if isinstance(target, type):
        return Hosted(target(*args, **kwargs))
    if args or kwargs:
        raise TypeError("a function takes its arguments at ref.proxy().call(...), not at spawn()")
    return Hosted(FunctionHost(target))


def _walk(root: Any, path: Path) -> Any:
    for name in path:
        root = getattr(root, name)
    return root


def _call_options(attribute: Any) -> Tuple[int, float]:
    """Return what the author of a method has said of its calls."""
    if not callable(attribute):
        return 0, 0.0
    retries = getattr(attribute, "_piactors_retries", 0)
    seconds = getattr(attribute, "_piactors_call_timeout", 0.0)
    return retries if type(retries) is int else 0, float(seconds) if type(seconds) in (int, float) else 0.0


def _marked(attribute: Any, mark: str) -> bool:
    return getattr(attribute, mark, False) is True


def _static_attributes(obj: Any) -> Dict[str, Any]:
    """Return the attributes of an object and its classes without running any property."""
    result: Dict[str, Any] = {}
    for cls in reversed(type(obj).__mro__):
        result.update(cls.__dict__)
    result.update(getattr(obj, "__dict__", {}))
    return result


def _get(hosted: Hosted, path: Path, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    return _walk(hosted.obj, path)


def _set(hosted: Hosted, path: Path, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
    setattr(_walk(hosted.obj, path[:-1]), path[-1], args[0])


def _message(hosted: Hosted, path: Path, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    return hosted.receive(args[0])


def _invoke(hosted: Hosted, path: Path, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    target, *rest = args
    if isinstance(target, str):
        target = targets.resolve(target)
    return target(*rest, **kwargs)


_OPERATIONS: Dict[str, Callable[[Hosted, Path, Tuple[Any, ...], Dict[str, Any]], Any]] = {
    "get": _get,
    "set": _set,
    "message": _message,
    "invoke": _invoke,
}

CoroutineType = types.CoroutineType
