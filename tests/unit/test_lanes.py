"""Who ends launchers is found, and only it is charged: the pure rule, with isolates that do and do not."""

from __future__ import annotations

import pytest

from piactors._rules.lanes import FREE, WINDOW, Lanes


def _lose(lanes: Lanes, members: list[str], culprit: str, now: float) -> list[str]:
    """Have the launcher of the culprit's lane lost; return who was there."""
    lane = lanes.lane_of(culprit, now)
    there = [member for member in members if lanes.lane_of(member, now) == lane]
    lanes.lost(there, now)
    return there


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 100])
def test_the_one_who_ends_launchers_is_alone_after_few_losses_and_charged(count: int) -> None:
    members = [f"member {number:03}" for number in range(count)]
    culprit = members[count // 3]
    lanes, hit, charged = Lanes(), dict.fromkeys(members, 0), dict.fromkeys(members, 0)
    for number in range(20):
        for member in _lose(lanes, members, culprit, number * 0.3):
            hit[member] += 1
            charged[member] += lanes.counts(member, 60.0, number * 0.3)
    assert charged.pop(culprit) >= 20 - FREE - 1 - count.bit_length()
    assert not any(charged.values())
    assert all(times <= 2 + count.bit_length() for member, times in hit.items() if member != culprit)
    assert len(lanes.in_use()) <= 3 + 2 * count.bit_length()


def test_a_loss_now_and_then_divides_nobody_and_is_charged_to_nobody() -> None:
    lanes = Lanes()
    for number in range(10):
        now = number * (WINDOW + 1)
        lanes.lost(["a", "b"], now)
        assert lanes.lane_of("a", now) == lanes.lane_of("b", now) == 0
        assert not lanes.counts("a", 60.0, now)


def test_who_has_lived_long_returns_to_the_others_and_leaves_nothing() -> None:
    lanes = Lanes()
    for now in (0.0, 1.0, 2.0):
        lanes.lost(["a"], now)
    assert lanes.lane_of("a", 3.0) > 0
    assert lanes.in_use() == {0, lanes.lane_of("a", 3.0)}
    assert lanes.lane_of("a", 3.0 + WINDOW) == 0
    assert lanes.in_use() == {0}
