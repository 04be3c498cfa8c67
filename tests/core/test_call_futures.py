"""The future of every kind of call is a future of pykka, of asyncio and of the standard library alike."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pykka
import pytest

import piactors
from piactors import ChildSpec, Future, ProcessIsolator, Supervisor
from tests.children.waits import Waiter
from tests.support import wait_until

PATIENCE = 20


class Kinds:
    """An actor, an isolator and a supervisor, and calls of each kind that come to [1, 2, 3]."""

    def __init__(self) -> None:
        self.ref = Waiter.start()
        self.proxy = self.ref.proxy()
        self.isolator = ProcessIsolator().start()
        self.tree = Supervisor.start(children=[ChildSpec("child", Waiter)])
        self.proxy.numbers = [1, 2, 3]

    def call(self, kind: str) -> Any:
        """Make a call of this kind, and return its future."""
        makers: dict[str, Callable[[], Any]] = {
            "method": lambda: self.proxy.many(),
            "attribute": lambda: self.proxy.numbers,
            "ask": lambda: self.ref.ask([1, 2, 3], block=False),
            "by_name": lambda: self.isolator.invoke_method("builtins:list", [1, 2, 3]),
            "by_object": lambda: self.isolator.invoke_method(list, [1, 2, 3]),
            "submit": lambda: self.isolator.submit(list, [1, 2, 3]),
            "of_child": lambda: self.tree.child("child").proxy().many(),
        }
        return makers[kind]()

    def close(self) -> None:
        self.isolator.terminate()
        self.tree.stop()
        self.ref.stop()


KINDS = ("method", "attribute", "ask", "by_name", "by_object", "submit", "of_child")


@pytest.fixture
def made() -> Iterator[Kinds]:
    found = Kinds()
    yield found
    found.close()


@pytest.fixture
def waiter() -> Iterator[piactors.IsolateRef]:
    ref = Waiter.start()
    yield ref
    ref.terminate()


def pykkas(value: Any) -> pykka.Future[Any]:
    future: pykka.Future[Any] = pykka.ThreadingFuture()
    future.set(value)
    return future


DERIVED: dict[str, Callable[[Any], Any]] = {
    "map": lambda f: f.map(len),
    "filter": lambda f: f.filter(lambda x: x > 1),
    "reduce": lambda f: f.reduce(lambda x, y: x + y, 10),
    "join": lambda f: f.join(pykkas(4)),
    "nested": lambda f: f.map(sorted).filter(bool).join(f.map(str)).map(repr),
}


def test_each_kind_of_call_can_be_derived_from_as_pykkas_futures_can(made: Kinds) -> None:
    for kind in KINDS:
        for name, derive in DERIVED.items():
            found = derive(made.call(kind)).get(timeout=PATIENCE)
            assert found == derive(pykkas([1, 2, 3])).get(), (kind, name)


def test_each_kind_of_call_is_a_standard_future(made: Kinds) -> None:
    for kind in KINDS:
        assert isinstance(made.call(kind), concurrent.futures.Future)
        assert made.call(kind).result(PATIENCE) == [1, 2, 3]
        done, left = concurrent.futures.wait([made.call(kind), made.call(kind).map(len)], timeout=PATIENCE)
        assert (len(done), left) == (2, set())
        found = [f.result() for f in concurrent.futures.as_completed([made.call(kind)], timeout=PATIENCE)]
        assert found == [[1, 2, 3]]


def test_each_kind_of_call_is_awaited_in_every_way(made: Kinds) -> None:
    async def ways(kind: str) -> list[Any]:
        (one,), left = await asyncio.wait([made.call(kind)])
        assert not left
        loop = asyncio.get_running_loop()
        return [
            one.get(timeout=0),
            await asyncio.wrap_future(made.call(kind)),
            await made.call(kind),
            *await asyncio.gather(made.call(kind), made.call(kind)),
            await asyncio.wait_for(made.call(kind), PATIENCE),
            await loop.run_in_executor(made.isolator, list, [1, 2, 3]),  # type: ignore[arg-type]
        ]

    for kind in KINDS:
        assert asyncio.run(ways(kind)) == [[1, 2, 3]] * 7, kind


def test_stops_have_such_futures_too() -> None:
    ref, tree = Waiter.start(), Supervisor.start(children=[ChildSpec("child", Waiter)])
    for found in (ref.stop(block=False), tree.stop(block=False), ref.stop(block=False)):
        done, left = concurrent.futures.wait([found], timeout=PATIENCE)
        assert (done, left) == ({found}, set())
    assert ref.stop(block=False).map(lambda was_alive: not was_alive).get() is True
    assert ref.stop() is False


def test_wait_sees_calls_that_end_while_it_looks(waiter: piactors.IsolateRef) -> None:
    """Whether an answer comes before, while or after the waiter is put in place, none is missed or counted twice."""
    proxy = waiter.proxy()
    for _ in range(100):
        calls = [proxy.one() for _ in range(5)]
        done, left = concurrent.futures.wait(calls, timeout=PATIENCE)
        assert (len(done), len(left)) == (5, 0)
        assert len(list(concurrent.futures.as_completed([proxy.one() for _ in range(5)], timeout=PATIENCE))) == 5


def test_wait_returns_at_the_first_that_ends_or_fails(waiter: piactors.IsolateRef, tmp_path: Path) -> None:
    proxy, go = waiter.proxy(), tmp_path / "go"
    one, late = proxy.one(), proxy.when_there(str(go))
    done, left = concurrent.futures.wait([one, late], PATIENCE, concurrent.futures.FIRST_COMPLETED)
    assert (done, left) == ({one}, {late})
    assert concurrent.futures.wait([late], timeout=0.01) == (set(), {late})
    with pytest.raises(TimeoutError):
        list(concurrent.futures.as_completed([late], timeout=0.01))
    go.touch()
    assert late.result(PATIENCE) is None
    go.unlink()
    fails, late = proxy.fail(), proxy.when_there(str(go))
    done, left = concurrent.futures.wait([fails, late], PATIENCE, concurrent.futures.FIRST_EXCEPTION)
    assert (done, left) == ({fails}, {late})
    go.touch()


def test_a_cancelled_call_ends_a_wait(waiter: piactors.IsolateRef, tmp_path: Path) -> None:
    proxy, go = waiter.proxy(), tmp_path / "go"
    first, second = proxy.when_there(str(go)), proxy.one()
    wait_until(first.running)
    assert not second.running()
    assert second.cancel()
    assert concurrent.futures.wait([second], timeout=PATIENCE) == ({second}, set())
    with pytest.raises(concurrent.futures.CancelledError):
        second.result()
    go.touch()
    assert first.result(PATIENCE) is None
    assert not first.running()


def test_a_callback_is_called_on_the_loop_of_the_thread_that_added_it(waiter: piactors.IsolateRef) -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        threads: list[threading.Thread] = []

        def on_loop(found: Future[int]) -> None:
            assert found.get(timeout=0) == 1
            threads.append(threading.current_thread())
            told.set()

        never: list[Any] = []
        for call in (waiter.proxy().one(), waiter.proxy().one().map(abs)):
            told.clear()
            call.add_done_callback(never.append)
            call.add_done_callback(on_loop)
            assert call.remove_done_callback(never.append) == 1
            assert call.remove_done_callback(never.append) == 0
            await asyncio.wait_for(told.wait(), PATIENCE)
        assert set(threads) == {threading.current_thread()}
        assert never == []
        elsewhere = waiter.proxy().one()
        found = await loop.run_in_executor(None, _callback_thread, elsewhere)
        assert found is not threading.current_thread()

    asyncio.run(main())


def _callback_thread(call: Future[Any]) -> threading.Thread:
    """Return the thread that runs a callback which is added in a thread without a loop."""
    found: list[threading.Thread] = []
    called = threading.Event()
    call.add_done_callback(lambda _: (found.append(threading.current_thread()), called.set()))
    assert called.wait(PATIENCE)
    return found[0]


def test_a_removed_callback_is_not_called(waiter: piactors.IsolateRef, tmp_path: Path) -> None:
    call, called = waiter.proxy().when_there(str(tmp_path / "go")), []
    call.add_done_callback(called.append)
    call.add_done_callback(called.append)
    assert call.remove_done_callback(called.append) == 2
    (tmp_path / "go").touch()
    assert _callback_thread(call) is not None  # callbacks run in order
    assert called == []
    with pytest.raises(TypeError, match="cannot be called"):
        call.add_done_callback(None)


@pytest.mark.parametrize(
    ("timeout", "said"),
    [(1, "1 second"), (1.0, "1 second"), (0.25, "0.25 seconds"), (0, "0 seconds"), (-3, "0 seconds")],
)
def test_a_time_out_names_the_call_and_the_isolate(timeout: float, said: str, tmp_path: Path) -> None:
    ref = Waiter.with_options(name="blur").start()
    proxy = ref.proxy()
    slow = proxy.when_there(str(tmp_path / "go"))
    waits: dict[str, Callable[[], object]] = {
        "from when_there()": lambda: slow.get(timeout=timeout),
        "from attribute number": lambda: proxy.number.get(timeout=timeout),
        "to a message": lambda: ref.ask("x", timeout=timeout),
    }
    for what, wait in waits.items():
        with pytest.raises(pykka.Timeout) as caught:
            wait()
        assert str(caught.value) == f"blur: no answer {what} within {said}"
        assert isinstance(caught.value, TimeoutError)
    derived = [slow.map(str), slow.join(slow)]
    for future in (slow, *derived):
        with pytest.raises(TimeoutError, match=rf"^blur: no answer from when_there\(\) within {said}$"):
            future.result(timeout)
        with pytest.raises(concurrent.futures.TimeoutError):
            future.exception(timeout)
    (tmp_path / "go").touch()
    assert slow.get(timeout=PATIENCE) is None


def test_infinite_time_outs_wait(waiter: piactors.IsolateRef) -> None:
    for timeout in (math.inf, 1e12, None):
        assert waiter.proxy().one().get(timeout=timeout) == 1
        assert waiter.proxy().one().map(abs).get(timeout=timeout) == 1
        assert waiter.ask(5, timeout=timeout) == 5
        assert waiter.proxy().one().exception(timeout) is None
        assert waiter.proxy().one().result(timeout) == 1
    assert waiter.stop(timeout=math.inf)
    assert waiter.wait_for_exit(math.inf) is not None


@pytest.mark.parametrize(("timeout", "error"), [("1", TypeError), (True, TypeError), (math.nan, ValueError)])
def test_a_time_out_that_is_no_number_of_seconds_is_refused(timeout: Any, error: type[Exception]) -> None:
    future: Future[int] = Future()
    with pytest.raises(error, match="use a number of seconds"):
        future.get(timeout=timeout)
