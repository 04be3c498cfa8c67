"""Replies of isolates travel as plain values: all of them arrive, and no bytes do harm."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import math
import os
import pathlib
import pickle
import random
import re
import resource
import shutil
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs
import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from piactors.pihost.plain import tags as t
from piactors.pihost.plain.decode import BadPlain, decode
from piactors.pihost.plain.encode import NotPlain, encode
from tests.plain_kinds import TEXT_CODE
from tests.tiers import sizes

MIB = 1 << 20
PIHOST = pathlib.Path(sys.modules[encode.__module__].__file__ or "").parent.parent
P = 2**61 - 1  # hash(i * P) == 0 for every int
HEAD = bytes((t.HEADER,))


def back(value: object, accept: dict[str, type] | None = None) -> Any:
    classes = accept or {}
    return decode(encode(value, frozenset(classes)), budget=256 * MIB, accept=classes)


def same(one: Any, other: Any) -> bool:
    """Equality that also sees the types, signs of zeros, NaNs and order of dicts."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (set, frozenset)):
        pairs = len(one), len(other)
        return pairs[0] == pairs[1] and all(any(same(x, y) for y in other) for x in one)
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    if isinstance(one, (complex, decimal.Decimal, slice, dt.datetime, dt.time)):
        return repr(one) == repr(other)
    return bool(one == other)


def refused(data: bytes, budget: int = 64 * MIB, **more: Any) -> str:
    with pytest.raises(BadPlain) as caught:
        decode(data, budget=budget, **more)
    return str(caught.value)


def sized(tag: int, size: int) -> bytes:
    return struct.pack("<BQ", tag + 1, size)


class Cost:
    """CPU seconds of this thread, and the peak of the memory Python took."""

    def __enter__(self) -> Cost:
        tracemalloc.start()
        self._from = time.thread_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.thread_time() - self._from
        self.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


# --- what arrives -----------------------------------------------------------------------------

offsets = st.timedeltas(dt.timedelta(hours=-23, minutes=-59), dt.timedelta(hours=23, minutes=59))
zones = st.none() | st.builds(dt.timezone, offsets) | st.builds(dt.timezone, offsets, st.text(max_size=5))
texts = st.text(st.characters(exclude_categories=()), max_size=300)
hashable_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.complex_numbers()
    | texts
    | st.binary(max_size=300)
    | st.builds(range, st.integers(), st.integers(), st.integers(min_value=1))
    | st.datetimes(timezones=zones)
    | st.dates()
    | st.times(timezones=zones)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.uuids()
    | st.builds(pathlib.PurePosixPath, texts)
    | st.builds(pathlib.PureWindowsPath, texts)
)
scalars = (
    hashable_scalars
    | st.binary(max_size=300).map(bytearray)
    | st.builds(slice, st.integers() | st.none(), st.integers() | st.none(), texts)
    | st.decimals(allow_nan=True)
    | st.lists(st.integers(-(2**63), 2**63 - 1)).map(lambda x: array.array("q", x))
    | st.lists(st.floats(), min_size=8, max_size=20)
    | st.lists(st.integers(-(2**64), 2**64), min_size=8, max_size=20)
    | st.lists(st.integers(0, 3) | st.booleans(), min_size=8, max_size=20)
)
keys = st.recursive(
    hashable_scalars,
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=5,
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=12)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=12)
        | st.sets(keys, max_size=12)
        | st.frozensets(keys, max_size=12)
    ),
    max_leaves=20,
)
relaxed = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck), print_blob=True)


@sizes("examples", 60, soak=[1000])
def test_every_plain_value_arrives_as_it_was(examples: int) -> None:
    settings(relaxed, max_examples=examples)(given(values)(arrives_as_it_was))()


def arrives_as_it_was(value: object) -> None:
    """As the bytes that it was sent as, and as the same bytes elsewhere in memory."""
    data = encode(value)
    assert same(value, back(value))
    assert same(decode(bytearray(data), budget=64 * MIB), value)
    assert same(decode(memoryview(b"xx" + data)[2:], budget=64 * MIB), value)
    spread = bytearray(2 * len(data))
    spread[::2] = data
    assert same(decode(memoryview(spread)[::2], budget=64 * MIB), value)


EDGES: list[Any] = [
    *(sign * 2**power + off for power in (7, 8, 31, 63, 64, 2047) for off in (-1, 0, 1) for sign in (1, -1)),
    1 << 200_000,
    -(1 << 200_000),
    -0.0,
    math.inf,
    math.nan,
    complex(-0.0, math.nan),
    "x" * 255,
    "x" * 256,
    "é" * 128,
    "\ud800",
    "\ud83d\ude00",
    "😀" * 1000,
    "\0",
    b"x" * 255,
    b"x" * 256,
    bytearray(300),
    [],
    (),
    {},
    set(),
    frozenset(),
    [[]] * 300,
    {i: i for i in range(300)},
    set(range(300)),
    dict.fromkeys(map(str, range(300))),
    {"a": 1, 2: "b", None: 3, (1, "x"): 4, b"c": 5, 2.5: 6},
    [True] * 8,
    [1] * 7 + [True],
    [True] + [1] * 7,
    [1] * 3 + [True] + [1] * 5,
    [1.0] * 8 + [1],
    [2**63] * 8,
    [2**63 - 1, -(2**63)] * 4,
    [0.0, -0.0] * 4,
    [math.nan] * 9,
    range(0),
    range(10, -(10**30), -7),
    slice(None),
    slice("a", 2.5, (1,)),
    dt.datetime.min,
    dt.datetime.max,
    dt.timedelta.min,
    dt.timedelta.max,
    dt.time.max,
    dt.datetime(2024, 10, 27, 2, 30, fold=1),
    dt.datetime(1, 1, 1, tzinfo=dt.timezone.max),
    decimal.Decimal("-0E-10"),
    decimal.Decimal("sNaN12"),
    decimal.Decimal("-Infinity"),
    decimal.Decimal("1E+999999999999999999"),
    fractions.Fraction(-3, 7),
    uuid.UUID(int=2**128 - 1),
    pathlib.Path("/tmp/x"),
    pathlib.Path(),
    pathlib.PurePosixPath("a"),
    pathlib.PureWindowsPath("c:/a"),
    array.array("d", [1.5]),
    array.array("B"),
]


