"""A rehearsal in a launcher or a spare leaves nothing behind for the isolates that come of it."""

from __future__ import annotations

from typing import Any

import pytest

import piactors
from piactors import Future, IsolationOptions, ProcessActor, ProcessIsolator
from tests.children import snapshot

_TRIES = 20


def seen(module: str, rehearsed: bool) -> dict[str, str]:
    """Return what is seen in an isolate of a launcher of its own, which has or has not been a spare that rehearsed.

    Whoever is started right after another one may be the spare before that has rehearsed, and is no use then.
    """
    options = IsolationOptions(preload=[module], name="the same")
    for _ in range(_TRIES):
        with ProcessIsolator(options) as isolator:
            if isolator.invoke_method(f"{snapshot.__name__}:was_rehearsed", module).get(timeout=20) is rehearsed:
                found: dict[str, str] = isolator.invoke_method(f"{snapshot.__name__}:snapshot").get(timeout=40)
                return found
    raise AssertionError(f"no isolate of {_TRIES} came of a spare")


@pytest.mark.timeout(120)
def test_an_isolate_that_has_rehearsed_is_as_one_that_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # for the launchers, so that sets have the same order
    without = seen("tests.children.unrehearsed", False)
    with_one = seen("tests.children.rehearsed", True)
    assert len(without) > 1000
    differences = {
        place: (without.get(place), with_one.get(place))
        for place in without.keys() | with_one.keys()
        if without.get(place) != with_one.get(place)
    }
    expected = {
        "tests.children.rehearsed",
        "tests.children.unrehearsed",
        "_pihost.serve.control.current",  # of each process, with all that it has sent
    }
    assert {place: pair for place, pair in differences.items() if place not in expected} == {}


def set_it(future: Any) -> str:
    future.set("set")
    return "done"


def fail_it(future: Any) -> None:
    try:
        raise LookupError("lost")
    except LookupError:
        future.set_exception()


class Setter(ProcessActor):
    def set_it(self, future: Any) -> str:
        return set_it(future)


def test_code_that_was_handed_over_sets_a_future_of_the_host(way: IsolationOptions) -> None:
    for call in (
        Setter.with_options(way).start().proxy().set_it,
        piactors.spawn(set_it, options=way).proxy().call,
    ):
        future: Future[Any] = Future()
        assert call(future).get(timeout=20) == "done"
        assert future.get(timeout=20) == "set"
    failing: Future[Any] = Future()
    piactors.spawn(fail_it, options=way).proxy().call(failing).get(timeout=20)
    with pytest.raises(LookupError, match="lost"):
        failing.get(timeout=20)


def test_code_called_by_name_sets_a_future_of_the_host_that_it_is_given(way: IsolationOptions) -> None:
    """What it is lent it may use, though it may ask nothing else of the host."""
    with ProcessIsolator(way) as isolator:
        future: Future[Any] = Future()
        assert isolator.invoke_method(f"{__name__}:set_it", future).get(timeout=20) == "done"
        assert future.get(timeout=20) == "set"
