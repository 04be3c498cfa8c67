"""Kinds of values and what becomes of each as plain data: the table of docs/plain_data.md, and its test's.

``python -m tests.plain_kinds`` writes the table into the page.
"""

from __future__ import annotations

import array
import collections
import datetime as dt
import decimal
import enum
import fractions
import http
import ipaddress
import math
import pathlib
import re
import sys
import threading
import types
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np

PAGE = Path(__file__).resolve().parent.parent / "docs" / "plain_data.md"
TEXT_CODE = "w" if sys.version_info >= (3, 13) else "u"
"""Of arrays of characters: each Python warns of the other one, or does not know it."""
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


class Text(str):
    """A subclass of a builtin, and so are the next ones."""


class Number(int):
    pass


class Ratio(float):
    pass


class Raw(bytes):
    pass


class Items(list):  # type: ignore[type-arg]
    pass


class Pair(NamedTuple):
    a: int
    b: str


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Day(dt.date):
    pass


class Moment(dt.datetime):
    pass


class Zone(dt.tzinfo):
    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=1)

    def dst(self, moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    def tzname(self, moment: dt.datetime | None) -> str:
        return "ZZ"


class MyZone(zoneinfo.ZoneInfo):
    pass


class MyArray(np.ndarray):  # type: ignore[type-arg]
    pass


class MyFloat(np.float64):
    pass


@attrs.frozen
class Sent:
    """A kind that arrives as it was: the same type, equal, down to the bytes."""

    name: str
    values: list[Any]
    note: str = ""


@attrs.frozen
class Refused:
    """A kind that is refused; the text of the refusal names its type and says this."""

    name: str
    make: Callable[[], Any]
    text: str
    instead: str = ""
    culprit: str | None = None


def zone(key: str) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(key)


def zone_of_a_file() -> zoneinfo.ZoneInfo:
    path = next(Path(folder, "UTC") for folder in zoneinfo.TZPATH if Path(folder, "UTC").is_file())
    with path.open("rb") as file:
        return zoneinfo.ZoneInfo.from_file(file, key="Europe/Berlin")


def structures() -> list[Any]:
    nested = np.dtype([("a", "<i4"), ("b", [("c", ">f8"), ("d", "?")]), ("e", "<U3", (2, 2))])
    padded = np.dtype({"names": ["x", "y"], "formats": ["u1", "<i8"], "offsets": [3, 16], "itemsize": 40})
    aligned = np.dtype([("a", "i1"), ("b", "<i8")], align=True)
    titled = np.dtype([(("the title", "name"), "<f4"), ("other", "M8[ms]")])
    backwards = np.dtype({"names": ["x", "y"], "formats": ["<i4", "<i4"], "offsets": [4, 0]})
    fields = [("n", "i1"), ("u", "U3"), ("s", "S4"), ("b", "?")]
    text = np.array([(1, "é", b"x\0y", True), (2, "abc", b"", False)], fields)
    zeros = [np.zeros(3, each) for each in (nested, padded, aligned, titled, backwards)]
    return [*zeros, text, text.astype(text.dtype.newbyteorder(">")), text.reshape(2, 1)]


SENT = [
    Sent("`None`, `bool`", [None, True, False]),
    Sent("`int`", [0, -1, 127, -129, 2**63, -(2**200)], "of any size"),
    Sent("`float`, `complex`", [1.5, -0.0, math.nan, math.inf, complex(-0.0, math.nan)], "NaN and -0.0 too"),
    Sent("`str`", ["", "é", "😀" * 100, "\0", "\ud800"], "also with lone surrogates"),
    Sent("`bytes`, `bytearray`", [b"x", bytearray(b"y"), b"x" * 300]),
    Sent(
        "`list`, `tuple`, `dict`",
        [[1, [2]], (1, (2,)), {"a": {1: None}}, {(1, 2): 3}],
        "in their order; up to 100 levels; an object that is there twice arrives as two",
    ),
    Sent("`set`, `frozenset`", [{1, "a"}, frozenset({(1, 2)})]),
    Sent("`range`, `slice`", [range(10, -5, -3), slice(None, 2.5, "c")]),
    Sent(
        "`datetime.datetime`, `datetime.time` without a zone",
        [dt.datetime(2024, 10, 27, 2, 30, 0, 5, fold=1), dt.datetime.max, dt.time(1, 2, 3, 4, fold=1)],
        "with `fold`",
    ),
    Sent(
        "… with a `datetime.timezone`",
        [
            dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
            dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=-3))),
            dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
            dt.datetime(2024, 1, 1, fold=1, tzinfo=dt.timezone(dt.timedelta(0), "Zulu")),
        ],
        "with offset and name",
    ),
    Sent(
        "… with a `zoneinfo.ZoneInfo`",
        [
            dt.datetime(2024, 10, 27, 2, 30, tzinfo=zone("Europe/Berlin")),
            dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zone("Europe/Berlin")),
            dt.time(12, fold=1, tzinfo=zone("America/Argentina/Buenos_Aires")),
            dt.datetime(2024, 1, 1, tzinfo=zone("Etc/GMT+5")),
        ],
        "by its key: the host's own zone of that key; a key that it does not know is an error that names it",
    ),
    Sent(
        "`datetime.timezone`, `zoneinfo.ZoneInfo` themselves",
        [dt.UTC, dt.timezone(dt.timedelta(seconds=1), "x"), zone("Asia/Tokyo")],
    ),
    Sent("`datetime.date`, `datetime.timedelta`", [dt.date(2024, 2, 29), dt.timedelta.min, dt.timedelta(1, 2, 3)]),
    Sent(
        "`decimal.Decimal`",
        [decimal.Decimal("-0E-10"), decimal.Decimal("sNaN12"), decimal.Decimal("1.50")],
        "up to 4,096 digits",
    ),
    Sent("`fractions.Fraction`", [fractions.Fraction(-3, 7)]),
    Sent("`uuid.UUID`", [uuid.UUID(int=5), uuid.uuid1(), uuid.UUID(int=1, is_safe=uuid.SafeUUID.unsafe)]),
    Sent("`pathlib` paths", [pathlib.Path("/a/b"), pathlib.PurePosixPath("x"), pathlib.PureWindowsPath("c:/a")]),
    Sent(
        "`array.array`",
        [array.array("d", [1.5]), array.array("B"), array.array("q", [-1])],
        "all codes but those of text",
    ),
    Sent(
        "NumPy arrays of bool, numbers, complex",
        [
            *(np.array([0, 1], code) for code in "?bBhHiIlLqQefdgFDG"),
            np.arange(5, dtype=">i4"),
            np.arange(4.0, dtype=">f8"),
        ],
        "`float16` and `longdouble` too, and either byte order",
    ),
    Sent("… of times", [np.array(["2024-01-01", "NaT"], "M8[D]"), np.array([5], "m8[25us]"), np.array([1], ">M8[s]")]),
    Sent(
        "… of text, of bytes",
        [np.array(["é", "😀x"]), np.array([b"ab", b"c\0d"]), np.zeros(2, "V5")],
        "of fixed width (`U`, `S`, `V`)",
    ),
    Sent("… of structures", structures(), "with offsets, titles, padding, alignment, sub-arrays, one in another"),
    Sent(
        "`numpy.recarray`, `numpy.record`",
        [
            np.rec.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]),
            np.rec.array([(1,)], dtype=[("x", "i4")])[0],
            np.zeros(2, np.dtype((np.record, [("x", "i4")]))),
        ],
    ),
    Sent(
        "… of any shape",
        [np.array(5), np.zeros((0, 3)), np.ones((2, 1, 3)), np.asfortranarray(np.eye(3)[:2])],
        "in C's or Fortran's order; another layout arrives in C's; all arrive writable",
    ),
    Sent(
        "… with metadata in the dtype",
        [np.zeros(1, np.dtype("i4", metadata={"unit": "mm"}))],
        "if the metadata is plain data",
    ),
    Sent(
        "NumPy scalars",
        [
            *(np.dtype(code).type(1) for code in "?bBhHiIlLqQefdgFDG"),
            np.str_("a\0"),
            np.bytes_(b"a\0"),
            np.str_(""),
            np.datetime64("2024-01-01"),
            np.timedelta64(5, "ms"),
            np.datetime64("NaT", "s"),
            np.void(b"ab\0"),
            structures()[0][0],
        ],
        "as their own type",
    ),
]

