"""Programs of definitions that change between calls do through isolates what they do in one process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import pytest

from tests.values import written
from tests.values.programs import Call, Maker, Program
from tests.values.worlds import run_direct, run_isolated, two_isolates

SEED = int(os.environ.get("PIACTORS_TEST_SEED") or time.time_ns() % 1_000_000_000)
"""Set it to run the programs of a failed run again."""

FEW, MANY = 1_000, 10_000
MOST_FAILURES = 3

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def proxies() -> Iterator[list[Any]]:
    """Two isolates for all programs: each has a module of its own, so they do not meet."""
    with two_isolates() as found:
        yield found


SIZES = [pytest.param(FEW, id="few"), pytest.param(MANY, marks=pytest.mark.soak, id="many")]


@pytest.mark.parametrize("count", SIZES)
def test_programs_whose_isolated_code_writes_nothing(count: int, proxies: list[Any]) -> None:
    """The oracle is the same program, its calls made in this process."""
    failed = []
    for seed in range(SEED, SEED + count):
        program = Maker(seed).program(f"program_{seed}")
        if differs(program, proxies):
            failed.append(report(seed, program, proxies))
        if len(failed) == MOST_FAILURES:
            break
    assert not failed, f"PIACTORS_TEST_SEED={SEED}; of the first {seed - SEED + 1} programs:\n" + "\n".join(failed)


@pytest.mark.parametrize("count", SIZES)
def test_programs_whose_isolated_code_writes_to_globals(count: int, proxies: list[Any]) -> None:
    """The oracle is a model: what the host changes arrives; what the host does not change, the isolate keeps."""
    failed = []
    for seed in range(SEED, SEED + count):
        program = written.Maker(seed).program(f"written_{seed}")
        told = run_isolated(program, proxies)
        modelled = written.expected(program)
        if told != modelled:
            shorter = shortened(program, lambda p: run_isolated(p, proxies) != written.expected(p))
            failed.append(compared(seed, shorter, written.expected(shorter), run_isolated(shorter, proxies)))
        if len(failed) == MOST_FAILURES:
            break
    assert not failed, f"PIACTORS_TEST_SEED={SEED}; of the first {seed - SEED + 1} programs:\n" + "\n".join(failed)


def test_the_model_is_python_as_long_as_the_host_changes_nothing() -> None:
    """Without piactors: one isolate, and no statements of the host after the first."""
    for seed in range(300):
        made = written.Maker(seed).program(f"modelled_{seed}")
        calls = [attrs.evolve(step, isolate=0, wait=True) for step in made.steps if isinstance(step, Call)]
        program = Program(made.name, (made.steps[0], *calls))
        assert run_direct(program) == written.expected(program), program.script()


def differs(program: Program, proxies: list[Any]) -> bool:
    return run_direct(program) != run_isolated(program, proxies)


def report(seed: int, program: Program, proxies: list[Any]) -> str:
    shorter = shortened(program, lambda p: differs(p, proxies))
    return compared(seed, shorter, run_direct(shorter), run_isolated(shorter, proxies))


def shortened(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Return a program that fails too, of which no single step can be left out.

    Each try has a name of its own, so that nothing of an earlier one is there.
    """
    number, steps, again = 0, list(program.steps), True
    while again:
        again = False
        for index in reversed(range(1, len(steps))):
            number += 1
            fewer = Program(f"{program.name}_{number}", (*steps[:index], *steps[index + 1 :]))
            if any(isinstance(step, Call) for step in fewer.steps) and fails(fewer):
                steps, again = list(fewer.steps), True
    return Program(f"{program.name}_shortened", tuple(steps))


def compared(seed: int, program: Program, right: Sequence[Any], found: Sequence[Any]) -> str:
    lines = [f"--- seed {seed}:", program.script()]
    for number, (wanted, got) in enumerate(zip(right, found, strict=True)):
        if wanted != got:
            lines.append(f"step {number}: {program.steps[number]}\n  is to give {wanted}\n  gave       {got}")
    return "\n".join(lines)
