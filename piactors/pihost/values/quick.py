"""Arguments that are small and of plain kinds, as nearly all are that go directly."""

from __future__ import annotations

import pickle
from typing import Any, Optional, Tuple

from ..pickles import byvalue

BY_KEY = b"host_object"
"""What a pickle of an isolate names if it holds something that the host has sent by value, and has to make itself."""

_KINDS, _NAMES_A_GLOBAL = byvalue.MOST_OF_KIND, byvalue.STACK_GLOBAL


def quick(args: Tuple[Any, ...]) -> Optional[bytes]:
    """Return the pickle of arguments that are small and of plain kinds; None if they are not, or there are none."""
    if not args:
        return None
    try:
        for arg in args:
            longest = _KINDS[type(arg)]
            if longest and len(arg) > longest:
                return None
        payload = pickle.dumps((args, {}), 5)
    except Exception:
        return None
    return None if _NAMES_A_GLOBAL in payload else payload
