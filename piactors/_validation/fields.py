"""Converters and validators of the options: small rules, one factory per kind.

A converter widens what a caller may write (a list for a tuple, "256 MiB" for a number) and never refuses: what it
cannot convert it passes on unchanged. Only validators refuse, and all through `_refuse`, so every error has one shape
and names the class, the field, the value and what is allowed.

Annotations are not postponed here: attrs copies those of the converters into the signatures of the option classes,
if their text could not be resolved.
"""

import functools
import logging
import os
import re
import reprlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeAlias, TypeVar, cast

import attrs

from piactors._text.record import ByAttributes

C = TypeVar("C")
StrPath: TypeAlias = str | os.PathLike[str]
Test: TypeAlias = Callable[[Any], bool]
Validator: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]

_UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}
# Plain ASCII classes: `\d` and IGNORECASE would let in Arabic digits and the Kelvin sign.
_SIZE = re.compile(r" *([0-9]{1,20}) *([A-Za-z]*) *")
_SIZE_ALLOWED = 'a whole number of bytes, or a str such as "64 KiB", "256 MiB" or "3GB"'

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120  # a refused value may be megabytes long


def _copy(source: Mapping[str, str]) -> dict[str, str]:
    return dict(source)


@attrs.frozen(eq=False, repr=False)
class FrozenMapping(Mapping[str, str]):
    """An immutable mapping that, unlike `types.MappingProxyType`, hashes, pickles and owns its items."""

    _items: dict[str, str] = attrs.field(converter=_copy)

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        # Names only: environments hold secrets, and options end up in logs.
        return "{" + ", ".join(f"{name!r}: ..." for name in self._items) + "}"


@attrs.frozen(eq=False, repr=False)
class Also(ByAttributes):
    """A way past a rule: values that pass `test` are allowed too, and messages call them `phrase`."""

    phrase: str
    test: Test


NONE = Also("None", lambda value: value is None)
CALLABLE = Also("a callable", callable)
SHARED_OR_NONE = Also("None, or 'shared'", lambda value: value is None or value == "shared")
BOOL_OR_NONE = Also("True, False or None", lambda value: value is None or isinstance(value, bool))


# -- refusing ---------------------------------------------------------------------------------------------------------


def _refuse(error: type[Exception], where: str, value: object, allowed: str) -> NoReturn:
    raise error(f"{where}: {_short.repr(value)} is not allowed; {allowed}")


def explains_unknown(hint: Callable[[str], str | None]) -> Callable[[type[C]], type[C]]:
    """Have a class say more about a keyword that it does not take: what `hint` returns, or which one is meant."""

    def decorate(cls: type[C]) -> type[C]:
        plain: Callable[..., None] = cls.__init__
        names = [field.name for field in attrs.fields(cls)]  # type: ignore[arg-type]

        @functools.wraps(plain)
        def init(self: C, *args: Any, **kwargs: Any) -> None:
            try:
                plain(self, *args, **kwargs)
            except TypeError:
                unknown = next((name for name in kwargs if name not in names), None)
                if unknown is None:
                    raise
                import difflib  # useful only here

                close = difflib.get_close_matches(unknown, names, 1)
                meant = hint(unknown) or (f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names)}")
                text = f"{cls.__name__} has no field {unknown!r}; {meant}"
            else:
                return
            raise TypeError(text)

        cls.__init__ = init  # type: ignore[method-assign, assignment]
        return cls

    return decorate


def shortened(value: object) -> str:
    """Return the repr of a refused value, which may be megabytes long."""
    return _short.repr(value)


def _place(instance: object, field: "attrs.Attribute[Any]") -> str:
    place = f"{getattr(type(instance), '_called', type(instance).__name__)}.{field.name}"
    id = getattr(instance, "id", None)
    return f"{place} of child {id!r}" if isinstance(id, str) and field.name != "id" else place


def _is_a(value: object, types: tuple[type, ...]) -> bool:
    """`isinstance`, but True and False are not numbers."""
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _fault(value: object, types: tuple[type, ...], test: Test) -> type[Exception] | None:
    if not _is_a(value, types):
        return TypeError
    return None if test(value) else ValueError


def _anything(value: object) -> bool:
    return True


