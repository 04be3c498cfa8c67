"""Millions of calls to one isolate that is killed, recycled, timed out and given up on, each accounted for.

``python -m tests.soak.millions --calls 5000000 --seed 1``.  Threads call it in rows, by `map` and by awaiting; each
call has a number of its own, and what runs it counts in a mapped file how often it began.  In the end each call has
had one outcome, and the file says that this is what happened: an answered call ran once, one that is said not to have
begun never did, and no call ran twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import mmap
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from piactors import ActorDeadError, CallTimeout, IsolateCrashed, ProcessActor, Recycle

ROW = 200
"""Calls that a thread makes before it asks for the first answer."""
ONE_IN = {"cancel": 400, "die": 60_000, "hang": 60_000}
LIMIT = 0.2
"""Seconds that a call may run which hangs."""
KILL_EVERY = 1.0
RECYCLE_AFTER = 100_000


class Tally(ProcessActor):
    """Counts in a file how often each call began."""

    def __init__(self, path: str) -> None:
        super().__init__()
        with open(path, "r+b") as file:
            self._ran = mmap.mmap(file.fileno(), 0)

    def count(self, number: int) -> int:
        """Count this call."""
        self._ran[number] += 1
        return number

    def die(self, number: int) -> None:
        """Count this call, and end."""
        self._ran[number] += 1
        os.kill(os.getpid(), signal.SIGKILL)

    def hang(self, number: int) -> None:
        """Count this call, and do not come back."""
        self._ran[number] += 1
        time.sleep(60)


class Ledger:
    """How each call ended, and what that says of how often it may have begun."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.ended = 0
        self.faults: list[str] = []
        self._lock = threading.Lock()

    def note(self, number: int, outcome: Callable[[], Any], ran: mmap.mmap) -> None:
        """Ask for the outcome of a call, and hold it against the file."""
        try:
            found = outcome()
        except CancelledError:
            self._note("cancelled", number, ran, {0})
        except CallTimeout:
            self._note("timed out", number, ran, {0, 1})
        except IsolateCrashed:
            self._note("crashed", number, ran, {0, 1})  # it had begun, and perhaps not come as far as to count
        except ActorDeadError:
            self._note("not begun", number, ran, {0})
        else:
            if found != number:
                self._fault(f"call {number} has the answer {found!r}")
            self._note("answered", number, ran, {1})

    def _note(self, kind: str, number: int, ran: mmap.mmap, allowed: set[int]) -> None:
        with self._lock:
            self.outcomes[kind] += 1
            self.ended += 1
        if ran[number] not in allowed:
            self._fault(f"call {number} is {kind}, and ran {ran[number]} times")

    def _fault(self, text: str) -> None:
        with self._lock:
            self.faults.append(text)


