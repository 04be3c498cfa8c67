"""An actor that sends its host more than `max_frame`, in every way that there is, and one that fails to start so."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import Any, NoReturn

from piactors import Future, ProcessActor

BIG = 200_000


class Own(Exception):
    """Of a class of its own, which the host can import."""


class Kept(Exception):
    """Has what it needs in its attributes, and a text that is short."""

    def __init__(self, payload: str) -> None:
        super().__init__("kept")
        self.payload = payload


class Talker(ProcessActor):
    def pid(self) -> int:
        return os.getpid()

    def on_receive(self, message: Any) -> Any:
        return len(message)

    def result(self) -> bytes:
        return bytes(BIG)

    async def awaited(self) -> bytes:
        await asyncio.sleep(0)
        return bytes(BIG)

    def builtin(self) -> NoReturn:
        raise ValueError("x" * BIG)

    def own(self) -> NoReturn:
        raise Own("é" * BIG)

    def kept(self) -> NoReturn:
        raise Kept("x" * BIG)

    def noted(self) -> NoReturn:
        error = RuntimeError("noted")
        error.__notes__ = ["x" * BIG] * 3  # type: ignore[attr-defined]
        raise error

    def caused(self) -> NoReturn:
        raise RuntimeError("outer") from ValueError("x" * BIG)

    def group(self) -> NoReturn:
        raise ExceptionGroup("many", [ValueError("x" * BIG) for _ in range(3)])

    def named(self) -> NoReturn:
        raise type("N" * BIG, (Exception,), {})("a long name")

    def record(self) -> None:
        logging.getLogger("big").warning("x" * BIG, extra={"more": "y" * BIG, "list": list(range(BIG))})

    def record_of_error(self) -> None:
        try:
            self.kept()
        except Kept:
            logging.getLogger("big").exception("failed", stack_info=True)

    def record_of_name(self) -> None:
        logging.getLogger("n" * BIG).warning("of a long name")

    def tells_itself(self) -> None:
        self.actor_ref.tell(bytes(BIG))

    def asks_itself(self) -> Any:
        return self.actor_ref.ask(bytes(BIG), block=False)

    def calls_itself(self) -> Any:
        return self.actor_ref.proxy().on_receive(bytes(BIG))

    def sets(self, future: Future[Any]) -> None:
        future.set(bytes(BIG))

    def sets_error(self, future: Future[Any]) -> None:
        future.set_exception(Own("x" * BIG))

    def prints(self) -> None:
        print("x" * BIG)

    def grows(self) -> None:
        for number in range(1000):
            setattr(self, f"attribute_{number}", number)

    def in_threads(self) -> int:
        """Have many threads stand in a deep stack, so that the stacks of this process are long."""
        gate, there = threading.Event(), threading.Barrier(21)

        def sink(depth: int) -> None:
            if depth:
                sink(depth - 1)
            else:
                there.wait()
                gate.wait()

        for _ in range(20):
            threading.Thread(target=sink, args=(100,), daemon=True).start()
        there.wait()
        return threading.active_count()


class FailsToStart(ProcessActor):
    def on_start(self) -> None:
        raise Own("x" * BIG)


class Ends(ProcessActor):
    """Ends with an error that nobody waits for, whose text is long."""

    def on_receive(self, message: Any) -> Any:
        raise ValueError("\U0001f600" * BIG)
