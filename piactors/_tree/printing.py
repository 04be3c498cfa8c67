"""A supervision tree on the terminal."""

from __future__ import annotations

import re

_COLOURS = {"running": "green", "restarting": "yellow", "stopped": "red"}
_STATE = re.compile(rf"  ({'|'.join(_COLOURS)})(?=  |$)")


def show(text: str) -> None:
    """Print a rendered tree, with the states in colours if `rich` is installed."""
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        print(text)
        return
    console = Console()
    for line in text.splitlines():
        coloured = Text(line, no_wrap=True, overflow="ellipsis")
        found = _STATE.search(line)
        if found:
            coloured.stylize(_COLOURS[found[1]], *found.span(1))
        console.print(coloured)
