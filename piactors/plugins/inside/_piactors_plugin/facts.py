"""What one process is told of a thing of another one: plain data, which whoever gets it checks."""

from __future__ import annotations

import functools
import inspect
import keyword
import types
import unicodedata
from typing import Any, Dict, List, Optional

SIMPLE = (type(None), bool, int, float, str, bytes)
MOST_NAMES, MOST_TEXT = 10_000, 10_000
_LONGEST_DOC = 2000

SYNC = frozenset(
    "__{}__".format(name)
    for line in (
        "isub imul itruediv ifloordiv imod ipow iand ior ixor ilshift irshift imatmul rfloordiv rpow rdivmod",
        "rlshift rrshift rmatmul",
        "len getitem setitem delitem iter next contains reversed call enter exit str repr bytes int float",
        "complex index bool eq ne lt le gt ge hash add radd iadd sub rsub mul rmul truediv rtruediv floordiv",
        "mod rmod pow neg pos abs invert and rand or ror xor lshift rshift matmul divmod round format fspath",
        "html html_format aiter length_hint trunc floor ceil missing",
    )
    for name in line.split()
)
ASYNC = frozenset(("__await__", "__anext__", "__aenter__", "__aexit__"))
SPECIAL = SYNC | ASYNC
"""The special methods that are passed on."""
Facts = Dict[str, Any]


def facts_of(thing: Any, names: bool = False) -> Facts:
    """Return what the other side is to know of a thing: plain data.

    Args:
        names: whether its public attributes are told, too.
    """
    if inspect.ismodule(thing):
        return {"kind": "module", "name": thing.__name__, "doc": _doc(thing), "members": _members(thing)}
    if isinstance(thing, type):
        return {**_of_class(thing), "doc": _doc(thing), "members": _members(thing), "bases": _bases(thing)}
    if isinstance(thing, _FUNCTION_TYPES):
        return _of_function(thing)
    if inspect.iscoroutine(thing):
        return {"kind": "awaitable", "name": getattr(thing, "__qualname__", "coroutine")}
    found = {"kind": "object", "name": type(thing).__qualname__, **_special(_class_of(thing))}
    if names:
        found["members"] = _members(thing)
    return found


def _class_of(thing: Any) -> Any:
    return type(thing)


def _of_class(thing: type) -> Facts:
    named = [thing.__module__, thing.__qualname__]
    return {"kind": "class", "name": thing.__qualname__, "class": named, "parameters": _parameters(thing)}


@functools.lru_cache(maxsize=1000)
def _special(cls: Any) -> Facts:
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
    attributes = getattr(function, "__dict__", {})
    marks = {key: value for key, value in attributes.items() if _is_mark(key) and _is_plain(value)}
    found = {"kind": kind, "name": name, "doc": _doc(bare), "parameters": _parameters(function), "marks": marks}
    if hasattr(function, "__wrapped__"):  # it shows another signature than it has
        found["shown"] = found["parameters"]
        found["parameters"] = _parameters(function, follow_wrapped=False)
    return {**found, "annotations": _annotations(bare)}


def _is_mark(name: Any) -> bool:
    return is_name(name) and not name.startswith(("__", "_piactors"))


def _annotations(function: Any) -> Dict[str, str]:
    """Return the names of the plain kinds that parameters are annotated with."""
    found = getattr(function, "__annotations__", None)
    kinds = {name: getattr(one, "__name__", one) for name, one in found.items()} if isinstance(found, dict) else {}
    return {name: kind for name, kind in kinds.items() if is_name(name) and isinstance(kind, str) and kind in KINDS}


KINDS = {one.__name__: one for one in (bool, int, float, str, bytes, list, dict, tuple, set)}


def _parameters(function: Any, follow_wrapped: bool = True) -> Optional[List[List[Any]]]:
    try:
        found = inspect.signature(function, follow_wrapped=follow_wrapped).parameters.values()
    except (ValueError, TypeError):  # of one that is written in C
        return None
    described: List[List[Any]] = []
    if any(one.name.startswith("_piactors") or not is_name(one.name) for one in found):
        return None
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
        found[name] = _of_function(value) if isinstance(value, _FUNCTION_TYPES) else None
    return {name: member for name, member in found.items() if is_name(name)}


_FUNCTION_TYPES = (
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodDescriptorType),
    *(types.WrapperDescriptorType, types.MethodWrapperType, types.ClassMethodDescriptorType, functools.partial),
)


def is_name(text: Any) -> bool:
    """Whether a text can stand for a name in code, and for no other one."""
    if not isinstance(text, str) or not text.isidentifier() or keyword.iskeyword(text) or text == "__debug__":
        return False
    return text.isascii() or unicodedata.normalize("NFKC", text) == text


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
        _check_parameters(facts.get("parameters"))
        if kind == "object" and "special" not in facts:
            raise ValueError("what is told of a thing is not a description")
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
    marks, annotations = facts.get("marks", {}), facts.get("annotations", {})
    if type(marks) is not dict or not all(_is_mark(key) and _is_plain(one) for key, one in marks.items()):
        raise ValueError("the attributes of a function are not simple values")
    if type(annotations) is not dict or not all(
        is_name(key) and type(one) is str and one in KINDS for key, one in annotations.items()
    ):
        raise ValueError("the annotations of a function are not plain kinds")
    _check_parameters(facts.get("parameters"))
    _check_parameters(facts.get("shown"))


def _check_parameters(parameters: Any) -> None:
    if parameters is None:
        return
    if type(parameters) is not list or len(parameters) > 255:
        raise ValueError("the parameters of a function are not a list")
    names, last, default = set(), 0, False
    for one in parameters:
        if type(one) not in (list, tuple) or len(one) != 5:
            raise ValueError("a parameter of a function is not one")
        name, kind, has_default, _, value = one
        if not is_name(name) or name in names or name.startswith("_piactors"):
            raise ValueError("a parameter of a function has no name that it can have")
        if type(kind) is not int or not last <= kind <= 4 or (kind == last and kind in (2, 4)):
            raise ValueError("the parameters of a function are in no order that there is")
        if type(value) not in SIMPLE or (kind < 2 and default and not has_default):
            raise ValueError("a parameter of a function has a default that it cannot have")
        default = default or bool(has_default and kind < 2)
        last = kind
        names.add(name)


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
        if not is_name(name) or name.startswith("_"):
            raise ValueError("an attribute of a thing has no name that it can have")
        if member is not None and checked(member)["kind"] not in _FUNCTIONS:
            raise ValueError("an attribute of a thing is told of as no function can be")
