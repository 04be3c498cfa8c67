"""The options of an actor's class, which are made when somebody looks at them."""

from __future__ import annotations

import threading
import typing
from typing import Any

import pytest

import piactors
from piactors import ActorDeadError, IsolateCrashed, IsolationOptions, ProcessActor, StartError, actor
from piactors.actor import _options_so_far, _UsualOptions


@pytest.fixture
def _not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessActor, "isolation", _UsualOptions(), raising=False)


class Plain(ProcessActor):
    """Sets no options."""


class Own(ProcessActor):
    """Sets some."""

    isolation = IsolationOptions(concurrency=2)


class Computed(ProcessActor):
    """Computes them."""

    class _Options:
        def __get__(self, instance: object, owner: type) -> IsolationOptions:
            return IsolationOptions(concurrency=3)

    isolation: Any = _Options()


@pytest.mark.usefixtures("_not_made")
def test_they_are_made_once_and_by_a_look() -> None:
    assert _options_so_far(Plain) is None
    found = Plain.isolation
    assert found == IsolationOptions()
    assert ProcessActor.isolation is found
    assert _options_so_far(Plain) is found


@pytest.mark.usefixtures("_not_made")
def test_a_class_that_has_its_own_has_them() -> None:
    for cls, concurrency in ((Own, 2), (Computed, 3), (type("Below", (Own,), {}), 2)):
        found = _options_so_far(cls)
        assert found is not None
        assert (found.concurrency, cls.isolation.concurrency) == (concurrency, concurrency)


@pytest.mark.usefixtures("_not_made")
def test_what_is_set_while_they_are_made_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    own, usual = IsolationOptions(concurrency=4), vars(ProcessActor)["isolation"]
    with actor._making:
        looker = threading.Thread(target=lambda: Plain.isolation)
        looker.start()
        monkeypatch.setattr(ProcessActor, "isolation", own)
    looker.join()
    assert Plain.isolation is own
    assert usual is not own


@pytest.mark.parametrize("cls", [Plain, Own, StartError, IsolateCrashed, ActorDeadError])
def test_type_hints_of_classes_can_be_asked_for(cls: type) -> None:
    """By what injects dependencies, or checks types at run time."""
    assert isinstance(typing.get_type_hints(cls), dict)


def test_a_starter_is_where_it_was() -> None:
    from piactors.actor import ActorStarter

    assert isinstance(Plain.with_options(concurrency=2), ActorStarter)
    assert ActorStarter is piactors.ActorStarter
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        actor.nothing  # noqa: B018
