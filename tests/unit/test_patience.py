"""How long news of a launcher are waited for: the pure rule."""

from __future__ import annotations

import pytest

from piactors._rules.patience import Seen, Step, decide


@pytest.mark.parametrize(
    ("waited", "halted", "launcher", "process", "step"),
    [
        (0.3, 0.3, "T", None, Step.WAKE),
        (1.5, 1.5, "T", None, Step.REPLACE),
        (0.3, 0.3, "t", None, Step.WAKE),
        (1.5, 1.5, "t", None, Step.REPLACE),
        (1.5, 1.5, "F", None, Step.REPLACE),
        (5, 0.3, "T", None, Step.WAKE),
        (5, 1.2, "T", "S", Step.REPLACE),
        (5, 0.3, "T", "S", Step.WAKE),
        (5, 0, "R", None, Step.WAIT),
        (29, 0, "R", None, Step.WAIT),
        (31, 0, "R", None, Step.REPLACE),
        (5, 0, "S", None, Step.WAIT),
        (5, 0, "D", None, Step.WAIT),
        (11, 0, "S", None, Step.REPLACE),
        (11, 0, "", None, Step.REPLACE),
        (1, 0, "S", "t", Step.WAIT),
        (2, 0, "S", "t", Step.CONCLUDE),
        (2, 0, "S", "Z", Step.CONCLUDE),
        (5, 0, "S", "D", Step.WAIT),
        (11, 0, "S", "D", Step.CONCLUDE),
        (11, 0, "S", "R", Step.WAIT),
        (31, 0, "S", "R", Step.CONCLUDE),
        (11, 11, "T", "", Step.CONCLUDE),
    ],
)
def test_only_who_cannot_answer_is_ended(
    waited: float, halted: float, launcher: str, process: str | None, step: Step
) -> None:
    assert decide(Seen(waited, halted, launcher, process)) is step
