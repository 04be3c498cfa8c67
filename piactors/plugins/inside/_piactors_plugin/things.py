"""What stands, in one process, for things of another one: functions, classes, modules, objects.

It runs on Python 3.8 and newer, on both sides: in the host, for things of a plugin, and in the plugin's isolate, for
those of the application.  A stand-in has the name, the signature, and the special methods of what it stands for; what
is done to it is done there.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import functions
from .facts import ASYNC, Facts


def _nothing() -> None:
    return None


class Anchor:
    """What a thing is reached from: its number in the other process, or the name of a module there.

    Attributes:
        value: the number, or the name.
        origin: what finds the thing again when its process has ended; None if nothing does.
    """

    __slots__ = ("__weakref__", "origin", "stand_in", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.origin: Any = None
        self.stand_in: Callable[[], Any] = _nothing

    def stands_in(self, stand_in: Callable[[], Any]) -> None:
        """This returns the stand-in of the thing, if somebody uses it."""
        self.stand_in = stand_in

    def moved(self, value: Any) -> None:
        """It has this number from now on, in another process."""
        self.value = value

    def comes_from(self, origin: Any) -> None:
        """This finds it again."""
        self.origin = origin


class ThingReach:
    """How one thing of another process is reached.

    Args:
        side: this process's end of the border.
        anchor: what it is reached from.
        path: the attributes that lead from there to the thing.
        facts: what is known of it.
        of: what is held as long as this is used.
    """

    __slots__ = ("__weakref__", "anchor", "facts", "of", "path", "side")

    def __init__(self, side: Any, anchor: Anchor, path: Tuple[str, ...], facts: Facts, of: Any = None) -> None:
        self.side, self.anchor, self.path, self.facts, self.of = side, anchor, path, facts, of

    def use(self, operation: str, args: Any = (), kwargs: Optional[Dict[str, Any]] = None) -> Any:
        """Do something to it, wait, and return what comes of it."""
        return self.side.use(self, operation, args, kwargs or {})

    def use_async(self, operation: str, args: Any = (), kwargs: Optional[Dict[str, Any]] = None) -> Any:
        """Return a coroutine that does something to it."""
        return self.side.use_async(self, operation, args, kwargs or {})

    def driven(self, remote: Any) -> Any:
        """Run a generator that it has returned as if it were here."""
        return functions.driven(remote)

    def child(self, name: str, facts: Facts, of: Any) -> ThingReach:
        """Return how an attribute of it is reached."""
        return type(self)(self.side, self.anchor, (*self.path, name), facts, of)


# What stands for it


def class_here(module: Any, name: Any) -> Any:
    """Return a class that this process has imported, by its names; None if it has not."""
    found: Any = sys.modules.get(module) if isinstance(module, str) else None
    for part in name.split(".") if isinstance(name, str) else ():
        found = vars(found).get(part) if isinstance(found, type) or inspect.ismodule(found) else None
    return found if isinstance(found, type) else None


def make(reach: ThingReach) -> Any:
    """Return what stands for a thing, by its facts."""
    kind = reach.facts["kind"]
    if kind == "module":
        return _module(reach)
    if kind == "class":
        return _class(reach)
    if kind == "awaitable":
        return reach.use_async("await")
    if kind == "object":
        return _thing_class(reach.facts)(reach)
    return function(reach)


def reach_of(stand_in: Any) -> Optional[ThingReach]:
    """Return what is behind a stand-in; None if it is not one."""
    cls: Any = type(stand_in)
    if issubclass(cls, Thing):
        return object.__getattribute__(stand_in, "_piactors_reach")  # type: ignore[no-any-return]
    if cls is types.FunctionType:
        mark = stand_in.__dict__.get("_piactors_mark")
        return mark.reach if mark is not None and mark.function() is stand_in else None
    if cls is types.MethodType:
        member = getattr(stand_in.__func__, "_piactors_member", None)
        return None if member is None else _of_method(stand_in.__self__, *member)
    if cls is types.ModuleType or issubclass(cls, _RemoteClass):
        return stand_in.__dict__.get("_piactors_reach")  # type: ignore[no-any-return]
    return None


class _Mark:
    """What is behind a function, and of which: `functools.wraps` copies this to others."""

    __slots__ = ("function", "reach")

    def __init__(self, reach: ThingReach, function: Any) -> None:
        self.reach, self.function = reach, weakref.ref(function)


def _of_method(thing: Any, name: str, facts: Facts) -> ThingReach:
    reach: ThingReach = object.__getattribute__(thing, "_piactors_reach")
    return reach.child(name, facts, thing)


def function(reach: ThingReach) -> Callable[..., Any]:
    """Return a function with the name, the signature, and the attributes of another one."""
    uses = {
        "_piactors_use": reach.use,
        "_piactors_use_async": reach.use_async,
        "_piactors_driven": reach.driven,
    }
    found = functions.defined(reach.facts, "", uses)
    found._piactors_mark = _Mark(reach, found)
    return found  # type: ignore[no-any-return]


def unbound(name: str, facts: Facts) -> Any:
    """Return what stands for a method of things of one class, to be bound to one of them."""

    def use(thing: Any, operation: str, args: Any, kwargs: Any) -> Any:
        return _of_method(thing, name, facts).use(operation, args, kwargs)

    def use_async(thing: Any, operation: str, args: Any, kwargs: Any) -> Any:
        return _of_method(thing, name, facts).use_async(operation, args, kwargs)

    def driven(thing: Any, remote: Any) -> Any:
        return _of_method(thing, name, facts).driven(remote)

    uses = {"_piactors_use": use, "_piactors_use_async": use_async, "_piactors_driven": driven}
    found = functions.defined(facts, "_piactors_self", uses)
    found._piactors_member = name, facts
    return found


def _module(reach: ThingReach) -> types.ModuleType:
    facts = reach.facts
    module = types.ModuleType("piactors_isolated_" + facts["name"].replace(".", "_"), facts.get("doc"))
    module.__dict__["_piactors_reach"] = reach
    for name, member in facts["members"].items():
        if member is not None:
            setattr(module, name, function(reach.child(name, member, None)))

    def other(name: str) -> Any:
        if name.startswith("_") or name not in facts["members"]:
            raise AttributeError("module {!r} has no attribute {!r}".format(module.__name__, name))
        return reach.use("get", (name,))

    module.__dict__["__getattr__"] = other
    module.__dict__["__dir__"] = lambda: sorted(facts["members"])
    return module


class _Shield:
    """Comes before the classes that a stand-in passes for: what they do to those that derive from them is not done."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Do nothing."""


