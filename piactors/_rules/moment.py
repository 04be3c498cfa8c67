"""When an input of a pure machine is handled, and the random number that it uses."""

from __future__ import annotations

import attrs

from piactors._text.record import ByAttributes


@attrs.frozen(eq=False, repr=False)
class Moment(ByAttributes):
    """When an input is handled, in seconds on a monotonic clock, and a random number in [0, 1) for jitter."""

    now: float
    uniform: float = 0.5
