"""The options of the host's interpreter, as the interpreters of its isolates get them."""

from __future__ import annotations

import subprocess
import sys

_FOR_ANY = {
    "optimize": "-O",
    "dont_write_bytecode": "-B",
    "isolated": "-I",
    "ignore_environment": "-E",
    "no_user_site": "-s",
}
"""What every Python since 3.4 and PyPy understand, and what does not depend on the modules that are there.

Not ``-W``, whose categories may not be importable there, and not ``-X``, which is specific to one implementation.
"""


def interpreter_flags(own: bool) -> tuple[str, ...]:
    """Return the options of a command line under which an interpreter runs as this one does.

    Args:
        own: whether it is the host's own interpreter, which gets all that `multiprocessing` would give it
            (``-O``, ``-W``, ``-X``, ``-I``, ``-E``, ``-s``, ``-B`` and so on); another one gets a few of them.
    """
    if own:
        return tuple(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]
    return tuple(flag for name, flag in _FOR_ANY.items() for _ in range(getattr(sys.flags, name)))
