"""`OptionFields`: the fields of `IsolationOptions` as keyword arguments, for type checkers.

Nothing imports this module at run time.  For a function of your own that passes options on::

    from typing import TYPE_CHECKING, Unpack

    if TYPE_CHECKING:
        from piactors.option_fields import OptionFields

    def started(**fields: Unpack[OptionFields]) -> IsolateRef[Worker]:
        return Worker.with_options(**fields).start()
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

from piactors.environment_spec import EnvironmentSpec, PreparedEnvironment
from piactors.limits import Heartbeat, IsolationLimits, Recycle
from piactors.options import (
    Backoff,
    ChannelKind,
    OnCycle,
    OutputMode,
    OverflowPolicy,
    RestartType,
    StartMethod,
    TrustLevel,
    WhileRestarting,
)

__all__ = ["OptionFields"]


class OptionFields(TypedDict, total=False):
    """What `IsolationOptions` takes, each as its constructor takes it; see there for what they mean."""

    name: str | None
    python: str | os.PathLike[str] | None
    environment: EnvironmentSpec | PreparedEnvironment | None
    sys_path: Iterable[str | os.PathLike[str]]
    cwd: str | os.PathLike[str] | None
    env: Mapping[str, str] | None
    inherit_env: bool | Iterable[str] | None
    start_method: StartMethod | None
    preload: Iterable[str]
    start_timeout: float
    call_timeout: float | None
    shutdown_timeout: float | None
    restart: RestartType
    max_restarts: int | None
    within: float
    backoff: Backoff | None
    concurrency: int
    spin: bool
    mailbox_capacity: int | None
    channels: ChannelKind
    on_cycle: OnCycle
    overflow: OverflowPolicy
    while_restarting: WhileRestarting
    limits: IsolationLimits | None
    recycle: Recycle | None
    standby: bool
    heartbeat: Heartbeat | float | None
    output: OutputMode | Callable[[Any], object]
    log_level: int | str | None
    trust: TrustLevel
    accept: Iterable[type]
    max_frame: int | str
    keep_shared: int | str
    die_on_crash: bool
    debug: bool
