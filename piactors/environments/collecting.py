"""Taking environments away, and looking whether they are as they were made."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import attrs

from piactors.environments import claims, disk, environment
from piactors.environments.claims import Claim
from piactors.environments.environment import Environment, lock_file, sites
from piactors.environments.errors import EnvironmentInUse

_TRASH = "trash"
_KINDS = ("sha256", "sha384", "sha512")
_OF_TOOLS = frozenset({"_virtualenv.py", "_virtualenv.pth"})
"""What uv puts beside the packages."""


@attrs.frozen
class StoreBounds:
    """What is kept: so many bytes, and what was used within so many seconds."""

    max_bytes: int | None
    max_unused: float


def folders(place: Path) -> list[Path]:
    """Return the folders of environments, complete or not, the one used last first."""
    try:
        found = [entry for entry in (place / "env").iterdir() if entry.is_dir()]
    except OSError:
        return []
    return sorted(found, key=lambda folder: claims.seconds_since_used(lock_file(folder)))


def collect(place: Path, bounds: StoreBounds) -> int:
    """Remove what is not to be kept, if nobody uses it, and what builders that died have left; return how many."""
    removed = kept = 0
    for folder in folders(place):
        size = disk.size_of(folder) if bounds.max_bytes is not None and environment.is_complete(folder) else 0
        too_much = bounds.max_bytes is not None and kept + size > bounds.max_bytes
        claim = claims.try_claim(lock_file(folder), alone=True, create=True)
        if claim is None:
            kept += size
            continue
        with claim:  # nobody builds it, or uses it, from here on
            is_complete = environment.is_complete(folder)
            unused = claims.seconds_since_used(lock_file(folder)) >= bounds.max_unused
            if is_complete and not unused and not too_much:
                kept += size
                continue
            _throw_away(place, folder)
            claim.forget()
            removed += is_complete
    _tidy(place)
    return removed


def remove(place: Path, environment: Environment) -> None:
    """Remove one, which nobody else uses.

    Raises:
        EnvironmentInUse: if somebody does.
    """
    folder = Path(environment.path).parent
    if not environment._removed_by(lambda: _throw_away(place, folder)):
        raise EnvironmentInUse(f"the environment {environment.key[:12]} is in use, in this program or another one")


def _throw_away(place: Path, folder: Path) -> None:
    """Rename it, so that it is gone at once, and then delete it."""
    trash = place / _TRASH
    disk.make_folder(trash)
    gone = trash / f"{folder.name}-{os.urandom(4).hex()}"
    with contextlib.suppress(FileNotFoundError):
        disk.move(folder, gone)
    disk.remove(gone)


def _tidy(place: Path) -> None:
    """Remove what others have begun to delete, or to resolve and not ended, and locks of what is not there."""
    for left in _entries(place / _TRASH):
        disk.remove(left)
    for path in (*_entries(place / "env"), *_entries(place / "resolved")):
        if path.suffix == ".lock" and not path.with_suffix("").exists():
            claim: Claim | None = claims.try_claim(path, alone=True)
            if claim is not None:
                with claim:
                    if not path.with_suffix("").exists():
                        disk.remove(path.with_suffix(".work"))
                        claim.forget()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def faults(found: Environment) -> list[str]:
    """Return what is wrong with an environment, a line each."""
    folder = Path(found.path).parent
    try:
        lock = environment.read_lock(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"its lock cannot be read: {error}"]
    complaints = [] if lock.key == found.key else [f"its lock has the key {lock.key}"]
    if not os.access(found.python, os.X_OK):
        complaints.append(f"its interpreter, {found.python}, cannot be run")
    installed = environment.installed(Path(found.path))
    wanted = {one.name: one.version for one in lock.packages}
    complaints += [f"{name} {wanted[name]} is missing" for name in sorted(wanted.keys() - installed.keys())]
    complaints += [f"{name} {installed[name]} was added" for name in sorted(installed.keys() - wanted.keys())]
    for place in sites(Path(found.path)):
        listed: set[str] = set(_OF_TOOLS)
        for distribution in metadata.distributions(path=[str(place)]):
            complaints += _altered(place, distribution)
            listed.update(str(path) for path in distribution.files or ())
        complaints += [f"{path} was added" for path in _files_in(place) if path not in listed]
    return complaints


def _files_in(place: Path) -> list[str]:
    """Return the files below a folder, but for bytecode, which Python adds."""
    found = [path for path in place.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(str(path.relative_to(place)) for path in found)


def _altered(place: Path, distribution: metadata.Distribution) -> Iterator[str]:
    """Yield what is not as the record of a distribution says."""
    name = distribution.metadata["Name"]
    for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        if len(row) < 2:
            yield f"{name}: a line of its RECORD is not one: {row!r}"
            continue
        path, digest = row[0], row[1]
        kind, _, wanted = digest.partition("=")
        if not wanted or kind not in _KINDS:
            continue
        try:
            data = (place / path).read_bytes()
        except OSError as error:
            yield f"{name}: {path}: {error.strerror}"
            continue
        if base64.urlsafe_b64encode(hashlib.new(kind, data).digest()).rstrip(b"=").decode() != wanted:
            yield f"{name}: {path} was changed"
