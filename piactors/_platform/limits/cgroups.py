"""What both versions of control groups share: where the host stands, and the folder that holds its isolates' groups.

Groups are made beneath the host's own group, or beside it if its parent is delegated.  They hang
below one folder per host, whose name tells whose it is: what a host and its launcher could not clean
up, because both were killed, the next host of this place removes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING

import attrs

from piactors._platform import own_python, process_stats, quelling
from piactors._platform.late import LateModule
from piactors._text.record import ByAttributes
from piactors.pihost.process import confine
from piactors.pihost.process.quell import close_groups

if TYPE_CHECKING:
    import psutil
else:
    psutil = LateModule("psutil")

_PREFIX = "piactors"
_NAME = re.compile(_PREFIX + r"-(\d+)-(\d+)-(\d+)")
_ROUND = 0.01
_STALE_SECONDS = 1.0
_LEAST_QUOTA = 1000
_MOST_TASKS = 1 << 22
_NO_LIMIT = 1 << 60
_counter = itertools.count(1)


@attrs.frozen(eq=False, repr=False)
class Mount(ByAttributes):
    """One hierarchy of control groups, as it is mounted here."""

    kind: str
    root: str
    folder: str
    options: frozenset[str]


def mounts() -> list[Mount]:
    """Return the mounted hierarchies."""
    found = []
    for line in _lines("/proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(), right.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            found.append(Mount(kind, _plain(fields[3]), _plain(fields[4]), frozenset(options.strip().split(","))))
    return found


def own_paths(pid: int | str = "self") -> dict[str, str]:
    """Return the host's group by controller of version 1, and under "" that of version 2; or those of a process."""
    found = {}
    for line in _lines(f"/proc/{pid}/cgroup"):
        _, controllers, path = line.rstrip("\n").split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return found


def own_folder(mount: Mount, path: str) -> str | None:
    """Return the folder of a group, or None if it lies outside what is mounted here."""
    relative = os.path.relpath(path, mount.root) if mount.root != "/" else path.lstrip("/") or "."
    folder = os.path.normpath(os.path.join(mount.folder, relative))
    inside = folder == mount.folder or folder.startswith(mount.folder.rstrip("/") + "/")
    return folder if inside and os.path.isdir(folder) else None


def is_frozen(pid: int) -> bool:
    """Whether a process stands still because somebody has frozen its group."""
    paths = own_paths(pid)
    for mount in mounts():
        name = "" if mount.kind == "cgroup2" else "freezer"
        folder = own_folder(mount, paths[name]) if name in paths and (not name or name in mount.options) else None
        if folder is None:
            continue
        with contextlib.suppress(OSError):
            if name and read(folder, "freezer.state").strip() == "FROZEN":
                return True
        if not name and fields(folder, "cgroup.events").get("frozen"):
            return True
    return False


def base_name() -> str:
    """Return a folder name that tells which process made it."""
    own = process_stats.stat(os.getpid())
    started = 0 if own is None else own.start_ticks
    return f"{_PREFIX}-{_pid_namespace()}-{os.getpid()}-{started}"


def headroom() -> int | None:
    """Return how many bytes the host's own groups leave it, what is cached of files included; None without a limit."""
    paths, found = own_paths(), []
    for mount in mounts():
        name = "" if mount.kind == "cgroup2" else "memory"
        folder = own_folder(mount, paths[name]) if name in paths else None
        if folder is None or (name and name not in mount.options):
            continue
        found += _room_v1(folder) if name else _room_v2(folder, mount.folder)
    return min(found, default=None)


def _room_v1(folder: str) -> list[int]:
    stat, used = fields(folder, "memory.stat"), number(folder, "memory.usage_in_bytes")
    limit = stat.get("hierarchical_memory_limit")
    if limit is None or used is None or limit >= _NO_LIMIT:
        return []
    return [limit - used + stat.get("total_inactive_file", 0)]


def _room_v2(folder: str, root: str) -> list[int]:
    """Each group above has a limit of its own."""
    found = []
    while folder.startswith(root):
        limit, used = number(folder, "memory.max"), number(folder, "memory.current")
        if limit is not None and used is not None:
            found.append(limit - used + fields(folder, "memory.stat").get("inactive_file", 0))
        if folder == root:
            break
        folder = os.path.dirname(folder)
    return found


