"""What stands, in one process, for things of another one: functions, classes, modules, objects.

It runs on Python 3.8 and newer, on both sides: in the host, for things of a plugin, and in the plugin's isolate, for
those of the application.  A stand-in has the name, the signature, and the special methods of what it stands for; what
is done to it is done there.
"""

from __future__ import annotations

import functools
import inspect
import keyword
import types
from typing import Any, Callable, Dict, List, Optional, Tuple

SIMPLE = (type(None), bool, int, float, str, bytes)
MOST_NAMES, MOST_TEXT = 10_000, 10_000
_LONGEST_DOC = 2000

SYNC = frozenset(
    """__len__ __getitem__ __setitem__ __delitem__ __iter__ __next__ __contains__ __reversed__ __call__ __enter__ __exit__
    __str__ __repr__ __bytes__ __int__ __float__ __complex__ __index__ __bool__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__
    __hash__ __add__ __radd__ __iadd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __floordiv__ __mod__
    __rmod__ __pow__ __neg__ __pos__ __abs__ __invert__ __and__ __rand__ __or__ __ror__ __xor__ __lshift__ __rshift__
    __matmul__ __divmod__ __round__ __format__ __fspath__ __html__ __html_format__ __aiter__ __length_hint__ __dir__
    __trunc__ __floor__ __ceil__ __get__ __set__ __missing__""".split()
)
ASYNC = frozenset(("__await__", "__anext__", "__aenter__", "__aexit__"))
SPECIAL = SYNC | ASYNC
"""The special methods that are passed on."""
_OF_ALL = frozenset(("__str__", "__repr__", "__eq__", "__ne__", "__hash__", "__format__", "__dir__"))
_ORDERED = frozenset(("__lt__", "__le__", "__gt__", "__ge__"))

Facts = Dict[str, Any]


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


class Reach:
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
        return driven(remote)

    def child(self, name: str, facts: Facts, of: Any) -> Reach:
        """Return how an attribute of it is reached."""
        return type(self)(self.side, self.anchor, (*self.path, name), facts, of)


# What is told of a thing


def facts_of(thing: Any, names: bool = False) -> Facts:
    """Return what the other side is to know of a thing: plain data.

    Args:
        names: whether its public attributes are told, too.
    """
    if inspect.ismodule(thing):
        return {"kind": "module", "name": thing.__name__, "doc": _doc(thing), "members": _members(thing)}
    if isinstance(thing, type):
        return {**_of_class(thing), "doc": _doc(thing), "members": _members(thing), "bases": _bases(thing)}
    if inspect.isroutine(thing) or isinstance(thing, functools.partial):
        return _of_function(thing)
    if inspect.iscoroutine(thing):
        return {"kind": "awaitable", "name": getattr(thing, "__qualname__", "coroutine")}
    found = {"kind": "object", "name": type(thing).__qualname__, **_special(type(thing))}
    if names:
        found["members"] = _members(thing)
    return found


def _of_class(thing: type) -> Facts:
    return {"kind": "class", "name": thing.__qualname__, "class": [thing.__module__, thing.__qualname__]}


@functools.lru_cache(maxsize=1000)
def _special(cls: type) -> Facts:
    defined = {name for one in cls.__mro__ if one is not object for name in vars(one)}
    own = [name for name in SPECIAL if name in defined and getattr(cls, name, None) is not None]
    bases = [[one.__module__, one.__qualname__] for one in cls.__mro__[:-1][:20]]
    return {"special": sorted(own), "class": bases[0] if bases else ["builtins", "object"], "bases": bases[1:]}


def _bases(cls: type) -> List[List[str]]:
    return [[one.__module__, one.__qualname__] for one in cls.__mro__[1:-1]][:20]


def _of_function(function: Any) -> Facts:
    bare = function.func if isinstance(function, functools.partial) else function
    kind = "function"
    if inspect.iscoroutinefunction(function):
        kind = "coroutine function"
    elif inspect.isgeneratorfunction(function):
        kind = "generator function"
    name = getattr(bare, "__name__", "function")
    marks = {
        key: value
        for key, value in getattr(function, "__dict__", {}).items()
        if isinstance(key, str) and _is_plain(value)
    }
    return {"kind": kind, "name": name, "doc": _doc(bare), "parameters": _parameters(function), "marks": marks}


def _parameters(function: Any) -> Optional[List[List[Any]]]:
    try:
        found = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # of one that is written in C
        return None
    described = []
    for one in found:
        has_default = one.default is not one.empty
        is_simple = has_default and isinstance(one.default, SIMPLE) and type(one.default) in SIMPLE
        described.append(
            [one.name, int(one.kind), int(has_default), int(is_simple), one.default if is_simple else None]
        )
    return described


def _doc(thing: Any) -> str:
    found = getattr(thing, "__doc__", None)
    return found[:_LONGEST_DOC] if isinstance(found, str) else ""


