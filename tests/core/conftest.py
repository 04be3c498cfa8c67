"""The ways in which a process is made; the core tests run over all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from piactors import IsolationOptions
from piactors._host import runtime

WAYS = ("launcher", "spawn", "portable")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[IsolationOptions]:
    """Options for each way: forked by the launcher, a fresh interpreter, and without any launcher."""
    if request.param != "portable":
        yield IsolationOptions(start_method=request.param)
        return
    runtime.end_current()
    monkeypatch.setenv("PIACTORS_PORTABLE", "launcher,pidfd,memfd")
    yield IsolationOptions()
    runtime.end_current()
