"""The fuzz runs' rules hold for a few seconds of random input."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import fuzz_host_input
import fuzz_isolates
import pytest

from piactors.pihost.wire import wire

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Keep nothing of what is logged: that a call of something lent has failed is, as it should be."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def short_payloads_count_as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let short inputs reach what large payloads do, as the fuzz run does."""
    monkeypatch.setattr(wire, "DIRECT_FROM", 32)
    monkeypatch.setattr(wire, "MAPPED_FROM", 100)
    monkeypatch.setattr(wire, "FIRST_ALLOCATION", 16)


@pytest.mark.usefixtures("quiet", "short_payloads_count_as_large")
def test_the_rules_hold_for_random_input() -> None:
    assert fuzz_host_input.run_random(5.0, seed=1) > 1000


@pytest.mark.usefixtures("quiet", "short_payloads_count_as_large")
@pytest.mark.parametrize("rule", fuzz_host_input.RULES, ids=lambda rule: rule.__name__)
def test_each_rule_holds_for_valid_input(rule: Any) -> None:
    number = fuzz_host_input.RULES.index(rule)
    inputs = [data for data in fuzz_host_input.seeds() if data[0] == number]
    assert len(inputs) >= 3
    for data in inputs:
        fuzz_host_input.one_input(data)


@pytest.mark.process
def test_a_host_holds_against_frames_that_are_almost_right() -> None:
    assert fuzz_isolates.run(3.0, seed=1).rows > 1
