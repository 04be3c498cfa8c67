"""piactors: Python code in supervised, isolated processes.

Each isolate is an actor with a mailbox in a process of its own; a call into it is a message that
returns a future.  Importing this package starts nothing, and loads little: each name loads its module
when it is first asked for, so that an isolate has only what its code needs.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from piactors import events
    from piactors._refs.topics import Topic
    from piactors._spawn.starter import ActorStarter
    from piactors._values.current import CurrentCall, cancelled, current_call, deadline, detached
    from piactors._values.lent import Handle, by_ref
    from piactors._values.promises import Promise
    from piactors._values.streams import Stream
    from piactors._values.timers import Timer
    from piactors._values.uploads import stream
    from piactors.actor import ProcessActor, call_options, idempotent, reentrant, stream_options
    from piactors.child_spec import ChildCounts, ChildInfo, ChildSpec
    from piactors.errors import (
        ActorDeadError,
        CallTimeout,
        ChildAlreadyPresent,
        ChildAlreadyStarted,
        ChildNotFound,
        ChildRestarting,
        ChildRunning,
        DeadlockError,
        InvalidTarget,
        IsolateCrashed,
        LimitExceeded,
        MailboxFull,
        Moved,
        NameTaken,
        NoCaller,
        NotPermitted,
        NotSendable,
        PiactorsError,
        PoisonMessage,
        ProtocolError,
        Released,
        RemoteError,
        RemoteTraceback,
        Revoked,
        StartError,
        Timeout,
        TooManyChildren,
        TooManyLoans,
        UntrustedReply,
    )
    from piactors.exit_reason import Breach, ExitReason, Rusage
    from piactors.future import Future
    from piactors.isolator import ProcessIsolator
    from piactors.limits import Enforcement, Heartbeat, IsolationLimits, Recycle
    from piactors.names import named, register, unregister, whereis
    from piactors.options import Backoff, IsolationOptions
    from piactors.program import run, run_async
    from piactors.proxy import CallProxy, IsolateProxy
    from piactors.ref import IsolateRef
    from piactors.spawning import spawn, spawn_async
    from piactors.supervisor import DynamicSupervisor, Supervisor
    from piactors.supervisor_ref import SupervisorRef
    from piactors.usage import GcStats, ResourceUsage, TreeUsage, UsageSample
    from piactors.watching import Down, link, watch

__version__ = "0.1.0"

__all__ = [
    "ActorDeadError",
    "ActorStarter",
    "Backoff",
    "Breach",
    "CallProxy",
    "CallTimeout",
    "ChildAlreadyPresent",
    "ChildAlreadyStarted",
    "ChildCounts",
    "ChildInfo",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "ChildSpec",
    "CurrentCall",
    "DeadlockError",
    "Down",
    "DynamicSupervisor",
    "Enforcement",
    "ExitReason",
    "Future",
    "GcStats",
    "Handle",
    "Heartbeat",
    "InvalidTarget",
    "IsolateCrashed",
    "IsolateProxy",
    "IsolateRef",
    "IsolationLimits",
    "IsolationOptions",
    "LimitExceeded",
    "MailboxFull",
    "Moved",
    "NameTaken",
    "NoCaller",
    "NotPermitted",
    "NotSendable",
    "PiactorsError",
    "PoisonMessage",
    "ProcessActor",
    "ProcessIsolator",
    "Promise",
    "ProtocolError",
    "Recycle",
    "Released",
    "RemoteError",
    "RemoteTraceback",
    "ResourceUsage",
    "Revoked",
    "Rusage",
    "StartError",
    "Stream",
    "Supervisor",
    "SupervisorRef",
    "Timeout",
    "Timer",
    "TooManyChildren",
    "TooManyLoans",
    "Topic",
    "TreeUsage",
    "UntrustedReply",
    "UsageSample",
    "by_ref",
    "call_options",
    "cancelled",
    "current_call",
    "deadline",
    "detached",
    "events",
    "idempotent",
    "link",
    "named",
    "reentrant",
    "register",
    "run",
    "run_async",
    "spawn",
    "spawn_async",
    "stream",
    "stream_options",
    "tree",
    "unregister",
    "watch",
    "whereis",
]

_HOMES = {
    "_refs.topics": ("Topic",),
    "_spawn.starter": ("ActorStarter",),
    "_values.current": ("CurrentCall", "cancelled", "current_call", "deadline", "detached"),
    "_values.lent": ("Handle", "by_ref"),
    "_values.promises": ("Promise",),
    "_values.streams": ("Stream",),
    "_values.timers": ("Timer",),
    "_values.uploads": ("stream",),
    "names": ("named", "register", "unregister", "whereis"),
    "actor": ("ProcessActor", "call_options", "idempotent", "reentrant", "stream_options"),
    "program": ("run", "run_async"),
    "child_spec": ("ChildCounts", "ChildInfo", "ChildSpec"),
    "errors": (
        "ActorDeadError",
        "CallTimeout",
        "ChildAlreadyPresent",
        "ChildAlreadyStarted",
        "ChildNotFound",
        "ChildRestarting",
        "ChildRunning",
        "DeadlockError",
        "InvalidTarget",
        "IsolateCrashed",
        "LimitExceeded",
        "MailboxFull",
        "Moved",
        "NameTaken",
        "NoCaller",
        "NotPermitted",
        "NotSendable",
        "PiactorsError",
        "PoisonMessage",
        "ProtocolError",
        "Released",
        "RemoteError",
        "RemoteTraceback",
        "Revoked",
        "StartError",
        "Timeout",
        "TooManyChildren",
        "TooManyLoans",
        "UntrustedReply",
    ),
    "exit_reason": ("Breach", "ExitReason", "Rusage"),
    "future": ("Future",),
    "isolator": ("ProcessIsolator",),
    "limits": ("Enforcement", "Heartbeat", "IsolationLimits", "Recycle"),
    "options": ("Backoff", "IsolationOptions"),
    "proxy": ("CallProxy", "IsolateProxy"),
    "ref": ("IsolateRef",),
    "spawning": ("spawn", "spawn_async"),
    "supervisor": ("DynamicSupervisor", "Supervisor"),
    "supervisor_ref": ("SupervisorRef",),
    "usage": ("GcStats", "ResourceUsage", "TreeUsage", "UsageSample"),
    "watching": ("Down", "link", "watch"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load the module of a public name, or a module by its own name, when it is first asked for."""
    home = _HOME_OF.get(name)
    if home is None:
        if importlib.util.find_spec(f"piactors.{name}") is None:
            raise AttributeError(f"module 'piactors' has no attribute {name!r}")
        return importlib.import_module(f"piactors.{name}")
    found = getattr(importlib.import_module(f"piactors.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def tree(root: SupervisorRef) -> None:
    """Print the tree below a supervisor: state, pid, generation, restarts and memory of each child.

    In colour if `rich` is installed (``pip install piactors[cli]``), otherwise as plain text.
    """
    from piactors._tree import printing as trees
    from piactors.supervisor_ref import SupervisorRef

    if not isinstance(root, SupervisorRef):
        raise TypeError(f"tree: {root!r} is not a supervisor; pass what Supervisor.start(...) returns")
    trees.show(root.render())
