"""The pickler of all that goes to an isolate: what it does with definitions, and what it refuses.

A class or function that cannot be imported is replaced by its key, and noted (`Pickler.met`), so that its
definition can be sent along; what is local to a function of the host goes into the pickle itself.
"""

from __future__ import annotations

import functools
import marshal
import pickle
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

from piactors._codec import apart, keys, lending, places, shared_objects, snapshots
from piactors.pihost.pickles import arrays, byvalue, rebuild, refusals
from piactors.pihost.pickles.lending import thing

_Looked = tuple[int, tuple[int, ...], snapshots.Pins | None]
_local_versions: weakref.WeakKeyDictionary[type, _Looked] = weakref.WeakKeyDictionary()


class Pickler(pickle.Pickler):
    """Pickles for one isolate.

    Attributes:
        met: what has to be sent along, by key, and what is lent.
        held: classes and functions within the pickle, which have to live until the answer has been read.
        spawning: takes the descriptors that go along; None if none can.
    """

    def __init__(
        self, buffer: Any, *, foreign: bool = False, spawning: shared_objects.Spawning | None = None, **more: Any
    ) -> None:
        super().__init__(buffer, 5, **more)
        self.met: dict[str, Any] = {}
        self.held: list[Any] = []
        self.spawning = spawning
        self.top: Any = None
        self._foreign = foreign
        self._own: dict[int, rebuild.Globals] = {}

    def reducer_override(self, obj: Any) -> Any:
        """Return what stands for a definition or an object that needs care, or refuse it."""
        kind = type(obj)
        if id(kind) in refusals.fine:  # most are
            return _for_others(obj) if self._foreign else NotImplemented
        if kind is types.FunctionType:
            return self._function(obj)
        special = _SPECIAL.get(kind)
        if special is not None:
            return special(self, obj)
        lend = lending.way_of(kind)
        if lend is not None:
            return self._lent(lend(obj))
        if isinstance(obj, type):
            return self._class(obj)
        if refusals.is_definition(kind):
            return self._thing(obj)
        way = shared_objects.way_of(kind)
        if way is not None:
            return self._handed_over(way, obj)
        refusals.check(obj, kind)
        return _for_others(obj) if self._foreign else NotImplemented

    def _lent(self, loan: lending.Loan) -> Any:
        self.met[lending.key_of(loan)] = loan
        return thing, (loan.number,)

    def _handed_over(self, way: Callable[[shared_objects.Spawning, Any], Any], obj: Any) -> Any:
        if self.spawning is None:
            raise refusals.Refused(f"{obj!r} cannot be sent: it can be handed over as an argument only", obj)
        return way(self.spawning, obj)

    def by_key(self, obj: Any) -> Any:
        """Return the key in place of an object."""
        key = keys.key_of(obj)
        self.met[key] = obj
        return byvalue.ref, (key,)

    def _function(self, function: types.FunctionType) -> Any:
        how = places.of_function(function)
        if how == "name":
            return NotImplemented
        if how == "key":
            return self.by_key(function)
        self.held.append(function)
        place = self.place_of(function)
        maker = (keys.key_of(function), place, function.__code__, function.__name__, function.__closure__)
        state = self.function_state(function)
        if place[0] == "own":
            state["globals"] = _used_globals(function)
        return byvalue.local_function, maker, state, None, None, rebuild.set_function

    def place_of(self, function: types.FunctionType) -> rebuild.Place:
        """Return whose globals a function has there."""
        kind, name = places.place_of(function)
        if kind == "own":
            names = function.__globals__
            if id(names) not in self._own:
                self._own[id(names)] = rebuild.Globals({n: names[n] for n in MODULE_NAMES if n in names})
            return "own", self._own[id(names)]
        used = snapshots.global_names(function.__code__)
        if kind == "import" and not any(found in function.__globals__ for found in used):
            return "none", name
        if kind == "import" and (not self._foreign or name.partition(".")[0] in sys.stdlib_module_names):
            return "import", name
        for found in used:
            self.meet_global(name, found)
        self.met[module_key(name)] = Module(name)
        return "module" if kind == "module" else "either", name

    def meet_global(self, module: str, name: str) -> None:
        """Note that a global variable has to be sent along."""
        self.met.setdefault(f"{module}:{name}", Global(module, name))

    def function_state(self, function: types.FunctionType) -> dict[str, Any]:
        """Return the content of a function, except its closure."""
        names = function.__globals__
        used = [names[name] for name in snapshots.global_names(function.__code__) if name in names]
        state: dict[str, Any] = {
            "__qualname__": function.__qualname__,
            "__module__": function.__module__,
            "__doc__": function.__doc__,
            "__defaults__": function.__defaults__,
            "__kwdefaults__": function.__kwdefaults__,
            "__annotations__": function.__annotations__,
            "attributes": function.__dict__,
        }
        imports = snapshots.submodules(function, [*used, *snapshots.contents(function)])
        if imports:
            state["imports"] = imports
        params = getattr(function, "__type_params__", ())
        if params:
            state["__type_params__"] = params
        return state

    def _class(self, cls: type) -> Any:
        special = places.named_otherwise(cls)
        if special is not None:
            return special
        how = places.of_class(cls)
        if how == "name":
            return NotImplemented
        if how == "key":
            return self.by_key(cls)
        self.held.append(cls)
        attributes = apart.class_content(cls)
        state = (_local_version(cls), attributes, apart.virtual_subclasses(cls))
        made = (keys.key_of(cls), *apart.class_head(cls))
        return byvalue.local_class, made, state, None, None, byvalue.set_local_class

    def _thing(self, obj: Any) -> Any:
        how = places.of_thing(obj)
        if how == "name":
            return NotImplemented
        wrapped = getattr(obj, "__wrapped__", None)
        if how == "key" or type(wrapped) is not types.FunctionType or places.of_function(wrapped) != "within":
            return self.by_key(obj)
        # A function that keeps its results and is local: it may refer to itself, so both are made together.
        _, (_, *options) = apart.thing_head(obj)
        count = len(wrapped.__closure__ or ())
        made = (self.place_of(wrapped), wrapped.__code__, wrapped.__name__, count)
        state = {**self.function_state(wrapped), "contents": snapshots.contents(wrapped)}
        self.held.append(obj)
        around = (keys.key_of(obj), rebuild.local_lru_cache, (made, *options))
        return byvalue.local_thing, around, state, None, None, rebuild.set_lru_cache


