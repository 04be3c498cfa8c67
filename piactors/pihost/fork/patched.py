"""Whether a library has put functions of its own in place of those of the standard library (monkey patching).

gevent and eventlet do so: their threads are not real threads, and what waits lets others run.  What piactors does in a
thread, with a socket or with a process, would then wait for itself.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, List, Optional

from ..serve import faults

_MOST_TEXT = 65536
_MATTER = ("thread", "_thread", "threading", "select", "socket", "os", "subprocess", "signal", "queue")
"""What piactors uses; what else is patched (time, ssl, contextvars and so on) makes no difference."""


def patched_by() -> Optional[str]:
    """Return the library and what it has patched, as text; None if nothing that matters is patched.

    Neither library is imported for this.
    """
    gevent: Any = sys.modules.get("gevent.monkey")
    if gevent is not None:
        found = [name for name in _MATTER if gevent.is_module_patched(name)]
        if found:
            return "gevent has patched {}".format(_listed(found))
    eventlet: Any = sys.modules.get("eventlet.patcher")
    if eventlet is not None:
        found = [name for name in _MATTER if eventlet.is_monkey_patched(name)]
        if found:
            return "eventlet has patched {}".format(_listed(found))
    return None


def _listed(names: List[str]) -> str:
    return ", ".join(name for name in names if name not in ("thread", "_thread") or "threading" not in names)


def imported(name: str) -> Optional[str]:
    """Import a module for all isolates; return why that is not possible, or None."""
    try:
        importlib.import_module(name)
    except BaseException as error:
        return "the module {!r} of preload cannot be imported:\n{}".format(name, faults.traceback_of(error, _MOST_TEXT))
    found = patched_by()
    if found is not None:
        return "the module {!r} cannot be in preload: {}, and no isolate could run on that".format(name, found)
    return None
