"""What a plugin host keeps over its restarts: quarantines, in a file that several hosts may share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from piactors._text.logs import plain as logger

_KEY = "quarantine"
Kept = dict[str, dict[str, list[str]]]
"""By plugin, and its version and environment: the hooks in quarantine; "" for the whole plugin."""


class KeptState:
    """A file of quarantines.

    Args:
        path: of the file; None: nothing is kept.

    Raises:
        ValueError: if it is the path of a folder.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = None if path is None else Path(path).expanduser()
        if self._path is not None and (not self._path.name or self._path.is_dir()):
            raise ValueError(f"PluginHost: state={str(path)!r} is not allowed; use the path of a file")

    def hooks(self, plugin: str, key: str) -> tuple[str, ...]:
        """Return what is in quarantine of a version of a plugin."""
        return tuple(self._read().get(plugin, {}).get(key, ()))

    def all(self) -> Kept:
        """Return all that is in quarantine."""
        return self._read()

    def release(self, plugin: str) -> None:
        """Keep nothing of a plugin any more.

        Raises:
            ValueError: if nothing is kept of it.
        """
        kept = self._read()
        if self._path is None or plugin not in kept:
            raise ValueError(f"nothing is kept of plugin {plugin!r}; there are: {', '.join(sorted(kept)) or 'none'}")
        with self._alone(self._path):
            kept = self._read()
            kept.pop(plugin, None)
            self._write(self._path, kept)

    def keep(self, plugin: str, key: str, hooks: Iterable[str]) -> None:
        """Keep what is in quarantine of a version of a plugin; what cannot be written is told in the log."""
        if self._path is None:
            return
        try:
            with self._alone(self._path):
                kept = self._read()
                kept.setdefault(plugin, {})[key] = sorted(hooks)
                self._write(self._path, kept)
        except OSError as error:
            logger.warning("the state of plugins cannot be kept in %s: %s", str(self._path), error)

    def _read(self) -> Kept:
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_bytes())[_KEY]
            return {
                str(plugin): {str(key): [str(hook) for hook in hooks] for key, hooks in versions.items()}
                for plugin, versions in found.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            logger.warning("the state of plugins in %s cannot be read: %r", str(self._path), error)
            return {}

    @staticmethod
    def _write(path: Path, kept: Kept) -> None:
        draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
        try:
            draft.write_text(json.dumps({_KEY: kept}, indent=1), encoding="utf-8")
            os.replace(draft, path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)

    @staticmethod
    @contextmanager
    def _alone(path: Path) -> Iterator[None]:
        """Nobody else changes the file meanwhile."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)
