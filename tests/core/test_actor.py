"""ProcessActor: pykka's actor in a process of its own."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import attrs
import pykka
import pytest

import piactors
from piactors import IsolateCrashed, IsolationOptions, ProcessActor, RemoteError, StartError
from tests.children.actors import Point, Worker


def test_calls_attributes_and_messages_work(way: IsolationOptions) -> None:
    ref = Worker.with_options(way).start("good day")
    worker = ref.proxy()
    assert worker.greet("you").get(timeout=20) == "good day, you"
    assert worker.greeting.get(timeout=20) == "good day"
    worker.greeting = "bye"
    assert worker.greet("you").get(timeout=20) == "bye, you"
    assert ref.ask({"x": 1}, timeout=20) == 1
    ref.tell({"x": 2})
    assert ref.ask({"x": 3}, timeout=20) == 3
    assert worker.move(Point(1, 2), by=3).get(timeout=20) == Point(4, 5)
    assert ref.stop()
    assert not ref.stop()


def test_classes_of_a_function_come_back_as_the_same_class() -> None:
    @attrs.frozen
    class Local:
        value: int

    class Error(Exception):
        pass

    class Actor(ProcessActor):
        def double(self, local: Local) -> Local:
            return Local(local.value * 2)

        def fail(self) -> None:
            raise Error("of the function")

    actor = Actor.start().proxy()
    result = actor.double(Local(21)).get(timeout=20)
    assert type(result) is Local
    assert result == Local(42)
    with pytest.raises(Error, match="of the function"):
        actor.fail().get(timeout=20)
    actor.actor_ref.stop()


def test_an_exception_arrives_with_its_remote_traceback_and_the_isolate_lives() -> None:
    ref = Worker.start()
    with pytest.raises(KeyError, match="gone") as caught:
        ref.proxy().fail().get(timeout=20)
    assert "in fail" in str(caught.value.__cause__)
    assert ref.proxy().greet("x").get(timeout=20) == "hello, x"
    ref.stop()


def test_a_result_that_cannot_be_sent_fails_its_call_only() -> None:
    ref = Worker.start()
    with pytest.raises(TypeError, match="lock"):
        ref.proxy().result_that_cannot_be_sent().get(timeout=20)
    assert ref.is_alive()
    ref.stop()


def test_an_argument_that_cannot_be_sent_fails_there_and_then() -> None:
    ref = Worker.start()
    future = ref.proxy().greet(number for number in range(3))
    assert future.done()
    with pytest.raises(TypeError, match="generator"):
        future.get()
    with pytest.raises(TypeError, match="generator"):
        ref.tell(number for number in range(3))
    ref.stop()


def test_arguments_are_snapshots(tmp_path: Path) -> None:
    ref = Worker.start()
    busy = ref.proxy().slow_echo(None, 0.2)
    message = [1]
    future = ref.proxy().slow_echo(message, 0)
    message.append(2)
    assert future.get(timeout=20) == [1]
    assert busy.get(timeout=20) is None
    ref.stop()


def test_a_tell_that_raises_ends_the_generation() -> None:
    ref = Worker.start()
    ref.proxy().fail.defer()
    reason = ref.wait_for_exit(timeout=20)
    assert reason is not None
    assert reason.kind == "error"
    assert "KeyError" in (reason.error or "")


def test_self_stop_is_normal_and_is_alive_is_false_after_it() -> None:
    ref = Worker.start()
    assert ref.proxy().stop_myself().get(timeout=20) == "stopping"
    reason = ref.wait_for_exit(timeout=20)
    assert reason is not None
    assert reason.kind == "normal"
    assert not ref.is_alive()
    assert ref not in pykka.ActorRegistry.get_all()


def test_a_permanent_actor_that_stops_itself_starts_again() -> None:
    ref = Worker.with_options(restart="permanent").start()
    first = ref.proxy().pid().get(timeout=20)
    ref.proxy().stop_myself().get(timeout=20)
    assert ref.proxy().pid().get(timeout=20) != first
    assert ref.generation == 2
    ref.stop()


def test_an_actor_can_ask_itself_for_later_work() -> None:
    ref = Worker.start()
    future = ref.proxy().later_by_myself(5).get(timeout=20)
    assert future.get(timeout=20) == "hello, 5"
    ref.stop()


def test_coroutine_methods_run_one_at_a_time_unless_concurrency_allows_more() -> None:
    ref = Worker.with_options(concurrency=4).start()
    futures = [ref.proxy().meet(number, 4) for number in range(4)]
    assert pykka.get_all(futures, timeout=20) == [0, 1, 2, 3]
    ref.stop()


def test_concurrency_runs_calls_in_threads_and_a_crash_fails_those_that_had_begun(tmp_path: Path) -> None:
    class Parallel(ProcessActor):
        def hold(self, name: str) -> None:
            (tmp_path / name).touch()
            threading.Event().wait(60)

        def crash_when(self, *names: str) -> None:
            while not all((tmp_path / name).exists() for name in names):
                time.sleep(0.005)
            os._exit(1)

        def number(self) -> int:
            return 7

    ref = Parallel.with_options(concurrency=3, restart="permanent").start()
    held = [ref.proxy().hold(name) for name in ("a", "b")]
    crash = ref.proxy().crash_when("a", "b")
    after = [ref.proxy().number() for _ in range(5)]
    for future in (*held, crash):
        with pytest.raises(IsolateCrashed):
            future.get(timeout=20)
    assert pykka.get_all(after, timeout=20) == [7] * 5
    ref.stop()


def test_a_failed_on_start_is_a_start_error_and_leaves_nothing() -> None:
    class Bad(ProcessActor):
        def on_start(self) -> None:
            raise LookupError("nothing there")

    with pytest.raises(StartError, match="nothing there") as caught:
        Bad.start()
    assert isinstance(caught.value.__cause__, LookupError)
    assert pykka.ActorRegistry.get_by_class(Bad) == []


def test_an_init_without_super_says_so() -> None:
    class Forgetful(ProcessActor):
        def __init__(self) -> None:
            pass

    with pytest.raises(StartError, match=r"super\(\).__init__\(\)"):
        Forgetful.start()


def test_hooks_run_in_the_isolate_and_on_stop_is_waited_for(tmp_path: Path) -> None:
    class Hooked(ProcessActor):
        def on_start(self) -> None:
            (tmp_path / "start").write_text(str(os.getpid()))

        async def on_stop(self) -> None:
            (tmp_path / "stop").write_text(str(os.getpid()))

    ref = Hooked.start()
    pid = str(ref.pid)
    assert ref.stop()
    assert (tmp_path / "start").read_text() == (tmp_path / "stop").read_text() == pid


def test_an_on_stop_that_never_ends_is_killed_after_the_shutdown_time() -> None:
    class Sticky(ProcessActor):
        def on_stop(self) -> None:
            time.sleep(600)

    ref = Sticky.with_options(shutdown_timeout=0.3).start()
    assert ref.stop(timeout=20)
    reason = ref.wait_for_exit(timeout=1)
    assert reason is not None
    assert reason.kind == "killed"
    assert "shutdown_timeout" in (reason.detail or "")


def test_an_exception_class_the_host_cannot_rebuild_is_a_remote_error() -> None:
    ref = piactors.spawn("tests.children.plain:raise_needy", options=IsolationOptions(trust="code"))
    with pytest.raises(RemoteError, match="Needy") as caught:
        ref.proxy().call().get(timeout=20)
    assert "in raise_needy" in caught.value.remote_traceback
    ref.stop()


@pytest.mark.asyncio
async def test_awaiting_a_call_never_blocks_the_event_loop() -> None:
    ref = await asyncio.to_thread(Worker.start)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    ticker = asyncio.create_task(tick())
    assert await ref.proxy().slow_echo("x", 0.3) == "x"
    ticker.cancel()
    assert ticks > 10
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ref.proxy().slow_echo("x", 60), 0.05)
    assert await asyncio.to_thread(lambda: ref.terminate(20)) is not None
