"""How a child has ended, as its supervisor is told; an isolate alone needs no more of a supervisor's rules."""

from __future__ import annotations

import attrs

from piactors._text.record import ByAttributes
from piactors.exit_reason import ExitReason


@attrs.frozen(eq=False, repr=False)
class Exit(ByAttributes):
    """A child that ran has ended.

    Attributes:
        wanted: somebody has stopped it through its ref, which acts as `terminate_child`.
        charged: whether a restart costs budget.
    """

    reason: ExitReason
    wanted: bool = False
    charged: bool = True
