"""Objects and functions that are lent by reference, to isolates and by them: where they run, and when the loan ends."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import piactors
from piactors import IsolateCrashed, NoCaller, NotPermitted, NotSendable, ProcessIsolator, Released, by_ref
from tests import inside
from tests.children.talking import Counter, Store, User
from tests.kept import Kept
from tests.support import wait_until

SECONDS = 20
PLAIN = "tests.children.plain_talk"


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


def here(*args: Any) -> Any:
    return (threading.current_thread().name, os.getpid(), *args)


# Callbacks


def test_a_function_runs_here_and_answers_there(user: Any) -> None:
    name, pid, *args = get(user.proxy().run(by_ref(here), 1, [2]))
    assert (name, pid, args) == ("piactors-events", os.getpid(), [1, [2]])


def test_what_it_raises_is_raised_there(user: Any) -> None:
    def fails(value: Any) -> None:
        raise LookupError("no", value)

    with pytest.raises(LookupError) as caught:
        get(user.proxy().run(by_ref(fails), 3))
    assert caught.value.args == ("no", 3)


def test_methods_run_on_the_object_itself_and_attributes_are_read(user: Any) -> None:
    counter = Counter()
    proxy = user.proxy()
    assert get(proxy.method(by_ref(counter), "up", 3)) == 3
    assert get(proxy.method(by_ref(counter), "up")) == 4
    assert counter.count == 4
    assert get(proxy.run(lambda thing: (thing.count, thing.step), by_ref(counter))) == (4, 2)
    with pytest.raises(ValueError, match="no"):
        get(proxy.method(by_ref(counter), "fail"))
    for name in ("nothing", "_private", "__nothing__"):
        with pytest.raises(AttributeError):
            get(proxy.method(by_ref(counter), name))


def test_only_the_methods_that_are_named_may_be_called(user: Any) -> None:
    counter = Counter()
    handle = by_ref(counter, methods=["up"])
    assert get(user.proxy().method(handle, "up")) == 1
    for name in ("pid", "fail", "count"):
        with pytest.raises(NotPermitted, match="up"):
            get(user.proxy().method(handle, name))
    with pytest.raises(NotPermitted):
        get(user.proxy().run(handle))


def test_it_may_be_called_from_a_thread_and_a_coroutine_and_without_waiting(user: Any) -> None:
    proxy = user.proxy()
    assert get(proxy.in_thread(by_ref(here), 1))[1:] == (os.getpid(), 1)
    assert get(proxy.in_coroutine(by_ref(here), 2))[1:] == (os.getpid(), 2)
    seen: list[int] = []
    get(proxy.run(lambda function: [function.defer(number) for number in range(100)], by_ref(seen.append)))
    wait_until(lambda: len(seen) == 100)
    assert seen == list(range(100))


def test_what_is_told_and_fails_is_logged(user: Any, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise LookupError("nobody waits")

    get(user.proxy().run(lambda function: function.defer(), by_ref(fails)))
    wait_until(lambda: "it failed" in caplog.text)
    assert "nobody waits" in caplog.text


def test_large_arguments_and_results_go_by_value(user: Any) -> None:
    def double(data: bytes) -> bytes:
        return data * 2

    data = os.urandom(1 << 20)
    assert get(user.proxy().run(by_ref(double), data)) == data * 2


def test_results_that_cannot_be_sent_are_told_so(user: Any) -> None:
    with pytest.raises(piactors.NotSendable, match="lock"):
        get(user.proxy().run(by_ref(threading.Lock)))


def test_arguments_and_results_may_be_lent_themselves(user: Any) -> None:
    """A callback that gets a callback, and returns one."""

    def outer(inner: Any) -> Any:
        return by_ref(lambda value: (*inner(value), "outer"))

    proxy = user.proxy()
    assert get(proxy.run(_nested, by_ref(outer)))[0::3] == ("here", "outer")


def _nested(outer: Any) -> Any:
    return outer(piactors.by_ref(lambda value: ("here", value, os.getpid())))(5)


def test_code_of_other_interpreters_gets_a_plain_function() -> None:
    with ProcessIsolator() as isolator:
        invoke = isolator.invoke_method
        assert get(invoke(f"{PLAIN}:call", by_ref(here), 1))[1:] == (os.getpid(), 1)
        assert get(invoke(f"{PLAIN}:describe", by_ref(here))) == ("_pihost.values.objects", "BorrowedFunction")
        counter = Counter()
        assert get(invoke(f"{PLAIN}:method", by_ref(counter), "up", 2)) == 2
        seen: list[int] = []
        assert get(invoke(f"{PLAIN}:call_often", by_ref(seen.append), 50)) == 50
        assert seen == list(range(50))
        assert get(invoke(f"{PLAIN}:back", by_ref(counter))) is counter


def test_an_isolate_that_is_not_trusted_lends_things_of_every_kind() -> None:
    ref = piactors.spawn("tests.children.plain_lender:PlainLender", options=piactors.IsolationOptions(trust="data"))
    proxy = ref.proxy()
    assert get(proxy.function())(3) == [3]
    get(proxy.writer()).set([1])
    assert get(proxy.was_set()) == [1]
    assert get(get(proxy.future())["future"]) == [1]
    assert list(get(proxy.items())) == [1, 2, 3]
    assert list(proxy.numbers()) == [1, 2, 3]
    assert get(proxy.back(ref)) == [ref]
    assert get(proxy.back(by_ref(here)))[0] is here
    ref.stop(timeout=SECONDS)


def test_an_isolate_that_is_not_trusted_sends_plain_data_alone() -> None:
    seen: list[Any] = []
    with ProcessIsolator() as isolator:
        with pytest.raises(Exception, match="cannot be sent"):
            get(isolator.invoke_method(f"{PLAIN}:call", by_ref(seen.append), object))
        get(isolator.invoke_method(f"{PLAIN}:call", by_ref(seen.append), {"plain": [1, 2.5]}))
    assert seen == [{"plain": [1, 2.5]}]


# Where it runs


def test_it_runs_in_an_executor(user: Any) -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        assert get(user.proxy().run(by_ref(here, run=executor)))[0] == "mine_0"
    with pytest.raises(RuntimeError, match="shutdown"):
        get(user.proxy().run(by_ref(here, run=executor)))


def test_it_runs_in_the_thread_that_waits_for_the_call(user: Any) -> None:
    mine = threading.current_thread().name
    handle = by_ref(here, run="caller")
    assert get(user.proxy().run(handle))[0] == mine
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(get(user.proxy().run(handle))[0]), name=f"waits-{number}")
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["waits-0", "waits-1", "waits-2"]


def test_a_database_connection_stays_in_its_thread(user: Any) -> None:
    connection = sqlite3.connect(":memory:")

    class Queries:
        def run(self, text: str) -> Any:
            return connection.execute(text).fetchall()

    handle = by_ref(Queries(), run="caller")
    get(user.proxy().method(handle, "run", "create table t (a)"))
    get(user.proxy().method(handle, "run", "insert into t values (3)"))
    assert get(user.proxy().method(handle, "run", "select a from t")) == [(3,)]
    with pytest.raises(sqlite3.OperationalError):
        get(user.proxy().method(handle, "run", "nonsense"))
    with pytest.raises(sqlite3.ProgrammingError):
        get(user.proxy().method(by_ref(Queries()), "run", "select a from t"))
    connection.close()


def test_it_waits_for_the_thread_that_will_wait(user: Any) -> None:
    future = user.proxy().run(by_ref(here, run="caller"))
    wait_until(lambda: future._errands)
    assert get(future)[0] == threading.current_thread().name


def test_it_runs_for_a_call_that_another_isolate_made_on_the_way(user: Any) -> None:
    """The thread waits for the first call; the one that calls back is the second's."""
    other = User.start()
    get(other.proxy().keep(by_ref(here, run="caller")))
    assert get(user.proxy().call(other, "run_kept"))[0] == threading.current_thread().name
    other.stop()


