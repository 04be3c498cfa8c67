"""What an isolate hosts: one object, behind the few operations that messages ask for.

A plain class or function is hosted as it is; it knows nothing of this.  A ProcessActor brings its
own adapter (`piactors._values.actor_host`), which adds pykka's hooks.
"""

from __future__ import annotations

import logging
from typing import Any, Callable, Dict, Tuple

from . import faults, shapes, targets

Path = Tuple[str, ...]
Message = Any
"""What one message asks for: ``(path, args)`` or ``(path, args, kwargs)`` of a call of a method, which most are, or
``(operation, path, args, kwargs)`` of anything else."""
Described = Dict[str, shapes.Entry]
"""Dotted path of each public attribute: is it callable, is it traversable, how often may it be retried, how many
seconds may it run (0: as long as the options say), and the window of the streams that it returns, in items and bytes
(0: it returns none)."""

MOST_DESCRIBED_BYTES = 1 << 22
"""What the host takes, as far as `max_frame` is not less."""
_BYTES_OF_ENTRY = 32


class Hosted:
    """Hosts `obj`, an instance of some class that knows nothing of it."""

    def __init__(self, obj: Any) -> None:
        self.obj = obj

    def on_start(self) -> None:
        """Run before the first message."""

    def on_stop(self) -> None:
        """Run after the last message."""

    def on_failure(self, error: BaseException) -> None:
        """Run when a message that nobody waits for has raised."""

    def on_returned_exception(self, error: BaseException) -> None:
        """Run when an exception goes back to the caller."""

    def on_base_exception(self, error: BaseException) -> None:
        """Run when an exception that is not an Exception ends the process."""

    def receive(self, message: Any) -> Any:
        """Handle a message that is not a call."""
        handler = getattr(self.obj, "on_receive", None)
        if handler is None:
            raise TypeError(
                "{} has no on_receive, so it takes calls through ref.proxy(), not messages".format(
                    type(self.obj).__name__
                )
            )
        return handler(message)

    def is_self_proxy(self, attribute: Any) -> bool:
        """Whether an attribute is a proxy of this very isolate, which a description must not follow."""
        return False

    def perform(self, message: Message) -> Any:
        """Do what one message asks for and return the answer."""
        if len(message) == 2:  # nearly always, so without a step more than it takes
            path, args = message
            target = self.obj
            for name in path:
                target = getattr(target, name)
            return target(*args)
        if len(message) == 3:
            path, args, kwargs = message
            return _walk(self.obj, path)(*args, **kwargs)
        operation, path, args, kwargs = message
        return _OPERATIONS[operation](self, path, args, kwargs)

    def function_of(self, message: Message) -> Any:
        """Return the function that a message calls, as far as it calls one."""
        if len(message) < 4:
            return _walk(self.obj, message[0])
        operation, path, args, _ = message
        if operation == "invoke":
            return targets.resolve(args[0]) if isinstance(args[0], str) else args[0]
        return _walk(self.obj, path) if operation == "call" else None

    def describe(self, most: int = MOST_DESCRIBED_BYTES) -> Described:
        """Return what a proxy may offer of the object.

        Args:
            most: about how many bytes the description may take.  Methods go first; what has no room is left out.
        """
        found: Described = {}
        size = left_out = 0
        for path, entry in sorted(shapes.described(self.obj, self._skips).items(), key=_is_data):
            size += (len(path) if path.isascii() else 4 * len(path)) + _BYTES_OF_ENTRY
            if size <= most:
                found[path] = entry
            else:
                left_out += 1
        if left_out:
            text = "%s: a proxy offers %d of its attributes, but a description has no room for %d more"
            logging.getLogger("piactors").warning(text, faults.class_name(type(self.obj)), len(found), left_out)
        return found

    def _skips(self, attribute: Any, path: Path) -> bool:
        if not self.is_self_proxy(attribute):
            return False
        self.warn_of_self_proxy(path)
        return True

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


def _is_data(item: Tuple[str, shapes.Entry]) -> bool:
    return not (item[1][0] or item[1][1])


def _call(hosted: Hosted, path: Path, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    return _walk(hosted.obj, path)(*args, **kwargs)


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
    "call": _call,
    "get": _get,
    "set": _set,
    "message": _message,
    "invoke": _invoke,
}