@pytest.mark.parametrize("value", EDGES, ids=lambda value: ascii(type(value).__name__))
def test_edge_values_arrive_as_they_were(value: object) -> None:
    assert same(value, back(value))


# --- NumPy ------------------------------------------------------------------------------------

ARRAYS = [
    numpy.arange(12.0).reshape(3, 4),
    numpy.arange(12)[::-2],
    numpy.asfortranarray([[1, 2], [3, 4]]),
    numpy.array(5),
    numpy.zeros((0, 3)),
    numpy.zeros((3, 0, 2), "i1"),
    numpy.array([True, False]),
    numpy.array(["2024-01-01", "NaT"], "M8[D]"),
    numpy.array([1, 2], "m8[25us]"),
    numpy.array(["é", "😀x"]),
    numpy.array([b"ab", b"c"]),
    numpy.array([1 + 2j]),
    numpy.array([1, 2], ">i4"),
    numpy.array(["é"], ">U3"),
    numpy.array([1.5], "f2"),
    numpy.array([1.5], "longdouble"),
    numpy.array([], "M8"),
    numpy.array(True),
    numpy.zeros(2, "V3"),
    numpy.zeros(2, [("a", "<i4"), ("b", "?"), ("c", "<U2", (2,))]),
    numpy.ones((2, 2), "q"),
    numpy.zeros((0, 2), [("a", [("b", ">f8")])]),
    numpy.asfortranarray(numpy.ones((2, 3), [("a", "i1")])),
]


@pytest.mark.parametrize("sent", ARRAYS, ids=lambda a: f"{a.dtype.str}{a.shape}")
def test_arrays_arrive_writable_and_owning_their_memory(sent: numpy.ndarray) -> None:
    got = back(sent)
    assert type(got) is numpy.ndarray
    assert (got.dtype, got.dtype.str, got.shape) == (sent.dtype, sent.dtype.str, sent.shape)
    assert got.tobytes() == sent.tobytes()
    assert got.flags.writeable
    assert got.flags.owndata


@pytest.mark.parametrize(
    "sent",
    [
        numpy.float64(1.5),
        numpy.int8(-1),
        numpy.bool_(True),
        numpy.str_("hé"),
        numpy.str_(""),
        numpy.bytes_(b"x"),
        numpy.datetime64("2024-01-01"),
        numpy.timedelta64(5, "ms"),
        numpy.complex64(1j),
        numpy.longdouble(1),
    ],
    ids=lambda scalar: type(scalar).__name__,
)
def test_numpy_scalars_keep_their_type(sent: Any) -> None:
    got = back(sent)
    assert type(got) is type(sent)
    assert got == sent
    assert got.dtype == sent.dtype


def test_arrays_of_objects_and_subclasses_are_not_plain() -> None:
    record = numpy.zeros(2, [("a", "i4"), ("b", "O")])
    masked = numpy.ma.array([1])
    for value in (numpy.array([None]), record, record[0], masked):
        with pytest.raises(NotPlain):
            encode(value)


def test_the_host_does_not_import_numpy_for_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(numpy.arange(3))
    monkeypatch.delitem(sys.modules, "numpy")
    assert "import numpy in the host to receive arrays" in refused(data)
    assert "numpy" not in sys.modules


def array_bytes(dtype: str, shape: tuple[int, ...], raw: bytes, tag: int = t.NDARRAY) -> bytes:
    name = bytes((t.STR8, len(dtype))) + dtype.encode()
    dims = struct.pack(f"<B{len(shape)}QQ", len(shape), *shape, len(raw))
    return HEAD + bytes((tag,)) + name + dims + raw


@pytest.mark.parametrize(
    ("dtype", "shape", "raw"),
    [
        ("<f8", (2**61, 2**3), b""),
        ("<f8", (2**32, 2**32), b""),
        ("<f8", (0, 2**63, 2**63), b""),
        ("<f8", (2**64 - 1, 0), b""),
        ("<f8", (2**40,), b"x" * 8),
        ("<f8", (1,), b"x" * 7),
        ("<f8", (1,) * 33, b"x" * 8),
        ("|O8", (1,), b"x" * 8),
        ("O", (1,), b"x" * 8),
        ("|V0", (1,), b""),
        ("|V9999999999", (0,), b""),
        ("i4,O", (1,), b"x" * 8),
        ("(2,)f8", (1,), b"x" * 16),
        ("<f7", (1,), b"x" * 7),
        ("|S0", (10**6,), b""),
        ("<U0", (10**6,), b""),
        ("<U999999999", (0,), b""),
        ("<M8[0s]", (1,), b"x" * 8),
        ("<M8[999999999999s]", (1,), b"x" * 8),
        ("<M8[s]\n", (1,), b"x" * 8),
        ("|b1", (4,), b"\1\0\2\1"),
        ("<U1", (1,), b"\xff" * 4),
        (">U1", (1,), b"\0\x11\0\0"),
    ],
)
def test_arrays_that_lie_are_refused(dtype: str, shape: tuple[int, ...], raw: bytes) -> None:
    """Shapes that overflow, dtypes with pointers, and items NumPy would trip over."""
    with Cost() as cost:
        refused(array_bytes(dtype, shape, raw))
        refused(array_bytes(dtype, shape, raw, t.NUMPY_SCALAR)) if shape else None
    assert cost.peak < MIB


