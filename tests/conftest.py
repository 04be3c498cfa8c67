"""What holds for every test: isolates end with their test, and the whole suite leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import psutil
import pykka
import pytest

import piactors
from piactors._host import runtime
from tests.bytecode import keep_bytecode
from tests.support import HostScripts, in_shared_memory, left_in_shared_memory, wait_until
from tests.taking_turns import pytest_configure, pytest_runtest_protocol, pytest_unconfigure
from tests.tiers import guard, pytest_collection_modifyitems, pytest_ignore_collect

__all__ = [
    "guard",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_ignore_collect",
    "pytest_runtest_protocol",
    "pytest_unconfigure",
]

REPO = Path(__file__).resolve().parent.parent
MARK = b"PIACTORS_"
SETTINGS = {b"PIACTORS_PORTABLE", *(os.fsencode(name) for name in os.environ)}
"""Variables that look like a mark and are none: settings of these tests, which the whole shell may have."""
CACHES = ("__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", ".coverage", ".egg-info")
TRACKER = "resource_tracker"
"""The standard library's own helper for shared memory: it ends with the interpreter, and not before."""

_STOP_SECONDS = 30.0
_GOING_SECONDS = 10.0

keep_bytecode()  # now, so that the processes of the tests have it


@attrs.frozen
class Traces:
    """Names of what a suite could leave behind."""

    processes: frozenset[str] = frozenset()
    shared_memory: frozenset[str] = frozenset()
    cgroups: frozenset[str] = frozenset()
    temporary_files: frozenset[str] = frozenset()
    tree: frozenset[str] = frozenset()

    def since(self, before: Traces) -> dict[str, list[str]]:
        """Return what is here and was not there before, by kind, without the kinds that have nothing."""
        old = attrs.asdict(before)
        new = {kind: sorted(names - old[kind]) for kind, names in attrs.asdict(self).items()}
        return {kind: names for kind, names in new.items() if names}


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail the session where it leaves processes, shared memory, cgroups or files."""
    before = traces()
    yield
    runtime.end_current()  # the launcher lives as long as the host, which is this very process
    with piactors.ProcessIsolator():  # the next program: it removes what a host could not that was killed
        pass
    runtime.end_current()
    try:
        wait_until(lambda: not left_since(before), _GOING_SECONDS)
    except AssertionError:
        left = left_since(before)
        assert not left, f"the suite left behind: {left}"


@pytest.fixture(autouse=True)
def stop_isolates() -> Iterator[None]:
    """Stop the isolates and actors that a test leaves running."""
    yield
    pykka.ActorRegistry.stop_all(timeout=_STOP_SECONDS)


@pytest.fixture
def host_script(tmp_path: Path) -> Iterator[HostScripts]:
    """Start programs as host processes of their own: ``host_script(code, **options_of_popen)``."""
    scripts = HostScripts(tmp_path)
    yield scripts
    scripts.close()


def left_since(before: Traces) -> dict[str, list[str]]:
    """Return what is here and was not there before, and is nobody else's."""
    left = traces().since(before)
    if "shared_memory" in left:
        left["shared_memory"] = sorted(left_in_shared_memory(set(before.shared_memory)))
    return {kind: names for kind, names in left.items() if names}


def traces() -> Traces:
    """Return all that is there now."""
    return Traces(
        processes=frozenset(_marked_processes() | _children()),
        shared_memory=frozenset(in_shared_memory()),
        cgroups=_cgroups(),
        temporary_files=_names(Path(tempfile.gettempdir()), "piactors*"),
        tree=_tree(),
    )


def _marked_processes() -> set[str]:
    """Return the marked processes, without those of other hosts that live: another session may run beside this one.

    What a dead host leaves gets a parent further up, and such a parent is one of our ancestors as well.
    """
    family = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return {_described(p) for p in psutil.process_iter() if _is_marked(p.pid) and _first_unmarked(p) in family}


def _first_unmarked(process: psutil.Process) -> int:
    try:
        parents: list[int] = [parent.pid for parent in process.parents()]
    except psutil.NoSuchProcess:
        return 0  # gone while it was looked at
    unmarked = (pid for pid in parents if not _is_marked(pid))
    return next(unmarked, os.getpid())  # none: no parent that we could see


def _is_marked(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    names = {variable.partition(b"=")[0] for variable in variables if variable.startswith(MARK)}
    return bool(names - SETTINGS)


def _children() -> set[str]:
    found = {_described(child) for child in psutil.Process().children(recursive=True)}
    return {text for text in found if TRACKER not in text}


def _described(process: psutil.Process) -> str:
    try:
        command = " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # also of one that has ended and that nobody has waited for
        command = "(ended)"
    return f"pid {process.pid}: {command}"


def _names(folder: Path, pattern: str) -> frozenset[str]:
    return frozenset(str(path) for path in folder.glob(pattern))


def _cgroups() -> frozenset[str]:
    folders = (os.path.join(parent, name) for parent, names, _ in os.walk("/sys/fs/cgroup") for name in names)
    return frozenset(folder for folder in folders if "piactors" in os.path.basename(folder) and not _is_others(folder))


def _is_others(folder: str) -> bool:
    """Whether a group belongs to another host that lives: another session may run beside this one."""
    pid = os.path.basename(folder).split("-")[2:3]
    return bool(pid) and pid[0].isdigit() and int(pid[0]) != os.getpid() and psutil.pid_exists(int(pid[0]))


def _tree() -> frozenset[str]:
    """Return the files of the repository that git does not know; none where there is no git or no repository."""
    command = ["git", "-C", str(REPO), "status", "--porcelain", "-z", "--ignored", "--untracked-files=all"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return frozenset()
    entries = (entry for entry in done.stdout.split("\0") if entry.startswith(("?? ", "!! ")))
    return frozenset(entry for entry in entries if not any(cache in entry for cache in CACHES))
