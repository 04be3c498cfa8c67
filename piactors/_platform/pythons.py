"""Where Python interpreters lie on a machine: on PATH, and in the folders of tools that keep several."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_NAME = re.compile(r"(?:python|pypy)3(?:\.[0-9]+t?)?")


def on_path(pyenv: Path | None) -> Iterator[str]:
    """Yield those on PATH, but for the shims of pyenv: scripts that pass on to what `kept_in` finds.

    Args:
        pyenv: its root.
    """
    shims = None if pyenv is None else str(pyenv / "shims")
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if os.path.isabs(folder) and os.path.normpath(folder) != shims:
            yield from _in_folder(folder)


def kept_in(root: Path) -> Iterator[str]:
    """Yield those of a tool that keeps several, each in a folder of its own."""
    for folder in sorted(root.glob("*/bin")):
        yield from _in_folder(str(folder))


def _in_folder(folder: str) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in sorted(filter(_NAME.fullmatch, names), key=len):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            yield path
