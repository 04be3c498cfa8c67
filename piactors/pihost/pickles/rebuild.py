"""Makes functions, classes and what belongs to them again, from what the host's pickler took them apart into.

Each function here is named in pickles of the host.  What has state of its own is made in two steps, an
empty thing first and its content then, since definitions refer to each other in circles.
"""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import functools
import importlib
import marshal
import sys
import threading
import types
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

Place = Tuple[str, Any]
"""Whose globals a function has: ``("module", name)`` of a module of the host that cannot be imported here,
``("import", name)``, ``("either", name)`` of one that can perhaps, ``("none", name)`` if it uses nothing of its module,
or ``("own", Globals)``."""


class NotHere(TypeError):
    """What the host has sent cannot be made in this interpreter."""

    _pihost_not_sendable = True  # a mark, since an actor's isolate may hold two copies of this class


class Empty:
    """Stands for the content of an empty cell, and for an attribute that is not there."""


class Globals(dict):  # type: ignore[type-arg]
    """The globals of functions that belong to no module, as `exec` makes them; shared within one message."""


# Namespaces


_SCRIPTS = {"__main__", "__mp_main__"}
_by_value = {*_SCRIPTS}
"""Modules that live here by what the host sends of them."""


def namespace(name: str) -> Dict[str, Any]:
    """Return the namespace here of a module of the host that cannot be imported here; made the first time."""
    module = sys.modules.get(name)
    if module is None:
        module = sys.modules[name] = types.ModuleType(name)
        module.__dict__["__builtins__"] = builtins
        _by_value.add(name)
    return module.__dict__


def drop(name: str) -> None:
    """Let go of the namespace of a module that the host has let go of."""
    if name in _by_value - _SCRIPTS:
        _by_value.discard(name)
        sys.modules.pop(name, None)


def takes_values(name: str) -> bool:
    """Whether a module gets its variables from the host: not if it was imported here after all."""
    return name in _by_value


def module(name: str) -> types.ModuleType:
    """Return the module of `namespace`."""
    namespace(name)
    return sys.modules[name]


def imported_module(name: str) -> types.ModuleType:
    """Import a module and return it."""
    return importlib.import_module(name)


def own_globals(names: Dict[str, Any]) -> Globals:
    """Return globals for functions that belong to no module."""
    made = Globals(names)
    made["__builtins__"] = builtins
    return made


def _globals_of(place: Place) -> Dict[str, Any]:
    kind, found = place
    if kind == "module":
        return namespace(found)
    if kind == "own":
        own: Globals = found
        return own
    if kind == "either":
        try:
            return importlib.import_module(found).__dict__
        except ModuleNotFoundError:
            return namespace(found)
    module = sys.modules.get(found)
    if module is None and kind == "none":
        return {"__name__": found, "__builtins__": builtins}
    return importlib.import_module(found).__dict__


def imported(names: Sequence[str]) -> None:
    """Import submodules that code reaches through their packages."""
    for name in names:
        importlib.import_module(name)


# Functions


def code(tag: str, data: bytes, what: str) -> types.CodeType:
    """Return a code object.

    Raises:
        NotHere: if it was compiled for another version of Python.
    """
    mine = sys.implementation.cache_tag
    if tag != mine:
        raise NotHere(
            "the code of {} cannot be sent to this interpreter: it was compiled for {}, this is {}, and code travels "
            "between interpreters of the same minor version only; put it into a module that both sides can "
            "import, or name it as 'path/to/file.py:name'".format(what, tag, mine)
        )
    found: types.CodeType = marshal.loads(data)
    return found


def cell() -> Any:
    """Return an empty cell of a closure."""
    return types.CellType()


def set_cell(cell: Any, content: Tuple[Any]) -> None:
    """Fill a cell."""
    (cell.cell_contents,) = content


