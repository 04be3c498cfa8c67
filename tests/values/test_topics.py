"""Topics: who gets what is published, in which order, and what becomes of what does not fit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pykka
import pytest

from piactors import ActorDeadError, MailboxFull, NotSendable, ProcessActor, Timeout, TooManyLoans, Topic, by_ref
from piactors._refs.publishing import ActorSubscriber, Publication
from piactors._rules.backlog import Backlog
from tests.children.publishing import Reader
from tests.support import wait_until

SECONDS = 20


@pytest.fixture
def reader() -> Iterator[Any]:
    ref = Reader.with_options(restart="permanent").start()
    yield ref
    ref.stop(timeout=SECONDS)


@pytest.fixture
def other() -> Iterator[Any]:
    ref = Reader.start()
    yield ref
    ref.stop(timeout=SECONDS)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as found:
        yield found


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


def seen(ref: Any, count: int) -> list[Any]:
    """Return what an actor has seen once it is so much."""
    wait_until(lambda: len(get(ref.proxy().seen)) >= count, SECONDS)
    return list(get(ref.proxy().seen))


class Held:
    """Holds actors in their method until it lets them go."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._executor = ThreadPoolExecutor(2)

    def hold(self, ref: Any) -> Any:
        began = threading.Event()
        lent = by_ref(lambda: (began.set(), self._event.wait(SECONDS)), run=self._executor)
        future = ref.proxy().held_by(lent)
        assert began.wait(SECONDS)
        return future

    def let_go(self) -> None:
        self._event.set()


@pytest.fixture
def held() -> Iterator[Held]:
    found = Held()
    yield found
    found.let_go()


def test_each_subscriber_gets_each_publication_once_in_order(reader: Any, other: Any) -> None:
    topic: Topic[int] = Topic("numbers")
    for ref in (reader, other):
        topic.subscribe(ref, "take")
        topic.subscribe(ref, "take")
    publications = topic.stream()
    for number in range(500):
        topic.publish(number)
    assert seen(reader, 500) == seen(other, 500) == list(range(500))
    assert [publications.get_next(SECONDS) for _ in range(500)] == list(range(500))
    assert topic.subscribers() == {f"{reader.name}.take": 0, f"{other.name}.take": 0, "streams": 0}


def test_those_of_each_publisher_are_in_order(reader: Any, other: Any) -> None:
    topic: Topic[tuple[str, int]] = Topic("numbers")
    topic.subscribe(reader, "take")
    threads = [
        threading.Thread(target=lambda name=name: [topic.publish((name, number)) for number in range(200)])  # type: ignore[misc]
        for name in "ab"
    ]
    for thread in threads:
        thread.start()
    get(other.proxy().publish(topic, 200))
    for thread in threads:
        thread.join(SECONDS)
    found = seen(reader, 600)
    for name in ("a", "b", "isolate"):
        assert [number for who, number in found if who == name] == list(range(200))


def test_a_slow_subscriber_costs_the_others_nothing(reader: Any, other: Any, held: Held) -> None:
    topic: Topic[int] = Topic("numbers")
    held.hold(reader)
    for ref in (reader, other):
        topic.subscribe(ref, "take")
    for number in range(100):
        topic.publish(number)
    assert seen(other, 100) == list(range(100))
    held.let_go()
    assert seen(reader, 100) == list(range(100))


@pytest.mark.parametrize(("overflow", "kept"), [("drop_oldest", 3), ("latest", 1)])
def test_what_does_not_fit_is_dropped_and_counted(reader: Any, held: Held, overflow: Any, kept: int) -> None:
    topic: Topic[int] = Topic("numbers", buffer=3, overflow=overflow)
    held.hold(reader)
    topic.subscribe(reader, "take")
    for number in range(50):
        topic.publish(number)
    held.let_go()
    found = seen(reader, 8 + kept)
    assert found == [*range(8), *range(50 - kept, 50)]
    assert topic.subscribers() == {f"{reader.name}.take": 50 - 8 - kept}


def test_whoever_publishes_is_told_that_it_does_not_fit(reader: Any, other: Any, held: Held) -> None:
    topic: Topic[int] = Topic("numbers", buffer=2, overflow="fail")
    held.hold(reader)
    for ref in (reader, other):
        topic.subscribe(ref, "take")
    for number in range(10):
        topic.publish(number)
        seen(other, number + 1)
    with pytest.raises(MailboxFull, match=rf"topic numbers: no room .* {reader.name}.take"):
        topic.publish(10)
    assert topic.subscribers()[f"{reader.name}.take"] == 1
    assert seen(other, 11) == list(range(11))
    held.let_go()
    assert seen(reader, 10) == list(range(10))