class Run:
    """One isolate, and those who call it.

    Args:
        calls: how many calls are made in all.
    """

    def __init__(self, path: Path, calls: int, seed: int) -> None:
        path.write_bytes(bytes(calls))
        with path.open("r+b") as file:
            self._ran = mmap.mmap(file.fileno(), 0)
        self.ledger = Ledger()
        self._seed = seed
        self._calls = calls
        self._over = threading.Event()
        options: Any = {"recycle": Recycle(after_calls=RECYCLE_AFTER), "restart": "permanent", "max_restarts": 10**9}
        self.ref = Tally.with_options(**options, backoff=None).start(str(path))
        self.kills = 0

    def go(self) -> None:
        """Make all calls, from several threads, while somebody kills the process again and again."""
        share = self._calls // 4
        bounds = [(start, start + share) for start in range(0, 3 * share, share)] + [(3 * share, self._calls)]
        kinds = (self._rows, self._rows, self._maps, self._awaits)
        threads = [
            threading.Thread(target=kind, args=bound, name=kind.__name__)
            for kind, bound in zip(kinds, bounds, strict=True)
        ]
        killer = threading.Thread(target=self._kill, name="killer")
        for thread in (*threads, killer):
            thread.start()
        for thread in threads:
            thread.join()
        self._over.set()
        killer.join()
        self.ref.stop(timeout=60)

    def check(self) -> None:
        """Hold the whole against the file: every call has had one outcome, and none ran twice."""
        if self.ledger.ended != self._calls:
            self.ledger.faults.append(f"{self.ledger.ended} outcomes of {self._calls} calls")
        twice = [number for number, count in enumerate(self._ran[:]) if count > 1]
        if twice:
            self.ledger.faults.append(f"{len(twice)} calls ran more than once, such as {twice[:5]}")

    @staticmethod
    def _made(proxy: Any, dice: random.Random, number: int) -> Any:
        if not dice.randrange(ONE_IN["die"]):
            return proxy.die(number)
        if not dice.randrange(ONE_IN["hang"]):
            return proxy.hang.with_options(call_timeout=LIMIT)(number)
        return proxy.count(number)

    def _rows(self, first: int, last: int) -> None:
        dice, note, ran, proxy = random.Random(self._seed + first), self.ledger.note, self._ran, self.ref.proxy()
        for start in range(first, last, ROW):
            numbers = range(start, min(start + ROW, last))
            futures = [self._made(proxy, dice, number) for number in numbers]
            for future in reversed(futures):  # the last ones have the best chance not to have begun
                if not dice.randrange(ONE_IN["cancel"]):
                    future.cancel()
            for number, future in zip(numbers, futures, strict=True):
                note(number, future.get, ran)

    def _maps(self, first: int, last: int) -> None:
        note, ran, proxy = self.ledger.note, self._ran, self.ref.proxy()
        results = proxy.count.map(range(first, last), return_exceptions=True)
        for number, result in zip(range(first, last), results, strict=True):
            note(number, lambda result=result: _raised(result), ran)  # type: ignore[misc]

    def _awaits(self, first: int, last: int) -> None:
        asyncio.run(self._awaited(first, last))

    async def _awaited(self, first: int, last: int) -> None:
        dice, note, ran, proxy = random.Random(self._seed + first), self.ledger.note, self._ran, self.ref.proxy()
        for start in range(first, last, ROW):
            numbers = range(start, min(start + ROW, last))
            futures = [self._made(proxy, dice, number) for number in numbers]
            results = await asyncio.gather(*futures, return_exceptions=True)
            for number, result in zip(numbers, results, strict=True):
                note(number, lambda result=result: _raised(result), ran)  # type: ignore[misc]

    def _kill(self) -> None:
        ended = 0
        while not self._over.wait(KILL_EVERY):
            if self.ledger.ended < ended + ROW:
                continue  # else on a busy machine no process would live for long enough
            ended = self.ledger.ended
            with contextlib.suppress(ProcessLookupError, TypeError):  # it has ended, or the next one is not there yet
                os.kill(self.ref.pid, signal.SIGKILL)  # type: ignore[arg-type]
                self.kills += 1


def _raised(result: Any) -> Any:
    if isinstance(result, BaseException):
        raise result
    return result


@contextlib.contextmanager
def a_run(calls: int, seed: int) -> Iterator[Run]:
    """Make the calls, and check them."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "ran", calls, seed)
        run.go()
        run.check()
        yield run


def main() -> int:
    """Make the calls, and tell how they ended."""
    parser = argparse.ArgumentParser(description="Millions of calls, each accounted for.")
    parser.add_argument("--calls", type=int, default=5_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.getLogger("piactors").setLevel(logging.CRITICAL)  # each kill is told of
    began = time.perf_counter()
    with a_run(given.calls, given.seed) as run:
        seconds = time.perf_counter() - began
        print(f"{given.calls:,} calls in {seconds:.0f} s, {run.kills} kills, {run.ref.generation:,} generations")
        for kind, count in run.ledger.outcomes.most_common():
            print(f"  {kind:10} {count:>10,}")
        for fault in run.ledger.faults[:20]:
            print("FAULT", fault)
    return 1 if run.ledger.faults else 0


if __name__ == "__main__":
    sys.exit(main())