def _is_plain(value: Any, depth: int = 0) -> bool:
    if depth > 4:
        return False
    if type(value) in (list, tuple):
        return all(_is_plain(one, depth + 1) for one in value)
    if type(value) is dict:
        return all(isinstance(key, str) and _is_plain(one, depth + 1) for key, one in value.items())
    return type(value) in SIMPLE


def _members(thing: Any) -> Dict[str, Optional[Facts]]:
    """Return the public attributes by name, with the facts of those that are functions."""
    found: Dict[str, Optional[Facts]] = {}
    for name in dir(thing)[:MOST_NAMES]:
        if name.startswith("_"):
            continue
        static = inspect.getattr_static(thing, name, None)
        if isinstance(
            static, (property, functools.cached_property if hasattr(functools, "cached_property") else property)
        ):
            found[name] = None
            continue
        try:
            value = getattr(thing, name)
        except Exception:
            continue
        found[name] = _of_function(value) if inspect.isroutine(value) else None
    return found


# What stands for it


class Absent:
    """Stands for a default that is known where the function is: it is left out of the call."""

    def __repr__(self) -> str:
        return "..."


_ABSENT = Absent()


def make(reach: Reach) -> Any:
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


def reach_of(stand_in: Any) -> Optional[Reach]:
    """Return what is behind a stand-in; None if it is not one."""
    cls: Any = type(stand_in)
    if issubclass(cls, Thing):
        return object.__getattribute__(stand_in, "_piactors_reach")  # type: ignore[no-any-return]
    if cls is types.MethodType:
        member = getattr(stand_in.__func__, "_piactors_member", None)
        return None if member is None else _of_method(stand_in.__self__, *member)
    if cls in (types.FunctionType, types.ModuleType) or issubclass(cls, _RemoteClass):
        return stand_in.__dict__.get("_piactors_reach")  # type: ignore[no-any-return]
    return None


def _of_method(thing: Any, name: str, facts: Facts) -> Reach:
    reach: Reach = object.__getattribute__(thing, "_piactors_reach")
    return reach.child(name, facts, thing)


def function(reach: Reach) -> Callable[..., Any]:
    """Return a function with the name, the signature, and the attributes of another one."""
    uses = {"_use": reach.use, "_use_async": reach.use_async, "_driven": reach.driven}
    found = _defined(reach.facts, "", uses)
    found._piactors_reach = reach
    return found  # type: ignore[no-any-return]


def unbound(name: str, facts: Facts) -> Any:
    """Return what stands for a method of things of one class, to be bound to one of them."""

    def use(thing: Any, operation: str, args: Any, kwargs: Any) -> Any:
        return _of_method(thing, name, facts).use(operation, args, kwargs)

    def use_async(thing: Any, operation: str, args: Any, kwargs: Any) -> Any:
        return _of_method(thing, name, facts).use_async(operation, args, kwargs)

    found = _defined(facts, "_piactors_self", {"_use": use, "_use_async": use_async, "_driven": driven})
    found._piactors_member = name, facts
    return found


_BODIES = {
    "function": "def {}({}):\n    return _use({}'call', {}, {})\n",
    "coroutine function": "async def {}({}):\n    return await _use_async({}'call', {}, {})\n",
    "generator function": "def {}({}):\n    return (yield from _driven(_use({}'call', {}, {})))\n",
}


def _defined(facts: Facts, first: str, scope: Dict[str, Any]) -> Any:
    """Return a function that is described.

    Args:
        first: a parameter that comes before the others, and is given on to what it uses; "" for none.
        scope: what it uses.
    """
    name = facts["name"] if _is_name(facts["name"]) else "function"
    declared, args, kwargs, defaults = _signature(facts.get("parameters"))
    scope.update(defaults)
    declared = ", ".join(one for one in (first, declared) if one)
    source = _BODIES[facts["kind"]].format(name, declared, first and first + ", ", args, kwargs)
    exec(_compiled(source, "<stand-in of {}>".format(name)), scope)
    found: Any = scope.pop(name)  # it would hold itself by its globals
    found.__dict__.update(facts.get("marks", {}))
    found.__doc__ = facts.get("doc") or None
    found.__module__ = "piactors_isolated"
    return found


@functools.lru_cache(maxsize=1000)
def _compiled(source: str, name: str) -> types.CodeType:
    return compile(source, name, "exec")  # type: ignore[no-any-return]


