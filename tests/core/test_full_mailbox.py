"""A full mailbox: how long who sends waits for room, and what he is told."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pykka
import pytest

import piactors
from piactors import IsolationOptions, MailboxFull, ProcessActor, Timeout, by_ref
from tests import inside
from tests.support import wait_until

SHORT = 0.05
PATIENCE = 20.0


class Gate:
    """One call of it lasts until a file is there."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def wait_for(self, path: str) -> None:
        import os

        while not os.path.exists(path):
            time.sleep(0.002)

    def block(self, path: str) -> None:
        """Say that it has begun, and never end."""
        with open(path, "w"):
            time.sleep(1000)

    def note(self, value: int) -> None:
        self.seen.append(value)

    def all(self) -> list[int]:
        return self.seen


@pytest.fixture
def full(tmp_path: Any) -> Iterator[tuple[Any, Any]]:
    """An isolate with room for two messages, which has two, and what lets it go on."""
    ref = piactors.spawn(Gate, options=IsolationOptions(mailbox_capacity=2, shutdown_timeout=1))
    gate = tmp_path / "open"
    ref.call("wait_for", str(gate))
    ref.call("note", 1)
    yield ref, gate.touch
    gate.touch()
    ref.stop(timeout=PATIENCE)


def note(value: int) -> Any:
    return pykka.messages.ProxyCall(attr_path=("note",), args=(value,), kwargs={})


def ask(ref: Any) -> None:
    ref.ask(note(2), timeout=SHORT)


def ask_later(ref: Any) -> None:
    ref.ask(note(2), block=False, timeout=SHORT).get()


def tell(ref: Any) -> None:
    ref.tell(note(2), timeout=SHORT)


@pytest.mark.parametrize("send", [ask, ask_later, tell])
def test_a_time_out_counts_from_the_call_at_a_full_mailbox_too(full: tuple[Any, Any], send: Any) -> None:
    """It says what was waited for, and the message is not sent, now or later."""
    ref, let_go_on = full
    with pytest.raises(Timeout, match=r"no room for note in the mailbox, which holds 2 messages, its capacity, within"):
        send(ref)
    let_go_on()
    assert ref.call("all").get(timeout=PATIENCE) == [1]


def test_what_was_waited_for_room_is_not_waited_again_for_the_answer(full: tuple[Any, Any]) -> None:
    """And the error names all the seconds."""
    ref, let_go_on = full
    threading.Timer(0.2, let_go_on).start()
    ref.ask(note(2), timeout=PATIENCE)
    blocked = piactors.spawn(Gate, options=IsolationOptions(mailbox_capacity=1, shutdown_timeout=0.1))
    first = blocked.call("wait_for", "/")
    began = time.monotonic()
    message = pykka.messages.ProxyCall(attr_path=("wait_for",), args=("/nowhere",), kwargs={})
    with pytest.raises(Timeout, match=r"no answer from wait_for\(\) within 0\.3 seconds"):
        blocked.ask(message, timeout=0.3)
    assert time.monotonic() - began < PATIENCE / 2
    assert first.get(timeout=PATIENCE) is None
    blocked.terminate()


def test_an_event_loop_is_never_blocked_by_a_full_mailbox(full: tuple[Any, Any]) -> None:
    """The call fails at once."""
    ref, _ = full

    async def main() -> None:
        with pytest.raises(MailboxFull, match="2 messages, its capacity"):
            await ref.proxy().note(2)

    asyncio.run(main())


def test_who_waits_for_room_gets_it_also_after_others_have_given_up(full: tuple[Any, Any]) -> None:
    """Nobody takes the place of another with him."""
    ref, let_go_on = full
    sent: list[int] = []

    def send(value: int) -> None:
        ref.ask(note(value), timeout=PATIENCE)
        sent.append(value)

    threads = [threading.Thread(target=send, args=(value,), daemon=True) for value in range(10, 16)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        with pytest.raises(Timeout):
            ref.tell(note(3), timeout=0.01)
    let_go_on()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(sent) == list(range(10, 16))
    assert sorted(ref.call("all").get(timeout=PATIENCE)) == [1, *range(10, 16)]


def test_who_waits_for_room_is_told_of_the_end(full: tuple[Any, Any]) -> None:
    """Of an isolate that takes nothing any more."""
    ref, _ = full
    told: list[BaseException] = []

    def send() -> None:
        try:
            ref.tell(note(2))
        except piactors.ActorDeadError as error:
            told.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    wait_until(lambda: len(inside.delivery(ref).room._places))
    ref.terminate()
    thread.join(PATIENCE)
    assert len(told) == 1


@pytest.mark.parametrize("concurrency", [1, 2])
def test_who_waits_for_room_gets_it_if_a_process_takes_all_calls_with_it(tmp_path: Path, concurrency: int) -> None:
    """Nothing is left in the mailbox then whose answer would make room."""
    options = IsolationOptions(mailbox_capacity=concurrency, concurrency=concurrency, restart="permanent")
    ref = piactors.spawn(Gate, options=options)
    begun = [tmp_path / str(number) for number in range(concurrency)]
    running = [ref.call("block", str(path)) for path in begun]
    wait_until(lambda: all(path.exists() for path in begun))
    answers: list[Any] = []
    senders = [threading.Thread(target=lambda: answers.append(ref.ask(note(2))), daemon=True) for _ in range(5)]
    for sender in senders:
        sender.start()
    wait_until(lambda: inside.waits_for_room(ref) == len(senders))
    os.kill(ref.pid or 0, signal.SIGKILL)
    for call in running:
        assert isinstance(call.exception(timeout=PATIENCE), piactors.IsolateCrashed)
    for sender in senders:
        sender.join(PATIENCE)
    assert answers == [None] * len(senders)
    ref.stop(timeout=PATIENCE)


class Asks(ProcessActor):
    """Writes down what it runs, and asks the host for something meanwhile."""

    def run(self, path: str, name: str, function: Any, seconds: float = 0.0) -> str:
        with open(path, "a") as file:
            file.write(f"{name} {os.getpid()}\n")
        if function is not None:
            function(1)
        time.sleep(seconds)
        return name


@pytest.mark.parametrize("overflow", ["fail", "block"])
def test_what_runs_is_not_sent_again_because_another_call_found_no_room(tmp_path: Path, overflow: str) -> None:
    """The host has answered what the running call has asked for, so that was not the last thing that it sent."""
    ref = Asks.with_options(restart="permanent", mailbox_capacity=1, overflow=overflow).start()
    path = str(tmp_path / "ran")
    asked = threading.Event()
    first = ref.proxy().run(path, "first", by_ref(lambda _: asked.set()), 0.4)
    assert asked.wait(20)
    wait_until(lambda: ref._isolate.process.unread == 0)

    async def others() -> list[Any]:  # with a running event loop nobody waits for room
        return [ref.proxy().run(path, "other", None) for _ in range(5)]

    for future in asyncio.run(others()):
        with pytest.raises(MailboxFull):
            future.get(timeout=20)
    assert first.get(timeout=20) == "first"
    wait_until(lambda: ref.mailbox_size == 0)
    assert ref.proxy().run(path, "last", None).get(timeout=20) == "last"
    assert [line.split()[0] for line in Path(path).read_text().splitlines()] == ["first", "last"]
    assert ref.generation == 1
    ref.stop()
