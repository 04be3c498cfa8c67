"""Type variables that only a type checker needs; nothing imports this module at run time."""

from __future__ import annotations

from typing import ParamSpec, TypeVar

A = TypeVar("A")
"""An actor, or any other object that an isolate hosts."""

P = ParamSpec("P")
"""The parameters of a constructor, a method or a function."""

T = TypeVar("T")
"""The result of a method or function."""


class AnyArgument:
    """The type of an argument that no constructor takes, except one whose parameter may be of any type.

    A class that is called through a variable (``cls.start(...)``), and a generic one, show a type checker no
    parameters that it could check.  In both cases it takes the class for a callable that accepts an `AnyArgument`, and
    no other class for one.  So an overload for ``Callable[Concatenate[AnyArgument, ...], A]`` is for them alone.
    """
