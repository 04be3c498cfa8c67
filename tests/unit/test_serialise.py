"""Which calls may be worth the way through shared memory (`piactors._codec.decode`, `pihost.memory.chunks`)."""

from __future__ import annotations

import array
import functools
import gc
import weakref
from typing import Any

import pytest

from piactors import UntrustedReply
from piactors._codec import decode
from piactors._codec.encode import may_be_large
from piactors.future import Future
from piactors.pihost.memory.chunks import FEW, LEAST, is_heavy
from piactors.pihost.wire import wire

BIG = b"x" * LEAST


class Sized:
    """Says how large it is, as arrays do."""

    def __init__(self, nbytes: object) -> None:
        self.nbytes = nbytes


@pytest.mark.parametrize(
    "args",
    [
        (BIG,),
        (1, BIG),
        ("x" * LEAST,),
        (bytearray(BIG),),
        ([1, BIG],),
        ((BIG,),),
        ({"key": BIG},),
        (Sized(LEAST),),
        (Sized(1), Sized(LEAST)),
        (object(), BIG),
        ([Sized(LEAST)],),
        ({1: Sized(LEAST)},),
        ([*list(range(FEW - 1)), BIG],),
        ([Sized(LEAST)] * 40,),
        (dict.fromkeys(range(40), BIG),),
    ],
    ids=lambda args: ", ".join(type(arg).__name__ for arg in args),
)
def test_large_arguments_are_found_wherever_they_stand(args: tuple[Any, ...]) -> None:
    """Also behind small objects, and by name."""
    assert may_be_large(args, {})
    assert may_be_large((), dict(zip("abc", args, strict=False)))


@pytest.mark.parametrize(
    "args",
    [
        (),
        (1, "a"),
        (BIG[1:],),
        (None, 1.5, True),
        ([b"x"] * FEW,),
        ({"key": "value"},),
        (Sized(LEAST - 1),),
        (Sized("many"),),
        (Sized(None),),
        (object(),),
        ([object(), [BIG]],),
        ([0] * FEW + [BIG],),
        ({1, 2},),
    ],
    ids=lambda args: ", ".join(type(arg).__name__ for arg in args),
)
def test_others_are_not_and_nobody_searches_long(args: tuple[Any, ...]) -> None:
    """What lies deep in containers, or behind the first things in long ones, is not searched for."""
    assert not may_be_large(args, {})
    assert not may_be_large((), dict(zip("abc", args, strict=False)))


@pytest.mark.parametrize(
    ("value", "heavy"),
    [
        (BIG, True),
        (BIG[1:], False),
        ((1, "a"), False),
        ((1, BIG), True),
        ({"key": BIG}, True),
        ([0] * FEW, False),
        ([BIG] * (FEW + 1), False),
        (5, False),
        (Sized(LEAST), False),
        ([[BIG]], False),
    ],
    ids=lambda value: value if isinstance(value, bool) else type(value).__name__,
)
def test_results_with_large_bytes_are_pickled_in_pieces(value: Any, heavy: bool) -> None:
    """Arrays are no bytes: the pickler keeps them apart by itself."""
    assert is_heavy(value) is heavy


def test_the_error_of_a_refused_reply_does_not_hold_the_reply() -> None:
    """It may be a large one, in shared memory: it is let go of while the error is still there."""
    decoder = decode.Decoder("one", False, {}, 1 << 20, lambda number: None)
    data = array.array("B", b"\xff" * 1000)
    alive = weakref.ref(data)
    future: Future[Any] = Future()
    future.settle_with(functools.partial(decoder.value, wire.PLAIN, memoryview(data)))
    del data
    gc.disable()
    try:
        with pytest.raises(UntrustedReply, match="not plain data") as caught:
            future.get()
        assert caught.value.__context__ is None
        assert alive() is None
    finally:
        gc.enable()