def possible_bases() -> list[str]:
    """Return where folders of this host's groups are, or may yet come to be."""
    paths, found = own_paths(), []
    for mount in mounts():
        names = [""] if mount.kind == "cgroup2" else [name for name in paths if name and name in mount.options]
        for folder in {own_folder(mount, paths[name]) for name in names if name in paths} - {None}:
            assert folder is not None
            found.append(os.path.join(folder, base_name()))
            if mount.kind == "cgroup2" and folder != mount.folder:
                found.append(os.path.join(os.path.dirname(folder), base_name()))
    return found


def make_base(parent: str) -> str:
    """Make the folder for this host's groups, and remove those of hosts that are gone.

    Raises:
        OSError: if that is not allowed.
    """
    remove_stale(parent)
    base = os.path.join(parent, base_name())
    with contextlib.suppress(FileExistsError):
        os.mkdir(base)
    return base


def is_inside_base(folder: str) -> bool:
    """Whether a folder is one that a host has made for its isolates, or lies in one."""
    return any(_NAME.fullmatch(part) for part in folder.split("/"))


def remove_stale(parent: str, *, kill: bool = True) -> None:
    """Remove the folders of hosts that are gone, and end what runs there: its host and launcher were killed at once."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            match = _NAME.fullmatch(name)
            if match is not None and _is_stale(*map(int, match.groups())):
                base = os.path.join(parent, name)
                if kill:
                    kill_all([base], _STALE_SECONDS)
                confine.remove_groups([base])


def _is_stale(namespace: int, pid: int, started: int) -> bool:
    if namespace != _pid_namespace():
        return False
    found = process_stats.stat(pid)
    if found is not None:
        return found.start_ticks != started
    return not psutil.pid_exists(pid)  # if it is there and cannot be looked at, it may be the one


def leaf_name(label: str) -> str:
    """Return a folder name for the group of one process."""
    return f"{re.sub('[^A-Za-z0-9_-]+', '_', label)[:100]}-{next(_counter)}"


def try_joining(folders: list[str]) -> None:
    """Let a process of no importance join these groups, and see whether it did.

    Raises:
        OSError: if it cannot.
    """
    python = own_python.find()
    idle = ["cat"] if python is None else [python, "-I", "-S", "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(idle, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            for folder in folders:
                write(folder, "cgroup.procs", process.pid)
                if process.pid not in members(folder):
                    raise OSError(f"a process that joined {folder} is not in it")
        finally:
            process.kill()


def members(folder: str) -> list[int]:
    """Return the pids of the processes in a group, and in the groups that its processes have made in it."""
    found: list[int] = []
    for place, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            found += map(int, read(place, "cgroup.procs").split())
    return found


def read(folder: str, name: str) -> str:
    """Return what a file of a group says."""
    with open(os.path.join(folder, name)) as file:
        return file.read()


def write(folder: str, name: str, value: object) -> None:
    """Write to a file of a group."""
    with open(os.path.join(folder, name), "w") as file:
        file.write(str(value))


def fields(folder: str, name: str) -> dict[str, int]:
    """Return a file of names and numbers; empty if there is none (any more)."""
    try:
        pairs = (line.split() for line in read(folder, name).splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
    except OSError:
        return {}


def number(folder: str, name: str) -> int | None:
    """Return the number in a file, or None if there is none (any more)."""
    try:
        return int(read(folder, name))
    except (OSError, ValueError):
        return None


def remove(folders: list[str] | tuple[str, ...]) -> bool:
    """Remove empty groups, with those that their processes have made in them; False if something is left."""
    confine.remove_groups(list(folders))
    return not any(os.path.isdir(folder) for folder in folders)


def quota(cores: float, period: int) -> int:
    """Return the microseconds of CPU time in each period; no more than all processors have."""
    return max(_LEAST_QUOTA, round(min(cores, os.cpu_count() or 1) * period))


def most_tasks(count: int | None) -> int:
    """Return a number of tasks that the kernel takes."""
    return min(count or 1, _MOST_TASKS)


def kill_all(folders: list[str], seconds: float) -> list[int]:
    """Kill whatever is in these groups until nothing is, for at most `seconds`; return the pids of what is left."""
    deadline = time.monotonic() + seconds
    while True:
        left = [pid for folder in folders for pid in _kill(folder)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(_ROUND)  # the kernel says nothing when a group runs empty


def _kill(folder: str) -> list[int]:
    """Kill the processes of one group once, and reap those that are children of this one; return which were there."""
    if not (found := members(folder)):
        return found
    close_groups([folder])
    return quelling.quell(lambda: members(folder), lambda pid: pid in members(folder), _ROUND) or found


def _pid_namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.readlines()
    except OSError:
        return []


def _plain(path: str) -> str:
    """Undo the escapes of mountinfo."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
