"""One build of an environment, from an empty folder to one that is complete; and one resolution."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from piactors.environment_spec import EnvironmentSpec
from piactors.environments import disk, sources
from piactors.environments.builders import Builder, ToResolve, packages_of
from piactors.environments.cancelling import CancelFlag
from piactors.environments.environment import COMPLETE, VENV, installed
from piactors.environments.errors import BuildFailed
from piactors.environments.events import BuildProgress, Phase
from piactors.environments.facts import InterpreterFacts
from piactors.environments.lock import EnvironmentLock, of
from piactors.environments.sources import Wanted
from piactors.environments.tools import ToolRunner

_AT_ONCE = threading.BoundedSemaphore(4)
"""Tools that this process runs at the same time: a host of fifty plugins is not to start fifty installers."""

_LOOK = 0.1

Say = Callable[[BuildProgress], object]


def resolved(
    spec: EnvironmentSpec,
    wanted: Wanted,
    facts: InterpreterFacts,
    *,
    pins: tuple[str, ...],
    builder: Builder,
    folder: Path,
    job: BuildJob,
) -> EnvironmentLock:
    """Return what a spec comes to.

    Args:
        folder: where files are written meanwhile; it is gone then.
        pins: versions that are kept, as requirements with ``==``.

    Raises:
        BuildFailed: if there is no answer.
    """
    with job.begun("resolving") as tools, _workplace(folder):
        asked = ToResolve(spec=spec, wanted=wanted, facts=facts, folder=folder, pins=pins)
        if wanted.pylock:
            where = str(Path(spec.lock or ".").resolve().parent)
            return of(facts, packages_of(wanted.pylock, asked, by_address=not spec.index_urls, folder=where))
        found = builder.resolve(asked, tools) if wanted.requirements else []
        sources.check(wanted, found, all_listed=spec.require_hashes, only_binary=spec.only_binary)
        return of(facts, found)


@contextmanager
def _workplace(folder: Path) -> Iterator[None]:
    """An empty folder, for as long as there is work."""
    disk.remove(folder)  # of one that has died
    disk.make_folder(folder)
    try:
        yield
    finally:
        disk.remove(folder)


def build(lock: EnvironmentLock, spec: EnvironmentSpec, folder: Path, builder: Builder, job: BuildJob) -> None:
    """Build an environment where it will lie; nothing is left of a build that fails.

    Raises:
        BuildFailed: if that fails.
    """
    try:
        disk.remove(folder)  # of one whose builder has died
        disk.make_folder(folder)
        with job.begun("creating") as tools:
            builder.create(lock, folder / VENV, tools)
        with job.begun("installing") as tools:
            builder.install(lock, spec, folder / VENV, tools)
        _complete(lock, folder)
    except BaseException:
        disk.remove(folder)
        raise


def _complete(lock: EnvironmentLock, folder: Path) -> None:
    found, wanted = installed(folder / VENV), {one.name: one.version for one in lock.packages}
    spelt = {name: wanted[name] if _same(found[name], wanted.get(name)) else found[name] for name in found}
    if spelt != wanted:
        missing = ", ".join(sorted(wanted.keys() - found.keys())) or "nothing"
        added = ", ".join(sorted(found.keys() - wanted.keys())) or "nothing"
        raise BuildFailed(f"the tool did not install what is locked: missing: {missing}; unexpected: {added}")
    about = {"key": lock.key, "packages": found, "size": disk.size_of(folder), "lock": lock.to_json()}
    disk.write(folder / COMPLETE, json.dumps(about).encode())


def _same(version: str, wanted: str | None) -> bool:
    """Whether two spellings are of one version."""
    return wanted is not None and version.replace("_", "-").lower() == wanted.replace("_", "-").lower()


@attrs.frozen(kw_only=True)
class BuildJob:
    """Who wants something made, and hears how far it is.

    Attributes:
        label: what is made.
        tools: makes what runs tools: of a phase, and of what hears each line that they write.
        say: called with each step.
        stop: ends it.
    """

    label: str
    stop: CancelFlag
    tools: Callable[[Phase, Callable[[str], object]], ToolRunner]
    say: Say

    @contextmanager
    def begun(self, phase: Phase) -> Iterator[ToolRunner]:
        """A phase begins; what its tools write is passed on."""
        self.say(BuildProgress(label=self.label, phase=phase))
        while not _AT_ONCE.acquire(timeout=_LOOK):  # now and then, whether anybody still wants it
            self.stop.check()
        try:
            yield self.tools(phase, lambda line: self.say(BuildProgress(label=self.label, phase=phase, line=line)))
        finally:
            _AT_ONCE.release()


def explained(error: OSError, root: Path) -> BuildFailed:
    """Return what an error of the system means for a build."""
    reasons = {
        errno.ENOSPC: "no space left for it",
        errno.EDQUOT: "no space left for it",
        errno.EROFS: "it can only be read",
        errno.EACCES: "it may not be written",
    }
    why = reasons.get(error.errno or 0, error.strerror or str(error))
    return BuildFailed(f"the environment could not be created in {root}: {why} ({error})")
