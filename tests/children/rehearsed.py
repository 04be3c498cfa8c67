"""Preloaded by a launcher that is to tell which of its isolates have played a start through."""

from __future__ import annotations

import os
import sys
from typing import Any

rehearsed: list[int] = []
"""The processes that have played a start through: the launcher, and the one that asks if it was a spare."""

_rehearsal: Any = sys.modules.get("_pihost.fork.rehearsal")
if _rehearsal is not None:
    _original = _rehearsal.rehearse

    def _rehearse(threads: bool) -> None:
        _original(threads)
        rehearsed.append(os.getpid())

    _rehearsal.rehearse = _rehearse
