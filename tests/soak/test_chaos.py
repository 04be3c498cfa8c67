"""The chaos program, for a short time by default and for a longer one with `-m soak`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak import chaos, watch
from tests.soak.chaos import KINDS

ROOT = Path(__file__).resolve().parents[2]
ALL_HOLD = 0


def run(*arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run the program, and show what it says where it finds something."""
    command = [sys.executable, "-m", "tests.soak.chaos", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == ALL_HOLD, f"{done.stdout[-20_000:]}\n{done.stderr[-20_000:]}"
    return done


@pytest.mark.timeout(300)
def test_fifteen_seconds_of_chaos_leave_the_ledger_right() -> None:
    done = run("--minutes", "0.25", "--round", "6", "--seed", "1", seconds=280)
    assert "no faults" in done.stdout


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [11, 12])
def test_five_minutes_of_chaos_leave_the_ledger_right_and_nothing_grows(seed: int) -> None:
    assert "no faults" in run("--minutes", "5", "--seed", str(seed), seconds=1100).stdout


def test_kinds_are_chosen_and_left_out() -> None:
    assert chaos.arguments(["--without", "forks", "limits"]).kinds == KINDS - {"forks", "limits"}
    assert chaos.arguments(["--only", "calls"]).kinds == {"calls"}
    with pytest.raises(SystemExit):
        chaos.arguments(["--without", "nonsense"])


def test_what_hangs_ends_the_program_with_its_stacks() -> None:
    """With code 3; the last operations and the stacks of all threads are told."""
    code = (
        "import time\n"
        "from tests.soak import watch\n"
        "watch.SLACK = 0.5\n"
        "dog = watch.Watch('seed 7')\n"
        "with dog.bounded('an operation', 0.1, 'a1'):\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == watch.HANG
    for text in ("seed 7", "a1", "an operation, ", "most recent call first"):
        assert text in done.stderr
