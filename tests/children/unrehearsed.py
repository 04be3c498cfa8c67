"""Preloaded by a launcher whose isolates are to have no rehearsal behind them."""

from __future__ import annotations

import sys
from typing import Any

rehearsed: list[int] = []
"""The processes that have played a start through: none."""

_rehearsal: Any = sys.modules.get("_pihost.fork.rehearsal")
if _rehearsal is not None:
    _rehearsal.rehearse = lambda threads: None
