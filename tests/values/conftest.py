"""Actors that the tests of what goes by reference share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from piactors import ProcessActor
from tests.children.streaming import Maker
from tests.children.talking import Store, User

SECONDS = 20


def running(actor: type[ProcessActor]) -> Iterator[Any]:
    """Yield an actor that is stopped afterwards."""
    ref = actor.with_options(restart="permanent").start()
    yield ref
    ref.stop(timeout=SECONDS)


@pytest.fixture
def all_stopped() -> Iterator[None]:
    """Stop all actors afterwards."""
    yield
    pykka.ActorRegistry.stop_all(timeout=SECONDS)


@pytest.fixture
def store() -> Iterator[Any]:
    """Something that others use."""
    yield from running(Store)


@pytest.fixture
def user() -> Iterator[Any]:
    """One that uses what it is given."""
    yield from running(User)


@pytest.fixture
def maker() -> Iterator[Any]:
    """One that yields items."""
    yield from running(Maker)


@pytest.fixture
def other() -> Iterator[Any]:
    """Another one, which reads them."""
    yield from running(Maker)
