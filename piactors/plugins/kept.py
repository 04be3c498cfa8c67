"""What a plugin host keeps over its restarts: quarantines, in a file that several hosts may share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from piactors._text.logs import plain as logger

_KEY, _STARTS = "quarantine", "starts"
_MOST_STARTS = 20
Kept = dict[str, dict[str, list[str]]]
"""By plugin, and its version and environment: the hooks in quarantine; "" for the whole plugin."""

Starts = dict[str, list[list[Any]]]
"""By host: the processes that have begun it and not lasted, by pid and the time of their birth."""


def _born(pid: int) -> float | None:
    """Return when a process was born; None if there is none of that pid."""
    try:
        return float(psutil.Process(pid).create_time())
    except (psutil.Error, ValueError, OverflowError):
        return None


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
            self._write(self._path, kept, self._starts())

    @property
    def is_kept(self) -> bool:
        """Whether anything is."""
        return self._path is not None

    def begins(self, host: str) -> int:
        """A host begins; return how many before it have ended soon after their beginning, in a row."""
        return self._note_start(host, os.getpid())

    def lasts(self, host: str) -> None:
        """A host has lasted, or ended well: those before it do not count any more."""
        self._note_start(host, 0)

    def _note_start(self, host: str, pid: int) -> int:
        """Note that a process begins a host, or with 0 forget those that have; return how many of them have ended."""
        if self._path is None:
            return 0
        try:
            with self._alone(self._path):
                starts = self._starts()
                before = [one for one in starts.get(host, []) if pid]
                starts[host] = [*before[-_MOST_STARTS:], [pid, _born(pid)]] if pid else []
                self._write(self._path, self._read(), starts)
        except OSError as error:
            logger.warning("the state of plugins cannot be kept in %s: %s", str(self._path), error)
            return 0
        return sum(1 for one, born in before if born is None or _born(one) != born)

    def _starts(self) -> Starts:
        """Return by host the processes that have begun it, and when they were born."""
        try:
            found = json.loads((self._path or Path()).read_bytes())[_STARTS]
            return {str(host): [[int(pid), born] for pid, born in starts] for host, starts in found.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def keep(self, plugin: str, key: str, hooks: Iterable[str]) -> None:
        """Keep what is in quarantine of a version of a plugin; what cannot be written is told in the log."""
        if self._path is None:
            return
        try:
            with self._alone(self._path):
                kept = self._read()
                kept.setdefault(plugin, {})[key] = sorted(hooks)
                self._write(self._path, kept, self._starts())
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
    def _write(path: Path, kept: Kept, starts: Starts) -> None:
        draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
        try:
            draft.write_text(json.dumps({_KEY: kept, _STARTS: starts}, indent=1), encoding="utf-8")
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
