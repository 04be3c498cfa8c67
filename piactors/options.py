"""What an isolate is started with: `IsolationOptions`, `Backoff`, and the rules for the environment it gets.

Pure data: nothing here looks at the file system, the environment or the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import attrs

from piactors._text.record import ByAttributes
from piactors._validation import fields as rule
from piactors._validation.fields import CALLABLE, NONE, parse_size
from piactors.environment_spec import EnvironmentSpec, PreparedEnvironment
from piactors.limits import Heartbeat, IsolationLimits, Recycle, to_heartbeat

__all__ = [
    "DEFAULT_INHERITED_ENV",
    "Backoff",
    "ChannelKind",
    "IsolationOptions",
    "OnCycle",
    "OutputMode",
    "OverflowPolicy",
    "RestartType",
    "StartMethod",
    "TrustLevel",
    "WhileRestarting",
    "check_standby",
    "inherited_env",
    "needs_fresh_interpreter",
    "parse_size",
]

StartMethod: TypeAlias = Literal["launcher", "spawn"]
RestartType: TypeAlias = Literal["temporary", "transient", "permanent"]
ChannelKind: TypeAlias = Literal["routed", "direct", "auto"]
OnCycle: TypeAlias = Literal["fail", "reenter", "wait"]
OverflowPolicy: TypeAlias = Literal["block", "fail", "drop_oldest"]
WhileRestarting: TypeAlias = Literal["queue", "fail"]
OutputMode: TypeAlias = Literal["log", "inherit", "discard"]
TrustLevel: TypeAlias = Literal["auto", "data", "code"]

DEFAULT_INHERITED_ENV: tuple[str, ...] = (
    # who and where
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "VIRTUAL_ENV",
    "XDG_*",
    "SYSTEMROOT",
    # language and time
    "LANG",
    "LC_*",
    "TZ",
    # temporary files
    "TMPDIR",
    "TEMP",
    "TMP",
    # certificates
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    # thread counts: without them every isolate would start a numeric thread per core
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
"""The environment variables of the host that code called by name gets by default; a name may end in "*".

