"""Sockets and the shared objects of multiprocessing and multiprocess are handed over: both processes have the same."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterator
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import multiprocess
import pytest

import piactors
from piactors import IsolationOptions, NotSendable, ProcessActor
from tests import inside
from tests.support import wait_until
from tests.values.support import STARTS, run_script

FAMILIES = {"multiprocessing": multiprocessing, "multiprocess": multiprocess}


class Peer(ProcessActor):
    """Does the isolate's half."""

    def __init__(self, *given: Any) -> None:
        super().__init__()
        self.given = given

    def send(self, connection: Any, message: Any) -> None:
        connection.send(message)

    def send_given(self, message: Any) -> int:
        self.given[0].send(message)
        return os.getpid()

    def put(self, queue: Any, item: Any) -> None:
        queue.put(item)

    def set(self, event: Any) -> None:
        event.set()

    def acquired(self, lock: Any) -> bool:
        return bool(lock.acquire(timeout=0.2))

    def add(self, value: Any, number: int) -> None:
        with value.get_lock():
            value.value += number

    def write(self, memory: Any, data: bytes) -> None:
        memory.buf[: len(data)] = data
        memory.close()

    def store(self, mapping: Any, key: str, value: Any) -> None:
        mapping[key] = value

    def sendall(self, sock: socket.socket, data: bytes) -> Any:
        sock.sendall(data)
        return sock.gettimeout()

    def give(self) -> Any:
        return socket.socketpair()[0]

    def rest(self, seconds: float, *_: Any) -> None:
        time.sleep(seconds)

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))


@pytest.fixture(params=["launcher", "spawn"])
def peer(request: pytest.FixtureRequest) -> Iterator[Any]:
    ref = Peer.with_options(start_method=request.param).start()
    yield ref.proxy()
    ref.stop()


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Any:
    return FAMILIES[request.param]


def test_each_kind_is_the_same_on_both_sides(peer: Any, family: Any) -> None:
    spawning = family.get_context("spawn")
    ours, theirs = family.Pipe()
    peer.send(theirs, "hello").get(timeout=20)
    assert ours.recv() == "hello"
    queue = spawning.Queue()
    peer.put(queue, [1, 2]).get(timeout=20)
    assert queue.get(timeout=20) == [1, 2]
    event = spawning.Event()
    peer.set(event).get(timeout=20)
    assert event.is_set()
    lock = spawning.Lock()
    with lock:
        assert peer.acquired(lock).get(timeout=20) is False
    assert peer.acquired(lock).get(timeout=20) is True
    assert lock.acquire(block=False) is False, "the isolate has it"
    value = spawning.Value("i", 5)
    peer.add(value, 2).get(timeout=20)
    assert value.value == 7
    for end in (ours, theirs):
        end.close()
    queue.close()
    queue.join_thread()


def test_proxies_of_a_manager_reach_it(peer: Any, family: Any) -> None:
    with family.get_context("spawn").Manager() as manager:
        mapping = manager.dict()
        peer.store(mapping, "key", [1]).get(timeout=20)
        assert dict(mapping) == {"key": [1]}


