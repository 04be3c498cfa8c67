"""What plugins are, and how they are treated: pure data."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

import attrs

from piactors._text.record import ByAttributes
from piactors._validation import fields as rule
from piactors._validation.fields import NONE
from piactors.environment_spec import EnvironmentSpec
from piactors.exit_reason import ExitReason
from piactors.limits import IsolationLimits
from piactors.options import Backoff, RestartType, TrustLevel

PluginState: TypeAlias = Literal["disabled", "preparing", "running", "incompatible", "failed", "stopped"]
OnError: TypeAlias = Literal["skip", "raise"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _is_name(text: str) -> bool:
    return len(text) <= 200 and _NAME.fullmatch(text) is not None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Quarantine(ByAttributes):
    """When a plugin, or one hook of it, is left out because it crashes too often.

    Attributes:
        crashes: Crashes that are too many, at least 1; default 3.
        within: Seconds in which they are counted, more than 0; default 600.
        retry_after: Seconds after which one call is let through as a trial, whose success ends the quarantine; default
            None: never.
        per_hook: Whether each hook is counted by itself; default True.
    """

    crashes: int = attrs.field(default=3, validator=rule.count(1))
    within: float = attrs.field(default=600.0, converter=rule.to_float, validator=rule.above_zero("number of seconds"))
    retry_after: float | None = attrs.field(
        default=None, converter=rule.to_optional_float, validator=rule.number("number of seconds", also=NONE)
    )
    per_hook: bool = attrs.field(default=True, validator=rule.flag())


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PluginPolicy(ByAttributes):
    """How a plugin is treated.

    Attributes:
        enabled: Whether it takes part; default True.
        isolate: Whether it runs in an isolate; False, in the host, is for those that the host trusts fully.
        limits: What its isolate may use of the machine, default None: anything.
        trust: What the host accepts from it, as in `IsolationOptions`; default "data".
        hook_timeout: Seconds that a hook may run, more than 0, before the isolate is ended; default 30; None: no limit.
        start_timeout: Seconds that a start may take; default 30.
        concurrency: Hooks that may run in it at once, 1 to 256; default 1.
        restart: When it is started again, as in `IsolationOptions`; default "permanent".
        backoff: Waits between restarts; default `Backoff()`.
        quarantine: When it is left out because it crashes too often; None: never.
        probation: Seconds for which the version before it is kept when another one takes over, at least 0; default 60.
            If that is to be left out in this time because it crashes too often, the one before it runs again.
        on_error: What a crash, a time-out or a refused reply means for a call: "skip" leaves the plugin out of it,
            "raise" raises; default "skip".
        watch: Whether a change of its files has it reloaded, for those who write it; default False.
        accept: Classes that results may hold besides plain data, importable by name; default none.
    """

    enabled: bool = attrs.field(default=True, validator=rule.flag())
    isolate: bool = attrs.field(default=True, validator=rule.flag())
    limits: IsolationLimits | None = attrs.field(
        default=None, validator=rule.check("IsolationLimits", (IsolationLimits,), also=NONE)
    )
    trust: TrustLevel = attrs.field(default="data", validator=rule.one_of("auto", "data", "code"))
    hook_timeout: float | None = attrs.field(
        default=30.0,
        converter=rule.to_optional_float,
        validator=rule.above_zero("number of seconds", also=NONE),
    )
    start_timeout: float = attrs.field(
        default=30.0, converter=rule.to_float, validator=rule.above_zero("number of seconds")
    )
    concurrency: int = attrs.field(default=1, validator=rule.count(1, 256))
    restart: RestartType = attrs.field(
        default="permanent", validator=rule.one_of("temporary", "transient", "permanent")
    )
    backoff: Backoff | None = attrs.field(factory=Backoff, validator=rule.check("a Backoff", (Backoff,), also=NONE))
    quarantine: Quarantine | None = attrs.field(
        factory=Quarantine, validator=rule.check("a Quarantine", (Quarantine,), also=NONE)
    )
    probation: float = attrs.field(default=60.0, converter=rule.to_float, validator=rule.number("number of seconds"))
    on_error: OnError = attrs.field(default="skip", validator=rule.one_of("skip", "raise"))
    watch: bool = attrs.field(default=False, validator=rule.flag())
    accept: tuple[type, ...] = attrs.field(default=(), converter=rule.to_classes, validator=rule.classes())


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PluginSpec(ByAttributes):
    """One plugin: what it is, and what it needs.

    Attributes:
        name: Its name, of letters, digits, ".", "_" and "-".
        target: What it is: ``"module:attribute"``, ``"module"``, ``"path/to/file.py:attribute"``, or the plugin itself,
            an object that is sent to its isolate.  A class is called without arguments.
        version: Its version, default None: not known.
        environment: The environment that it needs, default None: the host's own.
        sys_path: Folders that it imports from besides; default none.
        api: Which versions of the application's API it works with, as of PEP 440: ">=2.1,<3"; default "*", any.
        policy: How it is treated, default None: as the host says.  The host's policy bounds it.
    """

    name: str = attrs.field(validator=rule.check("a name of letters, digits, '.', '_' and '-'", (str,), _is_name))
    target: Any = attrs.field()
    version: str | None = attrs.field(default=None, validator=rule.text(also=NONE))
    environment: EnvironmentSpec | None = attrs.field(
        default=None, validator=rule.check("an EnvironmentSpec", (EnvironmentSpec,), also=NONE)
    )
    sys_path: tuple[str, ...] = attrs.field(default=(), converter=rule.to_paths, validator=rule.paths())
    api: str = attrs.field(default="*", validator=rule.text())
    policy: PluginPolicy | None = attrs.field(
        default=None, validator=rule.check("a PluginPolicy", (PluginPolicy,), also=NONE)
    )

    @target.validator
    def _check_target(self, _: object, value: object) -> None:
        if value is None or value == "":
            raise ValueError(
                f"PluginSpec.target: {value!r} is not allowed; use 'module:attribute', 'path/to/file.py:attribute', or "
                "the plugin itself"
            )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PluginInfo(ByAttributes):
    """One plugin of a host, as it is now.

    Attributes:
        name, version: as its spec says.
        state: "disabled", "running", "preparing" while it is prepared and started, "incompatible" with the API,
            "failed" if it does not start, "stopped" if it has used up its restarts.
        why: why it does not run; "" if it does.
        hooks: the names of its hooks, as far as they are known.
        isolated: whether it runs in an isolate.
    """

    name: str
    version: str | None
    state: PluginState
    why: str
    hooks: tuple[str, ...]
    isolated: bool


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PluginHealth(ByAttributes):
    """How a plugin is.

    Attributes:
        state, why: as in `PluginInfo`.
        crashes: how often it has crashed since the host began.
        last_exit: why its process ended last, None if none has.
        quarantined: the hooks that are left out; "" stands for the whole plugin.
        generation: which process of it runs, counted from 1; 0: none.
    """

    state: PluginState
    why: str
    crashes: int
    last_exit: ExitReason | None
    quarantined: tuple[str, ...]
    generation: int


def bounded(host: PluginPolicy, plugin: PluginPolicy | None) -> PluginPolicy:
    """Return how a plugin is treated: what its own policy says, as far as the host's allows it."""
    if plugin is None:
        return host
    return attrs.evolve(
        plugin,
        enabled=host.enabled and plugin.enabled,
        isolate=host.isolate or plugin.isolate,
        limits=plugin.limits if host.limits is None else _tighter(host.limits, plugin.limits),
        trust=host.trust,
        hook_timeout=_least(host.hook_timeout, plugin.hook_timeout),
        start_timeout=min(host.start_timeout, plugin.start_timeout),
        concurrency=min(plugin.concurrency, host.concurrency),
        quarantine=host.quarantine,
        watch=host.watch or plugin.watch,
        accept=host.accept,
        on_error=host.on_error,
    )


def _least(one: float | None, other: float | None) -> float | None:
    given = [value for value in (one, other) if value is not None]
    return min(given) if given else None


_UPPER_BOUNDS = (
    *("max_memory", "max_cpu", "max_cpu_time", "max_processes", "max_open_files", "max_file_size"),
    "soft_memory",
)


def _tighter(host: IsolationLimits, plugin: IsolationLimits | None) -> IsolationLimits:
    """Return the host's limits, with those of a plugin where they are lower."""
    if plugin is None:
        return host
    pairs = {name: (getattr(host, name), getattr(plugin, name)) for name in _UPPER_BOUNDS}
    lower = {name: _least(*pair) for name, pair in pairs.items()}
    soft, hard = lower.get("soft_memory"), lower.get("max_memory")
    if soft is not None and hard is not None and soft >= hard:
        lower["soft_memory"] = None
    changed: dict[str, Any] = {name: value for name, value in lower.items() if value != getattr(host, name)}
    return attrs.evolve(host, **changed)
