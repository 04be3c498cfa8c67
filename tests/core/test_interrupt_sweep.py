"""A KeyboardInterrupt, or a signal handler, at any instruction of any operation.

Afterwards everything works: two isolates answer, in this thread and in another one, the calls that another thread
made meanwhile have come to their outcome, what was started can be stopped, and the program ends.  The program that does
it is ``tests/children/interrupted.py``.  Here it tries some instructions of each operation; all of them, which takes
hours:

    python -m pytest tests/core/test_interrupt_sweep.py -m soak -n 0
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.children.interrupted import OPERATIONS

ROOT = Path(__file__).parents[2]
STARTING = ("isolator_async", "tree_child", "tree_end", "spawn", "subscribe")
"""Left out here, because others are like them."""
HANDLED = ("call", "tell", "cancel", "bounded", "usage", "stop")
AN_HOUR = 3600.0
SEED = 59


def interrupted(names: tuple[str, ...], first: int, step: str, seconds: float, how: str = "") -> None:
    """Run the program, and see that nothing failed and that it ends."""
    program = [sys.executable, "-m", "tests.children.interrupted", ",".join(names), str(first), step, str(seconds), how]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    said = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    failures = [failure for found in said for failure in found["failures"]]
    about = f"{' '.join(program[3:])}: {ended.stderr[-3000:]}"
    assert not failures, "\n".join([*failures[:10], about])
    assert ended.returncode == 0, about
    assert ended.stdout.splitlines()[-1] == "end", about
    assert [found["operation"] for found in said] == list(names)


@pytest.mark.parametrize(
    ("names", "how", "seconds"),
    [
        (tuple(name for name in OPERATIONS if name not in STARTING), "", 0.1),
        (HANDLED, "handler", 0.1),
        (HANDLED, "signals", 0.1),
    ],
    ids=["interrupts", "handlers", "signals"],
)
def test_all_works_after_an_interrupt_at_some_instructions(names: tuple[str, ...], how: str, seconds: float) -> None:
    """The failure tells which; those of the long runs are others each time."""
    interrupted(names, SEED, "random", seconds, how)


@pytest.mark.soak
@pytest.mark.timeout(1.2 * AN_HOUR)
@pytest.mark.parametrize("how", ["", "handler"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_all_works_after_an_interrupt_at_every_instruction(name: str, how: str) -> None:
    """One after the other."""
    interrupted((name,), 1, "1", AN_HOUR, how)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_all_works_after_signals_at_any_moment() -> None:
    """Of the operating system."""
    interrupted(tuple(OPERATIONS), random.randrange(1_000_000), "random", 5.0, "signals")
