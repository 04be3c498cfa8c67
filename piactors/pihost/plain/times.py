"""Dates, times and their zones as plain values, there and back.

A time keeps its zone: a `datetime.timezone` travels as its offset and name, a `zoneinfo.ZoneInfo` as its key, by
which the receiver finds its own.  Every other class of zones is refused, for its rules cannot be sent.
"""

from __future__ import annotations

import datetime
import functools
import re
import struct
import sys
from typing import Any, Dict, Tuple

from . import tags as t
from .reader import STR_TAGS, Handler, PlainReader, leaf, made
from .writer import Accept, Put, Writer, not_plain, write_str

_DATE, _TIME = struct.Struct("<HBB"), struct.Struct("<BBBIBq")
_DATETIME, _TIMEDELTA = struct.Struct("<HBBBBBIBq"), struct.Struct("<iii")
_OFFSET = struct.Struct("<q")
_MICROSECOND = datetime.timedelta(microseconds=1)

_KEY = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*", re.ASCII)
_LONGEST_KEY = 100
_MOST_OF_A_ZONE = 16_384
"""More than the bytes of memory that a zone with its transitions takes."""

Zone = Tuple[int, bytes, str]
"""What is written of a zone: the number in the time's own bytes, and more bytes and a text behind it if there are."""


# --- writing ----------------------------------------------------------------------------------


def _zone_of(value: Any) -> Zone:
    zone = value.tzinfo
    if zone is None:
        return t.NAIVE, b"", ""
    if type(zone) is datetime.timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        microseconds = offset // _MICROSECOND
        if not name:
            return microseconds, b"", ""
        if type(name[0]) is not str:
            raise not_plain(zone, "its name is a subclass of str").of(value)
        return t.NAMED, _OFFSET.pack(microseconds), name[0]
    return t.KEYED, b"", _key(value, zone)


def _key(value: Any, zone: Any) -> str:
    if not _is_zone_info(zone):
        why = (
            "it is the tzinfo of a {}, and only datetime.timezone and zoneinfo.ZoneInfo can be sent; "
            "use one of these, or send the time in UTC".format(type(value).__name__)
        )
        raise not_plain(zone, why).of(value)
    try:
        zone.__reduce__()  # it refuses if the data did not come by the key, but from a file
        key: Any = zone.key
    except Exception:
        key = None
    if type(key) is not str or len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
        shown = ascii(str(zone)[:_LONGEST_KEY])
        raise not_plain(zone, f"{shown} has no key of the time zone database, by which it could be found").of(value)
    return key


def _is_zone_info(zone: Any) -> bool:
    """Tell whether it is a ZoneInfo, or that of the package which Python 3.8 has instead."""
    for name in ("zoneinfo", "backports.zoneinfo"):
        module = sys.modules.get(name)
        if module is not None and type(zone) is getattr(module, "ZoneInfo", None):
            return True
    return False


def _write_zone(zone: Zone, put: Put, depth: int, accept: Accept) -> None:
    number, more, text = zone
    if number == t.KEYED or number == t.NAMED:
        put(more)
        write_str(text, put, depth, accept)


def _write_datetime(value: datetime.datetime, put: Put, depth: int, accept: Accept) -> None:
    zone = _zone_of(value)
    day = (value.year, value.month, value.day)
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    put(struct.pack("<BHBBBBBIBq", t.DATETIME, *day, *clock, zone[0]))
    _write_zone(zone, put, depth, accept)


def _write_date(value: datetime.date, put: Put, depth: int, accept: Accept) -> None:
    put(struct.pack("<BHBB", t.DATE, value.year, value.month, value.day))


def _write_time(value: datetime.time, put: Put, depth: int, accept: Accept) -> None:
    zone = _zone_of(value)
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    put(struct.pack("<BBBBIBq", t.TIME, *clock, zone[0]))
    _write_zone(zone, put, depth, accept)


