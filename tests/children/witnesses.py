"""Children of the supervision scenarios: they write down their starts and ends, fail to start and end on demand."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pykka

from piactors import ProcessActor


class Witness:
    """What both kinds of witnesses do; every line goes into one file that all share."""

    def prepare(self, log: str, id: str, fail_starts: list[int]) -> None:
        """Keep what a start needs."""
        self._log = log
        self._id = id
        self._fail_starts = fail_starts
        self._finished = False

    def write(self, word: str) -> None:
        """Add a line to the log, in one piece."""
        with open(self._log, "ab", buffering=0) as file:
            file.write(f"{word} {self._id}\n".encode())

    def on_start(self) -> None:
        """Start, or fail, as the scenario says for the how-many-eth start of this child."""
        lines = Path(self._log).read_text().splitlines() if os.path.exists(self._log) else []
        earlier = sum(line in (f"started {self._id}", f"start_failed {self._id}") for line in lines)
        if earlier + 1 in self._fail_starts:
            self.write("start_failed")
            raise RuntimeError("as the scenario says")
        self.write("started")

    def on_stop(self) -> None:
        """Write down a stop that was not the child's own."""
        if not self._finished:
            self.write("stopped")

    def on_receive(self, message: Any) -> Any:
        """End in the given way."""
        if message == "crash":
            self.write("crashed")
            self.crash()
        elif message in ("normal", "shutdown"):
            self._finished = True
            self.write("finished")
            self.stop()  # type: ignore[attr-defined]
        return message

    def crash(self) -> None:
        """Die."""
        raise NotImplementedError


class ThreadWitness(Witness, pykka.ThreadingActor):
    """A child in a thread."""

    def __init__(self, log: str, id: str, fail_starts: list[int]) -> None:
        super().__init__()
        self.prepare(log, id, fail_starts)

    def crash(self) -> None:
        """Die of an exception that nobody waits for."""
        raise RuntimeError("as the scenario says")


class ProcessWitness(Witness, ProcessActor):
    """A child in a process of its own."""

    def __init__(self, log: str, id: str, fail_starts: list[int]) -> None:
        super().__init__()
        self.prepare(log, id, fail_starts)

    def crash(self) -> None:
        """Die without a word."""
        os.kill(os.getpid(), signal.SIGKILL)
