"""A short run of the many calls that are each accounted for; `python -m tests.soak.millions` makes millions."""

from __future__ import annotations

import pytest

from tests.soak import millions
from tests.tiers import sizes


@sizes("calls", 10_000, soak=[5_000_000])
@pytest.mark.timeout(3600)
def test_every_call_is_accounted_for(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(millions, "ONE_IN", {"cancel": 20, "die": 4_000, "hang": 8_000})
    monkeypatch.setattr(millions, "RECYCLE_AFTER", 3_000)
    monkeypatch.setattr(millions, "KILL_EVERY", 0.05)
    with millions.a_run(calls, seed=7) as run:
        assert run.ledger.faults == []
        assert run.kills
        assert run.ledger.outcomes["answered"] > calls * 0.9