def _for_others(obj: Any) -> Any:
    """Return what another interpreter makes of something whose own pickle names what only this one has."""
    pathlib: Any = sys.modules.get("pathlib")  # without it there are no paths
    if (
        pathlib is not None
        and isinstance(obj, pathlib.PurePath)
        and type(obj).__module__.partition(".")[0] == "pathlib"
    ):
        return rebuild.path, (type(obj).__name__, str(obj))
    return arrays.reduce_array(obj)


class Global:
    """A global variable of a module of this process that cannot be imported elsewhere.

    Attributes:
        identity: of its value, if something else was found to hold that very object; else 0.
    """

    __slots__ = ("identity", "module", "name")

    def __init__(self, module: str, name: str, identity: int = 0) -> None:
        self.module, self.name, self.identity = module, name, identity


class Module:
    """A module of this process that cannot be imported elsewhere."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


MODULE_NAMES = ("__name__", "__package__", "__file__", "__path__", "__doc__")


def module_key(name: str) -> str:
    return f"{name}:"


def _used_globals(function: types.FunctionType) -> dict[str, Any]:
    names = function.__globals__
    return {name: names[name] for name in snapshots.global_names(function.__code__) if name in names}


def _local_version(cls: type) -> int:
    """Return a number that grows when a local class gets other attributes."""
    version, identity, pins = _local_versions.get(cls, (0, (), None))
    parts = snapshots.class_parts(cls)
    now = snapshots.identities(parts)
    if pins is None or pins.dirty or pins.watched or now != identity:
        pins = snapshots.Pins()
        for part in parts:
            pins.add(part)
        version += 1
        _local_versions[cls] = (version, now, pins)
    return version


# Types with a way of their own


def _cell(pickler: Pickler, cell: Any) -> Any:
    try:
        content = cell.cell_contents
    except ValueError:
        return rebuild.cell, ()
    return rebuild.cell, (), (content,), None, None, rebuild.set_cell


_marshalled: weakref.WeakKeyDictionary[types.CodeType, bytes] = weakref.WeakKeyDictionary()
"""Done once for each code object: the bytes depend on who else holds its parts."""


def _code(pickler: Pickler, code: types.CodeType) -> Any:
    data = _marshalled.get(code)
    if data is None:
        data = _marshalled[code] = marshal.dumps(code)
    return rebuild.code, (sys.implementation.cache_tag, data, code.co_qualname)


def _weak_set(pickler: Pickler, found: Any) -> Any:
    return weakref.WeakSet, (list(found),)


def _module(pickler: Pickler, module: types.ModuleType) -> Any:
    name = module.__name__
    if places.is_importable(name) and sys.modules.get(name) is module:
        return rebuild.imported_module, (name,)
    if sys.modules.get(name) is not module:
        return NotImplemented
    pickler.met[module_key(name)] = Module(name)
    for found in [found for found in vars(module) if not (found.startswith("__") and found.endswith("__"))]:
        pickler.meet_global(name, found)
    return rebuild.module, (name,)


def _wrapped(pickler: Pickler, wrapper: Any) -> Any:
    return type(wrapper), (wrapper.__func__,)


def _property(pickler: Pickler, found: property) -> Any:
    return property, (found.fget, found.fset, found.fdel, found.__doc__)


def _cached_property(pickler: Pickler, found: Any) -> Any:
    return rebuild.cached_property, (found.func, found.attrname, found.__doc__)


def _method(pickler: Pickler, method: types.MethodType) -> Any:
    """Pickle looks a method up by its function's name, which need not be the attribute's."""
    if getattr(method.__self__, method.__func__.__name__, None) == method:
        return NotImplemented
    return types.MethodType, (method.__func__, method.__self__)


def _builtin(pickler: Pickler, function: Any) -> Any:
    refusals.check_builtin(function)
    return NotImplemented


def _own_globals(pickler: Pickler, names: rebuild.Globals) -> Any:
    return rebuild.own_globals, (dict(names),)


def _weak_dictionary(pickler: Pickler, mapping: Any) -> Any:
    return rebuild.weak_dictionary, (type(mapping),), None, None, iter(list(mapping.items()))


_SPECIAL: dict[type, Callable[[Pickler, Any], Any]] = {
    types.BuiltinFunctionType: _builtin,
    types.MethodWrapperType: _builtin,
    types.CellType: _cell,
    types.CodeType: _code,
    types.MethodType: _method,
    types.ModuleType: _module,
    staticmethod: _wrapped,
    classmethod: _wrapped,
    property: _property,
    functools.cached_property: _cached_property,
    rebuild.Globals: _own_globals,
    weakref.WeakKeyDictionary: _weak_dictionary,
    weakref.WeakSet: _weak_set,
    weakref.WeakValueDictionary: _weak_dictionary,
}


@functools.cache
def full() -> type[Pickler]:
    """Return the pickler that also knows what cloudpickle does with odd types; loaded when something needs it."""
    import cloudpickle

    table = cloudpickle.CloudPickler.dispatch_table
    return type("FullPickler", (Pickler,), {"dispatch_table": table})


@functools.cache
def within_module() -> type[Pickler]:
    """Return the pickler for parts of definitions, which may share what they hold with variables of their module."""

    def persistent_id(self: Any, obj: Any) -> str | None:
        name = self.shared.get(id(obj))
        if name is None or name == self.own:
            return None
        key = f"{self.module}:{name}"
        self.met[key] = Global(self.module, name, id(obj))
        return key

    return type("ModulePickler", (full(),), {"persistent_id": persistent_id, "shared": {}, "module": "", "own": ""})


def _sentinel(pickler: Pickler, found: object) -> Any:
    """A bare object is nothing but its identity: it is sent as the variable of the script that holds it."""
    for module in places.scripts() if found is not pickler.top else ():
        for name, value in list(vars(sys.modules[module]).items()):
            if value is found:
                pickler.meet_global(module, name)
                return byvalue.variable, (f"{module}:{name}",)
    return NotImplemented


_SPECIAL[object] = _sentinel
