"""Records of isolates in the host's log: with the isolate's own times and names, in its order, and harmless to show."""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from collections.abc import Iterator

import pytest

import piactors
from piactors import ChildSpec, IsolateCrashed, IsolationOptions, ProcessIsolator, StartError, Supervisor, events
from piactors._host import runtime
from tests.hostile_text import FORGED, SEQUENCE, assert_harmless
from tests.support import wait_until

TARGETS = "tests.children.hostile_words"


class Logs(piactors.ProcessActor):
    def just_before_a_second(self) -> list[tuple[float, float, float]]:
        """Log around the turn of a second, and return the times that a formatter in here would show."""
        shown: list[tuple[float, float, float]] = []

        class Keep(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                shown.append((record.created, record.msecs, record.relativeCreated))

        log = logging.getLogger("times")
        log.addHandler(Keep())
        time.sleep(0.998 - time.time() % 1 if time.time() % 1 < 0.99 else 0)
        while len(shown) < 8:
            log.warning("%d", len(shown))
            time.sleep(0.0005)
        return shown

    def from_a_thread(self) -> int:
        thread = threading.Thread(target=logging.getLogger("times").warning, args=("x",), name="a-thread")
        thread.start()
        thread.join()
        return os.getpid()

    async def from_a_task(self) -> str:
        import asyncio

        task = asyncio.current_task()
        assert task is not None
        task.set_name("a-task")
        logging.getLogger("times").warning("x")
        return task.get_name()


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign]
    logging.getLogger("times").addHandler(handler)
    yield found
    logging.getLogger("times").removeHandler(handler)


def test_every_time_of_a_record_is_the_isolates(records: list[logging.LogRecord]) -> None:
    """Also around the turn of a second, and in the isolate's order."""
    shown = Logs.start().proxy().just_before_a_second().get(timeout=20)
    wait_until(lambda: len(records) == 8)
    assert [(record.created, record.msecs, record.relativeCreated) for record in records] == shown
    assert [record.getMessage() for record in records] == [str(number) for number in range(8)]
    texts = [logging.Formatter("%(asctime)s").format(record) for record in records]
    assert texts == sorted(texts)


def test_threads_processes_and_tasks_are_the_isolates(records: list[logging.LogRecord]) -> None:
    ref = Logs.with_options(name="logs").start()
    pid = ref.proxy().from_a_thread().get(timeout=20)
    task = ref.proxy().from_a_task().get(timeout=20)
    wait_until(lambda: len(records) == 2)
    first, second = records
    assert (first.threadName, first.process, first.processName) == ("a-thread", pid, "logs")
    assert first.thread != threading.get_ident()
    taken = getattr(second, "taskName", None)
    assert taken in (task, None)  # Python has it from 3.12 on


# What could harm


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """All that the host's log says, as text with tracebacks."""
    stream, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s %(threadName)s %(processName)s %(funcName)s %(message)s")
    )
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


WAYS = [
    "says_on_stdout",
    "says_on_stderr",
    "logs",
    "logs_as_logger",
    "logs_an_exception",
    "logs_an_extra",
    "logs_a_stack",
    "logs_from_a_thread",
    "dies_with_last_words",
    "exits_with_words",
    "raises",
    "crashes_in_a_tell",
]


def test_whatever_is_hostile_is_harmless_in_the_log_and_in_texts(written: io.StringIO) -> None:
    """By every way that text of isolated code takes to a log, a reason, a tree or the text of an error of ours."""
    options = IsolationOptions(restart="permanent", max_restarts=None, name=f"evil{SEQUENCE}")
    with ProcessIsolator(options) as isolator:
        reasons: list[piactors.ExitReason] = []
        unsubscribe = events.subscribe(lambda event: reasons.append(event.reason), events.IsolateExited)  # type: ignore[attr-defined]
        for way in WAYS:
            error = isolator.invoke_method(f"{TARGETS}:{way}").exception(timeout=30)
            if isinstance(error, IsolateCrashed | piactors.ActorDeadError):
                assert_harmless(str(error))
            if error is not None and error.__cause__ is not None:
                assert_harmless(str(error.__cause__))
        wait_until(lambda: len(reasons) >= 2)
        unsubscribe()
        for reason in reasons:
            assert_harmless(reason.summary + "\n" + reason.report() + "\n" + str(reason))
            assert "\n" not in reason.summary
    assert runtime.current().dispatcher.drain(20)
    text = written.getvalue()
    assert_harmless(text)
    assert text.count("title") >= len(WAYS)


def test_starts_that_fail_and_trees_are_harmless_to_show(written: io.StringIO) -> None:
    with pytest.raises(StartError) as caught:
        piactors.spawn(f"{TARGETS}:CannotStart", options=IsolationOptions(name=f"evil{SEQUENCE}"))
    assert_harmless(str(caught.value))
    spec = ChildSpec("evil" + SEQUENCE, f"{TARGETS}:CannotStart")
    with pytest.raises(StartError) as caught:
        Supervisor.start(children=[spec], name="tree" + SEQUENCE)
    assert_harmless(str(caught.value))
    good = ChildSpec("evil" + SEQUENCE, f"{TARGETS}:Starts", restart="temporary")
    with Supervisor.start(children=[good], name="tree" + SEQUENCE) as tree:
        assert_harmless(tree.render())
    assert runtime.current().dispatcher.drain(20)
    assert_harmless(written.getvalue())


def test_stacks_of_a_late_call_are_harmless() -> None:
    """The name of a file is whatever the code says it is."""
    with ProcessIsolator(IsolationOptions(call_timeout=0.3)) as isolator:
        error = isolator.invoke_method(f"{TARGETS}:hangs_in_a_forged_file").exception(timeout=30)
    assert isinstance(error, piactors.CallTimeout)
    assert_harmless(str(error))


def test_values_stay_as_they_are() -> None:
    """Lines that a callable gets, exceptions, and what they say."""
    lines: list[str] = []
    options = IsolationOptions(output=lambda event: lines.append(event.line))
    with ProcessIsolator(options) as isolator:
        error = isolator.invoke_method(f"{TARGETS}:raises").exception(timeout=30)
        isolator.invoke_method(f"{TARGETS}:says_on_stdout").get(timeout=30)
        wait_until(lambda: any("\x1b]0;title" in line for line in lines))
    assert isinstance(error, ValueError)
    assert str(error) == SEQUENCE
    assert FORGED in str(error)