It names what programs need to work and leaves out the rest, since tokens and passwords also live in `os.environ`.
LD_LIBRARY_PATH and its like are not here: they only work before an interpreter starts.
"""

_OF_ONE_INTERPRETER = ("PYTHON*",)
"""Left out, by default, of what goes to another interpreter: PYTHONHOME and PYTHONPATH would break it."""
_BEFORE_START = ("LD_*", "DYLD_*", "PYTHON*", "MALLOC_*", "GLIBC_TUNABLES")
_LEAST_FRAME = 4096
_MOST_FRAME = 2**32 - 1  # a frame's length prefix has 32 bits


@attrs.frozen(eq=False, repr=False)
class Backoff(ByAttributes):
    """How long to wait before each restart: `initial * factor ** n`, at most `maximum`, give or take `jitter`.

    Attributes:
        initial: Seconds before the first restart, default 0.1.
        factor: How many times as long each wait is as the one before; a number of at least 1, default 2.0.
        maximum: Seconds that no wait exceeds, the first included, default 30.0.
        jitter: Fraction, 0 to 1, by which a wait varies at random, so that many do not restart at once; default 0.2.
        reset_after: Seconds of stable running after which the waits start again at `initial`, default 60; None: never.
        max_attempts: Restarts in a row before giving up, at least 1; default None: no limit.
    """

    initial: float = attrs.field(default=0.1, converter=rule.to_float, validator=rule.number("number of seconds"))
    factor: float = attrs.field(default=2.0, converter=rule.to_float, validator=rule.number("number", least=1))
    maximum: float = attrs.field(default=30.0, converter=rule.to_float, validator=rule.number("number of seconds"))
    jitter: float = attrs.field(default=0.2, converter=rule.to_float, validator=rule.number("fraction", most=1))
    reset_after: float | None = attrs.field(
        default=60.0,
        converter=rule.to_optional_float,
        validator=rule.number("number of seconds", also=NONE),
    )
    max_attempts: int | None = attrs.field(default=None, validator=rule.count(1, also=NONE))


def _room_for_calls(options: Any, field: Any, limits: IsolationLimits | None) -> None:
    """Each call that may run at once has a thread, besides those that an isolate has anyway."""
    least = options.concurrency + 3
    if limits is not None and limits.max_processes is not None and limits.max_processes < least:
        raise ValueError(
            f"IsolationOptions.limits: max_processes={limits.max_processes} is not allowed with "
            f"concurrency={options.concurrency}; use at least {least}"
        )


def _one_interpreter(options: Any, field: Any, environment: EnvironmentSpec | PreparedEnvironment | None) -> None:
    """An environment has an interpreter of its own."""
    if environment is None or options.python is None:
        return
    if isinstance(environment, EnvironmentSpec) or environment.python != options.python:
        raise ValueError(
            f"IsolationOptions.environment: not allowed with python={options.python!r}, since an environment has an "
            "interpreter of its own; name that in EnvironmentSpec(python=...)"
        )


_LIMITS = frozenset(field.name for field in attrs.fields(IsolationLimits))


def _hint(name: str) -> str | None:
    return f"use limits=IsolationLimits({name}=...)" if name in _LIMITS else None


@rule.explains_unknown(_hint)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class IsolationOptions(ByAttributes):
    """How an isolate is started, supervised and talked to. An instance never changes; `attrs.evolve` makes another.

    A bad value raises at construction: TypeError for a wrong type, ValueError for a wrong value. Durations are seconds,
    sizes are bytes or text such as "256 MiB". Options hash and compare by value, and pickle (a callable in them
    only if it pickles itself). Their repr leaves out the values of `env`.

    Attributes:
        name: Name of the isolate in logs and events, default None: chosen for you.
        python: Interpreter to run, of another version or virtual environment; default None: the host's own. Whether it
            exists shows at the start, not here.
        environment: What packages the isolate has, in place of `python`: an `EnvironmentSpec`, whose environment is
            looked up or built at the start (which then waits for the build), or an `Environment` that is there
            already; default None: those of the interpreter. Needs ``piactors[plugins]``.
        sys_path: Folders that the isolate imports from besides its own; a list of paths, default none.
        cwd: Working directory of the isolate, default None: the host's at each start.
        env: Environment variables to set, over the inherited ones; default None: no others.
        inherit_env: Which of the host's environment variables the isolate gets: True for all, False for none, or a
            list of names that may end in "*"; default None: all for code that the host hands over as an object (a
            ProcessActor class, `spawn(function)`), and `DEFAULT_INHERITED_ENV` for code that is called by name
            (`spawn("module:name")`, a ProcessIsolator).
        start_method: "launcher" forks from the warm launcher, "spawn" starts a fresh interpreter; default None: the
            launcher for the host's own interpreter, spawn for another.
        preload: Dotted names of modules that the launcher imports once for all, default none.
        start_timeout: Seconds that a start may take, until `on_start` has returned; default 30.0.
        call_timeout: Seconds that one call may run, more than 0, before its process is ended; default None: no limit.
        shutdown_timeout: Seconds that a call may still run once a stop is asked for, counted from the request or from
            its own begin, and that `on_stop` may take, until the kill; default 5.0; 0 kills at once, None waits for
            ever.
        restart: When the isolate is restarted: "temporary" never, "transient" after an abnormal end, "permanent"
            always; default "temporary".
        max_restarts: Restarts allowed within `within` seconds, at least 0, default 10; None: no limit.
        within: Seconds of the window in which restarts are counted, more than 0; default 60.0.
        backoff: Waits between restarts, default None: restart at once.
        concurrency: Threads that run calls in the isolate, 1 to 256; default 1.
        spin: Whether caller and isolate may stay awake for some microseconds while they wait for each other, if
            the recent calls were that quick and there is more than one core; default True.
        mailbox_capacity: Messages that may wait for the isolate, at least 1; default None: no limit.
        channels: How its messages go to other isolates: "routed" by way of the host; "direct" from isolate to isolate,
            if they are small and nothing is in the way; "auto" so from the 200th message to an actor on; default
            "routed".
        on_cycle: What becomes of a call of another isolate, or of itself, that waits for this one while this one waits
            for it: "fail" raises `DeadlockError` in it; "reenter" runs it meanwhile, if it comes from the very call
            that waits (see `reentrant`), and raises otherwise; "wait" lets them wait; default "fail".
        overflow: What a sender meets at a full mailbox: "block" waits (for the `timeout` of `ask` or `tell` at most),
            "fail" raises, "drop_oldest" makes room; default "block".
        while_restarting: What a call meets while the isolate restarts: "queue" waits for the next generation, "fail"
            raises; default "queue".
        limits: What the isolate may use of the machine, default None: anything.
        recycle: When the isolate is renewed between two calls, default None: never.
        standby: Whether a second process is kept ready beside the one that runs (its `on_start` has run), so that a
            restart takes only a handover; it takes as much memory again. Useful only if a restart or a recycling may
            follow: an isolate that is started with "temporary" and without `recycle` refuses it. Default False.
        heartbeat: How often the isolate has to show that it lives while it runs no call: a `Heartbeat`, or its number
            of seconds, more than 0; default None: it need not.
        output: Where the isolate's stdout and stderr go: "log" to the host's logging, "inherit" to the host's own,
            "discard" nowhere, or a callable that gets each line as an event; default "log".  In the log control
            characters are escaped; the others get what was written as it was.
        log_level: Level of logging in the isolate, a name such as "DEBUG" in any case or a number of at least 0, kept
            as the number; default None: not set.
        trust: What the host accepts from the isolate: "data" decodes nothing that could run code, "code" decodes any
            object; "auto" is "code" for a class or function that the host hands over itself, and "data" for code that
            is called by name (an isolator that has called some by name trusts nothing any more); default "auto".
        accept: Classes that replies may hold besides plain data, importable by name; default none.
        max_frame: Bytes of the largest single message, 4096 to 4 GiB - 1, as a number or text such as "256 MiB";
            default 1 GiB.
        keep_shared: Bytes of shared memory that stay with the isolate, in each direction, for its next large message
            when none has passed for a second, 0 to 1 TiB, as a number or text; the rest is given back; default 64 MiB.
        die_on_crash: Whether a crash stops the host's trees and the host itself, with the code of the crash: of a child
            of a supervisor any crash, of an isolate that was started alone one that it stays down after; default False.
        debug: Whether the isolate waits for a debugger to attach; default False.
    """

    name: str | None = attrs.field(default=None, validator=rule.text(also=NONE))

    # the interpreter and its surroundings
    python: str | None = attrs.field(default=None, converter=rule.to_path, validator=rule.path(also=NONE))
    environment: EnvironmentSpec | PreparedEnvironment | None = attrs.field(
        default=None,
        validator=[
            rule.check(
                "an EnvironmentSpec or an Environment of piactors.environments",
                (EnvironmentSpec, PreparedEnvironment),
                also=NONE,
            ),
            _one_interpreter,
        ],
    )
    sys_path: tuple[str, ...] = attrs.field(default=(), converter=rule.to_paths, validator=rule.paths())
    cwd: str | None = attrs.field(default=None, converter=rule.to_path, validator=rule.path(also=NONE))
    env: Mapping[str, str] | None = attrs.field(default=None, converter=rule.to_env, validator=rule.env())
    inherit_env: bool | tuple[str, ...] | None = attrs.field(
        default=None, converter=rule.to_patterns, validator=rule.env_patterns()
    )

    # start and stop
    start_method: StartMethod | None = attrs.field(
        default=None, validator=rule.one_of(*get_args(StartMethod), also=NONE)
    )
    preload: tuple[str, ...] = attrs.field(default=(), converter=rule.to_strings, validator=rule.module_names())
    start_timeout: float = attrs.field(
        default=30.0, converter=rule.to_float, validator=rule.number("number of seconds")
    )
    call_timeout: float | None = attrs.field(
        default=None,
        converter=rule.to_optional_float,
        validator=rule.above_zero("number of seconds", also=NONE),
    )
    shutdown_timeout: float | None = attrs.field(
        default=5.0,
        converter=rule.to_optional_float,
        validator=rule.number("number of seconds", also=NONE),
    )

    # supervision
    restart: RestartType = attrs.field(default="temporary", validator=rule.one_of(*get_args(RestartType)))
    max_restarts: int | None = attrs.field(default=10, validator=rule.count(0, also=NONE))
    within: float = attrs.field(default=60.0, converter=rule.to_float, validator=rule.above_zero("number of seconds"))
    backoff: Backoff | None = attrs.field(default=None, validator=rule.check("a Backoff", (Backoff,), also=NONE))

    # calls and the mailbox
    concurrency: int = attrs.field(default=1, validator=rule.count(1, 256))
    spin: bool = attrs.field(default=True, validator=rule.flag())
    mailbox_capacity: int | None = attrs.field(default=None, validator=rule.count(1, also=NONE))
    channels: ChannelKind = attrs.field(default="auto", validator=rule.one_of(*get_args(ChannelKind)))
    on_cycle: OnCycle = attrs.field(default="fail", validator=rule.one_of(*get_args(OnCycle)))
    overflow: OverflowPolicy = attrs.field(default="block", validator=rule.one_of(*get_args(OverflowPolicy)))
    while_restarting: WhileRestarting = attrs.field(default="queue", validator=rule.one_of(*get_args(WhileRestarting)))

    # limits and policies
    limits: IsolationLimits | None = attrs.field(
        default=None, validator=[rule.check("IsolationLimits", (IsolationLimits,), also=NONE), _room_for_calls]
    )
    recycle: Recycle | None = attrs.field(default=None, validator=rule.check("a Recycle", (Recycle,), also=NONE))
    standby: bool = attrs.field(default=False, validator=rule.flag())
    heartbeat: Heartbeat | None = attrs.field(
        default=None,
        converter=to_heartbeat,
        validator=rule.check(
            "a Heartbeat, a finite number of seconds, more than 0",
            (Heartbeat, int, float),
            lambda value: isinstance(value, Heartbeat),
            also=NONE,
        ),
    )

    # output and logging
    output: OutputMode | Callable[[Any], object] = attrs.field(
        default="log", validator=rule.one_of(*get_args(OutputMode), also=CALLABLE)
    )
    log_level: int | None = attrs.field(default=None, converter=rule.to_level, validator=rule.level())

    # what the host accepts
    trust: TrustLevel = attrs.field(default="auto", validator=rule.one_of(*get_args(TrustLevel)))
    accept: tuple[type, ...] = attrs.field(default=(), converter=rule.to_classes, validator=rule.classes())
    max_frame: int = attrs.field(
        default=1024**3, converter=rule.to_size, validator=rule.size(_LEAST_FRAME, _MOST_FRAME)
    )
    keep_shared: int = attrs.field(default=64 * 1024**2, converter=rule.to_size, validator=rule.size(0, 1024**4))

    # finding faults
    die_on_crash: bool = attrs.field(default=False, validator=rule.flag())
    debug: bool = attrs.field(default=False, validator=rule.flag())


def check_standby(options: IsolationOptions, restart: RestartType, whose: str = "") -> None:
    """Refuse a standby that could never take over.

    Not at the construction of options: a `ChildSpec` that they are handed to has a restart type of its own.

    Args:
        restart: the restart type that counts.
        whose: of which child the options are, for the text.

    Raises:
        ValueError: if neither a restart nor a recycling can follow.
    """
    soft = None if options.limits is None else options.limits.on_soft_memory
    if options.standby and restart == "temporary" and options.recycle is None and soft != "recycle":
        raise ValueError(
            f"IsolationOptions.standby{whose}: True is not allowed with restart='temporary' and without recycle, since "
            "nothing could take over; use restart='transient' or 'permanent', or a Recycle"
        )


def inherited_env(
    inherit_env: bool | Iterable[str] | None,
    environ: Mapping[str, str],
    *,
    handed_over: bool = False,
    own_interpreter: bool = True,
) -> dict[str, str]:
    """Return what an isolate inherits of `environ` under a value of `IsolationOptions.inherit_env`.

    Args:
        inherit_env: the value.
        environ: the variables of the host.
        handed_over: whether the isolate's code is an object of the host's, rather than a name; counts for None alone.
        own_interpreter: whether it runs the host's own interpreter; counts for None alone.
    """
    if inherit_env is None and handed_over:
        left_out = () if own_interpreter else _OF_ONE_INTERPRETER
        return {name: value for name, value in environ.items() if not _matches(name, left_out)}
    if isinstance(inherit_env, bool):
        return dict(environ) if inherit_env else {}
    patterns = DEFAULT_INHERITED_ENV if inherit_env is None else tuple(inherit_env)
    return {name: value for name, value in environ.items() if _matches(name, patterns)}


def needs_fresh_interpreter(env: Mapping[str, str]) -> list[str]:
    """Return the names in `env` that only work before an interpreter starts, so that a fork would ignore them."""
    return [name for name in env if _matches(name, _BEFORE_START)]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name.startswith(p[:-1]) if p.endswith("*") else name == p for p in patterns)
