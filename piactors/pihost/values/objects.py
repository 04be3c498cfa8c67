"""The stand-in of an object or a function that the host has lent: its methods run there."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

from ..pickles import lending, refusals
from . import asking
from .border import Border

_VALUE = "value"


class Borrowed:
    """An object or a function of another process.

    Its methods are called as usual; they run where the object is, and their results come back.  Whether an attribute is
    a method, or a value, is asked when it is first looked at.
    """

    __slots__ = ("__weakref__", "_link", "_methods", "_name", "_number")

    def __init__(self, link: Any, number: int, name: str, methods: Optional[Tuple[str, ...]]) -> None:
        self._link = link
        self._number = number
        self._name = name
        self._methods: Dict[str, BorrowedFunction] = {}
        for method in methods or ():
            self._methods[method] = self._method(method)

    def __repr__(self) -> str:
        return "<borrowed {}>".format(self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, if it can be called, and return its result."""
        return asking.wait(self._link, self._number, "call", "", args, kwargs)

    def __getattr__(self, name: str) -> Any:
        """Return a method, or the value of any other attribute."""
        if name.startswith("_"):
            raise AttributeError("{!r} has no attribute {!r}: only public ones are lent".format(self, name))
        found = self._methods.get(name)
        if found is None:
            kind, value = asking.wait(self._link, self._number, "get", name)
            if kind == _VALUE:
                return value
            found = self._methods[name] = self._method(name)
        return found

    def _method(self, method: str) -> BorrowedFunction:
        name = "{} of {}".format(method, self._name)
        return BorrowedFunction(self._link, self._number, name, method, self)


class BorrowedFunction:
    """A function of another process, or one method of an object there; its calls run there.

    Args:
        of: what holds the loan: the object of a method, or None if this does itself.
    """

    __slots__ = ("__weakref__", "_link", "_method", "_name", "_number", "_of")

    def __init__(self, link: Any, number: int, name: str, method: str = "", of: Any = None) -> None:
        self._link, self._number, self._name, self._method, self._of = link, number, name, method, of

    def __repr__(self) -> str:
        return "<borrowed {}>".format(self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it and return its result."""
        return asking.wait(self._link, self._number, "call", self._method, args, kwargs)

    def defer(self, *args: Any, **kwargs: Any) -> None:
        """Call it and wait for nothing: what it raises is logged where it runs."""
        asking.begin(self._link, self._number, "call", self._method, args, kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        """Call it and return a future of its result."""
        future = self._link.border.new_future()

        def answered(_: int, frame: Any, holder: Any = self) -> None:
            future.take(frame)  # until then the loan is in use, and so is kept

        request = asking.begin(self._link, self._number, "call", self._method, args, kwargs, on_answer=answered)
        future.is_of(request)
        return future


def make_object(border: Border, number: int, facts: Tuple[Any, ...]) -> Borrowed:
    """Make the stand-in of an object: facts are its name and, if that is bounded, the names of its methods."""
    name, methods = facts
    return Borrowed(border.link, number, name, methods)


def make_function(border: Border, number: int, facts: Tuple[Any, ...]) -> BorrowedFunction:
    """Make the stand-in of a function: of facts there is its name."""
    return BorrowedFunction(border.link, number, facts[0])


def _way(thing: Any) -> lending.Entry:
    return (thing._number, *lending.HOME)


def _way_of_function(function: BorrowedFunction) -> lending.Entry:
    if function._of is not None:
        text = "{!r} cannot be sent: it is a method of something borrowed; send that, and its name"
        raise refusals.Refused(text.format(function), function)
    return _way(function)


lending.ways[Borrowed], lending.ways[BorrowedFunction] = _way, _way_of_function
