"""``piactors doctor``: look, print, and leave nothing behind."""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
from types import FrameType
from typing import Any

import attrs

import piactors
from piactors._host import runtime
from piactors._text import shown
from piactors.cli import interpreters as finding
from piactors.cli import probing
from piactors.cli.advice import Advice, advice
from piactors.cli.facts import Facts
from piactors.cli.interrupts import Interrupted
from piactors.cli.report import lines

_COLOURS = {"yes": "green", "no": "bold red", "partly": "yellow"}
_MARK = re.compile(rf"^  \S.*?  ({'|'.join(_COLOURS)})(?=  |$)")


def doctor(*, as_json: bool, interpreters: bool) -> int:
    """Print what this machine can do, and return the exit code."""
    logging.getLogger("piactors").addHandler(logging.NullHandler())  # what fails is told below
    logging.getLogger("piactors").propagate = False
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        facts = gather(interpreters=interpreters)
    except Interrupted as interruption:
        return 128 + interruption.signum
    found = advice(facts)
    if as_json:
        print(json.dumps(as_object(facts, found), indent=2))
    else:
        _print(lines(facts, found))
    return 1 if facts.missing else 0


def _interrupt(signum: int, _: FrameType | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # what follows is the cleanup
    raise Interrupted(signum)


def gather(*, interpreters: bool) -> Facts:
    """Find out everything; afterwards no process and no group of it is left."""
    try:
        return Facts(
            machine=probing.machine(),
            kernel=probing.kernel(),
            cgroups=probing.mounted_cgroups(),
            limits=probing.limits(),
            priorities=probing.priorities(),
            start_methods=probing.start_methods(),
            interpreters=finding.found() if interpreters else None,
        )
    finally:
        runtime.end_current()


def as_object(facts: Facts, found: list[Advice]) -> dict[str, Any]:
    """Return all of it as JSON knows it."""
    return {
        "version": piactors.__version__,
        "ok": not facts.missing,
        "missing": list(facts.missing),
        **attrs.asdict(facts),
        "advice": [attrs.asdict(one) for one in found],
    }


def _print(text: list[str]) -> None:
    """Print lines, in colour on a terminal if `rich` is installed."""
    text = [shown.line(line) for line in text]  # they hold text from other interpreters
    try:
        from rich.console import Console
        from rich.text import Text
    except ImportError:
        print("\n".join(text))
        return
    if not sys.stdout.isatty():
        print("\n".join(text))
        return
    console = Console(highlight=False, soft_wrap=True)
    for line in text:
        styled = Text(line, style="" if line.startswith(" ") else "bold")
        mark = _MARK.match(line)
        if mark:
            styled.stylize(_COLOURS[mark[1]], *mark.span(1))
        console.print(styled)