def _without_nul(value: str) -> bool:
    """Whether the system accepts a text: it has no NUL, and every character can be encoded (no lone surrogate can)."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _filled(value: str) -> bool:
    return value != "" and _without_nul(value)


def _or(*phrases: str) -> str:
    return " or ".join([", ".join(phrases[:-1]), phrases[-1]])


# -- validators -------------------------------------------------------------------------------------------------------


def check(allowed: str, types: tuple[type, ...], test: Test = _anything, *, also: Also | None = None) -> Validator:
    """One value of one of `types` (else TypeError) that passes `test` (else ValueError)."""
    advice = f"use {allowed}, or {also.phrase}" if also else f"use {allowed}"

    def validate(instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
        if also and also.test(value):
            return
        if error := _fault(value, types, test):
            _refuse(error, _place(instance, field), value, advice)

    return validate


def each(items: str, types: tuple[type, ...], test: Test = _anything, *, also: Also | None = None) -> Validator:
    """A tuple whose items all are of `types` and pass `test`; the message shows the first item that does not."""
    advice = f"pass a list of {items}, or {also.phrase}" if also else f"pass a list of {items}"

    def validate(instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
        if also and also.test(value):
            return
        if not isinstance(value, tuple):
            _refuse(TypeError, _place(instance, field), value, advice)
        for item in value:
            if error := _fault(item, types, test):
                _refuse(error, _place(instance, field), item, advice)

    return validate


def one_of(*names: str, also: Also | None = None) -> Validator:
    """One of the names, written exactly so."""
    phrases = [repr(name) for name in names] + ([also.phrase] if also else [])
    exempt = also.test if also else lambda value: False

    def validate(instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
        if exempt(value):
            return
        if error := _fault(value, (str,), names.__contains__):
            _refuse(error, _place(instance, field), value, f"use {_or(*phrases)}")

    return validate


def number(unit: str, *, least: float = 0, most: float = sys.float_info.max, also: Also | None = None) -> Validator:
    """A finite number within bounds; comparing with the largest float also turns away NaN, inf and huge ints."""
    bounds = f"at least {least:g}" if most == sys.float_info.max else f"from {least:g} to {most:g}"
    return check(f"a finite {unit}, {bounds}", (int, float), lambda value: least <= value <= most, also=also)


def above_zero(unit: str, *, also: Also | None = None) -> Validator:
    allowed = f"a finite {unit}, more than 0"
    return check(allowed, (int, float), lambda value: 0 < value <= sys.float_info.max, also=also)


def count(least: int, most: int | None = None, *, also: Also | None = None) -> Validator:
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    return check(
        f"a whole number {bounds}", (int,), lambda value: least <= value and (most is None or value <= most), also=also
    )


def shutdown() -> Validator:
    """How long a child may take to stop."""
    words = Also("'kill', 'default' or None", lambda value: value is None or value in ("kill", "default"))
    return number("number of seconds", also=words)


def flag() -> Validator:
    return check("True or False", (bool,))


def text(*, also: Also | None = None) -> Validator:
    return check("a non-empty str without NUL or lone surrogates", (str,), _filled, also=also)


def path(*, also: Also | None = None) -> Validator:
    return check("a non-empty path (str or os.PathLike, no NUL)", (str,), _filled, also=also)


def paths() -> Validator:
    return each("paths (str or os.PathLike, no NUL)", (str,), _without_nul)


def module_names() -> Validator:
    return each("dotted module names such as 'package.module'", (str,), _is_dotted)


def classes() -> Validator:
    return each("classes that can be imported by name (not defined in a function)", (type,), _is_importable)


def env_patterns() -> Validator:
    """True, False, None, or names of environment variables that may end in "*"."""
    allowed = "names such as 'PATH' or 'LC_*' ('*' only at the end; no '=' or NUL)"
    return each(allowed, (str,), _is_pattern, also=BOOL_OR_NONE)


def level() -> Validator:
    """A level that `to_level` could turn into a number; a str that is left over is an unknown name."""
    allowed = "a level name such as 'DEBUG', a whole number of at least 0"
    return check(allowed, (int, str), lambda value: not isinstance(value, str) and value >= 0, also=NONE)


def size(least: int, most: int, *, also: Also | None = None) -> Validator:
    """A size that `to_size` could turn into a number, within bounds."""
    allowed = f"{_SIZE_ALLOWED}, from {least} to {most} bytes"
    return check(allowed, (int, str), lambda value: not isinstance(value, str) and least <= value <= most, also=also)


def env() -> Validator:
    """None or a mapping that can be the environment of a process."""
    names, values = "names (non-empty, no '=' or NUL)", "str values (no NUL)"
    allowed = f"use a mapping of {names} to {values}, without lone surrogates, or None"

    def validate(instance: object, field: "attrs.Attribute[Any]", value: Any) -> None:
        if value is None:
            return
        if not isinstance(value, FrozenMapping):
            _refuse(TypeError, _place(instance, field), value, allowed)
        for name, setting in value.items():
            if error := _fault(name, (str,), _is_env_name) or _fault(setting, (str,), _without_nul):
                _refuse(error, _place(instance, field), {name: setting}, allowed)

    return validate


def _is_env_name(name: str) -> bool:
    return _filled(name) and "=" not in name


def _is_pattern(name: str) -> bool:
    return _is_env_name(name) and "*" not in name[:-1]


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _is_importable(cls: type) -> bool:
    return "<locals>" not in cls.__qualname__


# -- converters -------------------------------------------------------------------------------------------------------
# Each is a named function with types of its own, because mypy takes the type of an `__init__` argument from there.


def to_path(value: StrPath | None) -> str | None:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def to_paths(value: Iterable[StrPath]) -> tuple[str, ...]:
    return cast("tuple[str, ...]", _to_tuple(value, to_path))


def to_strings(value: Iterable[str]) -> tuple[str, ...]:
    return cast("tuple[str, ...]", _to_tuple(value))


def to_patterns(value: bool | Iterable[str] | None) -> bool | tuple[str, ...] | None:
    return cast("bool | tuple[str, ...] | None", _to_tuple(value))


def to_args(value: Iterable[Any]) -> tuple[Any, ...]:
    return cast("tuple[Any, ...]", _to_tuple(value))


def to_classes(value: Iterable[type]) -> tuple[type, ...]:
    return cast("tuple[type, ...]", _to_tuple(value))


def _to_tuple(value: Any, convert: Callable[[Any], object] = lambda item: item) -> Any:
    # A lone str or an Enum class is iterable, but its letters or members are never what was meant.
    if isinstance(value, (str, bytes, type)) or not isinstance(value, Iterable):
        return value
    return tuple(map(convert, value))


def to_env(value: Mapping[str, str] | None) -> Mapping[str, str] | None:
    return FrozenMapping(value) if isinstance(value, Mapping) else value


def to_float(value: float) -> float:
    # The bound leaves ints that no float can hold to the validator.
    return float(value) if _is_a(value, (int, float)) and abs(value) <= sys.float_info.max else value


def to_optional_float(value: float | None) -> float | None:
    # And not `attrs.converters.optional`, whose type pyright does not see through.
    return None if value is None else to_float(value)


def to_level(value: int | str | None) -> int | None:
    # getLevelName maps both ways: for an unknown name it returns a str.
    found = logging.getLevelName(value.upper()) if isinstance(value, str) else value
    return cast("int | None", found if isinstance(found, int) else value)


def to_size(value: int | str) -> int:
    try:
        return parse_size(value)
    except (TypeError, ValueError):
        return cast(int, value)


def to_optional_size(value: int | str | None) -> int | None:
    return None if value is None else to_size(value)


def parse_size(value: int | str) -> int:
    """Return a size in bytes, from a number of bytes or a str such as "256 MiB", "3GB" or "64 kib".

    KB, MB, GB and TB are powers of 1000; KiB, MiB, GiB and TiB are powers of 1024; "B" or no unit means bytes. Case and
    spaces do not matter.

    Raises:
        TypeError: if it is not an int or str.
        ValueError: if it is negative or not a whole number, or its unit is unknown.
    """
    if error := _fault(value, (int, str), _is_size):
        _refuse(error, "parse_size", value, f"use {_SIZE_ALLOWED}")
    if isinstance(value, int):
        return int(value)
    amount, unit = _split_size(value)
    return int(amount) * _UNITS[unit]


def _is_size(value: int | str) -> bool:
    return _split_size(value)[1] in _UNITS if isinstance(value, str) else value >= 0


def _split_size(value: str) -> tuple[str, str]:
    found = _SIZE.fullmatch(value)
    return (found[1], found[2].lower()) if found else ("", "no unit")