def function(place: Place, code: types.CodeType, name: str, cells: Any) -> types.FunctionType:
    """Return a function without its state; `cells` are those of its closure, or how many there are."""
    if not isinstance(cells, tuple):
        cells = tuple(types.CellType() for _ in range(cells or 0)) or None
    return types.FunctionType(code, _globals_of(place), name, None, cells)


def set_function(made: types.FunctionType, state: Dict[str, Any]) -> None:
    """Give a function its state."""
    imported(state.pop("imports", ()))
    made.__globals__.update(state.pop("globals", {}))
    contents = state.pop("contents", None)
    for cell, content in zip(made.__closure__ or (), contents or ()):
        if content is not Empty:
            cell.cell_contents = content
        elif _content(cell) is not Empty:
            del cell.cell_contents
    attributes = state.pop("attributes", {})
    made.__dict__.clear()
    made.__dict__.update(attributes)
    for name, value in state.items():
        setattr(made, name, value)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return Empty


# Classes


class ClassHead(NamedTuple):
    """What a class is made of before it has attributes.

    Attributes:
        namespace: what has to be there when it is made, such as its slots.
        bare: whether a base's `__init_subclass__` and the metaclass's own code are left out, since what they did in
            the host comes along.
    """

    metaclass: Any
    name: str
    bases: Tuple[type, ...]
    namespace: Dict[str, Any]
    bare: bool
    keywords: Dict[str, Any]


_making = threading.RLock()
_PLAIN_MODULES = ("builtins", "enum")
"""Modules of classes whose hooks do nothing."""


def new_class(head: ClassHead) -> Any:
    """Return a class without its attributes."""
    head = ClassHead(*head)
    names = dict(head.namespace)
    with _making:
        if not head.bare:
            try:
                return head.metaclass(head.name, head.bases, names, **head.keywords)
            except TypeError:
                pass  # its hooks want keywords, which a class does not keep
        with _WithoutHooks(head.bases):
            return _foreign_new(head.metaclass)(head.metaclass, head.name, head.bases, names)


class _WithoutHooks:
    """While it holds, `__init_subclass__` of these bases does nothing."""

    def __init__(self, bases: Tuple[type, ...]) -> None:
        self._found: List[Tuple[type, Any]] = []
        for cls in dict.fromkeys(cls for base in bases for cls in base.__mro__):
            hook = cls.__dict__.get("__init_subclass__")
            if hook is not None and cls.__module__ not in _PLAIN_MODULES:
                self._found.append((cls, hook))

    def __enter__(self) -> None:
        quiet = classmethod(lambda cls, **_: None)
        for cls, _ in self._found:
            type.__setattr__(cls, "__init_subclass__", quiet)

    def __exit__(self, *_: object) -> None:
        for cls, hook in self._found:
            type.__setattr__(cls, "__init_subclass__", hook)


def _foreign_new(metaclass: Any) -> Callable[..., Any]:
    """Return the `__new__` of `type` or `ABCMeta` that a metaclass of the script builds on."""
    for cls in metaclass.__mro__:
        found = cls.__dict__.get("__new__")
        if found is not None and cls.__module__ in ("builtins", "abc"):
            return cls.__new__  # type: ignore[no-any-return]
    return type.__new__


def new_enum(
    metaclass: Any,
    name: str,
    bases: Tuple[type, ...],
    standing: Dict[str, str],
    members: Dict[str, Any],
    keywords: Dict[str, Any],
) -> Any:
    """Return an enumeration with these members, but without its other attributes."""
    with _making, _WithoutHooks(bases):
        names = metaclass.__prepare__(name, bases)
        for attribute, value in standing.items():
            names[attribute] = value
        for member, value in members.items():
            names[member] = value
        return metaclass.__new__(metaclass, name, bases, names, **keywords)


