"""Classes whose objects are odd to look at, and exceptions that are."""

from __future__ import annotations

import functools
import os
import sys
import time
import types
from typing import Any, NoReturn

from piactors import ProcessActor


def explode(*_: Any, **__: Any) -> NoReturn:
    raise SystemExit("looked at")


class Row(dict):  # type: ignore[type-arg]
    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__

    def ok(self) -> str:
        return "ok"


class Meta(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__mro__", "__dict__", "__qualname__", "__module__", "__name__", "__bases__"):
            explode()
        return type.__getattribute__(cls, name)


class OfMeta(metaclass=Meta):
    def ok(self) -> str:
        return "ok"


class BadDir:
    __dir__ = explode

    def ok(self) -> str:
        return "ok"


class OddDir:
    def __dir__(self) -> Any:
        return ["ok", 3, None, "dynamic"]

    def __getattr__(self, name: str) -> Any:
        if name == "dynamic":
            return "made up"
        explode()

    def ok(self) -> str:
        return "ok"


class BadClass:
    @property
    def __class__(self) -> Any:
        explode()

    @property
    def __dict__(self) -> Any:
        explode()

    def ok(self) -> str:
        return "ok"


class Properties:
    """Counts how often a property of it runs."""

    looked = 0

    @property
    def sleeps(self) -> None:
        self.looked += 1
        time.sleep(60)

    @property
    def exits(self) -> None:
        self.looked += 1
        explode()

    @functools.cached_property
    def cached(self) -> None:
        self.looked += 1
        explode()

    def ok(self) -> str:
        return "ok" if not self.looked else "a property ran"


class Thing:
    """An attribute whose every look fails."""

    def __getattribute__(self, name: str) -> Any:
        explode()


class Callable(Thing):
    def __call__(self) -> str:
        return "called"


class Holder:
    """Has attributes of all these kinds."""

    __doc__ = Thing()  # type: ignore[assignment]
    __signature__ = property(explode)
    __slots__ = ("__dict__", "slot")
    nested = Meta("Nested", (), {})

    def __init__(self) -> None:
        self.row, self.thing, self.callable = Row(a=1), Thing(), Callable()
        self.bad_class, self.of_meta, self.module = BadClass(), OfMeta(), types.ModuleType("odd")
        self.module.__getattr__ = explode  # type: ignore[method-assign]
        for number, name in enumerate(("with space", "a.b", "a..b", "", "ä", "\ud800", "x" * 10_000)):
            self.__dict__[name] = number
        self.loops = functools.wraps(self.ok)(lambda: "loop")
        self.loops.__wrapped__ = self.loops  # type: ignore[attr-defined]
        self.retries = lambda: 1
        self.retries._piactors_retries = 10**9  # type: ignore[attr-defined]
        self.retries._piactors_call_timeout = float("nan")  # type: ignore[attr-defined]

    def ok(self) -> str:
        return "ok"


class Branch:
    """Leads to itself."""

    _pykka_traversable = True

    def __init__(self) -> None:
        self.me = self

    def ok(self) -> str:
        return "ok"


class Tree:
    def __init__(self) -> None:
        self.branch = Branch()

    def ok(self) -> str:
        return "ok"


class Many:
    def __init__(self, count: int = 20_000) -> None:
        for number in range(count):
            setattr(self, f"attribute_{number}", number)

    def ok(self) -> str:
        return "ok"


class OddActor(ProcessActor):
    """An actor that holds odd things, and cannot be shown as text."""

    def __init__(self) -> None:
        super().__init__()
        self.row, self.thing = Row(a=1), Thing()

    def __str__(self) -> str:
        explode()

    def ok(self) -> str:
        return "ok"

    def raises(self) -> NoReturn:
        raise ValueError("as any")


HOSTED = ("Row", "OfMeta", "BadDir", "OddDir", "BadClass", "Properties", "Holder", "Tree", "Many")


# Exceptions


class BadText(Exception):
    __str__ = __repr__ = explode


class NoText(Exception):
    def __str__(self) -> Any:  # type: ignore[override]
        return 3


class EndlessText(Exception):
    def __str__(self) -> str:
        return str(self)


class BadReduce(Exception):
    __reduce__ = __reduce_ex__ = explode


class BadInit(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("of two")
        if one != 1:
            explode()


class BadState(Exception):
    def __setstate__(self, state: Any) -> None:
        explode()


class BadLinks(Exception):
    __cause__ = __context__ = __traceback__ = __notes__ = property(explode)  # type: ignore[assignment]


class BadArgs(Exception):
    args = property(explode)  # type: ignore[assignment]


class BadMeta(Exception, metaclass=Meta):
    pass


class SubText(str):
    """A text that slices as it likes."""

    __getitem__ = __len__ = __str__ = explode  # type: ignore[assignment]


class OfSubText(Exception):
    def __str__(self) -> str:
        return SubText("a sub-text")


def chain(length: int) -> BaseException:
    error: BaseException = ValueError("the root")
    for number in range(length):
        above = RuntimeError(f"link {number}")
        above.__cause__ = error
        error = above
    return error


def circle() -> BaseException:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def nested(depth: int) -> BaseException:
    error: Exception = ValueError("inner")
    for _ in range(depth):
        error = ExceptionGroup("outer", [error])
    return error


def recursion() -> BaseException:
    def sink() -> None:
        sink()

    try:
        sink()
    except RecursionError as error:
        return error
    raise AssertionError


def with_state(cls: type[BaseException]) -> BaseException:
    error = cls("of state")
    error.__dict__["more"] = 1
    return error


def with_notes() -> BaseException:
    error = ValueError("noted")
    error.__notes__ = ["one", SubText("two"), 3, *("x" for _ in range(10_000))]  # type: ignore[attr-defined]
    return error


EXCEPTIONS: dict[str, Any] = {
    "BadText": lambda: BadText(1),
    "NoText": NoText,
    "EndlessText": EndlessText,
    "BadReduce": lambda: BadReduce(1),
    "BadInit": lambda: BadInit(1, 2),
    "BadState": lambda: with_state(BadState),
    "BadLinks": BadLinks,
    "BadArgs": lambda: BadArgs(1),
    "BadMeta": lambda: BadMeta(1),
    "OfSubText": OfSubText,
    "RuntimeError: link 9999": lambda: chain(10_000),
    "ValueError: two": circle,
    "outer": lambda: nested(500),
    "20000 sub-exceptions": lambda: ExceptionGroup("wide", [ValueError(str(n)) for n in range(20_000)]),
    "characters left out": lambda: ValueError(b"x" * 5_000_000),
    "RecursionError": recursion,
    "noted": with_notes,
}
"""Each with a part of what its text says in the end, or the name of its class."""


class Raiser(ProcessActor):
    def pid(self) -> int:
        return os.getpid()

    def throws(self, name: str) -> NoReturn:
        raise EXCEPTIONS[name]()

    def loses_stderr(self, how: str, code: Any) -> NoReturn:
        lose_streams(how)
        sys.exit(code)

    def logs(self, how: str) -> None:
        import logging

        lose_streams(how)
        logging.getLogger("odd").warning("with %s and %s", 1)  # too few arguments
        logging.getLogger("odd").warning("still here")


class OddStream:
    write = flush = fileno = close = explode


def lose_streams(how: str) -> None:
    if how == "none":
        sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None  # type: ignore[assignment, misc]
    elif how == "closed":
        sys.stdout.close()
        sys.stderr.close()
    elif how == "odd":
        sys.stdout = sys.stderr = OddStream()  # type: ignore[assignment]
    elif how == "deleted":
        del sys.stdout, sys.stderr
    elif how == "descriptors":
        os.closerange(1, 3)


def throw(name: str) -> NoReturn:
    raise EXCEPTIONS[name]()
