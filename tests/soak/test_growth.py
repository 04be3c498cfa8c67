"""Growth is told from noise, and from the warming up."""

from __future__ import annotations

from random import Random

import attrs

from tests.soak.growth import Sample, judge, slope

STILL = Sample(
    at=0,
    memory=50 << 20,
    descriptors=14,
    threads=4,
    mappings=330,
    processes=2,
    launchers=1,
    segments=0,
    groups=2,
    files=0,
)


def samples(count: int = 60, **per_sample: float) -> list[Sample]:
    """Return samples ten seconds apart in which these grow by so much each."""
    dice = Random(1)
    return [
        attrs.evolve(
            STILL,
            at=10.0 * n,
            memory=STILL.memory + dice.randrange(2 << 20) + int(n * per_sample.get("memory", 0)),
            descriptors=14 + dice.randrange(2) + int(n * per_sample.get("descriptors", 0)),
        )
        for n in range(count)
    ]


def test_the_slope_of_a_line_is_found() -> None:
    assert slope([(x, 3 * x + 1) for x in range(5)]) == 3
    assert slope([(1, 1)]) == 0


def test_noise_is_no_growth() -> None:
    assert judge(samples()) == []


def test_the_warming_up_is_none_either() -> None:
    warm = [attrs.evolve(sample, memory=sample.memory + (40 << 20)) for sample in samples()[20:]]
    assert judge([*samples()[:20], *warm]) == []


def test_a_leak_is_found() -> None:
    assert "memory grows" in judge(samples(memory=0.5 * (1 << 20)))[0]
    assert "descriptors grows" in judge(samples(descriptors=0.2))[0]


def test_a_few_samples_tell_nothing() -> None:
    assert judge(samples(5, memory=1 << 20)) == []