def test_no_thread_waits_for_what_is_told_or_awaited(user: Any) -> None:
    handle = by_ref(here, run="caller")

    async def main() -> None:
        with pytest.raises(NoCaller):
            await user.proxy().run(handle)

    asyncio.run(main())
    seen: list[Any] = []
    user.proxy().run.defer(_note_error, handle, by_ref(seen.append))
    wait_until(lambda: seen)
    assert seen == ["NoCaller"]


def _note_error(function: Any, note: Any) -> None:
    try:
        function()
    except Exception as error:
        note(type(error).__name__)


def test_it_runs_on_the_event_loop_and_coroutines_are_awaited(user: Any) -> None:
    async def main() -> Any:
        loop = asyncio.get_running_loop()

        async def slowly(value: int) -> tuple[bool, int]:
            await asyncio.sleep(0.01)
            return asyncio.get_running_loop() is loop, value

        def at_once() -> bool:
            return asyncio.get_running_loop() is loop

        async def fails() -> None:
            raise LookupError("awaited")

        assert await user.proxy().run(by_ref(slowly, run="loop"), 3) == (True, 3)
        assert await user.proxy().run(by_ref(at_once, run="loop")) is True
        with pytest.raises(LookupError, match="awaited"):
            await user.proxy().run(by_ref(fails, run="loop"))
        return by_ref(at_once, run="loop")

    late = asyncio.run(main())
    with pytest.raises(RuntimeError, match="closed"):
        get(user.proxy().run(late))


