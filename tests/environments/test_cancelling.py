"""The flag of a build that nobody wants any more."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator

import pytest

from piactors.environments import cancelling
from piactors.environments.cancelling import CancelFlag, Cancelled


@pytest.fixture
def flag() -> Iterator[CancelFlag]:
    made = CancelFlag()
    yield made
    made.close()


def test_whoever_it_wakes_sees_it(flag: CancelFlag, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look between the waking and the setting once missed it, and the build went on for ever."""
    write, seen = os.write, []

    def watched(fd: int, data: bytes) -> int:
        seen.append(flag.is_set())
        return write(fd, data)

    monkeypatch.setattr(cancelling.os, "write", watched)
    flag.set()
    assert seen == [True]
    with pytest.raises(Cancelled):
        flag.check()


def test_many_that_wait_are_woken_once_it_is_set(flag: CancelFlag) -> None:
    seen: list[bool] = []

    def wait() -> None:
        poll = select.poll()
        poll.register(flag.fileno(), select.POLLIN)
        poll.poll(50_000)
        seen.append(flag.is_set())

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert flag.set()
    assert flag.set(), "again"
    for thread in threads:
        thread.join()
    assert seen == [True] * 8


def test_setting_one_that_is_closed_does_not_write_to_what_has_its_descriptor_now() -> None:
    flag = CancelFlag()
    flag.close()
    reading, writing = os.pipe()
    try:
        assert flag.set()
        assert select.select([reading], [], [], 0)[0] == []
    finally:
        os.close(reading)
        os.close(writing)


def test_what_is_to_be_called_is_called_once_or_not_begun(flag: CancelFlag) -> None:
    called: list[int] = []
    with flag.calls(lambda: called.append(1)):
        flag.set()
    with pytest.raises(Cancelled), flag.calls(lambda: called.append(2)):
        raise AssertionError("it goes on")
    assert called == [1]
