"""Every kind of value either arrives as it was, or is refused by name: nothing changes in silence."""

from __future__ import annotations

import datetime as dt
import math
import struct
import subprocess
import sys
import zoneinfo
from typing import Any

import numpy as np
import pytest

from piactors.pihost.plain import tags as t
from piactors.pihost.plain.decode import BadPlain, decode
from piactors.pihost.plain.encode import NotPlain, encode
from tests import plain_kinds
from tests.plain_kinds import REFUSED, SENT, Refused, zone

HEAD = bytes((t.HEADER,))
CASES = [(kind.name, value) for kind in SENT for value in kind.values]


def back(value: object) -> Any:
    return decode(encode(value), budget=1 << 24)


def dtypes_alike(one: Any, other: Any) -> bool:
    """More than NumPy's own equality: types, codes, titles, layout, metadata."""
    if one != other or (one.type, one.char, one.str, one.itemsize) != (
        other.type,
        other.char,
        other.str,
        other.itemsize,
    ):
        return False
    if (one.isalignedstruct, dict(one.metadata or {})) != (other.isalignedstruct, dict(other.metadata or {})):
        return False
    if one.subdtype is not None:
        return one.shape == other.shape and dtypes_alike(one.base, other.base)
    names = one.names or ()
    return one.names == other.names and all(
        one.fields[name][1:] == other.fields[name][1:] and dtypes_alike(one.fields[name][0], other.fields[name][0])
        for name in names
    )


