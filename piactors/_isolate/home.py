"""What the processes of an isolate have in common, and who hears of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import attrs

from piactors._codec.decode import Decoder
from piactors._host.confiner import Plan
from piactors._host.runtime import Runtime
from piactors._io.loop import Share
from piactors._isolate.delivery import Delivery
from piactors._isolate.reports import Reports
from piactors._isolate.services import HostServices
from piactors._process.owner import End
from piactors._rules.bodies import Ending
from piactors.exit_reason import Kind

if TYPE_CHECKING:
    from piactors._isolate.incarnation import Incarnation


class Listener(Protocol):
    """Who hears of an incarnation; called on the I/O thread, but for `doomed`."""

    def incarnation_ready(self, body: Incarnation) -> None:
        """Its start is complete."""

    def incarnation_stops(self, body: Incarnation) -> None:
        """It has said that it stops."""

    def incarnation_gone(self, body: Incarnation, ending: Ending, end: End | None) -> None:
        """It is gone with all that it has started, or was never made."""

    def doomed(self, body: Incarnation, kind: Kind, detail: str) -> None:
        """It is about to be killed for this; from any thread."""

    def was_told_to_stop(self, body: Incarnation) -> bool:
        """Whether its end was asked for, as far as its isolate knows."""

    def has_failed(self, error: BaseException) -> None:
        """The host itself has failed at something that concerns it."""


@attrs.define
class Home:
    """What all incarnations of one isolate have in common.

    Attributes:
        plan: what enforces their limits; None if they have none.
        data: what was set for all of them with `set_data`, serialised.
        on_large: is called if a large message passes.
        leave: lets the runtime forget the isolate, which has ended.
        has_failed: is told of failures of the host itself.
        request_replacement: asks for a fresh process in place of one, for a reason; from any thread.
    """

    urn: str
    runtime: Runtime
    loop: Share
    delivery: Delivery
    decoder: Decoder
    reports: Reports
    services: HostServices
    data: dict[str, bytes]
    on_large: Callable[[], None]
    leave: Callable[[], None]
    has_failed: Callable[[BaseException], None]
    request_replacement: Callable[[int, str], None]
    plan: Plan | None = None

    def use_plan(self, plan: Plan | None) -> None:
        """Say what enforces the limits."""
        self.plan = plan
