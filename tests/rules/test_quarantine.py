"""Quarantine against a simpler model: random histories in virtual time."""

from __future__ import annotations

import random

from piactors._rules.quarantine import QuarantineRule, Quarantines

HISTORIES = 3_000
STEPS = 40


class Model:
    """Keeps the whole history of one subject, and reads off it."""

    def __init__(self, rule: QuarantineRule) -> None:
        self.rule = rule
        self.crashes: list[float] = []
        self.closed_at: float | None = None
        self.trial = False

    def crashed(self, now: float) -> bool:
        if self.closed_at is not None:
            if self.trial:
                self.closed_at, self.trial = now, False
            return False
        self.crashes.append(now)
        recent = [at for at in self.crashes if now - at <= self.rule.within]
        if len(recent) >= self.rule.crashes:
            self.closed_at = now
            return True
        return False

    def admits(self, now: float) -> str:
        if self.closed_at is None:
            return "open"
        after = self.rule.retry_after
        if self.trial or after is None or now - self.closed_at < after:
            return "closed"
        self.trial = True
        return "trial"

    def succeeded(self) -> bool:
        if not self.trial:
            return False
        self.crashes, self.closed_at, self.trial = [], None, False
        return True

    def release(self) -> bool:
        was_closed = self.closed_at is not None
        self.crashes, self.closed_at, self.trial = [], None, False
        return was_closed


def test_random_histories() -> None:
    entered = trials = 0
    for seed in range(HISTORIES):
        rng = random.Random(seed)
        rule = QuarantineRule(rng.randint(1, 4), rng.choice([1.0, 10.0, 60.0]), rng.choice([None, 0.0, 5.0, 30.0]))
        hooks = ["", "a", "b"]
        real, models, now = Quarantines(rule), {hook: Model(rule) for hook in hooks}, 100.0
        for _ in range(STEPS):
            now += rng.choice([0.0, 0.5, 3.0, 20.0])
            hook = rng.choice(hooks)
            subject, model = ("p", hook), models[hook]
            what = rng.choice(["crash", "crash", "ask", "ask", "success", "release"])
            if what == "crash":
                closed = real.crashed(subject, now)
                assert closed == model.crashed(now)
                entered += closed
            elif what == "ask":
                admitted = real.admits([subject], now)
                assert admitted == model.admits(now)
                trials += admitted == "trial"
            elif what == "success":
                assert real.succeeded(subject) == model.succeeded()
            elif rng.random() < 0.2:
                assert real.release("p") == any([one.release() for one in models.values()])  # noqa: C419
            assert real.closed() == sorted(("p", one) for one in hooks if models[one].closed_at is not None)
    assert entered > 1_000
    assert trials > 300


def test_a_crash_that_was_blamed_on_the_plugin_moves_to_its_hook() -> None:
    rule = QuarantineRule(2, 60, None)
    real = Quarantines(rule)
    assert not real.crashed(("p", ""), 1, 11)
    assert not real.moved(("p", ""), ("p", "hook"), 1, 11)
    assert not real.crashed(("p", ""), 2, 12)
    assert real.moved(("p", ""), ("p", "hook"), 2, 12)
    assert real.closed() == [("p", "hook")]


def test_a_move_opens_what_that_crash_had_closed() -> None:
    real = Quarantines(QuarantineRule(2, 60, None))
    assert not real.crashed(("p", ""), 1, 11)
    assert real.crashed(("p", ""), 2, 12)
    assert not real.moved(("p", ""), ("p", "hook"), 2, 12)
    assert real.closed() == []


def test_what_was_closed_before_is_closed_still() -> None:
    real = Quarantines(QuarantineRule(3, 60, 10))
    real.close(("p", "hook"), 5)
    assert real.admits([("p", ""), ("p", "hook")], 6) == "closed"
    assert real.admits([("p", ""), ("p", "hook")], 15) == "trial"
    assert real.admits([("p", ""), ("p", "hook")], 15) == "closed"
    real.undecided(("p", "hook"))
    assert real.admits([("p", ""), ("p", "hook")], 15) == "trial"
    assert real.succeeded(("p", "hook"))
    assert real.admits([("p", ""), ("p", "hook")], 16) == "open"


def test_a_trial_is_of_all_that_a_call_concerns_or_of_none() -> None:
    real = Quarantines(QuarantineRule(1, 60, 10))
    real.close(("p", ""), 0)
    real.close(("p", "hook"), 8)
    both = [("p", ""), ("p", "hook")]
    assert real.admits(both, 12) == "closed"
    assert real.admits([("p", ""), ("p", "other")], 12) == "trial"
    assert not real.crashed(("p", "other"), 13, 5) or real.closed() == [("p", ""), ("p", "hook"), ("p", "other")]


def test_a_failed_trial_is_not_undone_by_whose_it_was() -> None:
    real = Quarantines(QuarantineRule(1, 60, 10))
    assert real.crashed(("p", ""), 0, 1)
    assert real.admits([("p", ""), ("p", "hook")], 12) == "trial"
    assert not real.crashed(("p", ""), 12, 2)
    assert real.moved(("p", ""), ("p", "hook"), 12, 2)
    assert real.closed() == [("p", ""), ("p", "hook")]