def test_whoever_publishes_waits_for_room(reader: Any, held: Held, executor: Any) -> None:
    topic: Topic[int] = Topic("numbers", buffer=1, overflow="block")
    held.hold(reader)
    topic.subscribe(reader, "take")
    for number in range(9):
        topic.publish(number)
    ninth = executor.submit(topic.publish, 9)

    async def publish() -> None:
        topic.publish(10)

    with pytest.raises(MailboxFull):
        asyncio.run(publish())
    assert not ninth.done()
    held.let_go()
    ninth.result(SECONDS)
    assert seen(reader, 10) == list(range(10))


def test_those_who_wait_for_room_go_on_when_the_actor_has_ended(executor: Any) -> None:
    ref = Reader.start()
    backlog: Backlog[Publication] = Backlog(1, "block", 1)
    ended: list[Any] = []
    subscriber = ActorSubscriber(ref, "take", backlog, ended.append)
    publication = Publication(1, many=False)
    assert backlog.offer(publication)
    assert backlog.next() is publication  # the actor has it, and what follows waits
    assert subscriber.offer(publication, may_wait=True)
    waiting = [executor.submit(subscriber.offer, publication, may_wait=True) for _ in range(3)]
    wait_until(lambda: len(subscriber._has_room._waiters) == len(waiting))
    ref.stop(timeout=SECONDS)
    subscriber._done(None)  # the answer is dealt with once the actor has ended
    for publishing in waiting:
        publishing.result(SECONDS)
    assert ended == [subscriber]
    assert len(backlog) == 0


def test_a_subscription_outlives_restarts(reader: Any) -> None:
    topic: Topic[Any] = Topic("numbers")
    topic.subscribe(reader, "take")
    topic.publish(1)
    assert seen(reader, 1) == [1]
    topic.publish("die")
    topic.publish(2)
    assert seen(reader, 1) == [2]
    assert topic.subscribers() == {f"{reader.name}.take": 1}


def test_it_ends_with_its_actor() -> None:
    topic: Topic[int] = Topic("numbers")
    ref = Reader.start()
    topic.subscribe(ref, "take")
    ref.stop(timeout=SECONDS)
    assert topic.subscribers() == {}
    topic.publish(1)
    assert topic.subscribers() == {}


def test_a_method_that_raises_gets_the_next_one(reader: Any, caplog: Any) -> None:
    topic: Topic[Any] = Topic("numbers")
    topic.subscribe(reader, "take")
    pid = reader.pid
    topic.publish("raise")
    topic.publish(1)
    assert seen(reader, 1) == [1]
    assert reader.pid == pid
    wait_until(lambda: f"{reader.name}.take failed at what was published" in caplog.text)
    assert topic.subscribers() == {f"{reader.name}.take": 0}


def test_nothing_more_comes_after_unsubscribing(reader: Any) -> None:
    topic: Topic[int] = Topic("numbers")
    topic.subscribe(reader, "take")
    topic.publish(1)
    assert seen(reader, 1) == [1]
    assert topic.unsubscribe(reader, "take")
    assert not topic.unsubscribe(reader, "take")
    topic.publish(2)
    assert get(reader.proxy().seen) == [1]
    assert topic.subscribers() == {}


def test_isolates_subscribe_publish_and_read(reader: Any, other: Any) -> None:
    topic: Topic[Any] = Topic("numbers")
    get(reader.proxy().subscribe_to(topic))
    read = other.proxy().read(topic, 3)
    wait_until(lambda: len(topic.subscribers()) == 2)
    get(reader.proxy().publish(topic, 3))
    expected = [("isolate", number) for number in range(3)]
    assert (seen(reader, 3), get(read)) == (expected, expected)
    wait_until(lambda: "streams" not in topic.subscribers())  # it lets go of its stream, which waits for nothing then


class Collector(ProcessActor):
    """Keeps each stream of publications that it is given."""

    def collect(self, topic: Any, count: int) -> tuple[int, str]:
        streams: list[Any] = []
        try:
            streams += (topic.stream() for _ in range(count))
        except TooManyLoans as error:
            return len(streams), str(error)
        return len(streams), ""

    def read_one(self, topic: Any) -> int:
        return int(topic.stream().get_next(SECONDS))


def test_an_isolate_holds_so_many_streams_at_most_and_goes_on() -> None:
    ref, topic = Collector.start(), Topic[int]("numbers")
    count, text = get(ref.proxy().collect(topic, 1100))
    assert 1000 < count <= 1024
    assert "let go of some" in text
    wait_until(lambda: topic.subscribers() == {}, SECONDS)
    found = ref.proxy().read_one(topic)
    wait_until(lambda: topic.subscribers(), SECONDS)
    topic.publish(5)
    assert get(found) == 5
    ref.stop()


def test_a_full_mailbox_does_not_keep_publications_out(held: Held) -> None:
    ref = Reader.with_options(mailbox_capacity=1, overflow="fail").start()
    topic: Topic[int] = Topic("numbers")
    began = held.hold(ref)
    topic.subscribe(ref, "take")
    for number in range(20):
        topic.publish(number)
    held.let_go()
    get(began)
    topic.publish(20)
    stream = topic.stream()
    stream.close()
    wait_until(lambda: _seen_or_full(ref) == list(range(21)))
    ref.stop(timeout=SECONDS)


