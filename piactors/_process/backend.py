"""What is asked of whatever makes processes, and what it reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import attrs

from piactors._process import pihost_files
from piactors._text.record import ByAttributes
from piactors.exit_reason import Rusage

RESOURCES = "resources"
"""Why there is no process: there is too little of something at the moment."""


@attrs.frozen(eq=False, repr=False)
class Order(ByAttributes):
    """One process to be made.

    Attributes:
        interpreter: the absolute path of the interpreter; empty if this program has none (see `own_python`).
        env: the process's environment.
        fresh: whether to start a fresh interpreter rather than fork a warm one.
        orders: what it does to itself before it runs anything (see `piactors.pihost.process.confine`).
        needs: modules that its launcher imports before it forks, if it can.
        flags: options for a fresh interpreter.
        stdin: whether its stdin is the host's; otherwise it is empty.
        whole_env: whether it may have all of the host's environment.
        member: the urn of the isolate that it is for.
    """

    interpreter: str
    env: dict[str, str]
    fresh: bool
    orders: dict[str, Any] = attrs.field(factory=dict)
    needs: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    stdin: bool = False
    whole_env: bool = True
    member: str = ""

    @property
    def argv(self) -> list[str]:
        """The command line of a fresh interpreter, up to its descriptors."""
        return [self.interpreter, *self.flags, *pihost_files.COMMAND, "isolate"]


class ProcessListener(Protocol):
    """What wants to know of one process; called on the loop's thread."""

    @property
    def pid(self) -> int | None:
        """The pid of the process, or None."""

    @property
    def process_fd(self) -> int:
        """The descriptor of the process, or -1."""

    def launched(self, pid: int, process_fd: int) -> None:
        """The process exists; the listener owns the descriptor (-1: there are no pidfds)."""

    def refused(self, why: str, text: str) -> None:
        """There is no process; `why` is a word for it, `RESOURCES` among them."""

    def failed(self, error: BaseException, *, over: bool = False) -> None:
        """One of these has raised this; with `over`, the last one: nothing more is reported of the process."""

    def spared(self) -> None:
        """A signal that `Backend.signal` was to have sent could not be sent either."""

    def exited(self, status: int | None, usage: Rusage | None, *, lost: bool, note: str = "") -> None:
        """The process and all that it left are gone; `lost` if its launcher died with it.

        If it cannot be ended or waited for, `note` says so, and this comes all the same.
        """


class Backend(Protocol):
    """Makes processes."""

    def launch(self, order: Order, fds: Sequence[int], listener: ProcessListener) -> None:
        """Make one with its descriptors, which stay the caller's.

        They are for requests and replies (the data channel), control, stdout, stderr and page; a seventh is its stdin.
        """

    def kill_tree(self, pid: int) -> bool:
        """Kill a process with all that it has started; False if killing it alone is enough.

        Raises:
            PermissionError: if it belongs to a user whose processes this host may not end (any more).
        """

    def expect(self, listener: ProcessListener, *, kill: bool) -> None:
        """The process has ended, or is to (`kill`), on the loop's thread: see to it that news of that comes."""

    def signal(self, listener: ProcessListener, number: int) -> bool:
        """Have a signal sent by whatever made the process, from any thread; False if that is the host itself."""

    def close(self) -> None:
        """End every process that is left, and what makes them."""

    def abandon(self) -> None:
        """In a forked copy of the host: let go of the descriptors and touch nothing else."""


class LauncherCgroups(Protocol):
    """Who makes control groups for launchers (see `_host.confiner`)."""

    def launcher_cgroup(self) -> str | None:
        """Return the folder of a new group that a launcher and all that it starts are in; None if there is none."""

    def remove_launcher_cgroup(self, folder: str) -> None:
        """Let go of such a group."""
