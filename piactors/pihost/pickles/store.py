"""The definitions that have come from the host, and what was made of them."""

from __future__ import annotations

import importlib
import io
import pickle
import sys
import threading
import weakref
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from . import copies, rebuild

_PIHOST = __package__.rpartition(".")[0]


class Record(NamedTuple):
    """A definition as it travels.

    Attributes:
        key: the same for the life of what is defined.
        version: grows with each change.
        kind: ``function``, ``class``, ``thing``, ``module``, ``global``, or ``changed``: a variable that holds the same
            thing as before, whose content has changed.
        head: what makes it without its content, as a pickle; empty for a global and a module.
        body: its content, as a pickle.
        children: the keys of what it refers to.
    """

    key: str
    version: int
    kind: str
    head: bytes
    body: bytes
    children: Tuple[str, ...]


class _Circular(Exception):
    """Something holds the value of a variable that is still being made, and holds it in turn."""


class Built:
    """A definition that is here."""

    __slots__ = ("applied", "children", "obj", "version")

    def __init__(self, obj: Any) -> None:
        self.obj = obj
        self.version = -1
        self.applied: Dict[str, int] = {}
        self.children: Tuple[str, ...] = ()


class Store:
    """All that has come by value and is still needed."""

    def __init__(self) -> None:
        self.host = ""
        """The version of the host's interpreter, as Python tags it."""
        self._lock = threading.RLock()  # definitions are made on the thread of a call, and that may need others
        self.pending: Dict[str, Record] = {}
        """Records that nothing was made of yet: they come before the message that needs them."""
        self._failed: Dict[str, Tuple[Record, BaseException]] = {}
        self._built: Dict[str, Built] = {}
        self._filling: Set[str] = set()
        self._keys: Dict[int, str] = {}
        self._loose: Dict[int, Tuple[str, Any]] = {}
        self._loose_by_key: Dict[str, int] = {}

    def receive(self, payload: Any) -> Tuple[List[int], List[Any]]:
        """Take what the host sends ahead of a message; nothing of it is made before that is read.

        Returns:
            The numbers of the descriptors that come along with the message, and the entries of what it lends.
        """
        forgotten, records, lent, borrowed = pickle.loads(payload)
        self.add(forgotten, records)
        return lent, borrowed

    def add(self, forgotten: Any, records: Any) -> None:
        """Let go of some definitions, and take others."""
        with self._lock:
            for key in forgotten:
                self._let_go(key)
            for fields in records:
                record = Record(*fields)
                self.pending[record.key] = record

    def settle(self) -> None:
        """Make what has come.

        Raises:
            Exception: what the making of the first of them raised that could not be made.
        """
        with self._lock:
            error = None
            for key in [*self._in_order(), *self.pending]:  # twice: what waited for a circle to close is left over
                try:
                    self._ensure(key)
                except Exception as found:
                    error = error or found
                    self._fail(key, found)
            if error is not None:
                raise self._worded(error)

    def _worded(self, error: Exception) -> Exception:
        """Say that it is the version, if another one than the host's cannot make something."""
        mine = sys.implementation.cache_tag
        if self.host in ("", mine) or isinstance(error, rebuild.NotHere):
            return error
        return rebuild.NotHere(
            "a definition cannot be sent to this interpreter: it is of {}, this is {}, and it needs what only that "
            "version has ({}: {}); put it into a module that both sides can import".format(
                self.host, mine, type(error).__name__, error
            )
        )

    def _in_order(self) -> List[str]:
        """Return what is pending, each after what it refers to: making an instance may run code that uses variables.

        Within circles classes and functions come before variables, which may hold instances of them.
        """
        order: Dict[str, None] = {}
        started: Set[str] = set()
        for first in sorted(self.pending, key=lambda key: self.pending[key].kind in _VARIABLES):
            path = [(first, iter(self.pending[first].children))] if first not in started else []
            started.add(first)
            while path:
                key, children = path[-1]
                child = next((c for c in children if c in self.pending and c not in started), None)
                if child is None:
                    order[key] = None
                    path.pop()
                else:
                    started.add(child)
                    path.append((child, iter(self.pending[child].children)))
        return list(order)

    def _ensure(self, key: str) -> None:
        """Make a thing without its content, then the content, which may need others whole, except in circles."""
        if key not in self.pending:
            return
        self._make(key)
        if key not in self._filling:
            self._filling.add(key)
            try:
                self._fill(key)
            except _Circular:
                pass  # it stays pending, until the variable that it holds has a value
            finally:
                self._filling.discard(key)

    def _fail(self, key: str, error: BaseException) -> None:
        record = self.pending.pop(key, None)
        if record is not None:
            self._failed[key] = (record, error)

    def get(self, key: str) -> Any:
        """Return what has come under a key.

        Raises:
            Exception: if it, or what it refers to, cannot be made here.
        """
        with self._lock:
            if self._failed:
                self._check(key, set())
            self._ensure(key)
            built = self._built.get(key)
        return self._loose_object(key) if built is None else built.obj

    def variable(self, key: str) -> Any:
        """Return the value of a global variable of the host's that something else holds as well."""
        self.get(key)
        module, _, name = key.partition(":")
        names = rebuild.namespace(module)
        if name not in names and key in self._filling:
            raise _Circular(key)
        return names[name]

    def _check(self, key: str, seen: Any) -> None:
        """Raise what keeps a definition from working: each message that needs it is told."""
        if key in seen:
            return
        seen.add(key)
        if key in self._failed:
            record, _ = self._failed.pop(key)
            self.pending[key] = record
            try:
                self._ensure(key)
            except Exception as error:
                self._fail(key, error)
                raise
        built = self._built.get(key)
        for child in built.children if built is not None else ():
            self._check(child, seen)

    def _make(self, key: str) -> None:
        record = self.pending.get(key)
        if record is None or (key in self._built and record.kind != "function"):
            return
        built = self._built.get(key)
        if record.kind in _WITHOUT_HEAD:
            self._built[key] = Built(None)
            return
        maker, args = unpickled(record.head)
        built = self._built.get(key)  # what it refers to may have needed it, and have had it made
        if built is None:
            self._keep(key, maker(*args))
        elif record.kind == "function":  # its code may be another one
            built.obj.__code__ = args[1]

    def _keep(self, key: str, obj: Any) -> None:
        self._built[key] = Built(obj)
        self._keys[id(obj)] = key

    def _fill(self, key: str) -> None:
        record = self.pending.get(key)
        if record is None:
            return
        built = self._built[key]
        body = unpickled(record.body)
        _FILL[record.kind](built, body)
        built.version, built.children = record.version, record.children
        self.pending.pop(key, None)

    def _let_go(self, key: str) -> None:
        """The host has let go of something: keep it for as long as somebody here does."""
        self.pending.pop(key, None)
        self._failed.pop(key, None)
        built = self._built.pop(key, None)
        if key.endswith(":"):
            rebuild.drop(key[:-1])
        if built is not None and self._keys.pop(id(built.obj), None) is not None:
            self.note(key, built.obj)

    # What is local, or let go of

    def note(self, key: str, obj: Any) -> None:
        """Know the key of something for as long as it lives."""
        number = id(obj)

        def forget(_: Any) -> None:
            self._loose.pop(number, None)
            if self._loose_by_key.get(key) == number:
                del self._loose_by_key[key]

        self._loose[number] = (key, weakref.ref(obj, forget))
        self._loose_by_key[key] = number

    def _loose_object(self, key: str) -> Any:
        found = self.known(key)
        if found is None:
            raise LookupError("no class or function with the key {!r} is here any more".format(key))
        return found

    def known(self, key: str) -> Any:
        """Return what is local and still lives, or None."""
        found = self._loose.get(self._loose_by_key.get(key, 0))
        return None if found is None else found[1]()

    def key_of(self, obj: Any) -> Tuple[Optional[str], bool]:
        """Return the key of something that came by value, and whether the host still has it for certain."""
        key = self._keys.get(id(obj))
        if key is not None:
            return key, True
        found = self._loose.get(id(obj))
        return (found[0], False) if found is not None and found[1]() is obj else (None, False)


