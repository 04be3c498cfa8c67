"""Large publications: one file for all subscribers, of which each has what looks like its own copy."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pykka
import pytest

import piactors
from piactors import IsolationLimits, IsolationOptions, NotSendable, Topic
from tests import inside
from tests.children.publishing import Reader
from tests.support import wait_until

SECONDS = 20
SIZE = 1 << 20


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


def seen(ref: Any, count: int) -> list[Any]:
    wait_until(lambda: len(get(ref.proxy().seen)) >= count, SECONDS)
    return list(get(ref.proxy().seen))


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    yield
    pykka.ActorRegistry.stop_all(timeout=SECONDS)


def subscribed(method: str, count: int, **options: Any) -> tuple[Topic[Any], list[Any]]:
    topic: Topic[Any] = Topic("arrays")
    refs = [Reader.with_options(restart="permanent", **options).start() for _ in range(count)]
    for ref in refs:
        topic.subscribe(ref, method)
    return topic, refs


def memory_files() -> int:
    found = 0
    for fd in inside.descriptors():
        try:
            found += "piactors-published" in os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
    return found


def test_what_one_changes_is_its_own() -> None:
    topic, refs = subscribed("change", 4)
    array = numpy.ones(SIZE, "u1")
    for _ in range(3):
        topic.publish(array)
    for ref in refs:
        assert seen(ref, 3) == [(2, SIZE + 1, True)] * 3
    assert array[0] == 1
    wait_until(lambda: memory_files() == 0)


def test_it_is_as_it_was_when_it_was_published() -> None:
    topic, refs = subscribed("keep", 3)
    array = numpy.ones(SIZE, "u1")
    topic.publish(array)
    array[:] = 2
    for ref in refs:
        seen_one = wait_until(lambda ref=ref: get(ref.proxy().sums()))  # type: ignore[misc]
        assert seen_one == [SIZE]


def files_of(pid: int) -> int:
    """Return how many descriptors of publications a process has."""
    names = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return sum("piactors-published" in name for name in names)


def mappings_of(pid: int) -> int:
    """Return how many publications a process has mapped."""
    return Path(f"/proc/{pid}/maps").read_text().count("piactors-published")


def test_nothing_is_left_of_what_they_let_go_of() -> None:
    topic, refs = subscribed("keep", 3)
    for number in range(50):
        topic.publish(numpy.full(SIZE // 2, number % 7, "u1"))
    for ref in refs:
        wait_until(lambda ref=ref: len(get(ref.proxy().sums())) == 50)  # type: ignore[misc]
        assert get(ref.proxy().sums()) == [number % 7 * (SIZE // 2) for number in range(50)]
        wait_until(lambda ref=ref: files_of(ref.pid) == 0)  # type: ignore[misc]
        assert mappings_of(ref.pid) == 50
        get(ref.proxy().forget())
        wait_until(lambda ref=ref: mappings_of(ref.pid) == 0)  # type: ignore[misc]
    wait_until(lambda: memory_files() == 0)


def test_what_is_kept_takes_no_descriptor() -> None:
    topic, refs = subscribed("keep", 2)
    for ref in refs:
        get(ref.proxy().leave_descriptors(12))  # 8 publications may be on their way at once
    for number in range(30):
        topic.publish(numpy.full(SIZE // 2, number % 7, "u1"))
    for ref in refs:
        wait_until(lambda ref=ref: len(get(ref.proxy().sums())) == 30)  # type: ignore[misc]
        assert get(ref.proxy().sums()) == [number % 7 * (SIZE // 2) for number in range(30)]


def test_large_bytes_and_texts_in_a_dictionary() -> None:
    topic, refs = subscribed("weigh", 3)
    topic.publish({"bytes": b"x" * SIZE, "text": "y" * SIZE, "few": b"z"})
    for ref in refs:
        assert seen(ref, 1) == [{"bytes": SIZE, "text": SIZE, "few": 1}]


def test_a_restart_between_two_of_them() -> None:
    topic, refs = subscribed("take", 2)
    topic.publish("die")
    for number in range(5):
        topic.publish(bytes([number]) * SIZE)
    for ref in refs:
        assert [value[0] for value in seen(ref, 5)] == list(range(5))
    os.kill(refs[0].pid, signal.SIGKILL)
    topic.publish(b"\x09" * SIZE)
    assert seen(refs[0], 1)[-1][0] == 9
    wait_until(lambda: memory_files() == 0)


def test_an_isolate_publishes_an_array() -> None:
    topic, refs = subscribed("keep", 2)
    publisher = Reader.start()
    get(publisher.proxy().publish_array(topic, SIZE))
    for ref in refs:
        assert wait_until(lambda ref=ref: get(ref.proxy().sums())) == [SIZE]  # type: ignore[misc]


@pytest.mark.parametrize("without", ["memfd", "segments"])
def test_without_files_in_memory_each_gets_its_own(without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIACTORS_PORTABLE", without)
    topic, refs = subscribed("change", 2)
    topic.publish(numpy.ones(SIZE, "u1"))
    for ref in refs:
        assert seen(ref, 1) == [(2, SIZE + 1, True)]
    assert memory_files() == 0


def test_without_descriptors_each_gets_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from piactors._codec import published

    def packed(*_: Any) -> Any:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(published.SharedValue, "packed", packed)
    topic, refs = subscribed("change", 2)
    topic.publish(numpy.ones(SIZE, "u1"))
    for ref in refs:
        assert seen(ref, 1) == [(2, SIZE + 1, True)]


def test_subscribers_with_limited_memory_get_it_too() -> None:
    topic, refs = subscribed("change", 2, limits=IsolationLimits(max_memory="1 GiB"))
    topic.publish(numpy.ones(SIZE, "u1"))
    for ref in refs:
        assert seen(ref, 1) == [(2, SIZE + 1, True)]


def test_what_is_too_large_for_one_reaches_nobody() -> None:
    topic, refs = subscribed("take", 2)
    small = Reader.with_options(max_frame=SIZE // 2).start()
    topic.subscribe(small, "take")
    with pytest.raises(ValueError, match="max_frame"):
        topic.publish(b"x" * SIZE)
    topic.publish("small")
    for ref in [*refs, small]:
        assert seen(ref, 1) == ["small"]


def test_what_cannot_be_sent_is_told() -> None:
    import threading

    topic, _ = subscribed("take", 2)
    with pytest.raises(NotSendable, match="lock"):
        topic.publish([b"x" * SIZE, threading.Lock()])


def test_instances_of_classes_of_the_program() -> None:
    class Frame:
        def __init__(self, data: Any) -> None:
            self.data = data

        def __len__(self) -> int:
            return len(self.data)

    topic, refs = subscribed("weigh", 2)
    topic.publish({"frame": Frame(numpy.zeros(SIZE, "u1"))})
    for ref in refs:
        assert seen(ref, 1) == [{"frame": SIZE}]


def test_an_isolate_of_functions_takes_part() -> None:
    topic: Topic[Any] = Topic("arrays")
    ref = piactors.spawn("tests.children.publishing:PlainReader", options=IsolationOptions(trust="data"))
    other = Reader.start()
    topic.subscribe(ref, "take")
    topic.subscribe(other, "take")
    topic.publish(b"x" * SIZE)
    assert wait_until(lambda: get(ref.proxy().sizes())) == [SIZE]
    assert [len(value) for value in seen(other, 1)] == [SIZE]
