"""The keys of what travels by value: one for each thing, whoever asks for it first."""

from __future__ import annotations

import gc
import sys
import threading
from types import TracebackType
from typing import Any

import pytest

from piactors._codec import keys


class Overtaken:
    """A lock that another thread always gets first."""

    def __init__(self, thing: object) -> None:
        self._lock = threading.RLock()
        self._thing = thing
        self.key: str | None = None

    def __enter__(self) -> bool:
        if self.key is None:
            self.key = ""
            other = threading.Thread(target=self._overtake)
            other.start()
            other.join()
        return self._lock.__enter__()

    def _overtake(self) -> None:
        self.key = keys.key_of(self._thing)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.__exit__(kind, error, at)


def function() -> None:
    """What gets a key."""


@pytest.mark.parametrize("make", [lambda: type("Made", (), {}), lambda: lambda: None], ids=["class", "function"])
def test_two_threads_that_send_a_thing_for_the_first_time_send_one_key(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the isolate would have the thing twice."""
    thing = make()
    lock = Overtaken(thing)
    monkeypatch.setattr(keys, "_lock", lock)
    assert keys.key_of(thing) == lock.key == keys.key_of(thing)
    assert keys.known(lock.key) is thing


def test_a_signal_handler_that_comes_while_a_key_is_made_does_not_wait_for_its_own_thread() -> None:
    with keys._lock:
        key = keys.key_of(function)
    assert keys.key_of(function) == key


@pytest.mark.parametrize("is_late", [False, True])
def test_what_lives_until_the_interpreter_ends_is_forgotten_in_silence(
    is_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the modules are empty that would be told."""
    told: list[str] = []
    monkeypatch.setattr(keys, "on_forgotten", [told.append])
    monkeypatch.setattr(sys, "is_finalizing", lambda: is_late)
    thing = type("Made", (), {})
    key = keys.key_of(thing)
    del thing
    gc.collect()
    assert (key in told) is not is_late
