"""All that changes the disk in a store, apart from what the tools do: so that a test can end a builder at each step."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Put a file in its place, whole: whoever looks sees the old one or the new one.

    After a power failure the old one may be back, or none: what is lost is made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def make_folder(path: Path) -> None:
    """Make a folder, and those above it."""
    path.mkdir(parents=True, exist_ok=True)


def move(path: Path, to: Path) -> None:
    """Rename a folder; what was in the new place is replaced if it is an empty folder."""
    path.rename(to)


def remove(path: Path) -> None:
    """Remove a folder and all that is in it, also what may not be written; nothing is done if it is not there."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, onerror=_made_writable)  # `onexc` came with 3.12


def _made_writable(function: object, path: str, info: tuple[type[BaseException], BaseException, object]) -> None:
    """Go on if a folder could not be changed since it may not be written, or if something is gone already."""
    error = info[1]
    if isinstance(error, FileNotFoundError):
        return
    if not isinstance(error, PermissionError):
        raise error
    parent = os.path.dirname(path)
    for one in (parent, path):
        if not os.path.islink(one):
            os.chmod(one, os.stat(one).st_mode | stat.S_IRWXU)
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def size_of(path: Path) -> int:
    """Return how many bytes the files below a folder take, each counted once."""
    total, seen = 0, set()
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                status = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:  # it is being removed
                continue
            if status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_size
    return total
