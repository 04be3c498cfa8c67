"""Converters and validators of the limits, in the manner of `_validate`: only validators refuse, all by `_refuse`.

Annotations are not postponed here, for the reason given there.
"""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, cast

import attrs

from piactors._validation.fields import NONE, Test, Validator, _is_a, _or, _place, _refuse, _to_tuple, check, each

MECHANISMS: tuple[str, ...] = ("cgroup v2", "cgroup v1", "rlimit", "scheduler", "monitor")
"""What a limit can be set by, in the order of `IsolationLimits.mechanisms`."""

_BOTH_CGROUPS = "cgroup"
# No kernel has CPUs with more digits, and a typing error in a range must not fill the memory.
_CPUS = re.compile(r"(?:[Cc][Pp][Uu])?([0-9]{1,4})(?:-(?:[Cc][Pp][Uu])?([0-9]{1,4}))?")
_BETWEEN_CPUS = re.compile("[ ,]+")


def machine_cpus() -> frozenset[int]:
    """Return the numbers of the CPUs that this machine has, whether or not this process may run on them."""
    usable: Iterable[int] = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return frozenset(usable).union(range(os.cpu_count() or 1))


# -- validators -------------------------------------------------------------------------------------------------------


def tasks() -> Validator:
    """How many tasks there may be; fewer than the isolate itself has would end every start."""
    allowed = "a whole number of at least 4 (threads count too, and the isolate itself needs 3)"
    return check(allowed, (int,), lambda value: value >= 4, also=NONE)


def open_files() -> Validator:
    allowed = "a whole number of at least 32 (the isolate itself needs some)"
    return check(allowed, (int,), lambda value: value >= 32, also=NONE)


def affinity() -> Validator:
    """CPUs of this machine that `to_affinity` could turn into numbers."""

    def validate(instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
        if value is None:
            return
        machine = machine_cpus()
        items = f'CPU numbers, or a str such as "0-3" or "cpu0 cpu2" (this machine has {_in_words(machine)})'
        _check_some(instance, field, value, items, (int,), machine.__contains__)

    return validate


def mechanisms() -> Validator:
    items = f"{_or(*map(repr, MECHANISMS))} ({_BOTH_CGROUPS!r} stands for both versions)"

    def validate(instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
        if value is not None:
            _check_some(instance, field, value, items, (str,), MECHANISMS.__contains__)

    return validate


def below(other: str) -> Validator:
    """Less than another field, if both are given; the other one comes first, so that it is checked already."""

    def validate(instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
        most = getattr(instance, other)
        if value is not None and most is not None and value >= most:
            _refuse(ValueError, _place(instance, field), value, f"use less than {other}, which is {most}")

    return validate


def only_with(other: str, *, unless: object) -> Validator:
    """Nothing but `unless` if another field is None."""

    def validate(instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
        if value != unless and getattr(instance, other) is None:
            _refuse(ValueError, _place(instance, field), value, f"use {unless!r}, or give {other} too, which is None")

    return validate


def check_any_given(instance: object, names: Sequence[str]) -> None:
    """Refuse an instance of which all these fields are None."""
    values = tuple(getattr(instance, name) for name in names)
    if all(value is None for value in values):
        advice = f"give at least one of {', '.join(names[:-1])} and {names[-1]}"
        _refuse(ValueError, type(instance).__name__, values, advice)


def _check_some(
    instance: object, field: "attrs.Attribute[Any]", value: Any, items: str, types: tuple[type, ...], test: Test
) -> None:
    """`each` of at least one item; a str that is left over is text that could not be read."""
    if isinstance(value, str) or value == ():
        _refuse(ValueError, _place(instance, field), value, f"pass a list of {items}, or None")
    each(items, types, test, also=NONE)(instance, field, value)


def _in_words(cpus: frozenset[int]) -> str:
    firsts = sorted(cpu for cpu in cpus if cpu - 1 not in cpus)
    lasts = sorted(cpu for cpu in cpus if cpu + 1 not in cpus)
    pairs = zip(firsts, lasts, strict=True)
    return ", ".join(f"cpu{first}" if first == last else f"cpu{first} to cpu{last}" for first, last in pairs)


# -- converters -------------------------------------------------------------------------------------------------------


def to_affinity(value: str | int | Iterable[int] | None) -> tuple[int, ...] | None:
    """CPU numbers in order, each once."""
    if isinstance(value, str):
        found: Any = _read_cpus(value)
    else:
        found = (value,) if _is_a(value, (int,)) else _to_tuple(value)
    if isinstance(found, tuple) and all(_is_a(cpu, (int,)) for cpu in found):
        found = tuple(sorted(set(map(int, found))))
    return cast("tuple[int, ...] | None", found)


def to_mechanisms(value: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Names in the order of `MECHANISMS`, each once."""
    found: Any = (value,) if isinstance(value, str) else _to_tuple(value)
    if isinstance(found, tuple) and all(name in (*MECHANISMS, _BOTH_CGROUPS) for name in found):
        both = MECHANISMS[:2] if _BOTH_CGROUPS in found else ()
        found = tuple(name for name in MECHANISMS if name in found or name in both)
    return cast("tuple[str, ...] | None", found)


def _read_cpus(text: str) -> tuple[int, ...] | str:
    """Return what a text such as "cpu0 cpu2" or "0-3,5" names, or the text itself if it is not like that."""
    cpus: set[int] = set()
    for part in _BETWEEN_CPUS.split(text.strip(" ,")):
        found = _CPUS.fullmatch(part)
        named = range(int(found[1]), int(found[2] or found[1]) + 1) if found else range(0)
        if not named:  # no CPU, or a range that runs backwards
            return text
        cpus.update(named)
    return tuple(cpus)
