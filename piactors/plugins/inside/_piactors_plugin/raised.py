"""Exceptions on their way to the other process."""

from __future__ import annotations

import traceback
import types
from typing import Any, Callable, Dict, List, Tuple

_MOST_TEXT, _MOST_CLASSES = 20_000, 20
_CLASSES = "_piactors_classes"
"""Of an exception whose class is not known here: those that it has elsewhere."""
Described = Tuple[List[List[str]], Any, Any, str]


class Elsewhere(Exception):
    """The traceback of an exception in the other process."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0]) if self.args else ""


def described(error: BaseException, packed: Callable[[Any], Any]) -> Described:
    """Return what an exception is: its classes, arguments, attributes and traceback.

    Args:
        packed: makes nodes.
    """
    cls, attributes = type(error), _attributes(error)
    classes = attributes.pop(_CLASSES, None) or [
        [one.__module__, one.__qualname__] for one in cls.__mro__ if issubclass(one, BaseException)
    ]
    try:
        args, state = packed(_args_of(error)), packed(attributes)
    except Exception:  # what it holds cannot be sent
        args, state = ("v", (str(error),)), ("v", {})
    text = "".join(traceback.format_exception(cls, error, error.__traceback__))[-_MOST_TEXT:]
    return classes[:_MOST_CLASSES], args, state, text


def _attributes(error: BaseException) -> Dict[str, Any]:
    found = {key: one for key, one in vars(error).items() if type(key) is str}
    for cls in type(error).__mro__:
        if cls.__module__ == "builtins":  # what those hold comes of the arguments
            continue
        for name, member in vars(cls).items():
            if isinstance(member, types.MemberDescriptorType) and hasattr(error, name):
                found[name] = getattr(error, name)
    return found


def _args_of(error: BaseException) -> Tuple[Any, ...]:
    """Return what an exception is made of: for some of Python's own that is more than its `args`."""
    if isinstance(error, OSError) and error.filename is not None and len(error.args) == 2:
        return (*error.args, error.filename)
    return error.args


def made(classes: Any, args: Any, state: Any, text: Any, class_here: Callable[[Any, Any], Any]) -> BaseException:
    """Return an exception that has come; it is not trusted, and no code of its class runs but Python's own.

    Its class is the first one of those that it had there which this process knows.

    Raises:
        ValueError: if it is not one.
    """
    if type(classes) is not list or not classes or type(text) is not str:
        raise ValueError("an exception has come that is not one")
    cls = _class_of(classes, class_here)
    error: BaseException = _made(cls, args if type(args) is tuple else (str(args),))
    for key, one in state.items() if type(state) is dict else ():
        member = vars(cls).get(key)
        if isinstance(member, types.MemberDescriptorType):
            member.__set__(error, one)
        elif type(key) is str and not key.startswith("__"):
            vars(error)[key] = one
    if classes[0] != [cls.__module__, cls.__qualname__]:
        vars(error)[_CLASSES] = classes  # if it goes back, it is what it was
    BaseException.__setattr__(error, "__cause__", Elsewhere(text))  # a class may have one of its own
    return error


def _class_of(classes: List[Any], class_here: Callable[[Any, Any], Any]) -> Any:
    for one in classes:
        named = type(one) in (list, tuple) and len(one) == 2 and type(one[0]) is str
        # What the framework itself raises says something of this process: nobody else says so.
        found = class_here(*one) if named and not one[0].startswith("piactors.") else None
        if found is not None and issubclass(found, BaseException):
            is_end = found in (GeneratorExit, KeyboardInterrupt, SystemExit)
            return found if is_end or issubclass(found, Exception) else Exception
    return Exception


def _made(cls: Any, args: Tuple[Any, ...]) -> Any:
    try:
        if isinstance(cls.__init__, types.WrapperDescriptorType) and isinstance(cls.__new__, types.BuiltinFunctionType):
            return cls(*args)
        return BaseException.__new__(cls, *args)
    except TypeError:  # it is laid out in another way, or takes other arguments
        return Exception(*args)
