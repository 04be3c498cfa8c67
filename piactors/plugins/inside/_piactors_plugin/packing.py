"""Values on their way between an application and a plugin in an isolate: what is copied, and what is lent.

A value travels as a *node*, which is plain data: values of plain kinds are copied as they are; other objects, functions
and classes stay where they are, and a number or a name stands for them.
"""

from __future__ import annotations

import builtins
import contextlib
import enum
import importlib
import sys
import types
import weakref
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Optional, Tuple

from . import facts, kinds, raised, things
from .ledgers import LentThings, NotLent, StandIns

Node = Tuple[Any, ...]
_DEEPEST = 100


class LentNumbers(List[int]):
    """The numbers of what is lent with something that is being sent.

    Attributes:
        own: by number, what is reached from there of the other side's own, and is given back with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.own: Dict[Any, Any] = {}


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
    def sending(self) -> Iterator[LentNumbers]:
        """What is packed meanwhile is sent, or none of it."""
        lent = LentNumbers()
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
        if kind in kinds.ATOMS:
            return ("v", value)
        if depth > _DEEPEST:
            raise NotLent("it is nested more than {} times".format(_DEEPEST))
        write = _WRITERS.get(kind)
        if write is not None:
            return write(self, value, lent, depth)
        reach = things.reach_of(value)
        if reach is not None and reach.side is self._side:
            self._side.refresh(reach.anchor)
            if isinstance(lent, LentNumbers):
                lent.own[reach.anchor.value] = reach.anchor
            return ("h", reach.anchor.value, list(reach.path))
        return self._of_a_class(value, kind, lent) or self._other(value, kind, lent)

    def _dict(self, value: Dict[Any, Any], lent: Optional[List[int]], depth: int) -> Node:
        nodes = [self.packed(one, lent, depth + 1) for pair in value.items() for one in pair]
        return ("v", value) if all(node[0] == "v" for node in nodes) else ("d", nodes)

    def _items(self, value: Any, lent: Optional[List[int]], depth: int) -> Node:
        nodes = [self.packed(one, lent, depth + 1) for one in value]
        return ("v", value) if all(node[0] == "v" for node in nodes) else ("c", type(value).__name__, nodes)

    def _parts(self, value: Any, lent: Optional[List[int]], depth: int) -> Node:
        parts = [self.packed(getattr(value, one), lent, depth + 1) for one in kinds.OF_PARTS]
        return ("p", type(value).__name__, parts)

    def _as_constant(self, value: Any, lent: Optional[List[int]], depth: int) -> Node:
        return ("k", kinds.CONSTANTS[type(value)])

    def _copied(self, value: Any, lent: Optional[List[int]], depth: int) -> Node:
        return ("v", value.value)

    def _as_it_is(self, value: Any, lent: Optional[List[int]], depth: int) -> Node:
        return self._lent_out(value.value, lent)

    def _of_a_class(self, value: Any, kind: type, lent: Optional[List[int]]) -> Optional[Node]:
        """Return the node of what is copied, though it is of no plain kind."""
        if "{}:{}".format(kind.__module__, kind.__qualname__) in self._accepted or kinds.is_array(kind):
            return ("v", value)
        if issubclass(kind, enum.Enum):
            return ("E", kind.__module__, kind.__qualname__, value.name, self._plain_of(value.value))
        if issubclass(kind, kinds.TEXTS):
            base = next(one for one in kinds.TEXTS if issubclass(kind, one))
            return ("s", kind.__module__, kind.__qualname__, base(value))
        if issubclass(kind, BaseException):
            return ("e", *self.error_node(value, lent))
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
        if not self._names and (issubclass(kind, kinds.NEVER_LENT) or id(value) in kinds.POWERFUL):
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
        return value if type(value) in kinds.ATOMS else None

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
        if tag == "c" and len(node) == 3 and node[1] in kinds.BUILDERS and type(node[2]) is list:
            return kinds.BUILDERS[node[1]](self.unpacked(one, depth + 1) for one in node[2])
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
        if type(name) is not str or not name or (name.startswith("_") and not self._is_private_given(name)):
            raise AttributeError("{!r} is not a public attribute, which alone are lent{}".format(name, kinds.UNLESS))
        if not self._names and name.startswith(kinds.OF_FRAMES):
            raise AttributeError("{!r} leads to everything, and is not lent".format(name))

    def _is_private_given(self, name: str) -> bool:
        trusts = self._names or (self._side.trusts and not name.startswith("__"))
        return bool(trusts) or name in kinds.OF_TUPLES

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
        if type(value) not in kinds.TEXTS:
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
        found = [kind for kind, one in kinds.CONSTANTS.items() if one == name]
        if not found:
            raise ValueError("a constant has come that is not one")
        return found[0]()

    def _part(self, name: Any = None, parts: Any = None) -> Any:
        found = {one.__name__: one for one in kinds.PARTS}.get(name)
        if found is None or type(parts) is not list or len(parts) != len(kinds.OF_PARTS):
            raise ValueError("a value has come that is not one")
        try:
            return found(*[self.unpacked(one) for one in parts])
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

    def error_node(self, error: BaseException, lent: Optional[List[int]] = None) -> Any:
        """Return what makes an exception of the same class, if there is one, on the other side."""
        return raised.described(error, lambda value: self.packed(value, lent))

    def error(self, classes: Any = None, args: Any = None, state: Any = None, text: Any = None) -> BaseException:
        """Return an exception that has come; see `raised.made`."""
        return raised.made(classes, self.unpacked(args), self.unpacked(state), text, self._side.class_here)


_WRITERS: Dict[Any, Callable[..., Node]] = {
    dict: Packer._dict,
    **dict.fromkeys((list, tuple, set, frozenset), Packer._items),
    **dict.fromkeys(kinds.PARTS, Packer._parts),
    **dict.fromkeys(kinds.CONSTANTS, Packer._as_constant),
    kinds.Copied: Packer._copied,
    kinds.AsItIs: Packer._as_it_is,
}
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
