"""The bytecode of a session: in a temporary folder, if the environment wants none beside the sources.

Each isolate imports the module of its actor, and each program that a test starts imports piactors: compiling all of it
every time would take more time than the tests.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile


def keep_bytecode() -> None:
    """Have what this process starts keep its bytecode, as far as that is not so anyway."""
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", "") and "PYTHONPYCACHEPREFIX" not in os.environ:
        folder = os.environ["PYTHONPYCACHEPREFIX"] = tempfile.mkdtemp(prefix="bytecode-")
        atexit.register(_remove, folder, os.getpid())


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # else it is a fork
        shutil.rmtree(folder, ignore_errors=True)