def _fill_function(built: Built, body: Any) -> None:
    rebuild.set_function(built.obj, body)


def _fill_class(built: Built, body: Any) -> None:
    """Set the attributes that are new or have changed in the host; what was changed here stays."""
    attributes, virtual = body
    gone = [name for name in built.applied if name not in attributes]
    news = {name: data for name, (version, data) in attributes.items() if built.applied.get(name) != version}
    changed = {name: unpickled(data) for name, data in news.items()}
    rebuild.set_class(built.obj, changed, gone, unpickled(virtual))
    built.applied = {name: version for name, (version, _) in attributes.items()}


def _fill_global(built: Built, body: Any) -> None:
    place, name, present, value = body
    names = rebuild.namespace(place)
    if not rebuild.takes_values(place):
        return
    if not present:
        names.pop(name, None)
    else:
        names[name] = value


def _fill_changed(built: Built, body: Any) -> None:
    """A variable holds the same thing as before, whose content has changed: what else holds it sees that as well."""
    place, name, present, value = body
    old = rebuild.namespace(place).get(name)
    if not (present and rebuild.takes_values(place) and _is_taken_over(old, value)):
        _fill_global(built, body)


def _is_taken_over(old: Any, new: Any) -> bool:
    if old is None or type(old) is not type(new):
        return False
    if type(new) is list:
        old[:] = new
    elif type(new) in (dict, set):
        for gone in [item for item in old if item not in new]:
            old.pop(gone) if type(old) is dict else old.discard(gone)
        old.update(new)
    elif type(getattr(new, "__dict__", None)) is dict and not isinstance(new, type):
        old.__dict__.clear()
        old.__dict__.update(new.__dict__)
    else:
        return False
    return True


def _fill_module(built: Built, body: Any) -> None:
    place, names = body
    here = rebuild.namespace(place)
    if rebuild.takes_values(place):
        here.update(names)


def _fill_nothing(built: Built, body: Any) -> None:
    """It has been made in full."""


_FILL: Dict[str, Any] = {
    "function": _fill_function,
    "class": _fill_class,
    "thing": _fill_nothing,
    "global": _fill_global,
    "changed": _fill_changed,
    "module": _fill_module,
}


_VARIABLES = ("global", "changed")
_WITHOUT_HEAD = (*_VARIABLES, "module")

store = Store()
"""The store of this process."""


class Unpickler(pickle.Unpickler):
    """Reads pickles of the host."""

    def persistent_load(self, key: str) -> Any:
        """Return the variable of a module that holds a part of a definition."""
        return store.variable(key)

    def find_class(self, module: str, name: str) -> Any:
        """Return what the host means by a name, which may be a definition that it has sent."""
        if module.startswith("piactors.pihost."):  # that package has another name here
            module = "{}.{}".format(_PIHOST, module[16:])
            return getattr(importlib.import_module(module), name)  # it waits if another thread imports that just now
        try:
            return super().find_class(module, name)
        except ModuleNotFoundError:
            if module.partition(".")[0] != "cloudpickle":
                raise
            copies.cloudpickle()
            return super().find_class(module, name)


def unpickled(data: Any) -> Any:
    """Return what a pickle of the host holds, and None if there is none."""
    return Unpickler(io.BytesIO(data)).load() if data else None
