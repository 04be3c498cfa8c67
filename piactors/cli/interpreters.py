"""The Python interpreters of this machine, and whether isolates run in them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from piactors import IsolationOptions, ProcessIsolator
from piactors._host import runtime
from piactors._platform import pythons
from piactors.cli import probing
from piactors.cli.facts import Interpreter

_AT_ONCE = 4
_ASK_SECONDS = 5.0
_OLDEST = (3, 8)


def found() -> tuple[Interpreter, ...]:
    """Find the interpreters and start an isolate in each, several at once; our own one comes first, then the newest."""
    over = threading.Event()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            own, *others = pool.map(partial(_tried, over=over), paths())
        except BaseException:  # a signal: nothing waits for what is under way
            over.set()
            pool.shutdown(wait=False, cancel_futures=True)
            runtime.end_current()
            raise
    return (own, *sorted(others, key=lambda one: (_numbers(one.version), one.path), reverse=True))


def paths() -> list[str]:
    """Return the interpreters, each once, our own one first."""
    root = _pyenv_root()
    by_file: dict[str, str] = {}
    kept = () if root is None else pythons.kept_in(root / "versions")
    for path in (sys.executable, *pythons.on_path(root), *kept):
        by_file.setdefault(os.path.realpath(path), path)
    return list(by_file.values())


def _pyenv_root() -> Path | None:
    if shutil.which("pyenv") is None:
        return None
    try:
        said = _said("pyenv", "root").stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Path(said) if said else None


def _said(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=_ASK_SECONDS, stdin=subprocess.DEVNULL
    )


def _tried(path: str, *, over: threading.Event) -> Interpreter:
    trial, said = probing.tried(IsolationOptions(python=path, start_method="spawn"), _version)
    if said is not None:
        version, implementation = said
    else:
        version, implementation = None if over.is_set() else _asked(path), None
    why_not = trial.why_not
    if not trial.works and () < _numbers(version) < _OLDEST:
        why_not = "too old: isolates need Python 3.8 or later"
    return Interpreter(
        path=path,
        version=version,
        implementation=implementation,
        own=os.path.realpath(path) == os.path.realpath(sys.executable),
        works=trial.works,
        seconds=trial.seconds,
        why_not=why_not,
    )


def _numbers(version: str | None) -> tuple[int, ...]:
    return tuple(map(int, re.findall("[0-9]+", version or "")[:3]))


def _version(isolator: ProcessIsolator) -> tuple[str, str]:
    said = [
        isolator.invoke_method(f"platform:{name}").get(timeout=probing.TRIAL_SECONDS)
        for name in ("python_version", "python_implementation")
    ]
    return str(said[0]), str(said[1])


def _asked(path: str) -> str | None:
    """Ask an interpreter in which no isolate runs for its version."""
    try:
        asked = _said(path, "--version")
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = re.search(r"[0-9]+\.[0-9]+[0-9a-z.+]*", asked.stdout or asked.stderr)
    return None if said is None else said[0]
