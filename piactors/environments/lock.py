"""What goes into an environment, resolved: files, hashes, the interpreter; and the key that follows.  Pure."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from piactors._text.record import ByAttributes
from piactors.environments.facts import InterpreterFacts

LAYOUT = 1
"""The version of what a store looks like: of another one, nothing is taken over."""


def canonical(name: str) -> str:
    """Return the name of a package as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _lower(text: str) -> str:
    return text.lower()


def _like(pattern: str, what: str) -> Any:
    """Refuse what could be anything else on a line of requirements."""

    def check(package: object, field: Any, value: str) -> None:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(f"{field.name}: {value[:100]!r} is not {what} that a lock can have")

    return check


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LockedPackage(ByAttributes):
    """One package of a lock.

    Attributes:
        name: in its canonical form.
        version: as text.
        file: the name of the distribution's file.
        sha256: of that file, in hexadecimal.
        url: where it is, if it was asked for by address; else "".  What a file is does not depend on that.
    """

    name: str = attrs.field(converter=canonical, validator=_like(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", "a name"))
    version: str = attrs.field(validator=_like(r"[A-Za-z0-9.!+_-]+", "a version"))
    file: str = attrs.field(validator=_like(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*", "the name of a file"))
    sha256: str = attrs.field(converter=_lower, validator=_like(r"[0-9a-f]{64}", "a SHA-256"))
    url: str = attrs.field(default="", eq=False, validator=_like(r"([a-z]+://[!-~]+)?", "an address"))

    @property
    def is_wheel(self) -> bool:
        """Whether it is installed as it is; else it is built, which runs its code."""
        return self.file.endswith(".whl")

    @property
    def requirement(self) -> str:
        """The line that has just this installed."""
        what = f"{self.name} @ {self.url}" if self.url else f"{self.name}=={self.version}"
        return f"{what} --hash=sha256:{self.sha256}"


@attrs.frozen(eq=False, repr=False)
class EnvironmentLock(ByAttributes):
    """A spec, resolved: what an environment is made of, to the byte.

    Attributes:
        interpreter: what it runs on.
        packages: by name, each once.
    """

    interpreter: InterpreterFacts
    packages: tuple[LockedPackage, ...]

    @functools.cached_property
    def key(self) -> str:
        """The SHA-256, in hexadecimal, of all that: equal locks have one environment."""
        packages = [[one.name, one.version, one.file, one.sha256] for one in self.packages]
        text = json.dumps([LAYOUT, self.interpreter.identity, packages], separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def requirements(self) -> str:
        """The packages as a file of requirements with hashes, which pip, uv and `EnvironmentSpec.lock` take."""
        return "".join(f"{one.requirement}\n" for one in self.packages)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "interpreter": attrs.asdict(self.interpreter),
            "packages": [attrs.asdict(one) for one in self.packages],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EnvironmentLock:
        """Return what `to_json` was made of.

        Raises:
            KeyError, TypeError, ValueError: if it is not that.
        """
        return of(InterpreterFacts(**data["interpreter"]), [LockedPackage(**one) for one in data["packages"]])


def of(interpreter: InterpreterFacts, packages: Iterable[LockedPackage]) -> EnvironmentLock:
    """Return a lock, with the packages in their order."""
    return EnvironmentLock(interpreter, tuple(sorted(packages, key=lambda one: one.name)))
