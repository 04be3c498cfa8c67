"""What cannot be sent, why, and where in a message it is: for both sides.

Pickle would copy much of this, or an extension of it would: an open file as another file, a lock that is locked
forever.  What must not be copied is refused by its type, and its place is found by taking the message apart
once more.
"""

from __future__ import annotations

import collections
import pickle
import types
import weakref
from typing import Any, Callable, Dict, List, Optional, Tuple

_LOCK = (
    "it is useful within one process only; make it where it is used, or use one of multiprocess.get_context('spawn')"
)
_QUEUE = "no other process sees what is put into it; use a multiprocess.Queue, or call a method of an actor instead"
_FILE = "open it where it is used, and send its path or its content"
_IN_HOST = "it belongs to the process that made it; send plain values, and let the host pass on what comes back"
_RUNNING = "it is in the middle of running in this process; send what makes it"
_YIELDING = (
    "it is in the middle of running in this process; send what makes it, a list of what it yields, or "
    "piactors.stream(it)"
)
_LOOP = "it belongs to the event loop of one process"
_FRAME = "it belongs to the running program"

_HINTS: Dict[str, Tuple[str, str]] = {
    "_thread.lock": ("a lock", _LOCK),
    "_thread.RLock": ("a lock", _LOCK),
    "threading._RLock": ("a lock", _LOCK),
    "threading.Condition": ("a condition", _LOCK),
    "threading.Event": ("an event", _LOCK),
    "threading.Semaphore": ("a semaphore", _LOCK),
    "threading.Barrier": ("a barrier", _LOCK),
    "threading.Thread": ("a thread", "start it in the isolate"),
    "_thread._local": ("a threading.local", "make it where it is used"),
    "queue.Queue": ("a queue of threads", _QUEUE),
    "_queue.SimpleQueue": ("a queue of threads", _QUEUE),
    "queue._PySimpleQueue": ("a queue of threads", _QUEUE),
    "asyncio.mixins._LoopBoundMixin": ("an object of asyncio", _LOOP),
    "asyncio.locks.Event": ("an object of asyncio", _LOOP),
    "asyncio.queues.Queue": ("an object of asyncio", _LOOP),
    "asyncio.events.AbstractEventLoop": ("an event loop", _LOOP),
    "asyncio.events.Handle": ("an object of asyncio", _LOOP),
    "_asyncio.Future": ("a future of asyncio", _LOOP),
    "asyncio.futures.Future": ("a future of asyncio", _LOOP),
    "concurrent.futures._base.Executor": ("an executor", _IN_HOST),
    "concurrent.futures._base.Future": ("a future", _IN_HOST),
    "_io._IOBase": ("an open file", _FILE),
    "tempfile._TemporaryFileWrapper": ("a temporary file", _FILE),
    "tempfile.SpooledTemporaryFile": ("a temporary file", _FILE),
    "tempfile.TemporaryDirectory": ("a temporary folder", "send its name"),
    "weakref.finalize": ("a finaliser", _FRAME),
    "weakref.ReferenceType": ("a weak reference", "send what it refers to"),
    "socket.socket": ("a socket", "send what it is connected to, and connect in the isolate"),
    "_socket.socket": ("a socket", "send what it is connected to, and connect in the isolate"),
    "subprocess.Popen": ("a process", "start it in the isolate"),
    "builtins.generator": ("a generator", _YIELDING),
    "builtins.async_generator": ("a generator", _YIELDING),
    "builtins.coroutine": ("a coroutine", _RUNNING),
    "builtins.frame": ("a frame", _FRAME),
    "builtins.traceback": ("a traceback", _FRAME),
    "pykka._ref.ActorRef": ("the ref of an actor in this process", _IN_HOST),
    "pykka._proxy.ActorProxy": ("the proxy of an actor in this process", _IN_HOST),
    "pykka._proxy.CallableProxy": ("the proxy of an actor in this process", _IN_HOST),
    "pykka._actor.Actor": ("an actor", _IN_HOST),
    "pykka._future.Future": ("a future", _IN_HOST),
}
"""Types by name, since none of them need be imported: what to call an instance, and what to do instead."""

_ALLOWED = frozenset({"_io.BytesIO", "_io.StringIO", "piactors.future.Future"})
"""Types below one of the above that have a way of their own to be sent."""

