"""No isolate within an isolate that is still importing what it hosts.

A module that starts an isolate when it is imported, and that each isolate imports, would start one in each of
them, which would do the same, without end.  `multiprocessing` refuses that, and so does this.
"""

from __future__ import annotations

import sys
from types import FrameType

from piactors.errors import StartError

_PIHOST = "_pihost"
_ON_THE_WAY = frozenset(
    ("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport", "pickle", "cloudpickle")
)
"""Packages whose functions run between the code that imports a module and the module."""


def check() -> None:
    """See to it that the calling thread may start isolates.

    Raises:
        StartError: in an isolate that imports the module of what it hosts, or of what it is to call.
    """
    importing = _importing_for_pihost(sys._getframe(1)) or _is_starting()
    if importing:
        raise StartError(
            f"an isolate was to be started while an isolate imports {importing}.  Each isolate that needs that module "
            "would start another one, without end.  Start isolates in a function, or below `if __name__ == "
            '"__main__":` in the module that is the program, as multiprocessing requires, too'
        )


def _is_starting() -> str:
    """Return what is imported if this process is an isolate that is still loading what it is to host."""
    isolate = sys.modules.get(f"{_PIHOST}.serve.isolate")
    return "what it is to host" if getattr(isolate, "is_loading", False) else ""


def _importing_for_pihost(frame: FrameType | None) -> str:
    """Return the module that pihost itself has imported, if the stack is in the top level of one."""
    module = ""
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        package = name.partition(".")[0]
        if package == _PIHOST:
            return module
        if frame.f_code.co_name == "<module>":
            module = f"the module {name!r}"
        elif package not in _ON_THE_WAY:
            module = ""  # a function has this imported, and may know what it does
        frame = frame.f_back
    return ""