def test_a_thread_that_is_interrupted_in_what_it_runs_raises_that_itself(user: Any) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    future = user.proxy().run(by_ref(interrupted, run="caller"))
    with pytest.raises(KeyboardInterrupt):
        get(future)
    with pytest.raises(Exception, match="KeyboardInterrupt"):
        get(future)
    assert get(user.proxy().back(1)) == 1, "the isolate lives"


def test_nested_calls_back_run_while_their_thread_waits(user: Any) -> None:
    def outer(value: int) -> Any:
        return get(user2.proxy().run(by_ref(inner, run="caller"), value))

    def inner(value: int) -> Any:
        return threading.current_thread().name, value

    user2 = User.start()
    assert get(user.proxy().run(by_ref(outer, run="caller"), 4)) == (threading.current_thread().name, 4)
    user2.stop()


@pytest.mark.parametrize(
    ("more", "kind", "text"),
    [
        ({"run": "somewhere"}, ValueError, "'caller'"),
        ({"run": "loop"}, ValueError, "event loop"),
        ({"run": None}, ValueError, "Executor"),
        ({"methods": "up"}, TypeError, "list of names"),
        ({"methods": ["_up"]}, TypeError, "public"),
        ({"methods": [3]}, TypeError, "3"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(more: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        by_ref(Counter(), **more)


def test_a_coroutine_function_needs_a_loop() -> None:
    async def coroutine() -> None: ...

    with pytest.raises(ValueError, match="run='loop'"):
        by_ref(coroutine)


# How long it is lent


def test_a_loan_ends_with_its_block(user: Any) -> None:
    with by_ref(Counter()) as handle:
        get(user.proxy().keep(handle))
        assert get(user.proxy().run(lambda: None)) is None
        assert handle.holders() == (user.name,)
    with pytest.raises(Released):
        get(user.proxy().run_kept())
    with pytest.raises(Released):
        get(user.proxy().run(handle))
    assert "released" in repr(handle)


def test_what_waits_to_run_fails_when_it_is_released(user: Any) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go.wait(SECONDS)

    first = user.proxy().run(lambda slow: slow(), by_ref(slow))
    assert begun.wait(SECONDS)
    other = User.start()
    handle = by_ref(here)
    waiting = other.proxy().run(handle)
    wait_until(lambda: handle.holders())
    handle.release()
    go.set()
    get(first)
    with pytest.raises(Released):
        get(waiting)
    other.stop()


def test_it_is_kept_for_who_holds_it_and_let_go_of_after_that(user: Any) -> None:
    counter = Counter()
    alive = weakref.ref(counter)
    handle = by_ref(counter)
    get(user.proxy().keep(handle))
    del handle, counter
    gc.collect()
    assert alive() is not None
    assert get(user.proxy().run(lambda: None)) is None
    get(user.proxy().keep(None))
    wait_until(lambda: alive() is None)


def test_it_ends_with_the_process_that_borrows_it(user: Any) -> None:
    handle = by_ref(Counter())
    get(user.proxy().keep(handle))
    assert handle.holders() == (user.name,)
    with pytest.raises(IsolateCrashed):
        get(user.proxy().die())
    wait_until(lambda: handle.holders() == ())
    assert get(user.proxy().kept_back()) is None


def test_what_was_given_at_the_start_is_lent_to_each_process() -> None:
    seen: list[int] = []
    ref = User.with_options(restart="permanent").start(by_ref(lambda value: seen.append(value)))
    for generation in (1, 2, 3):
        get(ref.proxy().run_given(generation))
        with pytest.raises(IsolateCrashed):
            get(ref.proxy().die())
    assert seen == [1, 2, 3]
    ref.stop()


def test_a_message_takes_its_loans_to_the_process_that_runs_it(user: Any) -> None:
    """It waits while the process dies, and runs in the next one."""
    seen: list[Any] = []
    crash = user.proxy().die()
    waiting = user.proxy().run(by_ref(seen.append), "late")
    with pytest.raises(IsolateCrashed):
        get(crash)
    get(waiting)
    assert seen == ["late"]


def test_what_an_actor_tells_itself_may_hold_what_it_borrows(user: Any) -> None:
    counter = Counter()
    get(user.proxy().tell_myself(by_ref(counter)))
    assert get(user.proxy().kept_back()) is counter
    assert get(get(user.proxy().ask_myself(by_ref(counter)))) is counter


def test_10_000_loans_leave_nothing(user: Any) -> None:
    proxy = user.proxy()

    def lend(count: int) -> None:
        for _ in range(count):
            assert get(proxy.run(by_ref(Counter().up), 1)) == 1

    lend(500)
    before = Kept.now(user.pid)
    lend(10_000)
    ledger = user._isolate.life.current.process.ledger
    wait_until(lambda: len(ledger) <= 1)
    before.no_more()


# What isolates lend


def test_an_isolate_lends_an_object_and_a_function(user: Any) -> None:
    counter = get(user.proxy().lend())
    assert counter.up(5) == 5
    assert counter.count == 5
    assert counter.pid() == user.pid
    with pytest.raises(ValueError, match="no"):
        counter.fail()
    with pytest.raises(AttributeError):
        counter.nothing()
    function = get(user.proxy().lend_function())
    assert function(3) == ("here", 3, user.pid)
    assert function.future(4).get(timeout=SECONDS) == ("here", 4, user.pid)
    assert type(get(user.proxy().back([counter]))[0]) is Counter, (
        "at home it is the object itself, which is then copied"
    )
    other = User.start()
    assert get(other.proxy().back([counter]))[0] is counter
    other.stop()


def test_it_answers_while_a_call_runs(user: Any) -> None:
    counter = get(user.proxy().lend())
    call = user.proxy().run(time.sleep, 1)
    wait_until(call.running)
    assert counter.up() == 1
    assert not call.done()
    get(call)


def test_one_isolate_uses_what_another_one_lends(user: Any) -> None:
    other = User.start()
    counter = get(user.proxy().lend())
    assert get(other.proxy().method(counter, "up", 2)) == 2
    assert get(other.proxy().run(lambda thing: thing.pid(), counter)) == user.pid
    get(other.proxy().keep(counter))
    del counter
    gc.collect()
    assert get(other.proxy().run(lambda: None)) is None
    assert get(other.proxy().kept_back()).up() == 3
    other.stop()


def test_it_is_released_there_when_nobody_holds_it_here(user: Any) -> None:
    counter = get(user.proxy().lend())
    get(user.proxy().keep(counter))
    probe = get(user.proxy().run(_weak_count))
    assert probe == 1
    get(user.proxy().keep(None))
    del counter
    gc.collect()
    wait_until(lambda: get(user.proxy().run(_weak_count)) == 0)


def _weak_count() -> int:
    import gc
    import sys

    gc.collect()
    return len(sys.modules["_pihost.serve.control"].current.border._lent)  # type: ignore[attr-defined]


def test_what_a_process_has_lent_is_gone_with_it(user: Any) -> None:
    counter = get(user.proxy().lend())
    with pytest.raises(IsolateCrashed):
        get(user.proxy().die())
    assert get(user.proxy().back(1)) == 1
    with pytest.raises(Released, match="has ended"):
        counter.up()
    with pytest.raises(Released):
        get(user.proxy().method(counter, "up"))


def test_a_store_that_calls_back_into_the_one_that_calls_it() -> None:
    """A lends to B and waits for B, which calls A: that is no message in A's mailbox, so nothing waits for itself."""
    first, second = User.start(), User.start()
    assert get(first.proxy().run(_lend_and_call, second)) == ("here", 6)
    first.stop()
    second.stop()


def _lend_and_call(other: Any) -> Any:
    return other.proxy().run(piactors.by_ref(lambda value: ("here", value)), 6).get(timeout=SECONDS)


# Futures


def test_a_future_is_read_where_it_is_sent(user: Any) -> None:
    store = Store.start()
    proxy = user.proxy()
    assert get(proxy.wait_for(store.proxy().add("x"))) == 1
    pending: Any = piactors.Future()
    waiting = proxy.wait_for(pending)
    pending.set({"late": 1})
    assert get(waiting) == {"late": 1}
    assert get(proxy.awaited(store.proxy().add("y"))) == 2
    assert get(proxy.wait_for_all([store.proxy().add(number) for number in range(5)])) == [3, 4, 5, 6, 7]
    with pytest.raises(LookupError):
        get(proxy.wait_for(store.proxy().raise_with("x")))
    with pytest.raises(piactors.Timeout):
        get(proxy.wait_for(piactors.Future(), 0.05))
    store.stop()


def test_its_receiver_may_set_it_and_the_first_outcome_stands(user: Any) -> None:
    future: Any = piactors.Future()
    get(user.proxy().settle(future, "there"))
    assert future.get(timeout=SECONDS) == "there"
    other: Any = piactors.Future()
    other.set("here")
    get(user.proxy().settle(other, "there"))
    assert other.get(timeout=SECONDS) == "here"


def test_every_holder_gets_the_error_of_the_process_that_owed_it(user: Any) -> None:
    store = Store.start()
    call = store.proxy().sleep(60)
    wait_until(call.running)
    waiting = [user.proxy().wait_for(call), User.start().proxy().wait_for(call)]
    os.kill(store.pid, 9)
    for future in (call, *waiting):
        with pytest.raises(IsolateCrashed) as caught:
            get(future)
        assert caught.value.name == store.name


def test_an_isolates_own_future_is_read_here_and_by_others(user: Any) -> None:
    other = User.start()
    future = get(user.proxy().own_future())
    waiting = other.proxy().wait_for(future)
    get(user.proxy().settle_own([1, 2]))
    assert future.get(timeout=SECONDS) == [1, 2]
    assert get(waiting) == [1, 2]
    other.stop()


def test_code_that_knows_nothing_of_futures_reads_one() -> None:
    store = Store.start()
    with ProcessIsolator() as isolator:
        assert get(isolator.invoke_method(f"{PLAIN}:wait", store.proxy().add("x"))) == 1
    store.stop()


def test_who_never_comes_to_wait_does_not_hold_the_isolate_up(user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The future of the call was dropped, or its caller was interrupted before it waited."""
    monkeypatch.setattr(inside.CALLER_SECONDS, 0.2)
    seen: list[Any] = []
    user.proxy().run(_note_error, by_ref(here, run="caller"), by_ref(lambda name: seen.append(name)))
    wait_until(lambda: seen)
    assert seen == ["NoCaller"]
    slow = user.proxy().run(by_ref(lambda: time.sleep(0.5), run="caller"))
    assert get(slow) is None, "what runs longer than that is waited for"


def test_what_is_lent_is_lent_again_after_a_message_that_could_not_be_sent(user: Any) -> None:
    """Whatever looks for what is at fault in it learns nothing of the rest."""
    thing = by_ref(Counter())
    for _ in range(2):
        with pytest.raises(NotSendable):
            get(user.proxy().run(thing, threading.Lock()))
        assert get(user.proxy().method(thing, "up")) > 0


def test_an_isolate_lends_any_number_of_things_one_after_the_other(user: Any) -> None:
    for number in range(1200):
        assert get(user.proxy().lend_function())(number)[1] == number
