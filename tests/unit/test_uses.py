"""How it travels what is asked of a thing that is borrowed; what comes is checked, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piactors.pihost.values import uses
from piactors.pihost.values.uses import Use
from piactors.pihost.wire import wire

USES = st.builds(
    Use,
    thing=st.integers(0, (1 << 64) - 1),
    call=st.integers(0, (1 << 64) - 1),
    timeout=st.one_of(st.just(-1.0), st.floats(0, 1e8)),
    operation=st.sampled_from(uses.OPERATIONS),
    answer=st.sampled_from((uses.UNWANTED, uses.ON_CONTROL, uses.ON_DATA)),
    flags=st.sampled_from((wire.PLAIN, wire.PICKLE)),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
    lends=st.binary(max_size=100),
    payload=st.binary(max_size=200),
)


@given(USES)
def test_it_comes_out_as_it_went_in(use: Use) -> None:
    assert uses.unpacked(*uses.packed(use)) == use


@given(st.sampled_from((wire.PLAIN, wire.LENDS)), st.binary(max_size=200))
def test_whatever_comes_is_a_use_or_malformed(flags: int, data: bytes) -> None:
    try:
        found = uses.unpacked(flags, data)
    except ValueError:
        return
    assert found.operation in uses.OPERATIONS
    assert found.timeout < 1e9


@given(USES, st.integers(0, 60))
def test_what_is_cut_short_is_malformed_or_lacks_arguments_alone(use: Use, kept: int) -> None:
    flags, data = uses.packed(use)
    try:
        found = uses.unpacked(flags, data[:kept])
    except ValueError:
        return
    assert found._replace(payload=b"") == use._replace(payload=b"")
    assert use.payload.startswith(found.payload)


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), 1e10])
def test_a_time_that_is_none_is_malformed(timeout: float) -> None:
    flags, data = uses.packed(Use(1, 0, -1.0, "call", 1, 0, "", b"", b""))
    head = uses.HEAD.pack(1, 0, timeout, 0, 1, 0, 0)
    with pytest.raises(ValueError, match="no time"):
        uses.unpacked(flags, head + data[uses.HEAD.size :])
