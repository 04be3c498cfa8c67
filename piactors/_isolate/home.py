"""What the processes of an isolate have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from piactors._codec.decode import Decoder
from piactors._codec.encode import Whole
from piactors._host.runtime import Runtime
from piactors._io.loop import Share
from piactors._isolate.delivery import Delivery
from piactors._isolate.reports import Reports
from piactors._isolate.services import HostServices
from piactors._process.placement import Placement


@attrs.define
class Home:
    """What all incarnations of one isolate have in common.

    Attributes:
        ref: returns the isolate's ref.
        data: what was set for all of them with `set_data`, serialised.
        placement: makes them.
        on_large: is called if a large message passes.
        leave: lets the runtime forget the isolate, which has ended.
        has_failed: is told of failures of the host itself.
        request_replacement: asks for a fresh process in place of one, for a reason; from any thread.
    """

    urn: str
    ref: Callable[[], Any]
    runtime: Runtime
    loop: Share
    delivery: Delivery
    decoder: Decoder
    reports: Reports
    services: HostServices
    data: dict[str, Whole]
    on_large: Callable[[], None]
    placement: Placement
    leave: Callable[[], None]
    has_failed: Callable[[BaseException], None]
    request_replacement: Callable[[int, str], None]
