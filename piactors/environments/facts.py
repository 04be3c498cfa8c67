"""What is known of an interpreter, and what follows from it: which wheels fit, and what markers say.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import attrs

from piactors._text.record import ByAttributes

if TYPE_CHECKING:
    from packaging.tags import Tag

_VERSION = re.compile(r"(\d+)\.(\d+)")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InterpreterFacts(ByAttributes):
    """An interpreter, as environments are made for it.

    Attributes:
        implementation: as in ``sys.implementation.name``: "cpython", "pypy".
        version: of the language: "3.12.1".
        implementation_version: of the implementation: "7.3.17".
        platform: as of ``sysconfig.get_platform()``: "linux-x86_64".
        build: what tells two builds of one version apart.
        base: the path of its executable, outside of any virtual environment.
        soabi: how its extension modules are named: "cpython-312-x86_64-linux-gnu".
        free_threaded, debug: which kind of build it is.
        pip: the version of the pip that it has; "" if it has none.
        bundled: the path of the wheel of pip that it can put into environments; "" if there is none.
    """

    implementation: str
    version: str
    implementation_version: str
    platform: str
    build: str
    base: str
    soabi: str
    free_threaded: bool
    debug: bool
    pip: str = attrs.field(default="", eq=False)
    bundled: str = attrs.field(default="", eq=False)

    @property
    def minor(self) -> tuple[int, int]:
        """The version's first two numbers."""
        found = _VERSION.match(self.version)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def identity(self) -> list[object]:
        """What of it goes into the key of an environment."""
        return [getattr(self, field.name) for field in attrs.fields(type(self)) if field.eq]

    def __str__(self) -> str:
        kind = {"cpython": "CPython", "pypy": "PyPy"}.get(self.implementation, self.implementation)
        special = [word for word, holds in (("free-threaded", self.free_threaded), ("debug", self.debug)) if holds]
        return " ".join([kind, self.version, *special])


def tags(facts: InterpreterFacts, platforms: Iterable[str]) -> Iterator[Tag]:
    """Yield what wheels may be tagged with to be taken, the best first.

    Args:
        platforms: the platforms whose wheels this machine takes, the best first.
    """
    from packaging import tags as packaging_tags

    platforms = list(platforms)
    short = "".join(map(str, facts.minor))
    if facts.implementation == "cpython":
        abi = f"cp{short}{'t' if facts.free_threaded else ''}{'d' if facts.debug else ''}"
        abis = [abi, f"cp{short}"] if facts.debug else [abi]
        yield from packaging_tags.cpython_tags(facts.minor, abis, platforms)
        yield from packaging_tags.compatible_tags(facts.minor, f"cp{short}", platforms)
    else:
        name = {"pypy": "pp"}.get(facts.implementation, facts.implementation)
        abi = "_".join(facts.soabi.replace("-", "_").split("_")[:2])
        yield from packaging_tags.generic_tags(f"{name}{short}", [abi], platforms)
        yield from packaging_tags.compatible_tags(facts.minor, f"{name}3", platforms)


def markers(facts: InterpreterFacts, machine: dict[str, str]) -> dict[str, str]:
    """Return what markers such as ``python_version < '3.12'`` are compared with.

    Args:
        machine: what they say of this machine: ``platform_system`` and the like.
    """
    kind = {"cpython": "CPython", "pypy": "PyPy"}.get(facts.implementation, facts.implementation)
    return {
        **machine,
        "implementation_name": facts.implementation,
        "implementation_version": facts.implementation_version,
        "platform_python_implementation": kind,
        "python_full_version": facts.version.rstrip("+"),
        "python_version": ".".join(map(str, facts.minor)),
    }


def matches(facts: InterpreterFacts, wanted: str) -> bool:
    """Whether an interpreter is one that is wanted: "3.12", "3.12.1", "pypy3.10", or a specifier such as ">=3.10".

    Raises:
        ValueError: if `wanted` is none of these.
    """
    found = re.fullmatch(r"(cpython|pypy)?-?(\d+(?:\.\d+){0,2})(t?)", wanted.strip())
    if found:
        kind, version, free = found.groups()
        numbers = facts.version.split(".")[: version.count(".") + 1]
        return (
            facts.implementation == (kind or "cpython")
            and ".".join(numbers).rstrip("+") == version
            and facts.free_threaded == bool(free)
        )
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        specifier = SpecifierSet(wanted)
    except InvalidSpecifier:
        raise ValueError(
            f"EnvironmentSpec.python: {wanted!r} is not allowed; use a version such as '3.12' or 'pypy3.10', versions "
            "such as '>=3.10', or the path of an interpreter"
        ) from None
    usual = facts.implementation == "cpython" and not facts.free_threaded
    return usual and specifier.contains(facts.version.rstrip("+"), prereleases=True)
