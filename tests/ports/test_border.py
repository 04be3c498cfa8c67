"""The port to what crosses as a handle: what both ends of a border have to do, of real processes and in memory."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

import piactors
from piactors import Future
from piactors._values import futures
from piactors._values.handles import Border, Handle, Kind, ProcessBorder
from piactors.errors import PiactorsError

SECONDS = 20.0


class There(Protocol):
    """The other side: it is lent a future of this process, keeps what it gets, and asks for things."""

    def take(self, future: Future[Any]) -> None: ...

    def settle(self, value: Any) -> None: ...

    def fail(self, error: BaseException) -> None: ...

    def give_back(self) -> Any: ...


class Taker(piactors.ProcessActor):
    """The other side in another process."""

    _future: Any = None

    def take(self, future: Future[Any]) -> None:
        self._future = future

    def settle(self, value: Any) -> None:
        self._future.set(value)

    def fail(self, error: BaseException) -> None:
        self._future.set_exception(error)

    def give_back(self) -> Any:
        return self._future


class InProcess:
    """It, as the proxy of a process."""

    def __init__(self) -> None:
        self.ref = Taker.start()
        proxy = self.ref.proxy()
        self.take = lambda future: proxy.take(future).get(timeout=SECONDS)
        self.settle = lambda value: proxy.settle(value).get(timeout=SECONDS)
        self.fail = lambda error: proxy.fail(error).get(timeout=SECONDS)
        self.give_back = lambda: proxy.give_back().get(timeout=SECONDS)


class Held:
    """What takes the place of a future on the other side."""

    def __init__(self, handle: Handle) -> None:
        self.handle = handle

    def lend(self, border: Border) -> Handle:
        return self.handle


class InMemory:
    """It in this process: another border, connected with this one."""

    def __init__(self) -> None:
        kind = Kind(stand_in=Held, operations={})
        self.border = ProcessBorder({futures.FUTURE: kind}, self._post)
        self.held: Any = None

    @staticmethod
    def _post(handle: Handle, operation: str, value: Any, error: BaseException | None) -> None:
        def produce() -> Any:
            if error is not None:
                raise error
            return value

        futures.border.perform(handle, operation, produce)

    def take(self, future: Future[Any]) -> None:
        self.held = self.border.resolve(futures.border.keep(futures.FUTURE, future))

    def settle(self, value: Any) -> None:
        self.border.post(self.held.handle, "settle", value, None)

    def fail(self, error: BaseException) -> None:
        self.border.post(self.held.handle, "settle", None, error)

    def give_back(self) -> Any:
        return futures.border.resolve(self.held.lend(self.border))


@pytest.fixture(params=[InMemory, InProcess], ids=["memory", "process"])
def there(request: pytest.FixtureRequest) -> Iterator[There]:
    made = request.param()
    yield made
    if isinstance(made, InProcess):
        made.ref.stop()


def test_the_other_side_settles_what_was_lent(there: There) -> None:
    future: Future[Any] = Future()
    there.take(future)
    there.settle([1, "two"])
    assert future.get(timeout=SECONDS) == [1, "two"]


def test_the_other_side_fails_what_was_lent(there: There) -> None:
    future: Future[Any] = Future()
    there.take(future)
    there.fail(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        future.get(timeout=SECONDS)


def test_what_comes_back_is_the_thing_itself(there: There) -> None:
    future: Future[Any] = Future()
    there.take(future)
    assert there.give_back() is future


def test_what_is_lent_to_two_can_be_settled_by_either() -> None:
    first, second = InMemory(), InMemory()
    future: Future[Any] = Future()
    first.take(future)
    second.take(future)
    second.settle(2)
    assert future.get(timeout=SECONDS) == 2


def test_lending_keeps_nothing_alive_and_what_is_gone_is_asked_in_vain(there: There) -> None:
    future: Future[Any] = Future()
    alive = weakref.ref(future)
    there.take(future)
    del future
    gc.collect()
    assert alive() is None
    there.settle(1)


def test_what_is_dropped_is_asked_in_vain_and_lent_again_under_another_name(there: There) -> None:
    future: Future[Any] = Future()
    handle = futures.border.keep(futures.FUTURE, future)
    there.take(future)
    futures.border.drop(handle)
    futures.border.drop(handle)
    there.settle("too late")
    assert not future.done()
    assert futures.border.keep(futures.FUTURE, future) != handle
    there.take(future)
    there.settle("in time")
    assert future.get(timeout=SECONDS) == "in time"


def test_a_handle_is_the_same_each_time_and_no_other_things() -> None:
    lent = [Future[int]() for _ in range(100)]
    handles = [futures.border.keep(futures.FUTURE, future) for future in lent]
    assert [futures.border.keep(futures.FUTURE, future) for future in lent] == handles
    assert len(set(handles)) == 100
    assert all(len(handle.token) == 32 for handle in handles)


@pytest.mark.parametrize(("kind", "operation"), [("file", "settle"), ("future", "run"), ("future", "__class__")])
def test_what_there_is_not_is_refused_whether_the_thing_is_there_or_not(kind: str, operation: str) -> None:
    for token in (futures.border.keep(futures.FUTURE, Future[int]()).token, "0" * 32):
        with pytest.raises(LookupError):
            futures.border.perform(Handle(kind, token), operation, lambda: None)


def test_a_stand_in_crosses_as_what_it_stands_for() -> None:
    stand_in = futures.SettableFuture(Handle(futures.FUTURE, "0" * 32))
    found = pickle.loads(pickle.dumps(stand_in))
    assert type(found) is futures.SettableFuture
    assert found.lend(futures.border) == Handle(futures.FUTURE, "0" * 32)


def test_where_nobody_listens_it_says_so() -> None:
    with pytest.raises(PiactorsError, match="belongs to another process"):
        futures.border.post(Handle(futures.FUTURE, "0" * 32), "settle", 1, None)