def alike(one: Any, other: Any) -> bool:
    """Whether two values have the same type and are the same for whoever looks closely."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (np.ndarray, np.generic)):
        if not dtypes_alike(one.dtype, other.dtype) or one.shape != other.shape:
            return False
        padded = one.dtype.char in "gG"  # whose bytes are not all used
        if not (np.array_equal(one, other) if padded else one.tobytes() == other.tobytes()):
            return False
        if isinstance(one, np.ndarray):
            flags = ("c_contiguous", "f_contiguous")
            return all(getattr(one.flags, flag) == getattr(other.flags, flag) for flag in flags)
        return repr(one) == repr(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return alike(list(one.items()), list(other.items()))
    if isinstance(one, float) and math.isnan(one):
        return struct.pack("d", one) == struct.pack("d", other)
    if repr(one) == repr(other) and vars_of(one) == vars_of(other):
        return "nan" in repr(one).lower() or bool(one == other)
    return isinstance(one, (set, frozenset)) and one == other


def vars_of(value: Any) -> Any:
    return getattr(value, "is_safe", None), getattr(value, "fold", None), getattr(value, "typecode", None)


@pytest.mark.parametrize(("kind", "value"), CASES, ids=[f"{i}-{type(v).__name__}" for i, (_, v) in enumerate(CASES)])
def test_it_arrives_as_it_was_alone_and_inside(kind: str, value: Any) -> None:
    assert alike(value, back(value)), kind
    assert alike({"key": [(value, 1)]}, back({"key": [(value, 1)]})), kind


@pytest.mark.parametrize("kind", REFUSED, ids=[f"{i}-{kind.name}" for i, kind in enumerate(REFUSED)])
def test_it_is_refused_by_name_with_the_way_to_it(kind: Refused) -> None:
    value = kind.make()
    cls = type(value)
    name = kind.culprit or cls.__qualname__
    with pytest.raises(NotPlain, match=kind.text) as caught:
        encode(value)
    assert caught.value.type_name.rpartition(".")[2] == name.rpartition(".")[2]
    assert caught.value.path == ""
    with pytest.raises(NotPlain, match=kind.text) as caught:
        encode({"rows": [0, 1, 2, value]})
    assert str(caught.value).endswith("(at item 3 of key 'rows')")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([[], [0, len]], "item 1 of item 1"),
        (({"a": {5: len}},), "key 5 of key 'a' of item 0"),
        ({b"x": len}, "key b'x'"),
        ({None: len}, "key None"),
        ({(1, 2): len}, "the value of a key of type builtins.tuple"),
        ({len: 1}, "a key"),
        ([{(1, len): 1}], "item 1 of a key of item 0"),
        ({"s": {1, len}}, "an item of key 's'"),
        ({"s": slice(1, len)}, "an item of key 's'"),
        ({"x" * 1000: len}, f"key '{'x' * 60}'…"),
        ({10**5000: len}, "the value of a key of type builtins.int"),
        ([0, dt.time(tzinfo=plain_kinds.Zone())], "item 1"),
        ({"t": np.zeros(1, np.dtype("i4", metadata={"m": len}))}, "key 'm' of item 2 of key 't'"),
    ],
)
def test_the_way_to_what_is_refused(value: Any, path: str) -> None:
    with pytest.raises(NotPlain) as caught:
        encode(value)
    assert caught.value.path == path


def test_depth_and_cycle_are_told_apart() -> None:
    deep: Any = []
    for _ in range(150):
        deep = [deep]
    with pytest.raises(
        NotPlain, match=r"builtins\.list cannot be sent: it lies more than 100 levels deep \(at item 0 of"
    ):
        encode(deep)
    loop: dict[str, Any] = {}
    loop["a"] = [0, (loop,)]
    with pytest.raises(
        NotPlain, match=r"builtins\.dict cannot be sent: it contains itself, as item 0 of item 1 of key 'a' \(at"
    ):
        encode([loop])
    shared: list[Any] = []
    twice = [[shared, shared], [shared]]
    assert back(twice) == twice


def test_the_page_has_this_table() -> None:
    assert plain_kinds.page_with(plain_kinds.table()) == plain_kinds.PAGE.read_text(), (
        "docs/plain_data.md is not up to date: run `python -m tests.plain_kinds`"
    )


# --- zones ------------------------------------------------------------------------------------


def test_a_zone_is_the_hosts_own_and_goes_on_counting_by_its_rules() -> None:
    sent = dt.datetime(2024, 3, 30, 12, tzinfo=zone("Europe/Berlin"))
    got = back(sent)
    assert got.tzinfo is zone("Europe/Berlin")
    assert (got + dt.timedelta(days=1)).utcoffset() == dt.timedelta(hours=2)


def zoned(key: str) -> bytes:
    return HEAD + bytes((t.ZONE,)) + struct.pack("<q", t.KEYED) + encode(key)[1:]


@pytest.mark.parametrize(
    "key",
    [
        "",
        ".",
        "..",
        "../UTC",
        "/etc/passwd",
        "Europe/../../passwd",
        "Europe//Berlin",
        "a\0b",
        "a\\b",
        "UTC\n",
        "é",
        "~root",
        "Europe/Berlin/",
        "tzdata.zi",
        "C:/x",
        "a" * 101,
        "zone1970.tab",
        "\ud800",
    ],
)
def test_what_is_not_a_key_is_never_looked_for(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "ZoneInfo", lambda key: pytest.fail(f"{key} was looked for"))
    with pytest.raises(BadPlain, match="is not the key of a time zone"):
        decode(zoned(key), budget=1 << 20)


@pytest.mark.parametrize("key", ["Europe/Atlantis", "Europe", "leapseconds", "os", "__init__", "tzdata/zoneinfo"])
def test_a_zone_that_the_host_does_not_know_is_an_error_that_names_it(key: str) -> None:
    before = set(sys.modules)
    with pytest.raises(BadPlain, match=f"time zone '{key}' is not known here"):
        decode(zoned(key), budget=1 << 20)
    assert {name.partition(".")[0] for name in set(sys.modules) - before} <= {"tzdata", "importlib", "zoneinfo"}


def test_all_zones_in_a_message_are_charged_for() -> None:
    keys = sorted(key for key in zoneinfo.available_timezones() if not key.startswith(("posix", "right")))
    many = [dt.datetime(2024, 1, 1, tzinfo=zone(key)) for key in keys] * 3
    assert [moment.tzinfo for moment in back(many)] == [moment.tzinfo for moment in many]
    with pytest.raises(BadPlain, match="budget"):
        decode(encode(many), budget=1 << 20)


@pytest.mark.parametrize("number", [t.NAIVE, t.KEYED, t.NAMED, t.NAIVE + 3, 2**62, 86_400 * 10**6])
def test_zones_that_are_cut_short_or_out_of_bounds_are_refused(number: int) -> None:
    for more in (b"", b"\0" * 8, struct.pack("<q", 2**62) + encode("x")[1:]):
        with pytest.raises(BadPlain):
            decode(HEAD + bytes((t.ZONE,)) + struct.pack("<q", number) + more, budget=1 << 20)


# --- structures -------------------------------------------------------------------------------


def array_of(described: Any, shape: tuple[int, ...], raw: bytes, tag: int = t.NDARRAY) -> bytes:
    dims = struct.pack(f"<B{len(shape)}QQ", len(shape), *shape, len(raw))
    return HEAD + bytes((tag,)) + encode(described)[1:] + dims + raw


def structure(*formats: Any, size: int = 8, offsets: Any = None, names: Any = None, titles: Any = None) -> Any:
    count = range(len(formats))
    return (
        "V",
        size,
        False,
        names or tuple(f"f{i}" for i in count),
        formats,
        offsets or tuple(count),
        titles or (None,) * len(formats),
    )


def nested(levels: int) -> Any:
    described: Any = "|i1"
    for _ in range(levels):
        described = structure(described, size=1)
    return described


HOSTILE = {
    "an object": structure("|O8"),
    "an object in a sub-array": structure(("S", "|O8", (1,))),
    "not known": ("X", 1),
    "not text": structure("|i1", names=(b"a",)),
    "twice the same name": structure("|i1", "|i1", names=("a", "a")),
    "a title that is a name": structure("|i1", "|i1", names=("a", "b"), titles=("b", None)),
    "a field beyond the end": structure("<i8", offsets=(1,)),
    "a negative offset": structure("<i8", offsets=(-1,)),
    "a huge offset": structure("<i8", offsets=(2**80,)),
    "a bool as offset": structure("<i8", offsets=(False,)),
    "a huge size": structure("<i8", size=2**40),
    "fields that share bytes": structure("<i4", "<i4", offsets=(0, 2)),
    "fields that share bytes, inside": structure(structure("<i4", "<i4", offsets=(0, 2))),
    "a sub-array beyond memory": structure(("S", "<i8", (2**31 - 1, 2**31 - 1))),
    "a sub-array of many dimensions": structure(("S", "|i1", (1,) * 40)),
    "a negative sub-array": structure(("S", "|i1", (-1,))),
    "too many fields": structure(*["|i1"] * 5000, size=5000),
    "too deep": nested(40),
    "metadata that is no dict": ("M", "|i1", [1]),
    "empty": (),
    "a list": ["|i1"],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_structures_that_lie_are_refused(name: str) -> None:
    for tag in (t.NDARRAY, t.RECARRAY, t.NDARRAY_FORTRAN, t.NUMPY_SCALAR):
        with pytest.raises(BadPlain):
            decode(array_of(HOSTILE[name], (1,), b"\0" * 8, tag), budget=1 << 24)
        with pytest.raises(BadPlain):
            decode(array_of(HOSTILE[name], (), b"\0" * 8, tag), budget=1 << 24)


@pytest.mark.parametrize(
    ("described", "raw"),
    [
        (structure("|i1", "|b1", size=2), b"\1\2"),
        (structure(("S", "|b1", (2,)), size=2), b"\1\2"),
        (structure(structure("|b1", size=1), "|i1", size=2), b"\2\1"),
        (structure("<U1", size=4), b"\xff" * 4),
        (structure("|i1", ">U1", size=5), b"\0\0\x11\0\0"),
    ],
)
def test_items_that_numpy_trips_over_are_refused_in_fields_too(described: Any, raw: bytes) -> None:
    for tag, shape in ((t.NDARRAY, (1,)), (t.NUMPY_SCALAR, ())):
        with pytest.raises(BadPlain, match="bytes other than 0 and 1|beyond Unicode"):
            decode(array_of(described, shape, raw, tag), budget=1 << 24)


def test_fields_are_charged_for() -> None:
    many = structure(*["|i1"] * 4000, size=4000)
    data = array_of(many, (1,), b"\0" * 4000)
    assert len(decode(data, budget=1 << 23).dtype.names) == 4000  # type: ignore[attr-defined]
    with pytest.raises(BadPlain, match="budget"):
        decode(data, budget=1 << 20)


# --- other interpreters -----------------------------------------------------------------------


@pytest.mark.process
def test_an_isolate_without_zoneinfo_or_numpy_imports_neither() -> None:
    code = (
        "import sys, runpy; sys.path.insert(0, sys.argv[1])\n"
        "from piactors.pihost.pickles import arrays\n"
        "from piactors.pihost.plain import decode, encode\n"
        "encode.encode([1, {'a': (2.5,)}])\n"
        "assert not {'numpy', 'zoneinfo', 'importlib.resources'} & set(sys.modules), 'imported'"
    )
    root = str(plain_kinds.PAGE.parent.parent)
    done = subprocess.run([sys.executable, "-I", "-c", code, root], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
