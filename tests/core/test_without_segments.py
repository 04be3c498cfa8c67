"""Large messages if there is no shared memory for them: through the data channel, each copied once on its way."""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import piactors
from piactors import IsolateCrashed, IsolationLimits, IsolationOptions, ProcessIsolator
from piactors._codec.decode import Decoder
from piactors._isolate.reply_ports import PeerReply
from piactors.errors import NotSendable
from piactors.pihost.memory.chunks import Chunks
from piactors.pihost.memory.parts import laid_out
from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.wire import wire
from tests.children.arrays import Arrays, mapped_bytes

MIB = 1 << 20
SIZES = [65_535, 65_536, 262_143, 262_144, 262_145, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 40 * MIB]


@pytest.fixture
def _no_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIACTORS_PORTABLE", "segments")


pytestmark = pytest.mark.usefixtures("_no_segments")


@pytest.fixture(params=["code", "data"])
def isolator(request: pytest.FixtureRequest) -> Iterator[ProcessIsolator]:
    """An isolate without shared memory, whose code is called by name."""
    with ProcessIsolator(IsolationOptions(trust=request.param)) as found:
        yield found


@pytest.mark.parametrize("size", SIZES)
def test_what_is_large_comes_back_as_it_was(isolator: ProcessIsolator, size: int) -> None:
    array = np.arange(size, dtype="u1")
    for value in (array, [array, b"x" * size], {"a": "y" * size, "b": bytearray(size)}):
        found = isolator.invoke_method("copy:copy", value).get(timeout=60)
        np.testing.assert_equal(found, value)
    assert mapped_bytes() == 0


@pytest.mark.parametrize("count", [8_191, 8_192, 32_767, 32_768, 524_288, 3 * MIB])
def test_arrays_are_aligned_and_belong_to_who_gets_them(isolator: ProcessIsolator, count: int) -> None:
    value = np.arange(count, dtype="f8")
    value.flags.writeable = False
    for given in (value, value.copy()):
        found = isolator.invoke_method("copy:copy", given).get(timeout=30)
        assert found.flags.aligned
        assert np.array_equal(found, value)
        found = isolator.invoke_method(f"{__name__}:plus_one", given.copy()).get(timeout=30)
        assert np.array_equal(found, value + 1)
        found += 1
        assert np.array_equal(found, value + 2)


def plus_one(value: Any) -> Any:
    """Change an argument in place."""
    assert value.flags.aligned
    value += 1
    return value


def test_arguments_are_what_they_were_at_the_call() -> None:
    actor = Arrays.start().proxy()
    value = np.zeros(MIB)
    futures = []
    for number in range(10):
        value[:] = number
        futures.append(actor.total(value))
        value[:] = -1
    assert [future.get(timeout=30) for future in futures] == [MIB * float(number) for number in range(10)]


def test_many_large_messages_both_ways_at_once() -> None:
    """Neither side waits for the other one to read before it reads itself."""
    actor = Arrays.start().proxy()
    values = [np.full(MIB, float(number)) for number in range(12)]
    found = [future.get(timeout=60) for future in [actor.echo(value) for value in values]]
    assert all(map(np.array_equal, found, values))


def test_a_function_that_is_handed_over_returns_what_is_large() -> None:
    with ProcessIsolator(IsolationOptions(trust="auto")) as isolator:
        found = isolator.invoke_method(lambda: np.arange(MIB)).get(timeout=30)
        assert np.array_equal(found, np.arange(MIB))
    answer = Arrays.start().proxy().ask_myself(MIB).get(timeout=30)
    assert np.array_equal(answer.get(timeout=30), np.full(MIB, 3.0))


def test_a_call_that_may_be_run_again_gets_its_arguments_again() -> None:
    actor = Arrays.with_options(restart="permanent").start().proxy()
    value = np.ones(MIB)
    with pytest.raises(IsolateCrashed):
        actor.die.with_options(retries=1)(value).get(timeout=30)
    assert actor.total(value).get(timeout=30) == MIB


def test_a_message_larger_than_the_share_of_a_limit_goes_through_the_pipe() -> None:
    limits = IsolationLimits(max_memory="400 MiB")
    value = np.arange(10 * MIB, dtype="f8")  # 80 MiB, where 50 may be shared
    found = Arrays.with_options(limits=limits).start().proxy().echo(value).get(timeout=60)
    assert np.array_equal(found, value)


@pytest.mark.parametrize("moment", ["while it reads", "while it writes"])
def test_what_a_killed_isolate_had_of_a_message_counts_for_nothing(moment: str) -> None:
    """The message that it had half read was not begun, so the next process gets it."""
    ref = Arrays.with_options(restart="permanent", trust="code").start()
    actor, pid = ref.proxy(), ref.pid
    if moment == "while it reads":
        os.kill(pid, signal.SIGSTOP)
        future = actor.total(np.ones(8 * MIB))
        os.kill(pid, signal.SIGKILL)
        assert future.get(timeout=30) == 8 * MIB
    else:
        before = resident()
        future = actor.made(32 * MIB, 1.0)
        while resident() < before + 16 * MIB:
            assert not future.done()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(IsolateCrashed):
            future.get(timeout=30)
    assert actor.total(np.ones(MIB)).get(timeout=30) == MIB
    assert ref.pid != pid


