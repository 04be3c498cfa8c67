"""`Environment`: one that is complete, and in use for as long as there is this object."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from piactors._text.record import ByAttributes
from piactors._validation.fields import FrozenMapping
from piactors.environment_spec import PreparedEnvironment
from piactors.environments import claims
from piactors.environments.builders import python_of
from piactors.environments.claims import Claim
from piactors.environments.errors import BuildFailed
from piactors.environments.lock import EnvironmentLock, canonical

COMPLETE = "complete"
VENV = "venv"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class EntryPointInfo(ByAttributes):
    """An entry point, read from metadata: nothing was imported.

    Attributes:
        name, group, value: as its distribution says; `value` is "module:attribute".
        distribution, version: which package has it.
    """

    name: str
    group: str
    value: str
    distribution: str
    version: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Environment(PreparedEnvironment, ByAttributes):
    """A virtual environment that is complete and never changes; nobody removes it while this object lives.

    Attributes:
        key: what it is made of, as a SHA-256 in hexadecimal.
        path: its folder.
        python: the path of its interpreter, for `IsolationOptions`.
        packages: version by name.
        size: bytes of its files, each file once; those that it shares with a cache count too.
    """

    key: str
    path: str
    python: str
    packages: Mapping[str, str] = attrs.field(converter=FrozenMapping)
    size: int
    _claim: Claim | None = attrs.field(default=None, eq=False, repr=False)

    def entry_points(self, group: str) -> tuple[EntryPointInfo, ...]:
        """Return the entry points of a group, in the order of the names of their packages; nothing is imported.

        What cannot be read is left out.
        """
        found = [one for place in sites(Path(self.path)) for one in _entry_points(place, group)]
        return tuple(sorted(found, key=lambda one: (one.distribution, one.name)))

    @property
    def lock(self) -> EnvironmentLock:
        """What it was made of."""
        return read_lock(Path(self.path).parent)

    @property
    def is_in_use(self) -> bool:
        """Whether this object keeps it from being removed; False after it was removed."""
        return self._claim is None or self._claim.fd >= 0

    def again(self) -> Environment:
        """Return another object for it, which keeps it as this one does.

        Raises:
            BuildFailed: if it is not there any more.
        """
        return _reopened(os.path.dirname(self.path))

    def _removed_by(self, remove: Callable[[], object]) -> bool:
        """Have it removed if nobody else uses it; return whether it is."""
        claim = self._claim
        if claim is None or not claim.try_alone():
            return False
        remove()
        claim.forget()
        claim.release()
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (os.path.dirname(self.path),)


def sites(venv: Path) -> list[Path]:
    """Return the folders that the packages of an environment lie in."""
    found = sorted(venv.glob("lib*/*py*/site-packages"))
    return list({place.resolve(): place for place in reversed(found)}.values())  # lib64 is lib in most


def installed(venv: Path) -> dict[str, str]:
    """Return version by canonical name of what is in an environment, as the names of the folders of metadata say."""
    found = {}
    for place in sites(venv):
        for entry in os.scandir(place):
            stem, suffix = os.path.splitext(entry.name)
            name, _, version = stem.partition("-")
            if suffix == ".dist-info" and version:
                found[canonical(name)] = version
    return found


def _entry_points(place: Path, group: str) -> Iterator[EntryPointInfo]:
    for distribution in metadata.distributions(path=[str(place)]):
        try:
            name, version = distribution.metadata["Name"], distribution.version
            points = [point for point in distribution.entry_points if point.group == group]
        except Exception:  # foreign metadata may be anything
            continue
        for point in points:
            yield EntryPointInfo(
                name=point.name, group=group, value=point.value, distribution=str(name), version=str(version)
            )


def opened(folder: Path, claim: Claim | None) -> Environment:
    """Return the environment of a folder in a store.

    Args:
        claim: the lock that keeps it from being removed; None in a store that can only be read.

    Raises:
        OSError, ValueError, KeyError: if it is not complete.
    """
    about = json.loads((folder / COMPLETE).read_bytes())
    venv = folder / VENV
    return Environment(
        key=about["key"],
        path=str(venv),
        python=str(python_of(venv)),
        packages=about["packages"],
        size=about["size"],
        claim=claim,
    )


def is_complete(folder: Path) -> bool:
    """Whether the environment of a folder is there; what cannot be read is not."""
    try:
        return isinstance(json.loads((folder / COMPLETE).read_bytes())["key"], str)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_lock(folder: Path) -> EnvironmentLock:
    """Return the lock of the environment of a folder in a store."""
    return EnvironmentLock.from_json(json.loads((folder / COMPLETE).read_bytes())["lock"])


def lock_file(folder: Path) -> Path:
    """Return the file whose lock keeps the environment of a folder."""
    return folder.with_name(f"{folder.name}.lock")


def in_use(folder: Path, *, counts: bool = True) -> Environment | None:
    """Return the environment of a folder if it is complete, and keep it from being removed; None if it is not.

    It starts nothing, and waits for nobody.

    Args:
        counts: whether that counts as use of it, or somebody only looks.
    """
    path = lock_file(folder)
    if not is_complete(folder):
        return None
    try:
        claim = claims.try_claim(path, alone=False, create=True)
        if claim is None:
            return None
        if counts:
            claims.mark_used(path)
    except OSError:  # a store that can only be read, so nobody removes it
        claim = None
    try:
        return opened(folder, claim)
    except (OSError, ValueError, KeyError, TypeError):
        if claim is not None:
            claim.release()
        return None


def _reopened(folder: str) -> Environment:
    found = in_use(Path(folder))
    if found is None:
        raise BuildFailed(f"the environment at {folder} is not there any more")
    return found