def _signature(parameters: Optional[List[List[Any]]]) -> Tuple[str, str, str, Dict[str, Any]]:
    """Return the declaration of parameters, the arguments of the call that is made with them, and its defaults."""
    if parameters is None:
        return "*args, **kwargs", "args", "kwargs", {}
    declared, given, named, more, many = [], [], [], "", ""
    scope: Dict[str, Any] = {"_given": _given, "_named": _named}
    has_star = False
    for number, (name, kind, has_default, is_simple, default) in enumerate(parameters):
        if kind == 2:
            declared.append("*" + name)
            has_star, more = True, " + tuple({})".format(name)
            continue
        if kind == 4:
            declared.append("**" + name)
            many = name
            continue
        if kind == 3 and not has_star:
            declared.append("*")
            has_star = True
        if has_default:
            scope["_default_{}".format(number)] = default if is_simple else _ABSENT
        declared.append("{}=_default_{}".format(name, number) if has_default else name)
        (named if kind == 3 else given).append((name, bool(has_default and not is_simple)))
        if kind == 0 and (number + 1 == len(parameters) or parameters[number + 1][1] != 0):
            declared.append("/")
    args = "_given(({}))".format("".join("({!r}, {}), ".format(one, one) for one, _ in given))
    if not any(hidden for _, hidden in given):
        args = "({})".format("".join(one + ", " for one, _ in given))
    pairs = "".join("{!r}: {}, ".format(one, one) for one, _ in named)
    kwargs = "_named({{{}}}, {})".format(pairs, many or "{}")
    if any(hidden for _, hidden in given):
        pairs = "".join("{!r}: {}, ".format(one, one) for one, _ in given)
        kwargs = "_named({}, {}, {{{}}})".format(
            "{" + "".join("{!r}: {}, ".format(o, o) for o, _ in named) + "}", many or "{}", pairs
        )
    return ", ".join(declared), args + more, kwargs, scope


def _given(pairs: Tuple[Tuple[str, Any], ...]) -> Tuple[Any, ...]:
    """Return what goes by position: all before the first one that is left out."""
    found = []
    for _, value in pairs:
        if value is _ABSENT:
            break
        found.append(value)
    return tuple(found)


