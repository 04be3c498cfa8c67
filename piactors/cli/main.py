"""The entry of the console script.  It needs no extra itself, so that it can say which one is missing."""

from __future__ import annotations

import sys

_EXTRAS = ("click", "rich")
_INTERRUPTED = 130


def main() -> int:
    """Run the command line and return its exit code."""
    try:
        from piactors.cli.app import cli
    except KeyboardInterrupt:
        return _INTERRUPTED
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        print(f"piactors: the command line needs {missing}; pip install 'piactors[cli]'", file=sys.stderr)
        return 2
    cli(prog_name="piactors")
    return 0