def test_no_answer_is_larger_than_a_frame_may_be() -> None:
    """Its table and what lies between its parts count: the process goes on, whatever the size is."""
    ref = piactors.spawn(f"{__name__}:Maker", options=IsolationOptions(trust="code", max_frame=MIB))
    refused = 0
    for size in range(MIB - 400, MIB + 1, 40):
        try:
            assert len(ref.proxy().made(size).get(timeout=30)) == size
            assert not refused
        except NotSendable as error:
            assert "but max_frame is 1,048,576" in str(error)
            refused += 1
    assert refused > 1
    assert ref.generation == 1


class Maker:
    """Makes what is large."""

    def made(self, size: int) -> Any:
        return np.zeros(size, "u1")


@pytest.mark.parametrize("threads", [1, 3])
def test_it_stops_at_once(threads: int) -> None:
    """Also the threads that wait for the next message do."""
    ref = piactors.spawn(f"{__name__}:Threaded", options=IsolationOptions(concurrency=threads))
    assert ref.proxy().size(np.ones(MIB)).get(timeout=30) == MIB
    ref.stop(timeout=20)
    assert not ref.is_alive()


class Threaded:
    """Takes what is large, on several threads."""

    def size(self, value: Any) -> int:
        return len(value)


def test_results_are_given_back_to_the_system() -> None:
    actor = Arrays.start().proxy()
    kept = actor.made(8 * MIB, 1.0).get(timeout=30)
    before = resident()
    del kept
    gc.collect()
    assert resident() < before - 60 * MIB


def resident() -> int:
    """How many bytes of memory of its own this process has."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def test_all_that_a_killed_isolate_had_answered_is_read(tmp_path: Path) -> None:
    """However little is read at once, and however much the channel holds."""
    ref = piactors.spawn(f"{__name__}:Noting", str(tmp_path / "noted"), options=IsolationOptions(max_frame=4096))
    proxy = ref.proxy()
    futures = [proxy.note(number) for number in range(2000)]
    os.kill(ref.pid or 0, signal.SIGSTOP)  # nobody reads meanwhile
    os.kill(ref.pid or 0, signal.SIGKILL)
    answered = 0
    for future in futures:
        with contextlib.suppress(piactors.ActorDeadError, IsolateCrashed):
            answered += len(future.get(timeout=30)) == 3800
    begun = (tmp_path / "noted").stat().st_size
    assert answered <= begun <= answered + 1


class Noting:
    """Writes down that a call has begun."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115

    def note(self, number: int) -> bytes:
        """Note this call."""
        self._file.write(b"x")
        return b"y" * 3800


@pytest.mark.parametrize("flags", [wire.PLAIN, wire.PICKLE], ids=["data", "code"])
def test_what_is_passed_on_to_who_has_asked_is_a_copy(flags: int) -> None:
    """The host has the answer too, and may change it before all of it has left."""
    value, chunks = np.ones(MIB), Chunks()
    if flags == wire.PICKLE:
        pickle.Pickler(chunks, 5, buffer_callback=chunks.take).dump(value)
    else:
        plain_encode.write(value, chunks.write)
    payload = bytearray(b"".join(laid_out(chunks)))
    as_it_came, sent = bytes(payload), []
    peer: Any = SimpleNamespace(answer=lambda kind, flags, number, payload: sent.append(payload))
    reply = PeerReply(peer, 1, {})
    reply.reply(Decoder("it", True, {}, 1 << 30, lambda number: None), flags, payload)
    found = reply.future.get(timeout=30)
    found += 1
    assert sent == [as_it_came]


def test_a_result_is_a_copy_if_other_threads_run() -> None:
    """They may change it while it is on its way."""
    ref = piactors.spawn(f"{__name__}:Filling", options=IsolationOptions(trust="code", concurrency=2))
    results = [ref.proxy().filled(size) for size in range(4 * MIB, 4 * MIB + 30)]
    assert [len(set(result.get(timeout=60))) for result in results] == [1] * 30


class Filling:
    """Fills one buffer again and again."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lock = threading.Lock()

    def filled(self, size: int) -> bytearray:
        """Fill it, which needs it to be free."""
        with self._lock:
            self._buffer[:] = bytes([size % 251]) * size
            return self._buffer


def test_a_result_in_a_file_that_was_cut_short_ends_the_process(tmp_path: Path) -> None:
    """Half of its frame may have left; the next process is as good as new."""
    ref = piactors.spawn(f"{__name__}:Cutting", options=IsolationOptions(trust="code", restart="permanent"))
    with pytest.raises(IsolateCrashed):
        ref.proxy().cut(str(tmp_path / "cut")).get(timeout=30)
    assert len(ref.proxy().whole().get(timeout=30)) == MIB


class Cutting:
    """Returns what lies in a file."""

    def whole(self) -> Any:
        """Return an array of its own."""
        return np.ones(MIB, "u1")

    def cut(self, path: str) -> Any:
        """Return an array in a file that is no longer there."""
        found = np.memmap(path, "u1", "w+", shape=(8 * MIB,))
        os.truncate(path, 0)
        return np.frombuffer(found, "u1")