def set_class(cls: Any, attributes: Dict[str, Any], gone: Sequence[str], virtual: Sequence[type]) -> None:
    """Give a class attributes, take others away, and register its virtual subclasses."""
    for name in gone:
        if name in cls.__dict__:
            type.__delattr__(cls, name)
    for name, value in attributes.items():
        if name == "_pihost_members":
            _set_members(cls, value)
        else:
            type.__setattr__(cls, name, value)
    for subclass in virtual:
        cls.register(subclass)


def _set_members(cls: Any, states: Dict[str, Dict[str, Any]]) -> None:
    """Give the members of an enumeration what its own `__new__` and `__init__` gave them in the host."""
    for name, state in states.items():
        member = cls._member_map_[name]
        member.__dict__.update(state)
        try:
            known = cls._value2member_map_.get(member._value_) is member
            if not known and cls._member_map_[name] is member:
                cls._value2member_map_[member._value_] = member
        except TypeError:
            continue  # its value cannot be a key, and is looked for otherwise


def builtin_type(name: str) -> Any:
    """Return a type of the interpreter that has no name of its own, by its name in `types`."""
    return getattr(types, name)


# Exceptions


class Unmade:
    """Pickles as an exception that is made again without its constructor."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return exception, (type(self.error), self.error.args, dict(self.error.__dict__))


def exception(cls: Any, args: Tuple[Any, ...], attributes: Dict[str, Any]) -> Any:
    """Return an exception with these arguments and attributes, whatever its constructor wants."""
    made = cls.__new__(cls, *args)
    made.args = args
    made.__dict__.update(attributes)
    return made


# Other things that are known by their name in a module


def lru_cache(function: Any, maxsize: Optional[int], typed: bool, attributes: Dict[str, Any]) -> Any:
    """Return a function that keeps its results, without any results yet."""
    made = functools.lru_cache(maxsize, typed)(function)
    made.__dict__.update(attributes)
    return made


def local_lru_cache(made: Any, maxsize: Optional[int], typed: bool, attributes: Dict[str, Any]) -> Any:
    """Return a function that keeps its results around a function that has no state yet."""
    return lru_cache(function(*made), maxsize, typed, attributes)


def copied_lru_cache(code: Any, names: Dict[str, Any], count: int, options: Dict[str, Any]) -> Any:
    """Return a function that keeps its results around one that has no state yet; both are copies."""
    names.setdefault("__builtins__", builtins)
    cells = tuple(types.CellType() for _ in range(count)) or None
    return functools.lru_cache(**options)(types.FunctionType(code, names, code.co_name, None, cells))


def set_copied_lru_cache(made: Any, state: Tuple[Any, Any]) -> None:
    """Give the function within its state, by cloudpickle's own setter."""
    setter, content = state
    setter(made.__wrapped__, content)


def set_lru_cache(made: Any, state: Dict[str, Any]) -> None:
    """Give the function within its state."""
    set_function(made.__wrapped__, state)


def cached_property(function: Any, attribute: Optional[str], doc: Optional[str]) -> Any:
    """Return a `functools.cached_property`, which holds a lock in Python 3.11."""
    made = functools.cached_property(function)
    made.attrname, made.__doc__ = attribute, doc
    return made


def context_variable(name: str, default: Any) -> Any:
    """Return a context variable, with its default if it has one."""
    return contextvars.ContextVar(name) if default is Empty else contextvars.ContextVar(name, default=default)


def path(kind: str, text: str) -> Any:
    """Return a path of `pathlib`, by the name of its class, which not every version has in the same module."""
    return getattr(importlib.import_module("pathlib"), kind)(text)


def named(factory: Any, args: Tuple[Any, ...], keywords: Dict[str, Any], module: str) -> Any:
    """Return a thing of `typing` that knows the module that it stands in."""
    made = factory(*args, **keywords)
    with contextlib.suppress(AttributeError):  # Python 3.12 and later take it from the caller, and keep it
        made.__module__ = module
    return made


def weak_dictionary(cls: Type[Any]) -> Any:
    """Return a dictionary that holds its keys, or its values, weakly."""
    return cls()