_CONTAINERS = (list, dict, set, bytearray, collections.deque)
_CHANGING = frozenset(
    (
        "append",
        "appendleft",
        "extend",
        "extendleft",
        "insert",
        "remove",
        "pop",
        "popleft",
        "popitem",
        "clear",
        "add",
        "discard",
        "update",
        "setdefault",
        "sort",
        "reverse",
        "rotate",
        "difference_update",
        "intersection_update",
        "symmetric_difference_update",
        "__setitem__",
        "__delitem__",
        "__iadd__",
        "__ior__",
    )
)
"""Methods of containers that would work on a copy: nobody sees what is appended to that."""

_WITH_WAYS = frozenset(("multiprocessing", "multiprocess", "ctypes", "_ctypes"))
"""Packages whose things may be handed over, which is asked of each."""

fine: Dict[int, None] = {}
"""Types, by identity, whose instances are neither refused nor definitions; determined once for each."""
_refused: Dict[int, Tuple[str, str]] = {}
_definitions: Dict[int, bool] = {}
_alive: Dict[int, Any] = {}
"""Weak references to the types in these tables, which forget them when they are gone."""


class Refused(TypeError):
    """Something that cannot be sent; `culprit` is it."""

    _pihost_not_sendable = True

    def __init__(self, text: str, culprit: Any = None) -> None:
        super().__init__(text)
        self.culprit = culprit


def is_definition(kind: type) -> bool:
    """Whether instances of a type may be definitions: classes, functions, and a few more that are known by name."""
    found = _definitions.get(id(kind))
    if found is None:
        found = kind is types.FunctionType or issubclass(kind, type) or _name(kind) in THINGS
        _remember(_definitions, kind, found)
    return found


def _remember(table: Dict[int, Any], kind: type, found: Any) -> None:
    number = id(kind)
    if number not in _alive:

        def forget(_: Any) -> None:
            for known in (fine, _refused, _definitions, _alive):
                known.pop(number, None)

        _alive[number] = weakref.ref(kind, forget)
    table[number] = found


THINGS = frozenset(
    (
        "typing.TypeVar",
        "typing.ParamSpec",
        "typing.TypeVarTuple",
        "typing.NewType",
        "typing.TypeAliasType",
        "functools._lru_cache_wrapper",
        "_contextvars.ContextVar",
    )
)
"""Types of what is known by its name in a module and is neither a class nor a function."""


def check(obj: Any, kind: type, *, remembers: bool = True) -> None:
    """Refuse what cannot be sent.

    Args:
        remembers: whether instances of the type need never be looked at again if this one can be sent: nothing else is
            done about them, such as to lend them.

    Raises:
        Refused: with what it is, and what to do.
    """
    if kind in (types.BuiltinFunctionType, types.MethodWrapperType):
        check_builtin(obj)
        return
    found = _refused.get(id(kind))
    if found is None:
        found = _hint_of(kind)
        if found is None:
            if remembers and kind.__module__.partition(".")[0] not in _WITH_WAYS:
                _remember(fine, kind, None)
            return
        _remember(_refused, kind, found)
    what, instead = found
    raise Refused("{} ({}) cannot be sent: {}".format(what, _shown(obj), instead), obj)


def check_builtin(function: Any) -> None:
    """Refuse the method of a container.

    Raises:
        Refused: if it is one.
    """
    if function.__name__ in _CHANGING and isinstance(function.__self__, _CONTAINERS):
        raise Refused(
            "a method of a {} ({}) cannot be sent: it would work on a copy; let the host call it with what comes "
            "back".format(type(function.__self__).__name__, _shown(function)),
            function,
        )


def _hint_of(kind: type) -> Optional[Tuple[str, str]]:
    for cls in kind.__mro__:
        name = _name(cls)
        if name in _HINTS:
            return _HINTS[name]
        if name in _ALLOWED or any(type(vars(cls).get(way)) is types.FunctionType for way in _OF_PICKLING):
            return None  # it says itself how it is to be sent
    return None


_OF_PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__")


def _name(kind: type) -> str:
    return "{}.{}".format(kind.__module__, kind.__qualname__)


def _shown(obj: Any) -> str:
    try:
        text = repr(obj)
    except Exception:
        text = "a {}".format(type(obj).__name__)
    return text if len(text) <= 120 else text[:117] + "..."


# Where it is


class _Tracer(pickle._Pickler):
    """Pickles in Python, and knows at each moment which things it is within."""

    def __init__(self, override: Callable[[Any], Any]) -> None:
        super().__init__(_Nowhere(), 5)
        self.stack: List[Any] = []
        self._override = override

    def reducer_override(self, obj: Any) -> Any:
        return self._override(obj)

    def persistent_id(self, obj: Any) -> Any:
        kind = type(obj)
        return "" if kind in _SENT_SOMEHOW or (is_definition(kind) and not _is_local(obj)) else None

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        self.stack.append(obj)
        super().save(obj, save_persistent_id)  # type: ignore[misc]
        self.stack.pop()  # and not where it fails: then the stack tells where