@pytest.mark.parametrize("raw", [b"", b"dx", b"u\4" + bytes(8), b"d\4" + bytes(8)])
def test_malformed_array_arrays_are_refused(raw: bytes) -> None:
    refused(HEAD + bytes((t.ARRAY,)) + raw)
    refused(HEAD + bytes((t.ARRAY,)) + struct.pack("<cBQ", b"d", 8, 7) + bytes(7))
    refused(HEAD + bytes((t.ARRAY,)) + struct.pack("<cBQ", b"d", 8, 2**63) + bytes(8))


# --- what is not sent -------------------------------------------------------------------------


class Plain:
    def __init__(self, **attributes: object) -> None:
        self.__dict__.update(attributes)


class Slotted:
    __slots__ = ("__private", "a", "b")

    def __init__(self) -> None:
        self.a, self.__private = 1, 2

    def private(self) -> int:
        return self.__private


class SlottedAndMore(Slotted):
    pass


@dataclasses.dataclass
class Point:
    x: int
    y: list[int]


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int


@attrs.define
class Attrs:
    x: int


@attrs.frozen
class AttrsFrozen:
    x: int


class Pair(NamedTuple):
    a: int
    b: str


class Colour(enum.Enum):
    RED = 1
    GREEN = "g"


class Bits(enum.IntFlag):
    A = 1
    B = 2


class Failure(Exception):
    def __init__(self, code: int, note: str) -> None:
        super().__init__(code)
        self.note = note


class Text(str):
    pass


class Raw(bytes):
    pass


class Number(int):
    pass


class Items(list):  # type: ignore[type-arg]
    pass


class Stateful:
    def __init__(self) -> None:
        self.a = 5

    def __getstate__(self) -> object:
        return [self.a]

    def __setstate__(self, state: list[int]) -> None:
        (self.a,) = state


class Called:
    """Its pickles call the class, which a host does not do."""

    def __init__(self, a: int) -> None:
        self.a = a

    def __reduce__(self) -> Any:
        return Called, (self.a,)


class Raises:
    def __reduce__(self) -> Any:
        raise KeyError("no")


def accept(*classes: type) -> dict[str, type]:
    return {t.class_key(cls): cls for cls in classes}