def test_a_socket_is_the_same_connection(peer: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(3.0)
        assert peer.sendall(theirs, b"over there").get(timeout=20) == 3.0
        assert ours.recv(100) == b"over there"


def test_shared_memory_is_the_same_and_stays_the_hosts(peer: Any) -> None:
    memory = shared_memory.SharedMemory(create=True, size=16)
    try:
        peer.write(memory, b"shared").get(timeout=20)
        assert bytes(memory.buf[:6]) == b"shared"
        peer.actor_ref.stop()
        again = shared_memory.SharedMemory(memory.name)  # the end of the isolate has not removed it
        assert bytes(again.buf[:6]) == b"shared"
        again.close()
    finally:
        memory.close()
        memory.unlink()


def test_what_a_constructor_got_is_there_after_a_restart() -> None:
    ours, theirs = multiprocessing.Pipe()
    ref = Peer.with_options(restart="permanent").start(theirs)
    pids = set()
    for number in range(3):
        pid = ref.proxy().send_given(number).get(timeout=20)
        assert ours.recv() == number
        pids.add(pid)
        os.kill(pid, signal.SIGKILL)
    ref.stop()
    assert len(pids) == 3
    for end in (ours, theirs):
        end.close()


def test_what_is_handed_over_lives_as_long_as_it_is_needed(peer: Any, family: Any) -> None:
    """A semaphore loses its name with its last user in the host: the message is one, and so is the isolate."""
    spawning = family.get_context("spawn")
    blocker = peer.rest(0.3)
    waiting = [peer.acquired(spawning.Lock()) for _ in range(3)]
    gc.collect()
    blocker.get(timeout=20)
    assert [call.get(timeout=20) for call in waiting] == [True] * 3


@pytest.mark.parametrize("start", STARTS)
def test_what_a_constructor_got_lives_as_long_as_the_isolate(start: str, tmp_path: Path) -> None:
    """Nobody else in the host holds the lock, and each generation opens it by its name."""
    code = """
        import multiprocessing, signal
        class Holder(Worker):
            def __init__(self, lock):
                super().__init__()
                self.lock = lock
            def acquired(self): return self.lock.acquire(timeout=0.2)
            def pid(self): return os.getpid()
        options = {"start_method": sys.argv[1], "restart": "permanent"}
        proxy = Holder.with_options(**options).start(multiprocessing.get_context("spawn").Lock()).proxy()
        for _ in range(2):
            gc.collect()
            pid = proxy.pid().get(timeout=20)
            os.kill(pid, signal.SIGKILL)
            while proxy.actor_ref.pid in (None, pid): time.sleep(0.01)
        answer["acquired"] = proxy.acquired().get(timeout=20)
    """
    assert run_script(tmp_path, code, start) == {"acquired": True}


def test_handing_over_costs_no_waiting_and_leaves_no_descriptor(peer: Any) -> None:
    value = multiprocessing.get_context("spawn").Value("i", 0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer.add(value, 1).get(timeout=20)
        peer.rest(0, theirs).get(timeout=20)
        before = peer.descriptors().get(timeout=20)
        began = time.monotonic()
        for _ in range(6):
            peer.rest(0, theirs).get(timeout=20)
            peer.add(value, 1).get(timeout=20)
        assert time.monotonic() - began < 5, "each waited a second for what had been taken"
        assert peer.descriptors().get(timeout=20) == before


def test_what_is_made_for_forked_processes_is_refused_with_the_way_to_make_it(peer: Any, family: Any) -> None:
    for made in (family.Lock(), family.Queue(), family.Event()):
        with pytest.raises(NotSendable, match=rf"argument 1: .*{family.__name__}\.get_context\('spawn'\)"):
            peer.acquired(made).get(timeout=20)


def test_only_arguments_are_handed_over(peer: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(NotSendable, match=r"'greeting'.*as an argument only"):
        peer.actor_ref.set_data("greeting", {"connection": ours})
    with pytest.raises(NotSendable, match="the result: a socket"):
        peer.give().get(timeout=20)


def test_descriptors_are_let_go_of_on_both_sides() -> None:
    """Also those of calls that were cancelled before they began, or never looked at what came along."""
    with piactors.ProcessIsolator(IsolationOptions(trust="code")) as isolator:

        def one_round() -> None:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                blocker = isolator.invoke_method("time:sleep", 0.02)
                skipped = isolator.invoke_method("builtins:len", [theirs])
                skipped.cancel()
                assert isolator.invoke_method("builtins:len", [theirs, ours]).get(timeout=20) == 2
                blocker.get(timeout=20)

        one_round()  # whoever waits has a descriptor of its own from then on
        warm = isolator.invoke_method("os:listdir", "/proc/self/fd").get(timeout=20)
        before = len(inside.descriptors())
        for _ in range(20):
            one_round()
        there = isolator.invoke_method("os:listdir", "/proc/self/fd").get(timeout=20)
        assert len(there) <= len(warm)
        wait_until(lambda: len(inside.descriptors()) <= before)
