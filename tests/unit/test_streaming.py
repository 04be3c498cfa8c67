"""What makes the items of a stream, what reads them, and how they travel, without processes."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piactors._codec import items
from piactors._codec.decode import Decoder
from piactors._values.borrowed import Lender
from piactors.errors import ProtocolError, Released, Timeout, UntrustedReply
from piactors.future import Future
from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.values.reading import BaseStream, StreamFacts, StreamReach
from piactors.pihost.values.sources import STALLED, AsyncItemSource, Encoded, ItemSource, Want
from piactors.pihost.values.streaming import Flusher
from piactors.pihost.wire import batches, wire
from piactors.pihost.wire.yielded import Arrived, Batch

TRUSTED = Decoder("model", code=True, accept={}, budget=1 << 20, requested=lambda _: None)
DATA = Decoder("model", code=False, accept={}, budget=1 << 20, requested=lambda _: None)


def encode(item: Any) -> Encoded:
    return Encoded((wire.PICKLE, pickle.dumps(item), 0), ())


def early(_: Batch) -> None:
    raise AssertionError("nothing is flushed here")


def arrived(batch: Batch) -> Arrived:
    found = items.arrived(TRUSTED, wire.BATCH, batches.packed(batch.items, batch.is_last))
    assert isinstance(found, Arrived)
    return found


# How they travel


@given(
    st.lists(st.tuples(st.sampled_from([wire.PLAIN, wire.PICKLE]), st.binary(), st.integers(0, 3))),
    st.booleans(),
)
def test_a_batch_comes_out_as_it_went_in(entries: list[tuple[int, bytes, int]], is_last: bool) -> None:
    entries = [(flags, data, min(count, len(data))) for flags, data, count in entries]
    assert batches.unpacked(batches.packed(entries, is_last)) == (entries, is_last)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_read(data: bytes) -> None:
    try:
        entries, is_last = batches.unpacked(data)
    except ValueError:
        return
    assert batches.packed(entries, is_last) == data


WHOLE = batches.packed([(wire.PICKLE, b"abc", 0), (wire.PLAIN, b"", 0)], is_last=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        WHOLE[:-1],
        WHOLE + b"x",
        WHOLE[:4] + b"\x02" + WHOLE[5:],
        b"\xff\xff\xff\xff\x00",
        WHOLE[:5] + b"\x40" + WHOLE[6:],
        WHOLE[:10] + b"\xff\xff\xff\xff" + WHOLE[14:],
    ],
    ids=["empty", "cut", "more", "end", "many", "encoding", "count"],
)
def test_malformed_batches_are_errors_of_the_protocol(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        items.arrived(TRUSTED, wire.BATCH, data)


def test_an_item_is_trusted_as_a_result_is() -> None:
    found = items.arrived(DATA, wire.BATCH, batches.packed([(wire.PICKLE, pickle.dumps(1), 0)], is_last=False))
    with pytest.raises(UntrustedReply):
        found.decode(found.items[0])


def test_a_list_has_as_many_items_as_it_says() -> None:
    item = (wire.PLAIN, plain_encode.encode([1, 2, 3]), 2)
    found = items.arrived(DATA, wire.BATCH, batches.packed([item], is_last=False))
    with pytest.raises(ValueError, match="other items"):
        batches.values(item, found.decode(item))


class Process:
    """A process that lends, as its tables see it."""

    owner = 7


@pytest.mark.parametrize(
    "facts",
    [
        (),
        ("x",),
        ("x", 16, 1000, 2),
        (1, 16, 1000, 2, True),
        ("x", "16", 1000, 2, True),
        ("x", 0, 1000, 2, True),
        ("x", 16, -1, 2, True),
        ("x", 16, 1000, 3, True),
        ("x", 16, 1000, 2, 1),
        ("x", 1 << 40, 1000, 2, True),
        ("x" * 2000, 16, 1000, 2, True),
    ],
)
def test_what_is_said_of_a_stream_is_checked(facts: tuple[Any, ...]) -> None:
    process: Any = Process()
    lender = Lender("model", process, DATA, lambda: None, lambda job: None, foreign=False)
    with pytest.raises(ProtocolError):
        lender.take(plain_encode.encode([((7 << 32) + 1, "stream", facts)]))


# What makes them


def taken(source: ItemSource, number: int, size: int = 1 << 20) -> tuple[list[Any], bool]:
    found = source.take(Want(number, size, encode, early))
    assert found is not None
    whole = arrived(found)
    return [value for item in whole.items for value in batches.values(item, whole.decode(item))], whole.is_last


def test_no_more_items_are_made_than_were_asked_for() -> None:
    made: list[int] = []
    source = ItemSource((made.append(n) or n for n in range(10)), "numbers")
    assert taken(source, 3) == ([0, 1, 2], False)
    assert len(made) == 3
    assert taken(source, 100) == (list(range(3, 10)), True)
    assert source.is_over


def test_bytes_bound_them_too() -> None:
    source = ItemSource(iter(["x" * 100] * 10), "texts")
    assert len(taken(source, 100, size=250)[0]) == 3


def test_the_error_comes_after_all_before_it() -> None:
    def fails() -> Any:
        yield 1
        raise LookupError

    source = ItemSource(fails(), "fails")
    assert taken(source, 5) == ([1], False)
    with pytest.raises(LookupError):
        taken(source, 5)
    assert taken(source, 5) == ([], True)


def test_what_waits_is_flushed_by_another_thread() -> None:
    """And what was not taken by that goes with the next request."""
    waits, goes_on, flushed = threading.Event(), threading.Event(), []

    def gated() -> Any:
        yield 1
        yield [2]
        waits.set()
        goes_on.wait(20)
        yield 3
        yield 4

    source = ItemSource(gated(), "gated")
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(source.take(Want(9, 1000, encode, flushed.append))))
    thread.start()
    assert waits.wait(20)
    flusher = Flusher(lambda: None)
    flusher.watch(source)
    while not flushed:
        assert flusher.patience() is not None
        flusher.look()
    goes_on.set()
    thread.join(20)
    whole = arrived(flushed[0])
    assert [batches.values(item, whole.decode(item)) for item in whole.items] == [(1,), ([2],)]
    assert outcomes == [None]
    assert taken(source, 9) == ([3, 4], True)


def test_a_request_ends_after_what_was_flushed_in_its_place() -> None:
    """Otherwise the end of a call could overtake its answer."""
    goes_on, finished, outcomes, sent = threading.Event(), threading.Event(), [], []

    def gated() -> Any:
        yield 1
        goes_on.wait(20)
        finished.set()

    def send(batch: Batch) -> None:
        goes_on.set()
        finished.wait(20)
        thread.join(0.05)
        sent.append((list(outcomes), len(batch.items)))

    source = ItemSource(gated(), "gated")
    thread = threading.Thread(target=lambda: outcomes.append(source.take(Want(9, 1000, encode, send))))
    thread.start()
    while not sent:
        source.flush()
    thread.join(20)
    assert (sent, outcomes) == ([([], 1)], [None])


def test_a_cancelled_request_ends_after_what_was_flushed_in_its_place() -> None:
    """The answer to a request that was cancelled must not be overtaken by that: the request is over with it."""
    flushing, go_on = threading.Event(), threading.Event()
    sent: list[str] = []

    def slowly(_: Batch) -> None:
        flushing.set()
        assert go_on.wait(20)
        sent.append("items")

    async def endless() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def main() -> None:
        source = AsyncItemSource(endless(), "endless")
        task = asyncio.create_task(source.take(Want(10, 1 << 20, encode, slowly)))  # type: ignore[arg-type]
        while not source.runs or not source._there:
            await asyncio.sleep(0)
        time.sleep(2 * STALLED)
        flusher = threading.Thread(target=source.flush)
        flusher.start()
        assert flushing.wait(20)
        threading.Timer(0.05, go_on.set).start()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sent.append("cancelled")
        flusher.join(20)
        source.flush()  # and nothing more is sent for it

    asyncio.run(asyncio.wait_for(main(), 20))
    assert sent == ["items", "cancelled"]


def test_a_source_that_was_closed_says_so_to_whoever_reads_on() -> None:
    source = ItemSource(iter(range(9)), "numbers")
    assert taken(source, 2) == ([0, 1], False)
    source.close()
    with pytest.raises(Released):
        taken(source, 2)


def test_looks_end_when_nothing_is_asked_for() -> None:
    woken: list[int] = []
    flusher, source = Flusher(lambda: woken.append(1)), ItemSource(iter(range(9)), "numbers")
    assert flusher.patience() is None
    flusher.watch(source)
    assert woken == [1]
    while flusher.patience() is not None:
        flusher.look()
    assert len(woken) == 1


# What reads them


class Model(StreamReach):
    """A way to a source that answers when it is told to."""

    def __init__(self, source: ItemSource, window: int, ahead: int) -> None:
        self.facts = StreamFacts("model", window, 1 << 20, ahead, True)
        self.source = source
        self.asked: deque[tuple[Future[Any], int, int]] = deque()
        self.is_closed = False

    def new_pull(self) -> Any:
        return Pull()

    def send(self, pull: Any, items: int, size: int, seconds: float | None) -> None:
        self.asked.append((pull, items, size))

    def close(self) -> None:
        self.is_closed = True

    def serve(self) -> None:
        if not self.asked:
            return
        pull, number, size = self.asked.popleft()
        try:
            found = self.source.take(Want(number, size, encode, early))
        except Exception as error:
            pull.fail(error)
        else:
            assert found is not None
            pull.set(arrived(found))


class Pull(Future[Any]):
    """A request that may be given up."""

    def give_up(self) -> None:
        self.cancel()


@given(
    window=st.integers(1, 9),
    ahead=st.sampled_from([1, 2]),
    count=st.integers(0, 40),
    fails=st.booleans(),
    steps=st.lists(st.sampled_from(["read", "serve"]), max_size=150),
)
def test_each_item_is_read_once_in_order_and_the_maker_is_a_window_ahead_at_most(
    window: int, ahead: int, count: int, fails: bool, steps: list[str]
) -> None:
    made: list[int] = []

    def items_of() -> Any:
        for number in range(count):
            made.append(number)
            yield number if number % 3 else [number]
        if fails:
            raise LookupError

    reach = Model(ItemSource(items_of(), "model"), window, ahead)
    stream, read, end = BaseStream(reach), [], ""
    for step in [*steps, *["serve", "read"] * 200]:
        if step == "serve":
            reach.serve()
        else:
            try:
                read.append(stream.get_next(0))
            except StopIteration:
                end = end or "end"
            except LookupError:
                end = end or "error"
            except Timeout:
                pass
        assert len(made) - len(read) <= window
        assert not end or len(read) == count
    assert read == [number if number % 3 else [number] for number in range(count)]
    assert end == ("error" if fails else "end")
    assert reach.is_closed is fails
