"""Those who have asked that another process, perhaps of other code, takes over; and what may change in that."""

from __future__ import annotations

from typing import Any

import attrs
import pykka

from piactors._isolate.hosting import actor_target, object_target
from piactors._isolate.spec import IsolateSpec, make_spec
from piactors.errors import PiactorsError
from piactors.future import Future
from piactors.options import IsolationOptions

OF_A_PROCESS = frozenset(
    {
        "python",
        "environment",
        "sys_path",
        "cwd",
        "env",
        "inherit_env",
        "start_method",
        "preload",
        "start_timeout",
        "shutdown_timeout",
        "limits",
        "heartbeat",
        "log_level",
        "die_on_crash",
        "debug",
    }
)
"""The options that may differ for another process of the same isolate; the others are the isolate's own."""


def check_options(old: IsolationOptions, new: IsolationOptions) -> None:
    """Refuse options that differ in what concerns the isolate, and not one process of it.

    Raises:
        ValueError: if they do.
    """
    names = [field.name for field in attrs.fields(IsolationOptions)]
    changed = [name for name in names if name not in OF_A_PROCESS and getattr(old, name) != getattr(new, name)]
    if changed:
        allowed = ", ".join(sorted(OF_A_PROCESS))
        raise ValueError(
            f"replace: {', '.join(changed)} cannot change while the isolate lives, since it keeps its mailbox and its "
            f"rules for restarts; what can change is {allowed}"
        )


def other_spec(
    spec: IsolateSpec,
    actor_class: type[pykka.Actor],
    target: object,
    options: IsolationOptions | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> IsolateSpec:
    """Return what an isolate is to be made of from its next process on; see `IsolateRef.replace`.

    Raises:
        InvalidTarget: if there is no such class or function.
        BuildFailed, NoInterpreter: if the environment cannot be made.
        ValueError: if the options differ in what concerns the isolate, or other code would be trusted differently.
    """
    options = options or spec.options
    if options.environment is not None:
        from piactors.environments import at_start  # it has its price, and needs an extra

        options = at_start.resolved(options)
    target = getattr(target, "actor_class", target)  # of an `ActorStarter`
    if isinstance(target, type) and hasattr(target, "_pihost_adapter"):
        found = actor_target(target, options, args, kwargs)
    else:
        found = object_target(target, options, args, kwargs, lambda _: actor_class)
    return same_isolate(spec, make_spec(found, options, name=spec.name, urn=spec.urn))


def same_isolate(spec: IsolateSpec, new: IsolateSpec) -> IsolateSpec:
    """Return what the next process of an isolate is to be made of, if it can be of this.

    Raises:
        ValueError: if the options differ in what concerns the isolate, or other code would be trusted differently.
    """
    check_options(spec.options, new.options)
    if (new.code, new.takes_requests) != (spec.code, spec.takes_requests):
        how = "an object" if spec.takes_requests else "a name"
        raise ValueError(f"replace: {spec.name} hosts what was given as {how}, and trusted as such: give {how} again")
    return taken_on(spec, new)


def taken_on(spec: IsolateSpec, new: IsolateSpec) -> IsolateSpec:
    """Return `new` as what the isolate of `spec` goes on with: its name, and its place among launchers, are its own."""
    order = attrs.evolve(new.order, member=spec.urn)
    return attrs.evolve(new, name=spec.name, urn=spec.urn, order=order)


class Replacements:
    """The futures of replacements that were asked for; all of it on the I/O thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._futures: dict[int, Future[int]] = {}

    def add(self, version: int, future: Future[int]) -> None:
        """Somebody waits for a process of this version to run the calls."""
        self._futures[version] = future

    def runs(self, version: int, number: int) -> None:
        """A process of this version runs the calls."""
        future = self._futures.pop(version, None)
        if future is not None:
            future.settle_with(lambda: number)

    def has_failed(self, version: int | None, cause: BaseException | None) -> None:
        """No process of this version will take over: it could not be started, or something else came between."""
        future = None if version is None else self._futures.pop(version, None)
        if future is not None:
            what = "it stops, or its process has ended" if cause is None else f"the new process does not start: {cause}"
            error = PiactorsError(f"{self._name} is not replaced: {what}")
            error.__cause__ = cause
            future.fail(error)

    def fail_all(self, error: BaseException) -> None:
        """The isolate has ended."""
        futures, self._futures = self._futures, {}
        for future in futures.values():
            future.fail(error)
