"""Events of children, for those who subscribe to them."""

from __future__ import annotations

import time
from typing import Any

from piactors import events
from piactors._host import relay, runtime


def publish(cls: type[events.Event], ref: Any, **fields: Any) -> None:
    """Publish an event about the child behind `ref`, which has no process (any more)."""
    if events.bus.is_wanted(cls):
        event = cls(name=ref.name, pid=None, generation=ref.generation, time=time.time(), **fields)
        isolate = getattr(ref, "_isolate", None)
        if isolate is not None:
            isolate.reports.post(event)  # after what the process before has written, and what was reported of it
        else:
            runtime.current().dispatcher.submit(relay.publish, event)
