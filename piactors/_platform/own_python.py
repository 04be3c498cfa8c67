"""The interpreter that runs this very program, if there is one that could run another program.

A frozen application (PyInstaller, cx_Freeze, Nuitka, py2app) is named by `sys.executable`: started, it would run the
application again, which would start it again, and so on.  A program that has Python embedded may have no
`sys.executable`, or its own name there.
"""

from __future__ import annotations

import os
import sys

_HINT = "pass IsolationOptions(python=...), the path of an interpreter with the packages that isolates need"


def find() -> str | None:
    """Return the path of the interpreter, or None if there is none (see `why_none`)."""
    return None if why_none() else sys.executable


def why_none() -> str | None:
    """Return why this program has no interpreter for isolates and what to do, or None if it has one."""
    named = sys.executable
    compiled = getattr(sys.modules.get("__main__"), "__compiled__", None)  # by Nuitka
    if getattr(sys, "frozen", False) or getattr(compiled, "standalone", False):
        return f"this program is frozen, and {named or 'its file'} would run the whole program again; {_HINT}"
    if not named:
        return f"this program embeds Python and does not name its interpreter (sys.executable is {named!r}); {_HINT}"
    if "uwsgi" in sys.modules and "python" not in os.path.basename(named).lower():
        return f"this program embeds Python, and sys.executable, {named}, is not an interpreter; {_HINT}"
    return None


def is_own(python: str) -> bool:
    """Whether a path is that of the interpreter which runs this program.

    By its path, not the file behind it: that is shared by all virtual environments of one Python.
    """
    return bool(sys.executable) and os.path.abspath(python) == os.path.abspath(sys.executable)
