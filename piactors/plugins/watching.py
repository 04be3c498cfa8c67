"""Files of plugins that are watched while they are written: a change has the plugin reloaded."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from piactors._text.logs import plain as logger
from piactors.plugins.locating import located
from piactors.plugins.specs import PluginSpec

_QUIET_MS = 50
"""Milliseconds without a change after which a change counts: editors write files in several steps."""

_MOST_FILES = 10_000


def files_of(spec: PluginSpec) -> list[str]:
    """Return the files and folders that a plugin's code comes from, as far as its spec says."""
    target = spec.target if isinstance(spec.target, str) else ""
    place = target.split(".py:")[0] + ".py" if ".py:" in target else target.partition(":")[0]
    found = [one for one in spec.sys_path if os.path.isdir(one)]
    if place.endswith(".py"):
        found.append(os.path.dirname(os.path.abspath(place)))
    elif place:
        module = located(place)
        folders = [] if module is None else list(module.submodule_search_locations or [])
        found += folders or ([module.origin] if module is not None and module.has_location and module.origin else [])
    return found


class FileWatch:
    """Watches files of plugins, on a thread of its own that there is once there are any.

    Args:
        name: of the thread.
        changed: called with the name of a plugin whose files have changed.
    """

    def __init__(self, name: str, changed: Callable[[str], object]) -> None:
        self._name, self._changed = name, changed
        self._lock = threading.Lock()  # plugins come and go on several threads
        self._paths: dict[str, tuple[str, ...]] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        """What the files were when they were last looked at: it takes a moment until changes of them are told."""
        self._again = threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def watch(self, plugin: str, paths: Iterable[str]) -> None:
        """Watch these files and folders for a plugin."""
        with self._lock:
            if self._paths.get(plugin) == tuple(paths):
                return
            self._paths[plugin] = tuple(paths)
            self._seen.update(_states(paths))
            self._again.set()
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def forget(self, plugin: str) -> None:
        """Watch nothing for a plugin any more."""
        with self._lock:
            if self._paths.pop(plugin, None) is not None:
                self._again.set()

    def close(self) -> None:
        """Watch nothing any more."""
        with self._lock:
            self._is_closed = True
            self._again.set()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        import watchfiles  # only those who write plugins need it

        while not self._is_closed:
            with self._lock:
                self._again = again = threading.Event()
                paths = dict(self._paths)
            places = sorted({place for one in paths.values() for place in one if os.path.exists(place)})
            if not places:
                again.wait()
                continue
            try:
                watched = watchfiles.watch(
                    *places,
                    stop_event=again,
                    debounce=20 * _QUIET_MS,
                    step=_QUIET_MS,
                    rust_timeout=2 * _QUIET_MS,
                    yield_on_timeout=True,  # of which the first one says that changes are told from now on
                    raise_interrupt=False,
                )
                changed = [path for _, path in next(watched, ())]
                self._tell(paths, [*changed, *self._changed_since(places)])
                for changes in watched:
                    self._tell(paths, [path for _, path in changes])
            except OSError as error:
                logger.warning("files of plugins cannot be watched: %s", error)
                again.wait()

    def _changed_since(self, places: list[str]) -> list[str]:
        now = _states(places)
        with self._lock:
            found = [path for path, state in now.items() if self._seen.get(path) != state]
            self._seen.update(now)
        return found

    def _tell(self, paths: dict[str, tuple[str, ...]], changed: list[str]) -> None:
        for plugin, places in paths.items():
            if any(path == place or path.startswith(place + os.sep) for path in changed for place in places):
                self._changed(plugin)


def _states(places: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return when the Python files at some places were changed, and how large they are."""
    found: dict[str, tuple[int, int]] = {}
    for place in places:
        files = [place] if os.path.isfile(place) else itertools.islice(Path(place).rglob("*.py"), _MOST_FILES)
        for path in map(str, files):
            with contextlib.suppress(OSError):
                about = os.stat(path)
                found[path] = about.st_mtime_ns, about.st_size
    return found
