"""Arrays of a reply that was copied out of the isolate's reach: one that is most of it stays in that copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from piactors._codec.decode import _private
from piactors.pihost.plain import decode, encode


def received(value: Any, *, owned: bool = True) -> tuple[Any, bytearray]:
    """Return a value as it arrives in two chunks, and the copy that it was decoded from."""
    data = bytes(encode.encode(value))
    copy = _private([memoryview(data[:70]), memoryview(data[70:])])
    assert copy == data
    return decode.decode(copy, budget=1 << 30, owned=owned), copy


@pytest.mark.parametrize("size", [1000, 1001, 4099])
@pytest.mark.parametrize("dtype", ["u1", "<i2", "<f8", "<c16"])
def test_an_array_that_is_most_of_a_reply_is_not_copied_again(dtype: str, size: int) -> None:
    value = np.arange(size).astype(dtype)
    for sent in (value, ("some", "words", value)):
        found, copy = received(sent)
        array = found if isinstance(found, np.ndarray) else found[-1]
        assert np.shares_memory(array, np.frombuffer(copy, "u1"))
        assert array.flags.writeable
        assert array.flags.aligned
        assert (array == value).all()


def test_one_that_is_less_does_not_hold_the_rest() -> None:
    small, large = np.arange(100.0), np.arange(10_000.0)
    found, copy = received([small, b"x" * 100_000, large])
    assert not np.shares_memory(found[0], np.frombuffer(copy, "u1"))
    assert (found[0] == small).all()
    assert (found[2] == large).all()


def test_one_that_does_not_lie_right_is_copied() -> None:
    value = np.arange(1000.0)
    found, copy = received([value, "x"])
    assert found[0].flags.aligned
    assert (found[0] == value).all()
    assert not np.shares_memory(found[0], np.frombuffer(copy, "u1"))


def test_of_data_that_others_have_nothing_is_kept() -> None:
    value = np.arange(1000.0)
    found, copy = received(value, owned=False)
    assert not np.shares_memory(found, np.frombuffer(copy, "u1"))


def test_items_that_must_not_be_are_refused_all_the_same() -> None:
    copy = bytearray(encode.encode(np.ones(5000, bool)))
    copy[-1] = 255
    with pytest.raises(decode.BadPlain, match="bool"):
        decode.decode(copy, budget=1 << 30, owned=True)
