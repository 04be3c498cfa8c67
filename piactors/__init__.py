"""piactors: Python code in supervised, isolated processes.

Each isolate is an actor with a mailbox in a process of its own; a call into it is a message that
returns a future.  Importing this package starts nothing.
"""

from piactors import events
from piactors.actor import ActorStarter, ProcessActor, call_options, idempotent
from piactors.application import run, run_async
from piactors.child_spec import ChildSpec
from piactors.enforcement import Enforcement
from piactors.errors import (
    CallTimeout,
    ChildAlreadyPresent,
    ChildAlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    InvalidTarget,
    IsolateCrashed,
    LimitExceeded,
    MailboxFull,
    PiactorsError,
    PoisonMessage,
    ProtocolError,
    RemoteError,
    RemoteTraceback,
    StartError,
    TooManyChildren,
    UntrustedReply,
)
from piactors.exit_reason import Breach, ExitReason, Rusage
from piactors.future import Future
from piactors.isolator import ProcessIsolator
from piactors.limits import Heartbeat, IsolationLimits, Recycle
from piactors.options import Backoff, IsolationOptions
from piactors.proxies import CallProxy, IsolateProxy
from piactors.ref import IsolateRef
from piactors.spawning import spawn
from piactors.supervisor import DynamicSupervisor, Supervisor
from piactors.supervisor_ref import ChildCounts, ChildInfo, SupervisorRef
from piactors.usage import GcStats, ResourceUsage, TreeUsage, UsageSample
from piactors.watching import Down, link, watch

__version__ = "0.1.0"

__all__ = [
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
    "Down",
    "DynamicSupervisor",
    "Enforcement",
    "ExitReason",
    "Future",
    "GcStats",
    "Heartbeat",
    "InvalidTarget",
    "IsolateCrashed",
    "IsolateProxy",
    "IsolateRef",
    "IsolationLimits",
    "IsolationOptions",
    "LimitExceeded",
    "MailboxFull",
    "PiactorsError",
    "PoisonMessage",
    "ProcessActor",
    "ProcessIsolator",
    "ProtocolError",
    "Recycle",
    "RemoteError",
    "RemoteTraceback",
    "ResourceUsage",
    "Rusage",
    "StartError",
    "Supervisor",
    "SupervisorRef",
    "TooManyChildren",
    "TreeUsage",
    "UntrustedReply",
    "UsageSample",
    "call_options",
    "events",
    "idempotent",
    "link",
    "run",
    "run_async",
    "spawn",
    "tree",
    "watch",
]


def tree(root: SupervisorRef) -> None:
    """Print the tree below a supervisor: state, pid, generation, restarts and memory of each child.

    With colours where `rich` is installed (``pip install piactors[cli]``), as plain text where not.
    """
    from piactors.cli import trees

    if not isinstance(root, SupervisorRef):
        raise TypeError(f"tree: {root!r} is no supervisor; pass what Supervisor.start(...) returns")
    trees.show(root)
