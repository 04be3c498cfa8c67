"""The head start of a program's first launcher: it loads its modules while the program loads its own."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from piactors.options import IsolationOptions


def launcher_for(options: IsolationOptions | None) -> AbstractContextManager[None]:
    """Have the launcher start while this program imports the rest, if this is its first isolate.

    Args:
        options: those of the isolate; None: the usual ones, which have not been made yet.
    """
    if "piactors._host.runtime" in sys.modules:
        return nullcontext()
    from piactors._process import launcher_process

    return launcher_process.head_start(options)