OBJECTS, SUBCLASS = "holds Python objects", "it is of a subclass of "

REFUSED = [
    Refused(
        "subclasses of `str`, `int`, `float`, `bytes`, `tuple`",
        lambda: Text("x"),
        SUBCLASS + "str; name its class in accept",
        "the plain value; or name the class in `accept`",
    ),
    Refused("", lambda: Number(1), SUBCLASS + "int; name"),
    Refused("", lambda: Ratio(1), SUBCLASS + "float; name"),
    Refused("", lambda: Raw(b"x"), SUBCLASS + "bytes; name"),
    Refused("named tuples", lambda: Pair(1, "x"), SUBCLASS + "tuple; name", "`tuple(value)`; or name it in `accept`"),
    Refused("members of enums", lambda: Colour.RED, "a member of an enum", "`value.name`; or name it in `accept`"),
    Refused("", lambda: Level.LOW, "a member of an enum"),
    Refused("", lambda: http.HTTPStatus.OK, "a member of an enum"),
    Refused(
        "subclasses of `list`, `dict`, `set`", lambda: Items(), SUBCLASS + "list; send a list", "the plain container"
    ),
    Refused(
        "`OrderedDict`, `defaultdict`, `Counter`",
        collections.OrderedDict,
        SUBCLASS + "dict; send a dict",
        "`dict(value)`",
    ),
    Refused("", lambda: collections.defaultdict(list), SUBCLASS + "dict; send a dict"),
    Refused("", lambda: collections.Counter("a"), SUBCLASS + "dict; send a dict"),
    Refused("`deque`, views of dicts, generators", collections.deque, r"send list\(value\)", "`list(value)`"),
    Refused("", lambda: {}.keys(), r"send list\(value\)"),
    Refused("", lambda: (i for i in ()), r"send list\(value\)"),
    Refused("`memoryview`", lambda: memoryview(b"x"), r"send bytes\(value\)", "`bytes(value)`"),
    Refused("`types.MappingProxyType`", lambda: types.MappingProxyType({}), r"send dict\(value\)", "`dict(value)`"),
    Refused("`ipaddress` addresses", lambda: ipaddress.ip_address("::1"), "not a plain value", "`str(value)`"),
    Refused(
        "subclasses of `date`, `datetime` (such as `pandas.Timestamp`)",
        lambda: Day(2024, 1, 1),
        SUBCLASS + "date; send a date",
        "a plain one",
    ),
    Refused("", lambda: Moment(2024, 1, 1), SUBCLASS + "datetime; send a datetime"),
    Refused(
        "times with another `tzinfo` (`pytz`, `dateutil`, your own)",
        lambda: dt.datetime(2024, 1, 1, tzinfo=Zone()),
        "it is the tzinfo of a datetime",
        "the same with a `ZoneInfo`, or in UTC",
        "Zone",
    ),
    Refused("", lambda: dt.time(1, tzinfo=Zone()), "it is the tzinfo of a time", culprit="Zone"),
    Refused("", lambda: dt.datetime(2024, 1, 1, tzinfo=MyZone("UTC")), "it is the tzinfo", culprit="MyZone"),
    Refused(
        "zones without a key",
        lambda: dt.datetime(2024, 1, 1, tzinfo=zone_of_a_file()),
        "has no key of the time zone database",
        "the same with a `ZoneInfo`, or in UTC",
        "ZoneInfo",
    ),
    Refused("`array.array` of text", lambda: array.array(TEXT_CODE, "x"), f"type code {TEXT_CODE!r}", "its text"),
    Refused(
        "NumPy arrays of objects",
        lambda: np.array([None]),
        f"its dtype, object, {OBJECTS}",
        "`value.tolist()`, or `value.astype(...)`",
    ),
    Refused("", lambda: np.zeros(1, [("a", "O")]), rf"its dtype, \[\('a', 'O'\)\], {OBJECTS}"),
    Refused("", lambda: np.zeros(1, [("a", "O")])[0], OBJECTS),
    Refused(
        "… of structures whose fields share bytes",
        lambda: np.zeros(1, {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2]}),
        "has fields that share bytes",
        "the fields apart",
    ),
    Refused(
        "… of numbers with fields",
        lambda: np.zeros(1, np.dtype((np.int32, {"a": (np.int16, 0), "b": (np.int16, 2)}))),
        r"its dtype, .*int32.*, is not one that is sent",
        "`value.astype('i4')`",
    ),
    Refused("… whose items take no bytes", lambda: np.zeros(2, np.dtype([])), "take no bytes", "their number"),
    Refused(
        "masked arrays",
        lambda: np.ma.array([1], mask=[True]),
        "a masked array .of dtype int64",
        "`value.data` and `value.mask`",
    ),
    Refused(
        "`numpy.matrix` and other subclasses of `numpy.ndarray`",
        lambda: np.zeros((1, 1), int).view(np.matrix),
        "a subclass of numpy.ndarray .of dtype int64",
        "`numpy.asarray(value)`",
    ),
    Refused("", lambda: np.zeros(1).view(MyArray), "a subclass of numpy.ndarray"),
    Refused("", lambda: MyFloat(1.5), "a subclass of numpy.float64"),
    Refused("functions, classes, modules", lambda: len, "its class is not accepted", "a name"),
    Refused("", lambda: int, "its class is not accepted"),
    Refused(
        "objects of your own classes",
        threading.Lock,
        "its class is not accepted",
        "plain data; or name the class in `accept`",
    ),
    Refused("exceptions (as results)", lambda: ValueError("x"), "its class is not accepted", "its text; or raise it"),
    Refused("`Ellipsis`, `NotImplemented`", lambda: Ellipsis, "its class is not accepted"),
]


def table() -> str:
    """Return the tables of the page."""
    lines = ["| arrives as it was | |", "| --- | --- |"]
    lines += [f"| {kind.name} | {kind.note} |" for kind in SENT]
    lines += ["", "| refused by name | send |", "| --- | --- |"]
    lines += [f"| {kind.name} | {kind.instead} |" for kind in REFUSED if kind.name]
    return "\n".join(lines)


def page_with(text: str) -> str:
    """Return the page with these tables."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", PAGE.read_text())


if __name__ == "__main__":
    PAGE.write_text(page_with(table()))
