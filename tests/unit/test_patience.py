"""How long news of a launcher are waited for: the pure rule."""

from __future__ import annotations

import pytest

from piactors._lifecycle.patience import Seen, Step, decide


@pytest.mark.parametrize(
    ("waited", "launcher", "process", "step"),
    [
        (0.3, "T", None, Step.WAKE), (1.5, "T", None, Step.REPLACE), (0.3, "t", None, Step.WAKE),
        (1.5, "t", None, Step.REPLACE), (1.5, "F", None, Step.REPLACE),
        (5, "R", None, Step.WAIT), (29, "R", None, Step.WAIT), (31, "R", None, Step.REPLACE),
        (5, "S", None, Step.WAIT), (5, "D", None, Step.WAIT), (11, "S", None, Step.REPLACE),
        (11, "", None, Step.REPLACE),
        (1, "S", "t", Step.WAIT), (2, "S", "t", Step.CONCLUDE), (2, "S", "Z", Step.CONCLUDE),
        (5, "S", "D", Step.WAIT), (11, "S", "D", Step.CONCLUDE), (11, "S", "R", Step.WAIT),
        (31, "S", "R", Step.CONCLUDE),
        (11, "T", "", Step.CONCLUDE),
    ],
)  # fmt: skip
def test_only_who_cannot_answer_is_ended(waited: float, launcher: str, process: str | None, step: Step) -> None:
    assert decide(Seen(waited, launcher, process)) is step
