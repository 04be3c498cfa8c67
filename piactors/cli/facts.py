"""What ``piactors doctor`` finds out about a machine, as plain data."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen(kw_only=True)
class LimitFact:
    """How one limit can be enforced.

    Attributes:
        limit: its name, as in `IsolationLimits`.
        mechanism: what is chosen for it, or None if nothing works.
        scope: ``tree`` or ``process``, as in `Enforcement`; None if nothing works.
        by: each mechanism that knows it, the best first: None if it works, or why it does not.
    """

    limit: str
    mechanism: str | None
    scope: str | None
    by: Mapping[str, str | None]


@attrs.frozen(kw_only=True)
class Trial:
    """Whether something works, found by trying it.

    Attributes:
        works: whether it did.
        seconds: how long it took.
        why_not: why it did not, in one line, or None.
    """

    works: bool
    seconds: float
    why_not: str | None = None


@attrs.frozen(kw_only=True)
class Interpreter:
    """A Python that was found, and whether isolates run in it.

    Attributes:
        path: the program.
        version, implementation: such as ``3.12.1`` and ``CPython``; None if it does not tell.
        own: whether it is the one that this command runs in.
        works, seconds, why_not: as in `Trial`.
    """

    path: str
    version: str | None
    implementation: str | None
    own: bool
    works: bool
    seconds: float
    why_not: str | None = None


@attrs.frozen(kw_only=True)
class Kernel:
    """Something that the kernel offers, or does not.

    Attributes:
        works: whether it does.
        detail: what it is good for, or what is there instead.
    """

    works: bool
    detail: str


@attrs.frozen(kw_only=True)
class Cgroups:
    """One mounted hierarchy of control groups.

    Attributes:
        version: 1 or 2.
        controllers: those of `memory`, `cpu`, `cpuacct` and `pids` that it has, for this process's own group.
        folder: where it is mounted.
        own: the folder of this process's own group, or None if that lies outside.
        writable: whether groups can be made there, as far as permissions tell.
    """

    version: int
    controllers: tuple[str, ...]
    folder: str
    own: str | None
    writable: bool


@attrs.frozen(kw_only=True)
class Machine:
    """Where this runs.

    Attributes:
        system, kernel, python: their names and versions.
        root: whether the user is root.
        cpus, usable_cpus: how many there are, and may be used.
        container: what kind of container this is in, or None if none is recognised.
        systemd: whether systemd runs the system.
        taken_away: what `PIACTORS_PORTABLE` takes away.
    """

    system: str
    kernel: str
    python: str
    root: bool
    cpus: int
    usable_cpus: int
    container: str | None
    systemd: bool
    taken_away: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Facts:
    """All of it.

    Attributes:
        limits: by name.
        start_methods: by name.
        interpreters: those found, or None if nobody looked.
        kernel: by name.
        cgroups: the mounted hierarchies that have one of the controllers of interest, or are of version 2.
        priorities: by a name such as ``nice -20``: None if it is available, or why not.
    """

    limits: Mapping[str, LimitFact]
    start_methods: Mapping[str, Trial]
    interpreters: tuple[Interpreter, ...] | None
    machine: Machine
    kernel: Mapping[str, Kernel]
    cgroups: tuple[Cgroups, ...]
    priorities: Mapping[str, str | None]

    @property
    def missing(self) -> tuple[str, ...]:
        """What does not work and should: limits that nothing enforces, and start methods."""
        limits = [f"the limit {name} cannot be enforced" for name, fact in self.limits.items() if not fact.mechanism]
        starts = [f"the start method {name} does not work" for name, t in self.start_methods.items() if not t.works]
        return (*limits, *starts)
