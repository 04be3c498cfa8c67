"""Where the tests of pykka and pluggy come from: the sdists of those that are installed."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

VARIABLE = "PIACTORS_PYKKA_SDIST"
"""Names an environment variable that may hold the path of pykka's sdist, packed or unpacked; another package's has its
name in place of pykka's."""

DOWNLOAD_SECONDS = 90


class NoSdist(Exception):
    """The sdist cannot be had; the text says why."""


def installed_version(package: str = "pykka") -> str:
    """Return the version of the package that is installed."""
    return importlib.metadata.version(package)


def unpacked(folder: Path, package: str = "pykka") -> Path:
    """Return a fresh copy of the unpacked sdist, below `folder`.

    Raises:
        NoSdist: where it cannot be had.
    """
    variable = VARIABLE.replace("PYKKA", package.upper())
    given = os.environ.get(variable)
    source = Path(given) if given else _downloaded(folder / "download", package, variable)
    if not source.exists():
        raise NoSdist(f"{variable} is {given!r}, and there is no such file")
    target = folder / "unpacked"
    if source.is_dir():
        shutil.copytree(source, target / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        _unpack(source, target)
    (root,) = target.iterdir()
    return root


def _unpack(source: Path, target: Path) -> None:
    try:
        with tarfile.open(source) as archive:
            archive.extractall(target, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise NoSdist(f"{source} cannot be unpacked: {error}") from error


def _downloaded(folder: Path, package: str, variable: str) -> Path:
    """Download it with pip, which also gets the build backend, as a wheel: it looks into each sdist's metadata."""
    wanted = f"{package}=={installed_version(package)}"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-binary",
        package,
        "--no-deps",
        "--retries",
        "1",
        "--dest",
        str(folder),
        wanted,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired:
        raise NoSdist(f"pip has not downloaded the sdist of {wanted} within {DOWNLOAD_SECONDS} s") from None
    found = sorted(folder.glob("*.tar.gz")) if folder.is_dir() else []
    if done.returncode != 0 or not found:
        last = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise NoSdist(f"pip cannot download the sdist of {wanted}: {last}; {variable} may name one that is here")
    return found[0]