class _RemoteClass(type):
    """The class of stand-ins for classes: what is done to them is done to the class itself.

    The classes of this process that the other one is derived from are among those of a stand-in, so that it passes for
    a subclass of them; but it is not made as one, which would run code of theirs.
    """

    def __new__(cls, name: str, bases: Tuple[type, ...], body: Dict[str, Any]) -> Any:
        if "_piactors_reach" not in body:
            text = "{} derives from a class of another process, which nothing can be derived from here"
            raise TypeError(text.format(name))
        return super().__new__(cls, name, bases, body)

    def mro(cls) -> List[type]:
        found: List[type] = [cls, _Shield] if cls.__dict__.get("_piactors_bases") else [cls]
        for base in (*cls.__dict__.get("_piactors_bases", ()), object):
            found += [one for one in base.__mro__ if one not in found and one is not object]
        return [*found, object]

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.__dict__["_piactors_reach"].use("call", args, kwargs)

    def __getattr__(cls, name: str) -> Any:
        reach = cls.__dict__.get("_piactors_reach")
        if name.startswith("_") or reach is None:
            raise AttributeError(name)
        return reach.use("get", (name,))

    def __setattr__(cls, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            cls.__dict__["_piactors_reach"].use("set", (name, value))

    def __instancecheck__(cls, instance: Any) -> bool:
        return cls.__subclasscheck__(instance if reach_of(instance) is not None else type(instance))

    def __subclasscheck__(cls, other: Any) -> bool:
        reach, own = reach_of(other), cls.__dict__["_piactors_reach"]
        if reach is None or reach.side is not own.side:
            return own.facts["class"] in getattr(other, "_piactors_classes", ())
        classes = (reach.facts.get("class"), *reach.facts.get("bases", ()))
        return own.facts["class"] in map(list, filter(None, classes))


class _ClassAttribute:
    """One attribute of a class of another process, which comes before that of a base of this one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any) -> Any:
        return owner.__dict__["_piactors_reach"].use("get", (self._name,))


def _class(reach: ThingReach) -> Any:
    facts, name = reach.facts, reach.facts["name"].rpartition(".")[2]
    bases = tuple(filter(None, (reach.side.class_here(*one) for one in facts.get("bases", ()))))
    body: Dict[str, Any] = {"_piactors_reach": reach, "_piactors_bases": bases, "__module__": "piactors_isolated"}
    for member, told in facts["members"].items():
        known = None if told is None else staticmethod(function(reach.child(member, told, None)))
        body[member] = known or _ClassAttribute(member)
    body["__doc__"] = facts.get("doc") or None
    if facts.get("parameters") is not None:
        body["__signature__"] = functions.shown(facts["parameters"])
    try:
        return _RemoteClass(name, (), body)
    except TypeError:  # C classes of which nothing can be derived
        return _RemoteClass(name, (), {**body, "_piactors_bases": ()})


class Thing:
    """An object of another process."""

    __slots__ = ("__weakref__", "_piactors_reach")

    def __init__(self, reach: ThingReach) -> None:
        object.__setattr__(self, "_piactors_reach", reach)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError("{!r} of what is lent is not passed on".format(name))
        reach = object.__getattribute__(self, "_piactors_reach")
        return reach.side.attribute(self, reach, name)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__getattribute__(self, "_piactors_reach").use("set", (name, value))

    def __delattr__(self, name: str) -> None:
        object.__getattribute__(self, "_piactors_reach").use("del", (name,))

    def __dir__(self) -> Any:
        reach = object.__getattribute__(self, "_piactors_reach")
        return sorted(reach.facts.get("members") or reach.use("dir"))

    def __copy__(self) -> Any:
        return object.__getattribute__(self, "_piactors_reach").use("copy")

    def __deepcopy__(self, memo: Any) -> Any:
        return object.__getattribute__(self, "_piactors_reach").use("deepcopy")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("what is lent by another process cannot be pickled")

    def __repr__(self) -> str:
        return str(object.__getattribute__(self, "_piactors_reach").use("__repr__"))

    def __str__(self) -> str:
        return str(object.__getattribute__(self, "_piactors_reach").use("__str__"))

    @property
    def __class__(self) -> Any:
        reach = object.__getattribute__(self, "_piactors_reach")
        classes = (reach.facts["class"], *reach.facts.get("bases", ()))
        return next(filter(None, (reach.side.class_here(*one) for one in classes)), type(self))

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError("the class of what is lent cannot be changed")


class Methods:
    """The methods of things of another process, by their classes: what is known of them costs no question."""

    def __init__(self) -> None:
        self._known: Dict[Tuple[str, str, str], Any] = {}

    def attribute(self, thing: Any, reach: ThingReach, name: str) -> Any:
        """Return an attribute of a thing."""
        key = (*reach.facts["class"], name)
        found = self._known.get(key)
        if found is None:
            found = reach.use("get", (name,))
            if type(found) is not Method:
                return found
            found = self._known[key] = unbound(name, found.facts)
        return types.MethodType(found, thing)

    def learn(self, methods: List[Tuple[str, str, str, Facts]]) -> None:
        """These are methods of classes of the other process: module and name of the class, name, and facts."""
        for module, qualname, name, facts in methods:
            self._known.setdefault((module, qualname, name), unbound(name, facts))


class Method:
    """An attribute of a thing of another process is a method."""

    __slots__ = ("facts",)

    def __init__(self, facts: Facts) -> None:
        self.facts = facts


@functools.lru_cache(maxsize=None)
def _special_method(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return object.__getattribute__(self, "_piactors_reach").use(name, args, kwargs)

    def awaited(self: Any, *args: Any, **kwargs: Any) -> Any:
        return object.__getattribute__(self, "_piactors_reach").use_async(name, args, kwargs)

    def awaits(self: Any) -> Any:
        return object.__getattribute__(self, "_piactors_reach").use_async("await").__await__()

    found: Any = awaits if name == "__await__" else awaited if name in ASYNC else method
    found.__name__ = found.__qualname__ = name
    return found


_classes: Dict[Tuple[str, ...], type] = {}


def _thing_class(facts: Facts) -> Any:
    """Return the class of what stands for objects with these special methods."""
    special, members = tuple(facts["special"]), facts.get("members")
    found = _classes.get(special) if members is None else None
    if found is None:
        body: Dict[str, Any] = {name: _special_method(name) for name in special}
        if "__eq__" in body and "__hash__" not in body:
            body["__hash__"] = None
        # What looks for methods without asking for them, as pluggy does, finds them in the class.
        body.update((name, unbound(name, told)) for name, told in (members or {}).items() if told is not None)
        found = type("Thing", (Thing,), {"__slots__": (), **body})
        if members is None:
            _classes[special] = found
    return found