_SENT_SOMEHOW = frozenset(
    (
        types.ModuleType,
        types.CodeType,
        types.MappingProxyType,
        property,
        staticmethod,
        classmethod,
        memoryview,
        weakref.WeakSet,
        weakref.WeakKeyDictionary,
        weakref.WeakValueDictionary,
        types.CellType,
    )
)
"""Types that plain pickle refuses, and the real picklers have a way for."""


class _Nowhere:
    def write(self, _: Any) -> None:
        """Keep nothing."""


def trace(obj: Any, override: Callable[[Any], Any]) -> Tuple[List[Any], Optional[BaseException]]:
    """Pickle once more; return what it was within when it failed, and the error."""
    tracer = _Tracer(override)
    try:
        tracer.dump(obj)
    except Exception as error:
        return tracer.stack, error
    return [], None


def place_of(stack: List[Any]) -> str:
    """Return in words where the last thing of a stack is: the first thing of it is called by the caller."""
    steps: List[str] = []
    owner: Any = None
    for outer, inner in zip(stack, stack[1:]):
        if isinstance(outer, dict):
            steps.append(_step_in_dict(outer, inner, owner))
            owner = None
        elif isinstance(outer, (list, tuple)):
            if owner is None:
                steps.append("item {}".format(next((n for n, item in enumerate(outer) if item is inner), "?")))
            elif isinstance(inner, dict) or (isinstance(outer, tuple) and len(outer) == 2):
                continue  # the state of an object, with its slots
            owner = None
        elif isinstance(outer, (set, frozenset)):
            steps.append("an item")
        else:
            owner = outer.__qualname__ if isinstance(outer, types.FunctionType) else type(outer).__qualname__
    return " of ".join(reversed(steps))


def _step_in_dict(outer: Dict[Any, Any], inner: Any, owner: Optional[str]) -> str:
    key = next((key for key, value in outer.items() if value is inner), _NOTHING)
    if key is _NOTHING:
        return "a key"
    if owner is None or not isinstance(key, str):
        return "item {!r}".format(key) if len(repr(key)) < 80 else "an item"
    return "{} of `{}`".format(key if "`" in key else "attribute `{}`".format(key), owner)


_NOTHING = object()


def _is_local(obj: Any) -> bool:
    """Whether something is a closure or a lambda, which travels within a message and not by its name."""
    return type(obj) is types.FunctionType and "<" in obj.__qualname__


def named_parts(function: types.FunctionType) -> List[Tuple[str, Any]]:
    """Return the parts of a function that may hold anything, with what to call each."""
    code, defaults = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
    found = [("default of argument `{}`".format(name), value) for name, value in zip(names, defaults)]
    more = (function.__kwdefaults__ or {}).items()
    found += [("default of argument `{}`".format(name), value) for name, value in more]
    for name, cell in zip(code.co_freevars, function.__closure__ or ()):
        try:
            found.append(("variable `{}`".format(name), cell.cell_contents))
        except ValueError:
            continue
    return found + [("attribute `{}`".format(name), value) for name, value in function.__dict__.items()]


def explained(obj: Any, error: BaseException, whole: str) -> Refused:
    """Return an error that says what cannot be sent, and where in `obj`, which is called `whole`, it is."""

    def override(found: Any) -> Any:
        if _is_local(found):
            return str, (), dict(named_parts(found))
        check(found, type(found), remembers=False)
        return NotImplemented

    stack, again = trace(obj, override)
    if isinstance(error, Refused):
        stack = _up_to(stack, error.culprit)
    else:
        error = again or error
    return _worded(stack, error, whole)


def _up_to(stack: List[Any], culprit: Any) -> List[Any]:
    place = next((n for n in range(len(stack) - 1, -1, -1) if stack[n] is culprit), -1)
    return stack[: place + 1]


def _worded(stack: List[Any], error: BaseException, whole: str) -> Refused:
    """Return an error for what was found at the end of `stack`."""
    place = place_of(stack)
    where = "{} of {}".format(place, whole) if place and not place.startswith("attribute") else place
    if place.startswith("attribute"):
        where = "{} in {}".format(place, whole)
    text = str(error)
    if not isinstance(error, Refused):
        text = "{}: {}".format(type(error).__name__, error)
    return Refused("{}: {}".format(where or whole, text))
