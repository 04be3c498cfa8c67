"""What tests know of the inside of an isolate: here and nowhere else, so that the inside may change."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from piactors._host import runtime
from piactors._rules.bodies import Role
from piactors._rules.phases import Swap

PAUSE_AFTER_FAILURE = "piactors._rules.replacement.PAUSE_AFTER_FAILURE"
FIRST_PAUSE = "piactors._rules.replacement.FIRST_PAUSE"
CALLER_SECONDS = "piactors._isolate.errands.SECONDS"
HAS_ROOM_BESIDE = "piactors._isolate.performing.has_room_beside"


def in_role(ref: Any, role: Role) -> list[Any]:
    """Return the processes of an isolate that are there for this."""
    return [body for body in list(ref._isolate.life._bodies.values()) if body.role is role]


def standby(ref: Any) -> Any:
    """Return what stands by, or None."""
    return next(iter(in_role(ref, Role.STANDBY)), None)


def retiring(ref: Any) -> list[Any]:
    """Return what has been replaced, or is not needed, and has not ended yet."""
    return in_role(ref, Role.RETIRING)


def swap(ref: Any) -> Swap:
    """Return how far a replacement is."""
    return ref._isolate.life.machine.swap  # type: ignore[no-any-return]


def drains(ref: Any) -> bool:
    """Whether it sends nothing, and waits for what runs."""
    return swap(ref) in (Swap.DRAINING, Swap.HANDING_OVER, Swap.COLD_DRAINING)


def ask_replacement(ref: Any, reason: str = "after_calls") -> None:
    """Have its process replaced."""
    ref._isolate.life.request_replacement(ref.generation, reason)


def life(ref: Any) -> Any:
    """Return what performs the rules of its life."""
    return ref._isolate.life


def on_the_loop(ref: Any, callback: Callable[[], object]) -> None:
    """Have something done on the I/O thread."""
    ref._isolate.loop.call_soon(callback)


def delivery(ref: Any) -> Any:
    """Return its data path."""
    return ref._isolate.delivery


def waits_for_room(ref: Any) -> int:
    """Return how many senders wait for room in its mailbox."""
    return len(delivery(ref).room._places)


def relay(ref: Any) -> Any:
    """Return what its output and its events go through."""
    return ref._isolate.reports.relay


def clock(ref: Any) -> Any:
    """Return what knows how long its calls run."""
    return ref._isolate.clock


def process(ref: Any) -> Any:
    """Return the process that its messages go to."""
    return ref._isolate.process


def lacks(ref: Any) -> int:
    """Return how often in a row its restart has lacked something."""
    return int(ref._isolate.life.machine.lacks)


def spec(ref: Any) -> Any:
    """Return what it is made of."""
    return ref._isolate.spec


def descriptors() -> list[int]:
    """Return the descriptors of this process, without those of spares, which launchers make when they like."""
    backends = list(runtime.current()._backends.values())
    spares = {getattr(backend, "_spare_fd", -1) for backend in backends}
    return [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd not in spares]
