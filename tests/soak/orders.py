"""Random calls: which method, with which arguments, and what its answer has to be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import attrs

from tests.soak.actors import RETRIES, SHORT
from tests.soak.behaviour import WAYS_TO_LEAVE, filled
from tests.soak.world import Held, Order, World

try:
    import numpy
except ImportError:  # arrays are then not among what is sent
    numpy = None  # type: ignore[assignment]

KIB = 1 << 10
PLANNED = frozenset({"ValueError"})


def _is(expected: Any, _: int, value: Any) -> bool:
    return bool(value == expected)


def _is_array(expected: Any, _: int, value: Any) -> bool:
    same = type(value) is type(expected) and value.shape == expected.shape and value.dtype == expected.dtype
    return bool(same and (value == expected).all())


def _is_filled(size: int, number: int, value: Any) -> bool:
    return bool(len(value) == size and bytes(value[:8]) == filled(number, min(8, size)) and value[-1:] == value[:1])


def _size(dice: Random) -> int:
    return dice.choice([0, 1, 100, 10 * KIB, 64 * KIB - 1, 64 * KIB + 1, 300 * KIB, 2048 * KIB])


def _echo(dice: Random, held: Held) -> Order:
    size = _size(dice)
    value: Any = dice.choice([b"\x01" * size, "x" * size, [size, {"a": (1, 2)}], None, float(size)])
    if numpy is not None and held.options.python is None and dice.random() < 0.4:
        array = numpy.arange(size // 8, dtype=dice.choice(["i4", "f8"]))
        return Order("echo", (array,), partial(_is_array, array), small=False)
    return Order("echo", (value,), partial(_is, value), small=False)


def _large(dice: Random, held: Held) -> Order:
    size = _size(dice)
    return Order("large", (size,), partial(_is_filled, size), small=False)


def _fail(dice: Random, held: Held) -> Order:
    return Order("fail", (), lambda number, value: False, PLANNED)


def _leave(dice: Random, held: Held) -> Order:
    return Order("leave", (dice.choice(WAYS_TO_LEAVE),), lambda *_: False)


def _leave_asleep(dice: Random, held: Held) -> Order:
    return Order("leave_asleep", (dice.choice(WAYS_TO_LEAVE),), lambda *_: False)


def _hang(dice: Random, held: Held) -> Order | None:
    """Only what is bounded may hang."""
    if held.style == "actor" and dice.random() < 0.5:
        return Order("brief", (dice.random() < 0.5,), call_timeout=SHORT)
    return Order("hang", (), lambda *_: False) if held.options.call_timeout is not None else None


def _allocate(dice: Random, held: Held) -> Order | None:
    limits = held.options.limits
    if limits is None or limits.max_memory is None:
        return None
    return Order("allocate", (dice.choice([16 << 20, limits.max_memory * 2]), dice.choice([0.0, 0.3])), small=False)


def _retried(dice: Random, held: Held) -> Order:
    method = dice.choice(["retried", "retried_unless", "retried_always"])
    flag = str(held.journal.with_suffix(f".flag{dice.getrandbits(40)}"))
    return Order(method, (flag,) if method == "retried_unless" else (), retries=RETRIES)


def _keep(dice: Random, held: Held) -> Order:
    sign = dice.randrange(256)
    return Order("keep", (bytes([sign]) * max(_size(dice), 16), sign), small=False)


def _just(method: str, *choices: list[Any]) -> Callable[[Random, Held], Order]:
    return lambda dice, held: Order(method, tuple(dice.choice(values) for values in choices))


@attrs.frozen
class Kind:
    """One kind of call: how often, what `--without` calls it, and what draws it (None: not for this isolate)."""

    name: str
    weight: float
    draw: Callable[[Random, Held], Order | None]
    actors_only: bool = False


KINDS = (
    Kind("calls", 40, _just("fast")),
    Kind("calls", 6, _just("slow", [0.0, 0.001, 0.02, 0.1])),
    Kind("calls", 2, _just("busy", [0.0, 0.01, 0.1])),
    Kind("calls", 5, _fail),
    Kind("arrays", 8, _echo),
    Kind("arrays", 4, _large),
    Kind("arrays", 2, _keep),
    Kind("output", 3, _just("say", [1, 5, 50])),
    Kind("floods", 0.5, _just("say", [3000])),
    Kind("logging", 3, _just("log", [1, 10])),
    Kind("floods", 0.5, _just("log", [1500])),
    Kind("exits", 1.5, _leave),
    Kind("hangs", 1.0, _hang),
    Kind("forks", 1.5, _just("leave_child", [True, False])),
    Kind("memory", 1.5, _allocate),
    Kind("retries", 4, _retried, actors_only=True),
    Kind("retries", 0.5, lambda dice, held: Order("die_unless", (f"{held.journal}.{dice.getrandbits(40)}",))),
    Kind("coroutines", 6, _just("doze", [0.0, 0.005, 0.05]), actors_only=True),
    Kind("coroutine_exits", 0.5, _leave_asleep, actors_only=True),
    Kind("exits", 0.5, _just("stop_myself"), actors_only=True),
)


def draw(world: World, dice: Random, held: Held) -> Order:
    """Return a random call that this isolate understands."""
    possible = [kind for kind in KINDS if kind.name in world.kinds and (held.style == "actor" or not kind.actors_only)]
    while True:
        kind = dice.choices(possible, [kind.weight for kind in possible])[0]
        order = kind.draw(dice, held)
        if order is not None:
            return order