def _seen_or_full(ref: Any) -> Any:
    try:
        return get(ref.proxy().seen)
    except MailboxFull:
        return None


def test_what_cannot_be_sent_reaches_nobody(reader: Any) -> None:
    topic: Topic[Any] = Topic("numbers")
    publications = topic.stream()
    topic.subscribe(reader, "take")
    with pytest.raises(NotSendable):
        topic.publish(threading.Lock())
    assert topic.unsubscribe(reader, "take")
    with pytest.raises(NotSendable):
        topic.publish(threading.Lock())
    topic.subscribe(reader, "take")
    topic.publish(1)
    assert (seen(reader, 1), publications.get_next(SECONDS)) == ([1], 1)


def test_what_is_too_large_for_one_reaches_nobody(other: Any) -> None:
    ref = Reader.with_options(max_frame=1 << 16).start()
    topic: Topic[Any] = Topic("texts")
    for each in (ref, other):
        topic.subscribe(each, "take")
    with pytest.raises(ValueError, match="max_frame"):
        topic.publish("x" * 100_000)
    topic.publish("y")
    assert seen(ref, 1) == seen(other, 1) == ["y"]
    ref.stop(timeout=SECONDS)


def test_a_stream_of_publications() -> None:
    topic: Topic[int] = Topic("numbers", buffer=2)
    with topic.stream() as publications:
        with pytest.raises(Timeout):
            publications.get_next(0.01)
        for number in range(4):
            topic.publish(number)
        assert [publications.get_next(), next(publications)] == [2, 3]
        assert publications.dropped == 2
    assert list(publications) == []
    assert topic.subscribers() == {}


def test_a_stream_has_copies_and_ends_when_it_is_let_go_of() -> None:
    topic: Topic[list[int]] = Topic("lists", buffer=1, overflow="block")
    publications = topic.stream()
    value = [1]
    topic.publish(value)
    value.append(2)
    for found in publications:
        assert found == [1]
        break
    assert topic.subscribers() == {"streams": 0}
    del publications
    assert topic.subscribers() == {}
    for _ in range(5):
        topic.publish(value)


def test_an_isolate_that_has_to_wait_to_publish_holds_up_nothing_else(reader: Any, other: Any, held: Held) -> None:
    topic: Topic[Any] = Topic("numbers", buffer=1, overflow="block")
    held.hold(reader)
    topic.subscribe(reader, "take")
    publishing = other.proxy().publish(topic, 20)
    third, free = Reader.start(), threading.Event()
    get(third.proxy().held_by(by_ref(free.set)))
    assert not publishing.done()
    held.let_go()
    get(publishing)
    assert seen(reader, 20) == [("isolate", number) for number in range(20)]
    third.stop(timeout=SECONDS)


def test_a_stream_that_is_closed_lets_its_reader_go(executor: Any) -> None:
    topic: Topic[int] = Topic("numbers")
    publications = topic.stream()
    found = executor.submit(list, publications)
    topic.publish(1)
    wait_until(lambda: not len(publications._inbox._backlog))
    publications.close()
    assert found.result(SECONDS) == [1]


def test_a_stream_in_an_event_loop(executor: Any) -> None:
    async def main() -> list[int]:
        topic: Topic[int] = Topic("numbers")
        publications = topic.stream()
        asyncio.get_running_loop().run_in_executor(executor, lambda: [topic.publish(number) for number in range(3)])
        found = []
        async with publications:
            async for number in publications:
                found.append(number)
                if number == 2:
                    await publications.aclose()
        return found

    assert asyncio.run(main()) == [0, 1, 2]


class Threaded(pykka.ThreadingActor):
    """An actor in a thread."""


def test_what_is_not_allowed(reader: Any) -> None:
    topic: Topic[int] = Topic("numbers")
    with pytest.raises(ValueError, match="buffer=0"):
        Topic("x", buffer=0)
    with pytest.raises(ValueError, match="drop_oldest, latest, block, fail"):
        Topic("x", overflow="lose")  # type: ignore[arg-type]
    for name in ("_take", "nowhere", 5):
        with pytest.raises(ValueError, match=f"{name}"):
            topic.subscribe(reader, name)  # type: ignore[arg-type]
    ended = Reader.start()
    ended.stop(timeout=SECONDS)
    with pytest.raises(ActorDeadError):
        topic.subscribe(ended, "take")
    with pytest.raises(RuntimeError, match="have the host make it"):
        get(reader.proxy().makes_one())
    threaded = Threaded.start()
    with pytest.raises(TypeError, match="process of its own"):
        topic.subscribe(threaded, "take")  # type: ignore[arg-type]
    threaded.stop()
