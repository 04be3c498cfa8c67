"""What an isolate is made of, and what is known of the generation that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from piactors._host.definitions import Needs
from piactors._host.loop import Timer
from piactors._host.making import Order
from piactors._lifecycle.mailbox import Message
from piactors.exit_reason import Breach, Kind
from piactors.options import IsolationOptions

if TYPE_CHECKING:
    from piactors._policies.confined import Confined


@attrs.frozen(kw_only=True)
class Spec:
    """What an isolate is made of, the same for all its generations.

    Attributes:
        order: how its processes are made.
        init: makes the first frame of a generation: of the urn of the ref, its number, what was set with `set_data`.
        code: whether replies may be pickles.
        trusts_objects: whether functions that are handed over with a call are trusted more than that (see `trusting`).
        takes_requests: whether the isolate may ask things of the host: where that has handed over its code.
        needs: the definitions that what is hosted needs; they live as long as the isolate does.
    """

    name: str
    urn: str
    options: IsolationOptions
    order: Order
    own_interpreter: bool
    init: Callable[[str, int, dict[str, bytes]], bytes]
    code: bool
    takes_requests: bool
    needs: Needs | None = None
    trusts_objects: bool = False


@attrs.define
class Current:
    """What is known of the generation that runs."""

    number_before: int = 0
    """The number of the generation before."""
    ready_at: float | None = None
    by_loss: bool = False
    """Whether it has ended for the loss of its launcher, and for nothing else."""
    announced: bool = False
    """Whether its supervisor knows that it has started."""
    intent: Kind | None = None
    detail: str | None = None
    report: dict[str, Any] | None = None
    start_failure: bytes | None = None
    lacked: bool = False
    """Whether its start has failed because there was too little of something, and not by what its code did."""
    greeted: bool = False
    breach: Breach | None = None
    stack: str | None = None
    timed_out: Message | None = None
    unheard: Timer | None = None
    """Runs out if the process does not say in time that it stops."""
    stop_wanted: bool = False
    """Whether the actor itself has asked for the end of this generation."""
    confined: Confined | None = None
    timers: list[Timer] = attrs.field(factory=list)
    start_timer: Timer | None = None
    data: dict[str, bytes] = attrs.field(factory=dict)
