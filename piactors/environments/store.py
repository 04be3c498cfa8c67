"""`EnvironmentStore`: environments by what they are made of, each built once, and used by whoever asks for it."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from piactors._validation.fields import parse_size
from piactors.environment_spec import EnvironmentSpec
from piactors.environments import builders, building, claims, collecting, disk, environment, sources
from piactors.environments.cancelling import CancelFlag, Cancelled
from piactors.environments.claims import Claim
from piactors.environments.environment import Environment
from piactors.environments.errors import BuildFailed, NoInterpreter
from piactors.environments.events import BuildProgress, Phase
from piactors.environments.facts import InterpreterFacts
from piactors.environments.interpreters import Interpreters
from piactors.environments.lock import LAYOUT, EnvironmentLock, canonical
from piactors.environments.sources import Wanted
from piactors.environments.telling import BuildNews
from piactors.future import Future
from piactors.limits import IsolationLimits

Progress = Callable[[BuildProgress], object]
BuilderKind = Literal["auto", "uv", "pip"]
_DIGITS = 32
"""Of a key, in the name of a folder: paths of interpreters have a limit in the first line of scripts."""


class EnvironmentStore:
    """Environments on the disk, which all programs of a user share.

    Each lies in a folder named by its key, and never changes once it is complete.  It is built once, however many ask
    for it at once, in this process or others.  A file system of the network will not do.

    Args:
        root: the folder; default: ``$PIACTORS_ENVIRONMENTS``, else ``piactors/environments`` in the user's cache.
        builder: "uv", "pip" (with venv), or "auto": uv if it is installed.
        max_bytes: how much `collect` leaves, as a number or text such as "10 GiB"; default None: any amount.
        max_unused: seconds after which `collect` takes what nobody has used; default 30 days.
        build_limits: what a build may use that runs foreign code (``only_binary=False``), in an isolate of its own;
            default None: anything.
        copies: whether each environment has files of its own.  Default False: uv shares them by hard links with its
            cache, and so with other environments, in a quarter of the time; code that changes a file of its own
            environment changes it there too, as `verify` tells.

    Raises:
        ValueError, TypeError: if one of these is not allowed.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        builder: BuilderKind = "auto",
        max_bytes: str | int | None = None,
        max_unused: float = 30 * 86400,
        build_limits: IsolationLimits | None = None,
        copies: bool = False,
    ) -> None:
        if builder not in ("auto", "uv", "pip"):
            raise ValueError(f"EnvironmentStore: builder={builder!r} is not allowed; use 'auto', 'uv' or 'pip'")
        self.root: Path = Path(root or _usual_root()).expanduser().absolute()
        self._builder = builder
        self._build_limits = build_limits
        self._copies = copies
        if not isinstance(max_unused, int | float) or isinstance(max_unused, bool) or max_unused < 0:
            raise ValueError(f"EnvironmentStore: max_unused={max_unused!r} is not allowed; use seconds, at least 0")
        self._bounds = collecting.StoreBounds(None if max_bytes is None else parse_size(max_bytes), max_unused)
        self._place = self.root / f"v{LAYOUT}"
        self._interpreters = Interpreters(self._place / "interpreters")

    def __repr__(self) -> str:
        return f"<EnvironmentStore {self.root}>"

    # What there is

    def find(self, spec: EnvironmentSpec) -> Environment | None:
        """Return the environment of a spec if it is complete; it is neither resolved nor built.

        Raises:
            BuildFailed: if the spec cannot be read.
            NoInterpreter: if there is no interpreter for it.
        """
        wanted, facts = self._read(spec)
        lock = self._recorded(self._record(wanted, facts))
        return None if lock is None else environment.in_use(self._folder(lock))

    def environments(self) -> Iterator[Environment]:
        """Yield those that are complete, the one used last first."""
        for folder in collecting.folders(self._place):
            found = environment.in_use(folder, counts=False)
            if found is not None:
                yield found

    def why(self, environment: Environment) -> str:
        """Return what the key of an environment is made of, as text of several lines."""
        lock = environment.lock
        packages = [f"  {one.name} {one.version}  {one.file}  sha256:{one.sha256}" for one in lock.packages]
        facts = lock.interpreter
        about = [f"interpreter: {facts} for {facts.platform}, {facts.base}", f"build: {facts.build}"]
        return "\n".join([f"key: {environment.key}", *about, f"packages: {len(packages)}", *packages])

    def verify(self, environment: Environment) -> list[str]:
        """Return what is wrong with an environment, a line each; none if all files are as they were installed."""
        return collecting.faults(environment)

    # Making

    def lock(self, spec: EnvironmentSpec, *, upgrade: Iterable[str] = ()) -> EnvironmentLock:
        """Return what a spec comes to: versions, files, hashes, interpreter.

        The last answer is kept, and returned again until something is upgraded.

        Args:
            upgrade: names of packages that may change their version; "*" for all.

        Raises:
            BuildFailed: if there is no answer.
            NoInterpreter: if there is no interpreter for it.
            ValueError: if what is to be upgraded is not in it.
        """
        if isinstance(upgrade, str):
            upgrade = [upgrade]
        stop = CancelFlag()
        try:
            wanted, facts = self._read(spec)
            return self._locked(spec, wanted, facts, self._news(spec, wanted, stop, None), upgrade=tuple(upgrade))
        finally:
            stop.close()

    def prepare(self, spec: EnvironmentSpec, *, progress: Progress | None = None) -> Future[Environment]:
        """Return a future of the environment of a spec, which is built if it is not there.

        One that is there costs no process and no thread.  Whoever asks while it is built waits for that, also in
        another process.  ``future.cancel()`` ends a build, whose tools are killed, and leaves nothing of it.

        Args:
            progress: called with each step, on the thread that builds.

        The future fails with `BuildFailed` or `NoInterpreter`.
        """
        future: Future[Environment] = Future()
        try:
            found = self.find(spec)
            if found is not None:
                future.set(found)
                return future
        except (BuildFailed, NoInterpreter) as error:
            future.fail(error)
            return future
        stop = CancelFlag()
        future.cancel_with(stop.set)
        thread = threading.Thread(
            target=self._prepare, args=(spec, stop, progress, future), name="piactors-environment", daemon=True
        )
        try:
            thread.start()
        except BaseException as error:
            stop.close()
            future.fail(BuildFailed(f"no thread can be started for the build: {error}"))
        return future

    def _prepare(
        self, spec: EnvironmentSpec, stop: CancelFlag, progress: Progress | None, future: Future[Environment]
    ) -> None:
        try:
            made = self._made(spec, stop, progress)
        except BaseException as error:
            with suppress(queue.Full):  # it was cancelled a moment ago
                future.set_exception(error)
        else:
            with suppress(queue.Full):  # it was cancelled a moment ago
                future.set(made)
        finally:
            stop.close()

    def _made(self, spec: EnvironmentSpec, stop: CancelFlag, progress: Progress | None) -> Environment:
        wanted, facts = self._read(spec)
        news = self._news(spec, wanted, stop, progress)
        try:
            return self._built(self._locked(spec, wanted, facts, news, upgrade=()), spec, news)
        except Cancelled:
            raise BuildFailed(f"the build of {wanted.label} was cancelled") from None

    def collect(self) -> int:
        """Remove what nobody has used for long, what is more than allowed, and what builders that died have left.

        What somebody uses stays.

        Returns:
            How many environments were removed.
        """
        return collecting.collect(self._place, self._bounds)

    def remove(self, environment: Environment) -> None:
        """Remove an environment.

        Raises:
            EnvironmentInUse: if somebody else uses it, in this process or another.
        """
        collecting.remove(self._place, environment)

    # Inside

    def _read(self, spec: EnvironmentSpec) -> tuple[Wanted, InterpreterFacts]:
        try:
            wanted = sources.read(spec)
            return wanted, self._interpreters.find(wanted.python)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise BuildFailed(str(error)) from error

    def _record(self, wanted: Wanted, facts: InterpreterFacts) -> Path:
        text = json.dumps([wanted.digest, facts.identity])
        return self._place / "resolved" / f"{hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]}.json"

    def _recorded(self, record: Path) -> EnvironmentLock | None:
        try:
            return EnvironmentLock.from_json(json.loads(record.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _folder(self, lock: EnvironmentLock) -> Path:
        return self._place / "env" / lock.key[:_DIGITS]

    def _news(self, spec: EnvironmentSpec, wanted: Wanted, stop: CancelFlag, progress: Progress | None) -> BuildNews:
        if not spec.only_binary:
            apart: tuple[Phase, ...] = ("resolving", "installing")
        else:  # pip builds what a wheel asks for by its address, whatever it is told
            apart = () if isinstance(self._tool(), builders.Uv) else ("resolving",)
        return BuildNews(wanted.label, stop, apart, self._build_limits, progress)

    def _tool(self) -> builders.Builder:
        return builders.find(self._builder, self._place / "cache", copies=self._copies)

    def _locked(
        self,
        spec: EnvironmentSpec,
        wanted: Wanted,
        facts: InterpreterFacts,
        news: BuildNews,
        *,
        upgrade: tuple[str, ...],
    ) -> EnvironmentLock:
        record = self._record(wanted, facts)
        found = self._recorded(record)
        if found is not None and not upgrade:
            return found
        try:
            with self._claimed(
                record.with_suffix(".lock"), lambda: not upgrade and self._recorded(record) is not None, news
            ) as claim:
                found = self._recorded(record)
                if found is None or upgrade:
                    pins = _pins(found, upgrade)
                    made = building.resolved(
                        spec,
                        wanted,
                        facts,
                        pins=pins,
                        builder=self._tool(),
                        folder=record.with_suffix(".work"),
                        job=news.job(claim),
                    )
                    disk.write(record, json.dumps({**made.to_json(), "label": wanted.label}).encode())
                    found = made
                return found
        except OSError as error:
            raise building.explained(error, self.root) from error

    def _claimed(self, path: Path, done: Callable[[], bool], news: BuildNews) -> Claim:
        return claims.claim(path, done, news.stop, news.overheard, news.waits)

    def _built(self, lock: EnvironmentLock, spec: EnvironmentSpec, news: BuildNews) -> Environment:
        folder = self._folder(lock)
        while True:
            news.stop.check()
            try:
                self._build_once(lock, spec, folder, news)
            except OSError as error:
                raise building.explained(error, self.root) from error
            found = environment.in_use(folder)
            if found is not None:
                return found

    def _build_once(self, lock: EnvironmentLock, spec: EnvironmentSpec, folder: Path, news: BuildNews) -> None:
        """Return when it was complete: built by this process or by another one."""
        path = environment.lock_file(folder)
        with self._claimed(path, lambda: environment.is_complete(folder), news) as claim:
            if not claim.alone:
                return
            started = time.monotonic()
            try:
                building.build(lock, spec, folder, self._tool(), news.job(claim))
            except BaseException:
                claim.forget()
                raise
            news.built(lock, folder, time.monotonic() - started)


def _pins(found: EnvironmentLock | None, upgrade: tuple[str, ...]) -> tuple[str, ...]:
    """Return what stays as it is if some packages are upgraded."""
    if "*" in upgrade or (found is None and not upgrade):
        return ()
    free = {canonical(name) for name in upgrade}
    unknown = free - {one.name for one in (() if found is None else found.packages)}
    if unknown:
        raise ValueError(f"upgrade: {', '.join(sorted(unknown))} is not among the packages; '*' upgrades all")
    packages = () if found is None else found.packages
    return tuple(f"{one.name}=={one.version}" for one in packages if one.name not in free)


def _usual_root() -> str:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.environ.get("PIACTORS_ENVIRONMENTS") or os.path.join(cache, "piactors", "environments")
