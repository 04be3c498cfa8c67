"""Which files of a ``pylock.toml`` an interpreter takes.  Pure."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from piactors.environments.lock import LockedPackage

if TYPE_CHECKING:
    from packaging.tags import Tag


def chosen(
    text: str, *, folder: str, environment: dict[str, str], tags: Sequence[Tag], only_binary: bool, by_address: bool
) -> list[LockedPackage]:
    """Return what a lock has installed.

    Args:
        text: the ``pylock.toml``.
        folder: what its paths are relative to.
        environment: what its markers are compared with.
        tags: which wheels are taken, the best first.
        only_binary: whether it has to be wheels alone.
        by_address: whether files are taken from where the lock says; otherwise from an index, unless it is no index
            that they are from.

    Raises:
        ValueError: if it is not such a file, or has nothing for this interpreter, or no SHA-256 of it.
    """
    from packaging.pylock import Pylock, PylockSelectError, PylockValidationError

    try:
        lock = Pylock.from_dict(tomllib.loads(text))
        picked = list(lock.select(environment=environment, tags=tags))  # type: ignore[arg-type]
    except (ValueError, RecursionError, PylockSelectError, PylockValidationError) as error:
        raise ValueError(f"the lock does not fit: {error}") from None
    return [_package(package, file, folder, only_binary, by_address) for package, file in picked]


def _package(package: Any, file: Any, folder: str, only_binary: bool, by_address: bool) -> LockedPackage:
    name, kind = package.name, type(file).__name__
    if kind in ("PackageVcs", "PackageDirectory"):
        raise ValueError(f"{name} comes from {kind.removeprefix('Package').lower()}, of which there is no hash")
    url = file.url or Path(folder, file.path).resolve().as_uri()
    file_name = os.path.basename(unquote(urlsplit(url).path))
    if getattr(file, "name", None) not in (None, file_name):
        raise ValueError(f"{name}: the lock calls its file {file.name!r}, and its address says {file_name!r}")
    if only_binary and not file_name.endswith(".whl"):
        raise ValueError(f"{name} has no wheel for this interpreter, and only_binary=True builds nothing")
    sha256 = file.hashes.get("sha256")
    if sha256 is None:
        raise ValueError(f"{name}: the lock has no SHA-256 of {file_name}")
    direct = by_address or kind == "PackageArchive" or file.url is None
    return LockedPackage(
        name=name,
        version=str(package.version or _version_in(file_name)),
        file=file_name,
        sha256=sha256,
        url=url if direct else "",
    )


def _version_in(file_name: str) -> str:
    from packaging.utils import parse_sdist_filename, parse_wheel_filename

    if file_name.endswith(".whl"):
        return str(parse_wheel_filename(file_name)[1])
    return str(parse_sdist_filename(file_name)[1])
