"""What enforces a limit, as `ref.enforcement()` and ``piactors doctor`` tell it."""

from __future__ import annotations

from typing import Literal

import attrs

Scope = Literal["tree", "process"]


@attrs.frozen(kw_only=True)
class Enforcement:
    """How one limit is enforced.

    Attributes:
        limit: the name of the limit, as in `IsolationLimits`.
        mechanism: ``cgroup v2``, ``cgroup v1``, ``rlimit``, ``scheduler`` or ``monitor``; None where nothing can.
        scope: ``tree`` where the isolate and all its descendants count together, ``process`` where each counts alone.
        why: why nothing better enforces it, one mechanism after the other; empty where the best one does.
    """

    limit: str
    mechanism: str | None
    scope: Scope | None
    why: str = ""

    def __str__(self) -> str:
        if self.mechanism is None:
            return f"{self.limit}: not enforced ({self.why})"
        what = "the whole tree" if self.scope == "tree" else "each process"
        return f"{self.limit}: {self.mechanism}, {what}" + (f" ({self.why})" if self.why else "")