def _write_timedelta(value: datetime.timedelta, put: Put, depth: int, accept: Accept) -> None:
    put(struct.pack("<Biii", t.TIMEDELTA, value.days, value.seconds, value.microseconds))


def _write_timezone(value: Any, put: Put, depth: int, accept: Accept) -> None:
    """Write a zone by itself, in the place of a time's."""
    zone = _zone_of(datetime.time(tzinfo=value))
    put(struct.pack("<Bq", t.ZONE, zone[0]))
    _write_zone(zone, put, depth, accept)


WRITERS_HERE: Dict[type, Writer] = {
    datetime.datetime: _write_datetime,
    datetime.date: _write_date,
    datetime.time: _write_time,
    datetime.timedelta: _write_timedelta,
    datetime.timezone: _write_timezone,
}


def writer_of_zone(value: Any) -> Any:
    """Return the writer of a ZoneInfo, None of anything else; the class is known only if it has been imported."""
    return _write_timezone if _is_zone_info(value) else None


# --- reading ----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=128)
def timezone(microseconds: int) -> datetime.timezone:
    """Return the time zone with this offset."""
    return datetime.timezone(datetime.timedelta(microseconds=microseconds))


def _zone(r: PlainReader, offset: int) -> Any:
    if offset == t.NAIVE:
        return None
    if offset == t.KEYED:
        return _zone_by_key(r)
    if offset == t.NAMED:
        (offset,) = r.unpack(_OFFSET)
        name = leaf(r, STR_TAGS, "the name of a time zone")
        r.charge(160)
        return made(r, datetime.timezone, made(r, datetime.timedelta, microseconds=offset), name)
    return made(r, timezone, offset)


def _zone_by_key(r: PlainReader) -> Any:
    """Find a zone by its key; each is charged for once, and they are as many as the database has."""
    key: str = leaf(r, STR_TAGS, "the key of a time zone")
    zones = r.zones
    if zones is None:
        zones = r.zones = {}
    found = zones.get(key)
    if found is None:
        # The key becomes part of a path: no dots, so none that leads out of the database.
        if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
            raise r.bad(f"{key[:_LONGEST_KEY]!a} is not the key of a time zone")
        r.charge(_MOST_OF_A_ZONE)
        found = zones[key] = _found(r, key)
    return found


def _found(r: PlainReader, key: str) -> Any:
    try:
        import zoneinfo

        return zoneinfo.ZoneInfo(key)
    except (ImportError, LookupError, ValueError, OSError):
        raise r.bad(
            f"time zone {key!a} is not known here (see the documentation of zoneinfo; is tzdata old?)"
        ) from None


def _datetime(r: PlainReader) -> Any:
    r.charge(200)
    *parts, fold, offset = r.unpack(_DATETIME)
    return made(r, datetime.datetime, *parts, _zone(r, offset), fold=fold)


def _date(r: PlainReader) -> Any:
    r.charge(32)
    return made(r, datetime.date, *r.unpack(_DATE))


def _time(r: PlainReader) -> Any:
    r.charge(200)
    *parts, fold, offset = r.unpack(_TIME)
    return made(r, datetime.time, *parts, _zone(r, offset), fold=fold)


def _timedelta(r: PlainReader) -> Any:
    r.charge(40)
    days, seconds, microseconds = r.unpack(_TIMEDELTA)
    if not (0 <= seconds < 86_400 and 0 <= microseconds < 1_000_000):
        raise r.bad("a timedelta that is not normalised")
    return made(r, datetime.timedelta, days, seconds, microseconds)


def _timezone(r: PlainReader) -> Any:
    r.charge(160)
    zone = _zone(r, r.unpack(_OFFSET)[0])
    if zone is None:
        raise r.bad("a time zone without an offset")
    return zone


HANDLERS_HERE: Dict[int, Handler] = {
    t.DATETIME: _datetime,
    t.DATE: _date,
    t.TIME: _time,
    t.TIMEDELTA: _timedelta,
    t.ZONE: _timezone,
}
