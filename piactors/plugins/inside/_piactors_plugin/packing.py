"""Values on their way between an application and a plugin in an isolate: what is copied, and what is lent.

A value travels as a *node*, which is plain data: values of plain kinds are copied as they are; other objects, functions
and classes stay where they are, and a number or a name stands for them.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import datetime
import decimal
import enum
import fractions
import importlib
import pathlib
import sys
import traceback
import types
import uuid
import weakref
from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, List, Optional, Tuple

from . import facts, things
from .ledgers import LentThings, NotLent, StandIns

Node = Tuple[Any, ...]
_DEEPEST = 100
_ATOMS = frozenset(
    (
        *(type(None), bool, int, float, complex, str, bytes, bytearray),
        *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
        *(decimal.Decimal, fractions.Fraction, uuid.UUID),
        *(pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath),
    )
)
_BUILDERS: Dict[str, Callable[[Iterable[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
_TEXTS = (str, int, float, bytes)
"""Of what subclasses are copied: C code takes no stand-in for them."""


class Sending(List[int]):
    """The numbers of what is lent with something that is being sent.

    Attributes:
        own: by number, what is reached from there of the other side's own, and is given back with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.own: Dict[Any, Any] = {}


class Copied:
    """A value that is copied, whatever it is."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class AsItIs:
    """A value that is lent, though it could be copied."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Packer:
    """Makes nodes of values, and values of nodes.

    Args:
        side: what stand-ins of this process use.
        accepted: the classes, as ``"module:qualname"``, whose instances are copied besides plain data.
        names: whether functions and classes go by their names, if they have some: the other side may then call
            whatever it can name here.
        base: the numbers of what is lent are larger.
    """

    def __init__(self, side: Any, accepted: FrozenSet[str], names: bool, base: int = 0) -> None:
        self._side, self._accepted, self._names = side, accepted, names
        self.lent, self.held = LentThings(base), StandIns()
        self._by_name: weakref.WeakValueDictionary[Tuple[str, Tuple[str, ...]], Any] = weakref.WeakValueDictionary()

    # Out

    @contextlib.contextmanager
    def sending(self) -> Iterator[Sending]:
        """What is packed meanwhile is sent, or none of it."""
        lent = Sending()
        try:
            yield lent
        except BaseException:
            self.lent.drop([one for number in lent for one in (number, 1)])
            raise

    def packed(self, value: Any, lent: Optional[List[int]] = None, depth: int = 0) -> Node:
        """Return the node of a value.

        Args:
            lent: gets the numbers of what is lent with it.

        Raises:
            NotLent: if it can be neither copied nor lent.
        """
        kind = type(value)
        if kind in _ATOMS:
            return ("v", value)
        if depth > _DEEPEST:
            raise NotLent("it is nested more than {} times".format(_DEEPEST))
        if kind is dict:
            return self._dict(value, lent, depth)
        if kind in (list, tuple, set, frozenset):
            nodes = [self.packed(one, lent, depth + 1) for one in value]
            return ("v", value) if all(node[0] == "v" for node in nodes) else ("c", kind.__name__, nodes)
        if kind in _CONSTANTS:
            return ("k", _CONSTANTS[kind])
        if kind in _PARTS:
            return ("p", kind.__name__, [self.packed(getattr(value, one), lent, depth + 1) for one in _OF_PARTS])
        if kind is Copied:
            return ("v", value.value)
        if kind is AsItIs:
            return self._lent_out(value.value, lent)
        reach = things.reach_of(value)
        if reach is not None and reach.side is self._side:
            if isinstance(lent, Sending):
                lent.own[reach.anchor.value] = reach.anchor
            return ("h", reach.anchor.value, list(reach.path))
        return self._of_a_class(value, kind, lent) or self._other(value, kind, lent)

    def _dict(self, value: Dict[Any, Any], lent: Optional[List[int]], depth: int) -> Node:
        nodes = [self.packed(one, lent, depth + 1) for pair in value.items() for one in pair]
        return ("v", value) if all(node[0] == "v" for node in nodes) else ("d", nodes)

    def _of_a_class(self, value: Any, kind: type, lent: Optional[List[int]]) -> Optional[Node]:
        """Return the node of what is copied, though it is of no plain kind."""
        if "{}:{}".format(kind.__module__, kind.__qualname__) in self._accepted or _is_array(kind):
            return ("v", value)
        if issubclass(kind, enum.Enum):
            return ("E", kind.__module__, kind.__qualname__, value.name, self._plain_of(value.value))
        if issubclass(kind, _TEXTS):
            base = next(one for one in _TEXTS if issubclass(kind, one))
            return ("s", kind.__module__, kind.__qualname__, base(value))
        if issubclass(kind, BaseException):
            return ("e", *self.packed_error(value, lent))
        if kind is types.TracebackType:  # the exception that it belongs to has one of its own there
            return ("v", None)
        return None

    def _other(self, value: Any, kind: type, lent: Optional[List[int]]) -> Node:
        if issubclass(kind, types.ModuleType) and not self._names:
            raise NotLent("module {} is not lent".format(value.__name__))
        name = self._name_of(value) if self._names else None
        if name is not None:
            return ("n", *name, facts.facts_of(value))
        builtin = getattr(value, "__name__", "") if issubclass(kind, type) else ""
        if builtin and vars(builtins).get(builtin) is value:
            return ("b", builtin)
        if not self._names and (issubclass(kind, _NEVER_LENT) or id(value) in _POWERFUL):
            raise NotLent("{!r} is not lent: it leads to everything".format(value))
        return self._lent_out(value, lent)

    def _lent_out(self, value: Any, lent: Optional[List[int]]) -> Node:
        number = self.lent.lend(value)
        if lent is not None:
            lent.append(number)
        return ("r", number, facts.facts_of(value))

    def packed_attribute(self, thing: Any, value: Any, lent: Optional[List[int]] = None) -> Node:
        """Return the node of an attribute: a method is reached by its name, and has no number of its own."""
        is_method = getattr(value, "__self__", None) is thing and callable(value) and not isinstance(value, type)
        return ("m", facts.facts_of(value)) if is_method else self.packed(value, lent)

    @staticmethod
    def _plain_of(value: Any) -> Any:
        return value if type(value) in _ATOMS else None

    @staticmethod
    def _name_of(value: Any) -> Optional[Tuple[str, List[str]]]:
        """Return the module and the path by which a function, a class or a module can be found in this process."""
        if type(value) is types.ModuleType:
            return (value.__name__, []) if sys.modules.get(value.__name__) is value else None
        if not issubclass(type(value), (type, types.FunctionType, types.BuiltinFunctionType)):
            return None
        module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if not isinstance(module, str) or not isinstance(path, str) or "<" in path or module == "builtins":
            return None
        found = sys.modules.get(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        return (module, path.split(".")) if found is value else None

    # In

    def unpacked(self, node: Any, depth: int = 0) -> Any:
        """Return the value of a node; it is not trusted.

        Raises:
            ValueError: if it is not a node.
            Gone: if it names what is not lent any more.
        """
        if type(node) not in (tuple, list) or not node or depth > _DEEPEST:
            raise ValueError("a value has come that is not one")
        tag = node[0]
        if tag == "v" and len(node) == 2:
            return node[1]
        if tag == "c" and len(node) == 3 and node[1] in _BUILDERS and type(node[2]) is list:
            return _BUILDERS[node[1]](self.unpacked(one, depth + 1) for one in node[2])
        if tag == "d" and len(node) == 2 and type(node[1]) is list and len(node[1]) % 2 == 0:
            found = [self.unpacked(one, depth + 1) for one in node[1]]
            return dict(zip(found[::2], found[1::2]))
        reader = _READERS.get(tag) if type(tag) is str else None
        if reader is None:
            raise ValueError("a value has come that is not one")
        return reader(self, *node[1:])

    def _own(self, root: Any = None, path: Any = None) -> Any:
        return self.find(root, path)

    def find(self, root: Any, path: Any) -> Any:
        """Return a thing of this process that the other side names.

        Raises:
            Gone: if it is not lent any more.
            ValueError: if it is not one that the other side may name.
        """
        if type(path) not in (list, tuple) or not all(type(part) is str for part in path):
            raise ValueError("what is named is not a thing")
        if type(root) is str and self._names:
            found = sys.modules.get(root) or importlib.import_module(root)
        elif type(root) is int:
            found = self.lent.find(root)
        else:
            raise ValueError("what is named is not a thing")
        for part in path:
            self.check_name(part)
            found = getattr(found, part)
        return found

    def check_name(self, name: Any) -> None:
        """See that an attribute may be asked for by the other side.

        Raises:
            AttributeError: if it may not.
        """
        if type(name) is not str or (name.startswith("_") and not self._is_private_given(name)):
            raise AttributeError("{!r} is not a public attribute, which alone are lent{}".format(name, _UNLESS))
        if not self._names and name.startswith(_OF_FRAMES):
            raise AttributeError("{!r} leads to everything, and is not lent".format(name))

    def _is_private_given(self, name: str) -> bool:
        trusts = self._names or (self._side.trusts and not name.startswith("__"))
        return bool(trusts) or name in _OF_TUPLES

    def _lent_here(self, number: Any = None, told: Any = None) -> Any:
        if type(number) is not int or number < 1:
            raise ValueError("a thing has come without a number")
        checked = facts.checked(told)
        return self.held.take(number, lambda: self._made(number, (), checked))

    def _named(self, module: Any = None, path: Any = None, told: Any = None) -> Any:
        if type(module) is not str or type(path) is not list or not all(type(part) is str for part in path):
            raise ValueError("a thing has come without a name")
        found = self._by_name.get((module, tuple(path)))
        reach = None if found is None else things.reach_of(found)
        if reach is None or reach.facts != told:
            found = self._by_name[module, tuple(path)] = self._made(module, tuple(path), facts.checked(told))[0]
        return found

    def _made(self, root: Any, path: Tuple[str, ...], told: Any) -> Tuple[Any, Any]:
        anchor = things.Anchor(root)
        return things.make(things.ThingReach(self._side, anchor, path, told)), anchor

    def _text(self, module: Any = None, name: Any = None, value: Any = None) -> Any:
        if type(value) not in _TEXTS:
            raise ValueError("a value of a class has come that is not one")
        cls = self._side.class_here(module, name)
        if cls is None or not issubclass(cls, type(value)) or not self._may_make(module, name):
            return value
        return cls(value)

    def _member(self, module: Any = None, name: Any = None, member: Any = None, value: Any = None) -> Any:
        cls = self._side.class_here(module, name)
        if cls is None or not issubclass(cls, enum.Enum):
            return value
        if type(member) is str and member in cls.__members__:
            return cls[member]
        try:  # several flags
            return cls(value) if issubclass(cls, enum.Flag) and type(value) is int else value
        except ValueError:
            return value

    def _constant(self, name: Any = None) -> Any:
        found = [kind for kind, one in _CONSTANTS.items() if one == name]
        if not found:
            raise ValueError("a constant has come that is not one")
        return found[0]()

    def _part(self, name: Any = None, parts: Any = None) -> Any:
        kinds = {one.__name__: one for one in _PARTS}
        if name not in kinds or type(parts) is not list or len(parts) != len(_OF_PARTS):
            raise ValueError("a value has come that is not one")
        try:
            return kinds[name](*[self.unpacked(one) for one in parts])
        except TypeError:
            raise ValueError("a value has come that is not one") from None

    def _builtin(self, name: Any = None) -> Any:
        found = getattr(builtins, name, None) if type(name) is str else None
        if not isinstance(found, type):
            raise ValueError("a class has come that is not one")
        return found

    def _may_make(self, module: Any, name: Any) -> bool:
        """Whether an instance of a class that is known here may be made: this side need not trust the other one."""
        return self._names or self._side.trusts or "{}:{}".format(module, name) in self._accepted

    # Exceptions

    def packed_error(self, error: BaseException, lent: Optional[List[int]] = None) -> Node:
        """Return what makes an exception of the same class, if there is one, on the other side."""
        cls = type(error)
        attributes = {key: one for key, one in vars(error).items() if type(key) is str}
        for name in {name for one in cls.__mro__ for name in getattr(one, "__slots__", ()) or () if type(name) is str}:
            if hasattr(error, name) and not name.startswith("__"):
                attributes[name] = getattr(error, name)
        classes = attributes.pop(_CLASSES, None) or [
            [one.__module__, one.__qualname__] for one in cls.__mro__ if issubclass(one, BaseException)
        ]
        try:
            args = self.packed(_args_of(error), lent)
            state = self.packed(attributes, lent)
        except Exception:
            args, state = ("v", (str(error),)), ("v", {})
        value = self.packed(getattr(error, "value", None), lent) if isinstance(error, StopIteration) else ("v", None)
        text = "".join(traceback.format_exception(cls, error, error.__traceback__))[-20_000:]
        return (classes[:20], args, state, value, text)

    def error(
        self, classes: Any = None, args: Any = None, state: Any = None, value: Any = None, text: Any = ""
    ) -> BaseException:
        """Return an exception that has come; it is not trusted.

        Its class is the first one of those that it had there which this process knows.
        """
        if type(classes) is not list or type(text) is not str:
            raise ValueError("an exception has come that is not one")
        found = (self._side.class_here(*one) for one in classes if type(one) in (list, tuple) and len(one) == 2)
        cls: Any = next((one for one in found if one is not None and issubclass(one, BaseException)), Exception)
        if not issubclass(cls, Exception) and cls not in (GeneratorExit, KeyboardInterrupt, SystemExit):
            cls = Exception
        unpacked, attributes = self.unpacked(args), self.unpacked(state)
        error = _made(cls, unpacked if type(unpacked) is tuple else (str(unpacked),))
        if type(attributes) is dict:
            for key, one in attributes.items():
                if type(key) is str and not key.startswith("__"):
                    try:
                        setattr(error, key, one)
                    except Exception:
                        continue
        if classes[0] != [cls.__module__, cls.__qualname__]:
            setattr(error, _CLASSES, classes)  # if it goes back, it is what it was
        if isinstance(error, StopIteration):
            error.value = self.unpacked(value)
        error.__cause__ = Elsewhere(text)
        return error  # type: ignore[no-any-return]


class Elsewhere(Exception):
    """The traceback of an exception in the other process."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0]) if self.args else ""


def _args_of(error: BaseException) -> Tuple[Any, ...]:
    """Return what an exception is made of: for some of Python's own that is more than its `args`."""
    if isinstance(error, OSError) and type(error).__init__ is OSError.__init__:
        return tuple(error.__reduce__()[1])
    return error.args


def _made(cls: Any, args: Tuple[Any, ...]) -> Any:
    """Make an exception, with no code but Python's own."""
    try:
        if isinstance(cls.__init__, types.WrapperDescriptorType) and isinstance(cls.__new__, types.BuiltinFunctionType):
            return cls(*args)
        return BaseException.__new__(cls, *args)
    except TypeError:  # it is laid out in another way, or takes other arguments
        return Exception(*args)


def _is_array(kind: type) -> bool:
    return kind.__module__ == "numpy" and kind.__name__ == "ndarray"


_CLASSES = "_piactors_classes"
"""Of an exception whose class is not known here: those that it has elsewhere."""
_CONSTANTS: Dict[Any, str] = {type(NotImplemented): "NotImplemented", type(...): "Ellipsis"}
_PARTS, _OF_PARTS = (slice, range), ("start", "stop", "step")
_NEVER_LENT = (types.FrameType, types.CodeType, types.TracebackType)
_POWERFUL = frozenset(
    id(getattr(builtins, name)) for name in ("eval", "exec", "compile", "__import__", "globals", "locals", "vars")
)
_OF_FRAMES = ("f_", "gi_", "cr_", "ag_", "tb_", "co_", "func_")
_UNLESS = "; trust='code' lends those that begin with one '_', too"
_OF_TUPLES = ("_asdict", "_fields", "_replace", "_mapping")

_READERS: Dict[str, Callable[..., Any]] = {
    "h": Packer._own,
    "r": Packer._lent_here,
    "n": Packer._named,
    "s": Packer._text,
    "E": Packer._member,
    "b": Packer._builtin,
    "e": Packer.error,
    "k": Packer._constant,
    "p": Packer._part,
}


def perform(packer: Packer, thing: Any, operation: Any, args: Any, kwargs: Any) -> Any:
    """Do to a thing of this process what the other side asks for; what comes may have to be awaited.

    Raises:
        ValueError: if that cannot be asked for.
        Exception: what the thing raises.
    """
    if operation == "call":
        return thing(*args, **kwargs)
    if operation in ("get", "set", "del"):
        packer.check_name(args[0] if args else None)
        return _ATTRIBUTES[operation](thing, *args)
    if operation == "copy":
        return copy.copy(thing)
    if operation == "deepcopy":
        return copy.deepcopy(thing)
    if operation == "dir":
        return [name for name in dir(thing) if not name.startswith("_")]
    if operation == "await":
        return thing if isinstance(thing, types.CoroutineType) else _awaited(thing)
    if type(operation) is not str or operation not in facts.SPECIAL:
        raise ValueError("{!r} is not passed on".format(operation))
    return getattr(type(thing), operation)(thing, *args, **kwargs)


_ATTRIBUTES: Dict[str, Callable[..., Any]] = {"get": getattr, "set": setattr, "del": delattr}


async def _awaited(thing: Any) -> Any:
    return await thing


def is_awaitable(value: Any) -> bool:
    """Whether something has to be awaited before it is there."""
    return isinstance(value, types.CoroutineType) or hasattr(type(value), "__await__")
