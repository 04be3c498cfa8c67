"""What an isolate may use, when it is renewed and how it shows that it lives: options that its policies go by.

Pure data: of the machine nothing is looked at but which CPUs it has, and no limit is set here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast, get_args

import attrs

from piactors._text.record import ByAttributes
from piactors._validation import fields as rule
from piactors._validation import limit_fields as limit_rule
from piactors._validation.fields import CALLABLE, NONE
from piactors._validation.limit_fields import MECHANISMS, machine_cpus

__all__ = [
    "LIMITS",
    "MECHANISMS",
    "Enforcement",
    "Heartbeat",
    "HeartbeatAction",
    "IoClass",
    "IsolationLimits",
    "Recycle",
    "Scope",
    "SoftMemoryAction",
    "machine_cpus",
    "to_heartbeat",
]

Scope = Literal["tree", "process"]

SoftMemoryAction: TypeAlias = Literal["log", "recycle", "kill"]
IoClass: TypeAlias = Literal["realtime", "best-effort", "idle"]
HeartbeatAction: TypeAlias = Literal["kill", "log"]

LIMITS: tuple[str, ...] = (
    "max_memory",
    "soft_memory",
    "max_cpu",
    "affinity",
    "max_cpu_time",
    "max_processes",
    "max_open_files",
    "max_file_size",
    "nice",
    "io_class",
)
"""The fields of `IsolationLimits` that are limits, in their order; the others say how these are kept."""

_LEAST_MEMORY = 1024**2
_MOST_SIZE = 2**62


@attrs.frozen(kw_only=True, eq=False, repr=False)
class IsolationLimits(ByAttributes):
    """What an isolate may use of the machine, all its descendants included if the mechanism can count them.

    An instance never changes; `attrs.evolve` makes another. `ref.enforcement()` says what holds each limit, and
    docs/limits.md what happens if one is broken.

    A bad value raises at construction: TypeError for a wrong type, ValueError for a wrong value. Sizes are bytes or
    text such as "256 MiB". Limits hash and compare by value, and pickle (a callable `on_soft_memory` only if it
    pickles itself). None stands for no limit, and is the default of each.

    Attributes:
        max_memory: Bytes of memory, 1 MiB to 2**62, above which the isolate is ended; by "rlimit" a process gets a
            MemoryError instead.
        soft_memory: Bytes of memory above which `on_soft_memory` is done, 1 MiB to 2**62 and less than `max_memory`.
        on_soft_memory: What is done above `soft_memory`: "log" logs it, "recycle" renews the isolate between two calls,
            "kill" ends it, or a callable that gets the event `LimitBreached`; default "log". Another than that needs
            `soft_memory`.
        max_cpu: Cores' worth of CPU time, a number of at least 0.01; 0.5 is half a core. It reserves nothing, and may
            be more than the machine has.
        affinity: CPUs that may be used, which the machine must have: a number, a list of numbers or text such as
            "cpu0 cpu2", "0,2" or "0-3"; kept as a tuple of numbers in order.
        max_cpu_time: Seconds of CPU time, more than 0, after which the isolate is ended.
        max_processes: Tasks that there may be at once, at least 4: each thread of each process counts, and the isolate
            itself needs 2 and one for each call that may run at once.
        max_open_files: Files and sockets that a process may have open at once, at least 32, since the isolate itself
            needs some. More than the host's own hard limit is as much as that.
        max_file_size: Bytes that a file may grow to, 0 to 2**62.
        nice: Priority for the CPU, from -20, the first, to 19, the last.
        io_class: Priority for disks: "realtime" first, "best-effort", or "idle" only when no one else needs them.
        strict: Whether a limit that cannot be set fails the start; otherwise it is logged; default False.
        mechanisms: What limits may be set by: a name of `MECHANISMS` or a list of them, where "cgroup" stands for both
            versions of that; kept in the order of `MECHANISMS`; default None: for each limit the best that works.
    """

    # memory
    max_memory: int | None = attrs.field(
        default=None,
        converter=rule.to_optional_size,
        validator=rule.size(_LEAST_MEMORY, _MOST_SIZE, also=NONE),
    )
    soft_memory: int | None = attrs.field(
        default=None,
        converter=rule.to_optional_size,
        validator=[rule.size(_LEAST_MEMORY, _MOST_SIZE, also=NONE), limit_rule.below("max_memory")],
    )
    on_soft_memory: SoftMemoryAction | Callable[[Any], object] = attrs.field(
        default="log",
        validator=[
            rule.one_of(*get_args(SoftMemoryAction), also=CALLABLE),
            limit_rule.only_with("soft_memory", unless="log"),
        ],
    )

    # the CPU
    max_cpu: float | None = attrs.field(
        default=None,
        converter=rule.to_optional_float,
        validator=rule.number("number of cores", least=0.01, also=NONE),
    )
    affinity: tuple[int, ...] | None = attrs.field(
        default=None, converter=limit_rule.to_affinity, validator=limit_rule.affinity()
    )
    max_cpu_time: float | None = attrs.field(
        default=None,
        converter=rule.to_optional_float,
        validator=rule.above_zero("number of seconds", also=NONE),
    )

    # processes and files
    max_processes: int | None = attrs.field(default=None, validator=limit_rule.tasks())
    max_open_files: int | None = attrs.field(default=None, validator=limit_rule.open_files())
    max_file_size: int | None = attrs.field(
        default=None,
        converter=rule.to_optional_size,
        validator=rule.size(0, _MOST_SIZE, also=NONE),
    )

    # priorities
    nice: int | None = attrs.field(default=None, validator=rule.count(-20, 19, also=NONE))
    io_class: IoClass | None = attrs.field(default=None, validator=rule.one_of(*get_args(IoClass), also=NONE))

    # how they are kept
    strict: bool = attrs.field(default=False, validator=rule.flag())
    mechanisms: tuple[str, ...] | None = attrs.field(
        default=None, converter=limit_rule.to_mechanisms, validator=limit_rule.mechanisms()
    )

    @property
    def wanted(self) -> tuple[str, ...]:
        """The names of the limits that are given, in the order of `LIMITS`."""
        return tuple(name for name in LIMITS if getattr(self, name) is not None)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Recycle(ByAttributes):
    """When an isolate is renewed between two calls: at the first of these. At least one must be given.

    Attributes:
        after_calls: Calls that one generation runs, at least 1; default None: any number.
        after_seconds: Seconds that one generation lives, more than 0; default None: any time.
        above_memory: Bytes of memory, 1 MiB to 2**62, as a number or text such as "256 MiB"; default None: any size.
    """

    after_calls: int | None = attrs.field(default=None, validator=rule.count(1, also=NONE))
    after_seconds: float | None = attrs.field(
        default=None,
        converter=rule.to_optional_float,
        validator=rule.above_zero("number of seconds", also=NONE),
    )
    above_memory: int | None = attrs.field(
        default=None,
        converter=rule.to_optional_size,
        validator=rule.size(_LEAST_MEMORY, _MOST_SIZE, also=NONE),
    )

    def __attrs_post_init__(self) -> None:
        limit_rule.check_any_given(self, ("after_calls", "after_seconds", "above_memory"))


@attrs.frozen(eq=False, repr=False)
class Heartbeat(ByAttributes):
    """How often an isolate that runs no call has to show that it lives.

    Attributes:
        every: Seconds between two signs of life, more than 0.
        action: What is done about an isolate that misses one: "kill" ends it, "log" logs it, or a callable that gets
            the event `HeartbeatMissed`; default "kill".
    """

    every: float = attrs.field(converter=rule.to_float, validator=rule.above_zero("number of seconds"))
    action: HeartbeatAction | Callable[[Any], object] = attrs.field(
        default="kill", kw_only=True, validator=rule.one_of(*get_args(HeartbeatAction), also=CALLABLE)
    )


def to_heartbeat(value: Heartbeat | float | None) -> Heartbeat | None:
    """Return a `Heartbeat` for a number of seconds, and anything else unchanged: a converter of options."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return cast("Heartbeat | None", value)
    try:
        return Heartbeat(value)
    except ValueError:  # the validator of the options says so in its own name
        return cast("Heartbeat | None", value)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Enforcement(ByAttributes):
    """How one limit is enforced.

    Attributes:
        limit: the name of the limit, as in `IsolationLimits`.
        mechanism: ``cgroup v2``, ``cgroup v1``, ``rlimit``, ``scheduler`` or ``monitor``; None if nothing can.
        scope: ``tree`` if the isolate and all its descendants count together, ``process`` if each counts alone.
        why: why nothing better enforces it, one mechanism after the other; empty if the best one does.
    """

    limit: str
    mechanism: str | None
    scope: Scope | None
    why: str = ""

    def __str__(self) -> str:
        if self.mechanism is None:
            return f"{self.limit}: not enforced ({self.why})"
        what = "the whole tree" if self.scope == "tree" else "each process"
        return f"{self.limit}: {self.mechanism}, {what}" + (f" ({self.why})" if self.why else "")
