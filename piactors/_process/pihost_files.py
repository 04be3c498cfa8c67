"""How another interpreter runs `piactors.pihost`: by its folder, or out of the archive that piactors lies in."""

from __future__ import annotations

import os

from piactors import pihost

FOLDER = os.path.dirname(os.path.abspath(pihost.__file__))
"""Where pihost is: a folder, or a place within a zip file."""

_FROM_ARCHIVE = (
    "import sys, zipimport; here = sys.argv.pop(1); sys.path[:1] == [''] and sys.path.pop(0); "
    "exec(zipimport.zipimporter(here).get_code('__main__'), "
    "{'__name__': '__main__', '__file__': here + '/__main__.py'})"
)


def _command() -> list[str]:
    program = os.path.join(FOLDER, "__main__.py")
    if os.path.isfile(program):
        return [program]
    loader = getattr(pihost, "__loader__", None)
    if os.path.isfile(getattr(loader, "archive", "")):
        return ["-c", _FROM_ARCHIVE, FOLDER]
    return []


COMMAND = _command()
"""What follows the interpreter on the command line, before the name of the part; empty if it cannot be run."""


def why_missing() -> str | None:
    """Return why pihost cannot be run, and what to do; None if it can."""
    if COMMAND:
        return None
    return (
        f"the files of piactors.pihost, which an isolate's interpreter runs, are not in {FOLDER}; "
        "a frozen program has to bring them along as files (PyInstaller: --add-data or collect_data_files "
        "with include_py_files=True)"
    )