def _named(named: Dict[str, Any], more: Dict[str, Any], given: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """Return what goes by name: with what comes after one that is left out."""
    found = {name: value for name, value in named.items() if value is not _ABSENT}
    is_after = False
    for name, value in (given or {}).items():
        if value is _ABSENT:
            is_after = True
        elif is_after:
            found[name] = value
    found.update(more)
    return found


def driven(remote: Any) -> Any:
    """Run a generator of another process as if it were here."""
    try:
        value = next(remote)
        while True:
            try:
                sent = yield value
            except GeneratorExit:
                remote.close()
                raise
            except BaseException as error:
                value = remote.throw(error)
            else:
                value = remote.send(sent)
    except StopIteration as end:
        return end.value


def _module(reach: Reach) -> types.ModuleType:
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


class _RemoteClass(type):
    """The class of stand-ins for classes: what is done to them is done to the class itself."""

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
        return cls in type(instance).__mro__ or instance.__class__ is cls


class _ClassAttribute:
    """One attribute of a class of another process, which comes before that of a base of this one."""

    def __init__(self, name: str, facts: Optional[Facts]) -> None:
        self._name, self._facts = name, facts

    def __get__(self, instance: Any, owner: Any) -> Any:
        reach = owner.__dict__["_piactors_reach"]
        if self._facts is not None:
            return function(reach.child(self._name, self._facts, owner))
        return reach.use("get", (self._name,))


def _class(reach: Reach) -> Any:
    facts = reach.facts
    base = next(filter(None, (reach.side.class_here(*one) for one in facts.get("bases", ()))), object)
    meta: Any = _RemoteClass if type(base) is type else type("_RemoteClass", (_RemoteClass, type(base)), {})
    body: Dict[str, Any] = {name: _ClassAttribute(name, member) for name, member in facts["members"].items()}
    body.update(_piactors_reach=reach, __doc__=facts.get("doc"), __module__="piactors_isolated")
    try:
        return meta(facts["name"].rpartition(".")[2], (base,), body)
    except TypeError:  # a base that nothing may be derived from, or in another way
        return _RemoteClass(facts["name"].rpartition(".")[2], (), body)


class Thing:
    """An object of another process."""

    __slots__ = ("__weakref__", "_piactors_reach")

    def __init__(self, reach: Reach) -> None:
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
        return sorted(reach.facts["members"] if "members" in reach.facts else reach.use("__dir__"))

    def __repr__(self) -> str:
        return str(object.__getattribute__(self, "_piactors_reach").use("__repr__"))

    def __str__(self) -> str:
        return str(object.__getattribute__(self, "_piactors_reach").use("__str__"))

    @property
    def __class__(self) -> Any:
        reach = object.__getattribute__(self, "_piactors_reach")
        return reach.side.class_here(*reach.facts["class"]) or type(self)

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError("the class of what is lent cannot be changed")


class Methods:
    """The methods of things of another process, by their classes: what is known of them costs no question."""

    def __init__(self) -> None:
        self._known: Dict[Tuple[str, str, str], Any] = {}

    def attribute(self, thing: Any, reach: Reach, name: str) -> Any:
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
    if name in ASYNC:

        def method(self: Any, *args: Any) -> Any:
            reach = object.__getattribute__(self, "_piactors_reach")
            found = reach.use_async("await" if name == "__await__" else name, args)
            return found.__await__() if name == "__await__" else found
    else:

        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            reach = object.__getattribute__(self, "_piactors_reach")
            return reach.use(name, args, kwargs)

    method.__name__ = method.__qualname__ = name
    return method


_classes: Dict[Tuple[str, ...], type] = {}


def _thing_class(facts: Facts) -> Any:
    """Return the class of what stands for objects with these special methods."""
    special = tuple(name for name in facts["special"] if name not in ("__get__", "__set__"))
    found = _classes.get(special)
    if found is None:
        body: Dict[str, Any] = {name: _special_method(name) for name in special if name not in ("__dir__",)}
        if "__eq__" in body and "__hash__" not in body:
            body["__hash__"] = None
        found = _classes[special] = type("Thing", (Thing,), {"__slots__": (), **body})
    return found


def _is_name(text: Any) -> bool:
    return isinstance(text, str) and text.isidentifier() and not keyword.iskeyword(text)


# What the other side says is not trusted


def checked(facts: Any) -> Facts:
    """Return facts if they can be some.

    Raises:
        ValueError: if they cannot.
    """
    if type(facts) is not dict or not all(type(key) is str for key in facts):
        raise ValueError("what is told of a thing is not a description")
    kind, name = facts.get("kind"), facts.get("name")
    if kind not in _KINDS or type(name) is not str or len(name) > MOST_TEXT:
        raise ValueError("what is told of a thing is of no kind that there is")
    doc = facts.get("doc", "")
    if type(doc) is not str or len(doc) > MOST_TEXT:
        raise ValueError("what is told of a thing is too long")
    if kind in _FUNCTIONS:
        _check_function(facts)
    if kind in ("object", "class"):
        _check_classes([facts.get("class")])
        _check_classes(facts.get("bases", []))
    special = facts.get("special", [])
    if type(special) is not list or not all(type(one) is str and one in SPECIAL for one in special):
        raise ValueError("a thing has special methods that are not passed on")
    if kind in ("module", "class") or "members" in facts:
        _check_members(facts.get("members"))
    return facts


_FUNCTIONS = ("function", "coroutine function", "generator function")
_KINDS = (*_FUNCTIONS, "awaitable", "object", "class", "module")


def _check_function(facts: Facts) -> None:
    parameters, marks = facts.get("parameters"), facts.get("marks", {})
    if type(marks) is not dict or not all(_is_name(key) and _is_plain(one) for key, one in marks.items()):
        raise ValueError("the attributes of a function are not simple values")
    if any(key.startswith("__") or key.startswith("_piactors") for key in marks):
        raise ValueError("the attributes of a function are not its own")
    if parameters is None:
        return
    if type(parameters) is not list or len(parameters) > 255:
        raise ValueError("the parameters of a function are not a list")
    names, last, default = set(), 0, False
    for one in parameters:
        if type(one) not in (list, tuple) or len(one) != 5:
            raise ValueError("a parameter of a function is not one")
        name, kind, has_default, is_simple, value = one
        if not _is_name(name) or name in names or name.startswith("_default_") or name in _RESERVED:
            raise ValueError("a parameter of a function has no name that it can have")
        if type(kind) is not int or not last <= kind <= 4 or (kind == last and kind in (2, 4)):
            raise ValueError("the parameters of a function are in no order that there is")
        if type(value) not in SIMPLE or (kind < 2 and default and not has_default):
            raise ValueError("a parameter of a function has a default that it cannot have")
        default = default or bool(has_default and kind < 2)
        last = kind
        names.add(name)


_RESERVED = ("_use", "_use_async", "_driven", "_given", "_named", "_piactors_self")


def _check_classes(found: Any) -> None:
    if type(found) is not list or len(found) > 20:
        raise ValueError("the classes of a thing are not a list")
    for one in found:
        if (
            type(one) not in (list, tuple)
            or len(one) != 2
            or not all(type(part) is str and len(part) < 1000 for part in one)
        ):
            raise ValueError("the class of a thing is not named")


def _check_members(members: Any) -> None:
    if type(members) is not dict or len(members) > MOST_NAMES:
        raise ValueError("the attributes of a thing are not told by name")
    for name, member in members.items():
        if not _is_name(name) or name.startswith("_"):
            raise ValueError("an attribute of a thing has no name that it can have")
        if member is not None and checked(member)["kind"] not in _FUNCTIONS:
            raise ValueError("an attribute of a thing is told of as no function can be")
