"""What the host asks of things that this isolate has lent, done on a thread of its own: calls may run meanwhile."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Any, Callable, Dict, List, Optional

from . import routed

Job = Callable[[], None]
_OF_STREAMS = ("pull", "close")


class Worker:
    """A thread that does jobs in order, made when there is the first one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: "queue.SimpleQueue[Optional[Job]]" = queue.SimpleQueue()
        self._thread: Optional[threading.Thread] = None

    def later(self, job: Job) -> None:
        """Have a job done after those before it."""
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=_run, args=(self._jobs,), name=self._name, daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Let the thread end after the jobs that it has."""
        self._jobs.put(None)


def _run(jobs: "queue.SimpleQueue[Optional[Job]]") -> None:
    while True:
        job = jobs.get()
        if job is None:
            return
        job()
        del job


class Performer(Worker):
    """Runs the methods of what is lent, one after the other.

    Args:
        link: what the answers go through.
    """

    def __init__(self, link: Any) -> None:
        super().__init__("pihost-callbacks")
        self._link = link

    def perform(
        self, seq: int, number: int, operation: str, name: str, flags: int, payload: bytes, entries: Any
    ) -> None:
        """Do something to a thing that is lent, and answer; on the control thread, which waits for nothing."""
        things = self._link.border.take(entries)
        thing = self._link.border.own(number)
        if operation in _OF_STREAMS:
            thing.serve(self._link, seq, operation, routed.arguments(flags, payload, things)[0])
            return
        if operation == "outcome":
            thing.add_done_callback(lambda future: self.later(lambda: self._answer(seq, future.get)))
            return

        def work() -> Any:
            args, kwargs = routed.arguments(flags, payload, things)
            return OPERATIONS[operation](thing, name, args, kwargs)

        self.later(lambda: self._answer(seq, work))

    def _answer(self, seq: int, work: Callable[[], Any]) -> None:
        link = self._link
        try:
            value = work()
            flags, payload, entries = link.replies.value_lending(value)
        except BaseException as error:
            link.respond_with_error(seq, error)
        else:
            link.respond(seq, flags, payload, entries)
            if entries:
                link.border.pipeline.result_sent((True, seq), value, entries)


def _call(handle: Any, name: str, args: List[Any], kwargs: Dict[str, Any]) -> Any:
    return handle.method(name)(*args, **kwargs)


def _get(handle: Any, name: str, args: List[Any], kwargs: Dict[str, Any]) -> Any:
    return handle.look(name)


def _settled(thing: Any) -> Any:
    """Return the future that is to be set: of a writer, its promise."""
    return getattr(thing, "future", thing)


def _settle(future: Any, name: str, args: List[Any], kwargs: Dict[str, Any]) -> None:
    with contextlib.suppress(queue.Full):  # the first outcome stands
        _settled(future).set(args[0])


def _fail(future: Any, name: str, args: List[Any], kwargs: Dict[str, Any]) -> None:
    with contextlib.suppress(queue.Full):
        _settled(future).set_exception(args[0])


OPERATIONS: Dict[str, Callable[[Any, str, Any, Any], Any]] = {
    "call": _call,
    "get": _get,
    "settle": _settle,
    "fail": _fail,
}