@pytest.mark.parametrize(
    "value",
    [
        Number(1),
        Text("x"),
        Items(),
        Pair(1, "x"),
        Colour.RED,
        Plain(),
        Frozen(1),
        object(),
        len,
        collections.OrderedDict(),
        ValueError("x"),
        int,
        sys,
        lambda: 1,
        iter([]),
        re.compile("x"),
        array.array(TEXT_CODE, "x"),
        [Number(1)] * 8,
        {Number(1): 2},
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_are_not_plain_and_are_named(value: Any) -> None:
    with pytest.raises(NotPlain) as caught:
        encode([value])
    culprit = value[0] if isinstance(value, list) and value else value
    culprit = next(iter(culprit)) if type(culprit) is dict else culprit
    cls = type(culprit)
    assert caught.value.type_name == f"{cls.__module__}.{cls.__qualname__}"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def nested(depth: int, make: Any = lambda inner: [inner]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = make(value)
    return value


WRAPS = [
    lambda inner: [inner],
    lambda inner: (inner,),
    lambda inner: {"k": inner},
    lambda inner: slice(inner),
    lambda inner: frozenset([inner]),
    lambda inner: {(inner if type(inner) in (int, frozenset) else frozenset(inner)): 1},
]


@pytest.mark.parametrize("make", WRAPS)
def test_a_hundred_levels_are_plain_and_one_more_is_not(make: Any) -> None:
    value = nested(100, make)
    got = back(value)
    assert repr(got) == repr(value)
    with pytest.raises(NotPlain, match="more than 100 levels deep"):
        encode(make(value) if make is not WRAPS[-1] else [value])


def test_a_cycle_is_not_plain() -> None:
    loop: list[Any] = [1]
    loop.append({"a": loop})
    owner = Plain()
    owner.me = owner  # type: ignore[attr-defined]
    for value, way in ((loop, "key 'a' of item 1"), (owner, "attribute 'me'")):
        with pytest.raises(NotPlain, match=f"it contains itself, as {way}$") as caught:
            encode(value, accept(Plain).keys())
        assert caught.value.type_name.endswith(type(value).__name__)
    with pytest.raises(NotPlain, match="itself, as key 'a' of item 1 .at item 0 of key 'x'"):
        encode({"x": (loop,)})


def test_very_deep_values_do_not_reach_the_recursion_limit() -> None:
    value = nested(100_000)
    with pytest.raises(NotPlain):
        encode(value)
    while value != 1:
        (value,) = value


def test_ints_too_long_to_calculate_with_are_not_plain() -> None:
    for value in (range(1 << 40_000), fractions.Fraction(1, 1 << 40_000)):
        with pytest.raises(NotPlain, match="4096 bytes"):
            encode(value)
    with pytest.raises(NotPlain, match="4096 digits"):
        encode(decimal.Decimal("1" * 5000))


# --- accepted classes -------------------------------------------------------------------------


def state_of(value: Any) -> object:
    if isinstance(value, Slotted):
        return value.a, value.private(), getattr(value, "b", None), getattr(value, "c", None)
    if isinstance(value, BaseException):
        return value.args, vars(value), str(value)
    return vars(value) if hasattr(value, "__dict__") and type(value) is not Pair else value


def slotted() -> SlottedAndMore:
    value = SlottedAndMore()
    value.c = 7  # type: ignore[attr-defined]
    return value


ACCEPTED: list[Any] = [
    Plain(a=1, b=[2]),
    Plain(),
    Slotted(),
    slotted(),
    Point(1, [2]),
    Frozen(3),
    Attrs(4),
    AttrsFrozen(5),
    Pair(1, "x"),
    Colour.RED,
    Colour.GREEN,
    Bits.A,
    Failure(5, "why"),
    ValueError("a", 1),
    KeyError("k"),
    OSError(2, "no", "f"),
    StopIteration(3),
    Text("xy"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    Raw(b"xy"),
    Number(-7),
    Stateful(),
]


@pytest.mark.parametrize("value", ACCEPTED, ids=lambda value: type(value).__name__)
def test_objects_of_accepted_classes_arrive(value: Any) -> None:
    got = back([value], accept(type(value)))[0]
    assert type(got) is type(value)
    assert state_of(got) == state_of(value)
    assert "is not accepted" in refused(encode(value, accept(type(value)).keys()))


@pytest.mark.parametrize(
    "value", [Items(), Called(1), Raises(), Bits(3), Bits(0)], ids=lambda value: type(value).__name__
)
def test_what_cannot_be_rebuilt_safely_is_not_plain_even_if_accepted(value: Any) -> None:
    with pytest.raises(NotPlain):
        encode(value, accept(type(value)).keys())


def object_bytes(cls: type, args: tuple[Any, ...], state: object) -> bytes:
    return HEAD + bytes((t.OBJECT,)) + b"".join(encode(part)[1:] for part in (t.class_key(cls), args, state))


@pytest.mark.parametrize(
    ("cls", "args", "state"),
    [
        (Raw, (10**12,), None),
        (Raw, ("x", "utf-16"), None),
        (Number, ("9" * 10**6,), None),
        (Text, (1 << 10**7,), None),
        (Text, (), None),
        (Plain, (1,), None),
        (Plain, (), 5),
        (Plain, (), {1: 2}),
        (Plain, (), ({}, {"__class__": 1})),
        (Plain, (), ({}, {"__dict__": {}})),
        (Slotted, (), {"zzz": 1}),
        (Slotted, (), (None, {"zzz": 1})),
        (Stateful, (), [1, 2]),
        (Pair, (1,), None),
        (Colour, (1,), None),
        (frozenset, ([1],), None),
        (numpy.ndarray, ((10**12,),), None),
        (UnicodeDecodeError, (1,), None),
        (type, ("x", (), {}), None),
    ],
    ids=[f"case{number}" for number in range(19)],
)
def test_objects_with_hostile_arguments_are_refused(cls: type, args: tuple[Any, ...], state: object) -> None:
    data = object_bytes(cls, args, state)
    with Cost() as cost:
        refused(data, accept=accept(cls))
    assert cost.seconds < 0.5
    assert cost.peak < 8 * MIB


def test_a_decoded_object_is_never_initialised_or_looked_up_by_import() -> None:
    called = decode(object_bytes(Called, (), {"a": 2}), budget=MIB, accept=accept(Called))
    assert vars(called) == {"a": 2}
    assert "os:system" in refused(
        HEAD + bytes((t.OBJECT,)) + b"".join(encode(x)[1:] for x in ("os:system", ("id",), None))
    )


def test_an_enum_member_is_found_by_name_only() -> None:
    for name in ("BLUE", "__class__", "mro", "1"):
        data = HEAD + bytes((t.ENUM,)) + encode(t.class_key(Colour))[1:] + encode(name)[1:]
        refused(data, accept=accept(Colour))


# --- attacks ----------------------------------------------------------------------------------

SIZED_TAGS = [
    t.BIGINT8,
    t.STR8,
    t.BYTES8,
    t.BYTEARRAY8,
    t.LIST8,
    t.TUPLE8,
    t.DICT8,
    t.SET8,
    t.FROZENSET8,
    t.FLOATS8,
    t.INTS8,
]


@pytest.mark.parametrize("tag", SIZED_TAGS)
@pytest.mark.parametrize("size", [2, 2**20, 2**32, 2**61, 2**63 - 1, 2**63, 2**64 - 1])
def test_sizes_beyond_the_data_take_neither_time_nor_memory(tag: int, size: int) -> None:
    with Cost() as cost:
        refused(HEAD + sized(tag, size) + b"\0", budget=2**70)
        refused(HEAD + bytes((tag, 255)) + b"\0", budget=2**70)
    assert cost.seconds < 0.1
    assert cost.peak < 100_000


@pytest.mark.parametrize(
    "level",
    [
        bytes((t.LIST8, 1)),
        bytes((t.TUPLE8, 1)),
        bytes((t.DICT8, 1, t.NONE)),
        bytes((t.DICT8, 1)),
        bytes((t.SET8, 1)),
        bytes((t.FROZENSET8, 1)),
        bytes((t.SLICE,)),
        bytes((t.RANGE,)),
        bytes((t.FRACTION,)),
        bytes((t.DECIMAL,)),
        bytes((t.PATH,)) + b"C",
        bytes((t.OBJECT,)),
        bytes((t.ENUM,)),
        bytes((t.NDARRAY,)),
        bytes((t.RECARRAY, t.TUPLE8, 1)),
        bytes((t.ZONE,)),
        bytes((t.OBJECT,)) + encode("a:b")[1:],
        sized(t.LIST8, 1),
    ],
    ids=lambda level: f"tag{level[0]}",
)
def test_deep_nesting_is_refused_before_the_stack_is_used(level: bytes) -> None:
    """Also when a shallow stack is all that is left: the reason is the format, not the stack."""
    data = HEAD + level * 300_000
    with Cost() as cost:
        text = refused(data, budget=2**40, accept={"a:b": Plain}, max_depth=10**9)
    assert "stack" not in text
    assert cost.seconds < 0.2
    assert cost.peak < MIB


def test_a_caller_with_little_stack_left_gets_bad_plain_or_the_value() -> None:
    data = encode(nested(100))

    def at_depth(levels: int) -> object:
        return at_depth(levels - 1) if levels else decode(data, budget=MIB)

    for levels in range(0, sys.getrecursionlimit(), 50):
        try:
            at_depth(levels)
        except (BadPlain, RecursionError):
            continue


def test_there_is_no_sharing_so_a_message_cannot_say_more_than_its_length() -> None:
    """What pickle says in a few bytes per doubling takes, here, as many bytes as it has parts."""
    value: Any = ()
    for _ in range(14):
        value = (value, value)
    assert len(pickle.dumps(value)) < 200
    assert len(encode(value)) > 2**15


ONE_BYTE_EACH = [
    bytes((t.LIST8, 0)),
    bytes((t.DICT8, 0)),
    bytes((t.SET8, 0)),
    bytes((t.BYTEARRAY8, 0)),
    bytes((t.FROZENSET8, 0)),
    bytes((t.STR8, 0)),
    bytes((t.STR8, 3)) + "xé".encode(),
    bytes((t.STR8, 255)) + ("😀" + "x" * 251).encode(),
    bytes((t.FLOAT,)) + bytes(8),
    bytes((t.NONE,)),
    bytes((t.DATE,)) + struct.pack("<HBB", 2000, 1, 1),
    bytes((t.SLICE, 0, 0, 0)),
    bytes((t.DICT8, 1, t.NONE, t.NONE)),
    bytes((t.SET8, 1, t.NONE)),
    bytes((t.LIST8, 1, t.NONE)),
    bytes((t.DICT8, 6, *(x for i in range(6) for x in (t.INT8, i, t.NONE)))),
    bytes((t.SET8, 5, *(x for i in range(5) for x in (t.INT8, i)))),
    bytes((t.FROZENSET8, 5, *(x for i in range(5) for x in (t.INT8, i)))),
    bytes((t.INT64,)) + struct.pack("<q", 10**10),
    bytes((t.BIGINT8, 9)) + b"x" * 9,
    bytes((t.UUID,)) + bytes(range(16)),
    encode(fractions.Fraction(1000, 7))[1:],
    encode(decimal.Decimal(5))[1:],
    encode(pathlib.PurePosixPath("/".join("abcdefgh" * 5)))[1:],
    encode(dt.datetime(2000, 1, 1, tzinfo=dt.UTC))[1:],
    encode(dt.timedelta(5))[1:],
    encode(range(1000, 10**6))[1:],
    encode(array.array("b"))[1:],
    encode(1j)[1:],
    encode([1.5] * 10)[1:],
    encode([10**9 + i for i in range(10)])[1:],
    encode(numpy.zeros(0, "i1"))[1:],
    encode(numpy.int8(1))[1:],
    encode(numpy.zeros(0, [("a", "i1"), ("b", "?")]))[1:],
    encode(numpy.zeros(1, [("a", "i1")])[0])[1:],
    encode(dt.datetime(2000, 1, 1, tzinfo=zoneinfo.ZoneInfo("Etc/UTC")))[1:],
    encode(dt.timezone(dt.timedelta(hours=1), "x"))[1:],
    encode(Plain(), accept(Plain).keys())[1:],
    encode(Frozen(1), accept(Frozen).keys())[1:],
]


@pytest.mark.parametrize("item", ONE_BYTE_EACH, ids=lambda item: f"{item[:3].hex()}x{len(item)}")
def test_millions_of_small_items_stop_at_the_budget(item: bytes) -> None:
    """19 MiB of the first kind, with a budget of 24 MiB: what was really taken stays near the budget."""
    classes = accept(Plain, Frozen)
    mebibytes = 19 if item is ONE_BYTE_EACH[0] else 5
    count = mebibytes * MIB // len(item)
    data = HEAD + sized(t.LIST8, count) + item * count
    budget = (mebibytes + 5) * MIB if mebibytes == 19 else 6 * MIB
    start = time.thread_time()
    refused(data, budget=budget, accept=classes)
    assert time.thread_time() - start < 10
    # Now the same with as many items as can be afforded.
    budget = MIB // 2
    low, high = 0, 50_000
    while high - low > low // 200:
        middle = (low + high + 1) // 2
        some = HEAD + sized(t.LIST8, middle) + item * middle
        try:
            decode(some, budget=budget, accept=classes)
            low = middle
        except BadPlain:
            high = middle - 1
    some = HEAD + sized(t.LIST8, low) + item * low
    with Cost() as cost:
        decode(some, budget=budget, accept=classes)
    assert cost.peak < 1.25 * budget + 16 * 1024


@sizes("count", 5, 6, 11, 683, 1000, 5462, 10_923, 50_001, soak=[43_691, 87_382, 174_764])
def test_the_charge_for_tables_covers_what_they_take_when_just_grown(count: int) -> None:
    for value in (dict.fromkeys(range(-count, 0)), {str(i) for i in range(count)}):
        data = encode(value)
        with Cost() as cost:
            decode(data, budget=2**40)
        low, high = 0, 4 * cost.peak + 4096
        decode(data, budget=high)
        while high - low > max(1000, high // 50):
            middle = (low + high) // 2
            try:
                decode(data, budget=middle)
                high = middle
            except BadPlain:
                low = middle
        assert cost.peak < 1.3 * high + 4096


@pytest.mark.parametrize("text", ["x" * MIB, "é" * MIB, "😀" * MIB, "x" * MIB + "😀"])
def test_a_text_that_widens_is_paid_for_before_it_is_made(text: str) -> None:
    data = encode(text)
    size = sys.getsizeof(text)
    assert decode(data, budget=4 * len(data) + 1000) == text
    with Cost() as cost:
        refused(data, budget=size // 2)
    assert cost.peak < size // 2 + len(data) + 100_000


def flags(count: int) -> list[tuple[int, ...]]:
    shuffled = random.Random(5).sample(range(1 << 16), min(count, 1 << 16) - 1)
    return [tuple(-1 - (i >> bit & 1) for bit in range(16)) for i in shuffled]


def colliding(count: int) -> dict[str, Callable[[], list[Any]]]:
    """What makes keys of each kind: most of the time of these tests goes there, so none are made in vain."""
    ints = [i * P for i in range(1, count)]
    day = dt.datetime(2000, 1, 1)
    return {
        "ints": lambda: ints,
        "negative": lambda: [-i for i in ints],
        "tuples": lambda: [(i,) for i in ints],
        "long tuples": lambda: [(0,) * 400 + (i,) for i in ints[: count // 10]],
        "tuples of -1 and -2": lambda: flags(count),
        "fractions": lambda: [fractions.Fraction(i) for i in ints],
        "decimals": lambda: [decimal.Decimal(i) for i in ints],
        "complex": lambda: [complex(-1000003.0 * i, i) for i in range(count)],
        "datetimes": lambda: [(day, i) for i in ints],
        "timedeltas": lambda: [tuple(map(dt.timedelta, flag)) for flag in flags(count)[: count // 3]],
        "frozensets": lambda: [frozenset([i]) for i in ints],
        "frozen": lambda: [Frozen(i) for i in ints[: count // 2]],
        "tuples of fractions": lambda: [(fractions.Fraction(1, 3),) * 50 + (i,) for i in ints[: count // 10]],
        "4 KiB ints": lambda: [(1 << 32_000) * P + i * P for i in ints[: count // 20]],
        "text between": lambda: [x for i in ints for x in (f"k{i}", i)],
    }


COLLIDING = list(colliding(2))


def uncoded_set(keys: list[Any], tag: int, classes: dict[str, type]) -> bytes:
    """What the child could have sent, without building the slow set here."""
    return coded_set([encode(key, classes.keys())[1:] for key in keys], tag)


def coded_set(keys: list[bytes], tag: int) -> bytes:
    parts = keys
    if tag == t.DICT8:
        parts = [part + bytes((t.NONE,)) for part in parts]
    return HEAD + sized(tag, len(keys)) + b"".join(parts)


@sizes("count", 20_000, soak=[60_000])
@pytest.mark.parametrize("kind", COLLIDING)
def test_keys_made_to_collide_are_given_up_within_a_second(kind: str, count: int) -> None:
    classes = accept(Frozen)
    keys = [encode(key, classes.keys())[1:] for key in colliding(count)[kind]()]
    for tag in (t.DICT8, t.SET8, t.FROZENSET8):
        data = coded_set(keys, tag)
        start = time.thread_time()
        try:
            decode(data, budget=2**40, accept=classes)
        except BadPlain as error:
            assert "collide" in str(error)
        else:  # a fast machine is through before it would be given up
            assert count <= 20_000
        seconds = time.thread_time() - start
        print(f"{kind}, tag {tag}: {len(data)} bytes given up after {seconds:.2f} s")
        assert seconds < 1


def test_collisions_after_many_harmless_keys_are_given_up_too() -> None:
    """The harmless ones earn an allowance per key; the batches must not let it be exceeded."""
    keys: list[Any] = [2**62 + 7 * i for i in range(50_000)]
    keys += [i * P for i in range(1, 30_000)]
    data = uncoded_set(keys, t.SET8, {})
    start = time.thread_time()
    assert "collide" in refused(data, budget=2**40)
    assert time.thread_time() - start < 2


def test_collisions_in_many_small_tables_stay_linear() -> None:
    small = uncoded_set([i * P for i in range(1, 13)], t.SET8, {})[1:]
    data = HEAD + sized(t.LIST8, 30_000) + small * 30_000
    start = time.thread_time()
    decode(data, budget=2**40)
    assert time.thread_time() - start < 5


@pytest.mark.parametrize(
    "keys",
    [
        [i << 40 for i in range(50_000)],
        [float(i) for i in range(50_000)],
        [2.0**i for i in range(-1000, 1000)],
        [fractions.Fraction(i, 7) for i in range(30_000)],
        [decimal.Decimal(i) / 8 for i in range(50_000)],
        [(i, str(i)) for i in range(100_000)],
        [dt.datetime(2000, 1, 1) + dt.timedelta(minutes=i) for i in range(50_000)],
        [uuid.UUID(int=i) for i in range(50_000)],
        [pathlib.PurePosixPath(f"/a/{i}") for i in range(20_000)],
        [Frozen(i) for i in range(30_000)],
    ],
    ids=lambda keys: f"{type(keys[0]).__name__}-{len(keys)}",
)
def test_honest_keys_that_are_no_text_are_not_mistaken_for_an_attack(keys: list[Any]) -> None:
    assert back(dict.fromkeys(keys), accept(Frozen)) == dict.fromkeys(keys)


@pytest.mark.parametrize("key", [[], {}, set(), bytearray(), [1.0] * 9, decimal.Decimal("sNaN")])
def test_keys_that_cannot_be_hashed_are_refused(key: object) -> None:
    raw = encode(key)[1:]
    assert "hash" in refused(HEAD + bytes((t.SET8, 1)) + raw)
    assert "hash" in refused(HEAD + bytes((t.DICT8, 1)) + raw + bytes((t.NONE,)))
    assert "hash" in refused(HEAD + bytes((t.FROZENSET8, 1, t.TUPLE8, 1)) + raw)


def test_a_key_said_twice_is_refused() -> None:
    for raw in (encode("a")[1:], encode(5)[1:]):
        refused(HEAD + bytes((t.SET8, 2)) + raw * 2)
        refused(HEAD + bytes((t.DICT8, 2)) + (raw + bytes((t.NONE,))) * 2)


def test_an_int_too_long_to_compare_is_no_key() -> None:
    """Comparing a Decimal with an int of a mebibyte takes half a minute."""
    raw = encode(1 << 50_000)[1:]
    for key in (raw, bytes((t.TUPLE8, 1)) + raw):
        assert "longer than 4096" in refused(HEAD + bytes((t.SET8, 1)) + key)


def test_numbers_that_take_quadratic_time_are_refused_or_bounded() -> None:
    big, other = (encode((1 << 8 * MIB) // n)[1:] for n in (3, 7))
    nines = encode("9" * 8 * MIB)[1:]
    fraction = encode(fractions.Fraction(3**20_000, 2**32_000 + 1))[1:]
    start = time.thread_time()
    refused(HEAD + bytes((t.FRACTION,)) + big + other)
    refused(HEAD + bytes((t.RANGE,)) + big + other + big)
    refused(HEAD + bytes((t.DECIMAL,)) + nines)
    assert time.thread_time() - start < 0.5
    count = 4 * MIB // len(fraction)
    start = time.thread_time()
    decode(HEAD + sized(t.LIST8, count) + fraction * count, budget=2**40)
    assert time.thread_time() - start < 5


def test_a_huge_int_takes_linear_time() -> None:
    data = encode(1 << 8 * 16 * MIB)
    start = time.thread_time()
    assert decode(data, budget=64 * MIB) == 1 << 8 * 16 * MIB
    assert time.thread_time() - start < 1


@pytest.mark.parametrize(
    "raw",
    [
        bytes((t.STR8, 1, 0xFF)),
        sized(t.STR8, 2) + b"\xc3\x28",
        bytes((t.DATE,)) + struct.pack("<HBB", 2023, 2, 29),
        bytes((t.DATE,)) + struct.pack("<HBB", 0, 1, 1),
        bytes((t.DATETIME,)) + struct.pack("<HBBBBBIBq", 2000, 1, 1, 24, 0, 0, 0, 0, t.NAIVE),
        bytes((t.DATETIME,)) + struct.pack("<HBBBBBIBq", 2000, 1, 1, 0, 0, 0, 10**6, 0, t.NAIVE),
        bytes((t.DATETIME,)) + struct.pack("<HBBBBBIBq", 2000, 1, 1, 0, 0, 0, 0, 2, t.NAIVE),
        bytes((t.DATETIME,)) + struct.pack("<HBBBBBIBq", 2000, 1, 1, 0, 0, 0, 0, 0, 2**62),
        bytes((t.TIME,)) + struct.pack("<BBBIBq", 0, 60, 0, 0, 0, t.NAIVE),
        bytes((t.TIME,)) + struct.pack("<BBBIBq", 0, 0, 0, 0, 0, 86_400 * 10**6),
        bytes((t.TIMEDELTA,)) + struct.pack("<iii", 10**9, 0, 0),
        bytes((t.TIMEDELTA,)) + struct.pack("<iii", 0, 86_400, 0),
        bytes((t.TIMEDELTA,)) + struct.pack("<iii", 0, 0, -1),
        bytes((t.RANGE,)) + encode(0)[1:] * 3,
        bytes((t.RANGE,)) + encode(True)[1:] * 3,
        bytes((t.FRACTION,)) + encode(1)[1:] + encode(0)[1:],
        bytes((t.FRACTION,)) + encode(1)[1:] + encode(-2)[1:],
        *(
            bytes((t.DECIMAL,)) + encode(text)[1:]
            for text in ("", "x", "1_0", " 1", "١", "1E+99999999999999999999", "1\n")
        ),
        bytes((t.PATH,)) + b"X" + encode("a")[1:],
        bytes((t.UUID,)) + bytes(15),
        bytes((t.ENUM,)) + encode("a")[1:] * 2,
        bytes((200,)),
        b"",
    ],
)
def test_malformed_values_are_refused(raw: bytes) -> None:
    assert re.search(r"at byte \d+ of \d+$", refused(HEAD + raw))


def test_a_foreign_header_and_trailing_bytes_are_refused() -> None:
    assert "header" in refused(b"\x80\x05N.")
    assert "cut short" in refused(b"")
    assert "follow the value" in refused(encode(5) + b"\0")
    decode(encode(nested(5)), budget=MIB, max_depth=5)
    assert "nested" in refused(encode(nested(6)), max_depth=5)


CLASSES = accept(Plain, Slotted, Point, Frozen, Pair, Colour, Failure, Text, Raw, Stateful)
SAMPLES = [
    encode([value], CLASSES.keys())
    for value in [*EDGES, *ARRAYS, *(a for a in ACCEPTED if t.class_key(type(a)) in CLASSES)]
    if len(encode(value, CLASSES.keys())) < 3000
]


def decodes_or_is_bad(data: bytes) -> None:
    start = time.thread_time()
    try:
        value = decode(data, budget=MIB, accept=CLASSES)
    except BadPlain:
        value = None
    else:
        repr_of(value)
    assert time.thread_time() - start < 1


def repr_of(value: object) -> None:
    """What the host may do with any value afterwards; errors are fine, crashes are not."""
    for use in (repr, hash, lambda v: v == v, lambda v: v == [v], str):
        try:
            use(value)
        except Exception:
            continue


@sizes("examples", 200, soak=[5000])
def test_any_bytes_decode_or_are_bad(examples: int) -> None:
    @settings(relaxed, max_examples=examples)
    @given(st.binary(max_size=200))
    def hold(data: bytes) -> None:
        decodes_or_is_bad(data)
        decodes_or_is_bad(HEAD + data)

    hold()


@sizes("examples", 150, soak=[5000])
def test_mutations_of_valid_bytes_decode_or_are_bad(examples: int) -> None:
    @settings(relaxed, max_examples=examples)
    @given(st.sampled_from(SAMPLES), st.data())
    def hold(sample: bytes, data: st.DataObject) -> None:
        raw = bytearray(sample)
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(1, len(raw)))
            end = data.draw(st.sampled_from([at, at + 1, at + 8]))
            raw[at:end] = data.draw(st.binary(max_size=9))
        decodes_or_is_bad(bytes(raw))

    hold()


@sizes("count", 20_000, soak=[200_000])
def test_many_random_mutations_decode_or_are_bad_in_little_memory(count: int) -> None:
    rng = random.Random(20240501)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        raw = bytearray(rng.choice(SAMPLES))
        for _ in range(rng.randrange(1, 5)):
            raw[rng.randrange(1, len(raw))] = rng.choice((rng.randrange(256), rng.randrange(t.UUID_SAFE + 1), 255))
        decodes_or_is_bad(bytes(raw))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_every_prefix_of_valid_bytes_is_bad() -> None:
    for sample in SAMPLES:
        for end in range(len(sample)):
            refused(sample[:end], accept=CLASSES)


# --- copies and other pythons -----------------------------------------------------------------


@pytest.mark.parametrize("value", [bytes(16 * MIB), numpy.zeros(2 * MIB)], ids=["bytes", "array"])
def test_a_large_value_is_copied_once_on_each_side(value: Any) -> None:
    with Cost() as cost:
        data = encode(value)
    assert cost.peak < 17 * MIB
    with Cost() as cost:
        decode(data, budget=64 * MIB)
    assert cost.peak < 17 * MIB


def test_a_list_that_another_thread_changes_is_still_well_formed() -> None:
    shared: list[Any] = ["x"] * 100
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            shared.append("y")
            del shared[0:3]
            shared.extend("zz")

    worker = threading.Thread(target=change)
    worker.start()
    try:
        for _ in range(300):
            decode(encode({"a": shared}), budget=MIB)
    finally:
        stop.set()
        worker.join()


CHILD = """
import importlib.util, sys, os
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "_pihost", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])
package = type(sys)("_pihost")
package.__path__ = [folder]
package.__spec__ = spec
sys.modules["_pihost"] = package
from _pihost.plain.encode import encode
from _pihost.plain.decode import decode
import array, datetime, decimal, fractions, pathlib, uuid
class P:
    pass
p = P(); p.a = 1
value = eval(sys.argv[2])
data = encode(value, {"__main__:P"})
got = decode(data, budget=1 << 26, accept={"__main__:P": P})
assert repr(got[:-1]) == repr(value[:-1]), got
assert vars(got[-1]) == {"a": 1}
sys.stdout.buffer.write(data)
"""
SOURCE = (
    "[1, -1, 2**100, 1.5, 2j, 'h\\ud800\\xe9', b'x', bytearray(b'y'), [True] * 9, [1.5] * 9,"
    " [1] * 9, (1,), {'a': {2: 3}}, {5}, frozenset([6]), range(3), slice(1, 2),"
    " datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc), datetime.date(2020, 1, 1),"
    " datetime.time(1), datetime.timedelta(1), decimal.Decimal('1.5'), fractions.Fraction(1, 3),"
    " uuid.UUID(int=5), pathlib.Path('/a'), pathlib.PureWindowsPath('c:/'), array.array('d', [1]),"
    " p]"
)


def interpreter(version: str) -> str | None:
    root = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    if shutil.which("pyenv"):
        told = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False)
        root = pathlib.Path(told.stdout.strip() or root)
    found = sorted(root.glob(f"versions/{version}*/bin/python"))
    name = version.replace("pypy", "pypy") if "pypy" in version else f"python{version[:-1]}"
    return str(found[-1]) if found else shutil.which(name)


@pytest.mark.process
@pytest.mark.parametrize("version", ["3.8.", "3.9.", "3.10.", "3.11.", "3.12.", "3.13.", "pypy3.9"])
def test_children_of_every_version_are_understood(version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no interpreter for {version}")
    ran = subprocess.run([python, "-I", "-c", CHILD, str(PIHOST), SOURCE], capture_output=True, check=False)
    assert not ran.stderr, ran.stderr.decode()
    got = decode(ran.stdout, budget=MIB, accept={"__main__:P": Plain})
    assert isinstance(got, list)
    p = Plain(a=1)
    names = {"array": array, "datetime": dt, "decimal": decimal, "fractions": fractions}
    expected = eval(SOURCE, {**names, "pathlib": pathlib, "uuid": uuid, "p": p})
    assert same(got[:-1], expected[:-1])
    assert vars(got[-1]) == {"a": 1}
