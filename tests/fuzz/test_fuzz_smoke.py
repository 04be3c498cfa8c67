"""The fuzz run's rules hold for a few seconds of random input."""

from __future__ import annotations

import fuzz_host_input
import pytest

from piactors.pihost.wire import wire

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def short_payloads_count_as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let short inputs reach what large payloads do, as the fuzz run does."""
    monkeypatch.setattr(wire, "DIRECT_FROM", 32)
    monkeypatch.setattr(wire, "_FIRST_ALLOCATION", 16)


def test_the_rules_hold_for_random_input() -> None:
    assert fuzz_host_input.run_random(5.0, seed=1) > 1000


@pytest.mark.parametrize("rule", fuzz_host_input.RULES, ids=lambda rule: rule.__name__)
def test_each_rule_holds_for_valid_input(rule: object) -> None:
    number = fuzz_host_input.RULES.index(rule)  # type: ignore[arg-type]
    inputs = [data for data in fuzz_host_input.seeds() if data[0] == number]
    assert len(inputs) >= 3
    for data in inputs:
        fuzz_host_input.one_input(data)
