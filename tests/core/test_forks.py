"""Forks that isolated code makes: they answer nothing, end nothing, and are left to whoever made them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import attrs
import pytest

from piactors import Future, IsolateRef, IsolationOptions
from tests.children.forking import Forker, ForksInStart, ForksInStop
from tests.support import wait_until

WAYS_BACK = {
    "returns": 0,
    "takes its time": 0,
    "raises": 1,
    "exits": 7,
    "exits with a text": 1,
    "interrupts": 1,
    "exits hard": 9,
}
"""What a fork does where the code that forked goes on, and its exit code."""


def start(way: IsolationOptions, **more: Any) -> IsolateRef:
    return Forker.with_options(attrs.evolve(way, restart="permanent", **more)).start()


@pytest.mark.parametrize("place", ["in_call", "in_thread", "in_coroutine"])
def test_a_fork_ends_where_it_comes_back_and_answers_nothing(way: IsolationOptions, place: str) -> None:
    proxy = start(way).proxy()
    pid = proxy.pid().get(timeout=20)
    for how, code in WAYS_BACK.items():
        found = getattr(proxy, place)(how).get(timeout=20)
        if place == "in_thread":  # a thread's end is the end of that process, whatever it raised
            assert found == ([code] if how == "exits hard" else [0])
        else:
            assert (how, found) == (how, code)
        assert proxy.pid().get(timeout=20) == pid


def test_a_fork_of_a_coroutine_cannot_wait_in_the_loop_of_the_isolate(way: IsolationOptions) -> None:
    proxy = start(way).proxy()
    pid = proxy.pid().get(timeout=20)
    assert proxy.in_coroutine("awaits").get(timeout=20) == 1
    assert [proxy.in_coroutine("returns").get(timeout=20), proxy.beside_a_loop("raises").get(timeout=20)] == [0, 1]
    assert proxy.pid().get(timeout=20) == pid


def test_a_fork_in_one_of_many_threads_answers_nothing(way: IsolationOptions) -> None:
    proxy = start(way, concurrency=4).proxy()
    pid = proxy.pid().get(timeout=20)
    futures = [(code, proxy.in_call(how)) for how, code in WAYS_BACK.items() for _ in range(4)]
    assert [future.get(timeout=30) for _, future in futures] == [code for code, _ in futures]
    assert proxy.pid().get(timeout=20) == pid


def test_a_fork_made_for_a_message_that_nobody_waits_for(way: IsolationOptions, tmp_path: Path) -> None:
    ref = start(way)
    pid = ref.proxy().pid().get(timeout=20)
    for how, code in WAYS_BACK.items():
        path = tmp_path / how
        ref.tell((how, str(path)))
        assert ref.proxy().pid().get(timeout=20) == pid
        assert path.read_text() == str(code)


def test_the_traceback_of_a_fork_is_on_stderr(way: IsolationOptions) -> None:
    lines: list[str] = []
    ref = start(way, output=lambda event: lines.append(event.line))
    assert ref.proxy().in_call("raises").get(timeout=20) == 1
    wait_until(lambda: "RuntimeError: of the fork" in lines)


def test_a_fork_in_a_start_or_a_stop(way: IsolationOptions, tmp_path: Path) -> None:
    for how, code in WAYS_BACK.items():
        ref = ForksInStart.with_options(way).start(how)
        assert ref.proxy().status.get(timeout=20) == code
        path = tmp_path / how
        stopping = ForksInStop.with_options(way).start(how, str(path))
        stopping.stop(timeout=20)
        assert stopping.wait_for_exit(20).kind == "shutdown"
        found = path.read_text()
        # Logged in the fork, as in any isolate: an `on_stop` that raises ends nothing.
        assert found == ("0\n" if how == "raises" else f"{code}\n")


def test_multiprocessing_works_in_isolated_code(way: IsolationOptions) -> None:
    proxy = start(way).proxy()
    assert proxy.workers().get(timeout=30) == [1, 2, 3]
    assert proxy.exit_of_worker().get(timeout=30) == 5
    assert proxy.in_call("raises").get(timeout=20) == 1


def test_what_the_isolate_runs_at_its_end_does_not_run_in_a_fork(way: IsolationOptions, tmp_path: Path) -> None:
    ref = start(way)
    path = tmp_path / "ends"
    assert ref.proxy().folder().get(timeout=20)
    assert ref.proxy().at_exit(str(path)).get(timeout=20) == 0
    assert path.read_text() == "fork\n"
    ref.stop(timeout=20)
    assert path.read_text() == "fork\nisolate\n"


def test_a_fork_that_would_reach_the_host_is_told(way: IsolationOptions) -> None:
    future: Future[str] = Future()
    proxy = start(way).proxy()
    assert "RuntimeError: this process was forked by code of an isolate" in proxy.asks_host(future).get(timeout=20)
    assert not future.done()


def test_records_of_a_fork_are_on_stderr(way: IsolationOptions) -> None:
    lines: list[str] = []
    ref = start(way, log_level=logging.INFO, output=lambda event: lines.append(event.line))
    assert ref.proxy().logs().get(timeout=20) == 0
    wait_until(lambda: "WARNING:of.a.fork:the fork says hello" in lines)


def test_a_fork_has_no_channel_of_the_isolate(way: IsolationOptions) -> None:
    isolate, fork = start(way).proxy().open_channels().get(timeout=20)
    assert (isolate, fork) == (3, 0)
