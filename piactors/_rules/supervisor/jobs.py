"""Several steps that belong together: stop these children in this order, then start those."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

import attrs


class Purpose(StrEnum):
    """Why a job is done: what its end, or a failed start in it, means."""

    START_UP = "start up"
    START_CHILD = "start child"
    RESTART_CHILD = "restart child"
    TERMINATE = "terminate"
    RESTART = "restart"
    """After a death: one child, or its whole group."""


@attrs.define(eq=False)
class Job:
    """Steps that are done one after the other.

    Attributes:
        call: the one that wants to know how it ended, and `subject`: about which child.
        keep: whether what is stopped may start again.
        after: what has to wait for the end of this job.
    """

    purpose: Purpose
    stops: deque[str] = attrs.field(factory=deque)
    starts: deque[str] = attrs.field(factory=deque)
    call: Any = None
    keep: bool = False
    after: list[Callable[[], None]] = attrs.field(factory=list)
    subject: str | None = None


def in_order(ids: Iterable[str]) -> deque[str]:
    """Return ids as the steps of a job."""
    return deque(ids)
