"""Messages between two isolates while either is killed again and again, each accounted for.

``python -m tests.soak.talking --messages 1000000 --seed 1 --channels direct``.  The one that sends has a number for
each message, and writes into a mapped file before it sends it and again what became of it; the one that gets it counts
in another one how often it began.  Both files outlive both.  In the end no message ran twice; what was answered ran
once; what is said not to have begun never did; and of what its sender did not live to hear of, at most as much ran as
it had sent.  What one life of the sender sent began in order, whatever became of the receiver, and whichever way it
went: one in `LARGE_ONE_IN` is too large to go directly.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from piactors import ActorDeadError, IsolateCrashed, ProcessActor, Timeout, current_call
from piactors.pihost.wire import direct

WINDOW = 100
"""Messages that are asked for before the first answer is looked at."""
ROW = 2_000
"""Messages that one call of the host has sent."""
KILL_EVERY = 1_000
"""Messages between two kills, on average: not seconds, as a slow machine would answer hardly any in between."""
SLOW_ONE_IN = 200
LARGE_ONE_IN = 211
LARGE = b"x" * 3000
NOT_SENT, SENT, ANSWERED, NOT_BEGUN, CRASHED, FAILED = range(6)


def mapped(path: str) -> mmap.mmap:
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 0)


class Receiver(ProcessActor):
    """Counts how often each message began."""

    def __init__(self, path: str, last: str) -> None:
        super().__init__()
        self._ran, self._last = mapped(path), mapped(last)

    def count(self, number: int, _: bytes = b"") -> int:
        """Count this message, and see that it comes after the one before it."""
        before = int.from_bytes(self._last[:8], "little")
        if number < before:
            self._last[8] = 1
        self._last[:8] = number.to_bytes(8, "little")
        call = current_call()
        if call is not None and direct.is_direct(call.id):
            self._last[9:13] = (int.from_bytes(self._last[9:13], "little") + 1).to_bytes(4, "little")
        self._ran[number] += 1
        if not number % SLOW_ONE_IN:
            time.sleep(0.002)  # so that some are killed while they run
        return number


class Sender(ProcessActor):
    """Sends messages, and writes down what became of each."""

    def __init__(self, path: str, receiver: Any) -> None:
        super().__init__()
        self._fate = mapped(path)
        self._receiver = receiver

    def send(self, first: int, count: int) -> None:
        """Send so many messages."""
        method = self._receiver.proxy().count
        for start in range(first, first + count, WINDOW):
            numbers = range(start, min(start + WINDOW, first + count))
            futures = []
            for number in numbers:
                self._fate[number] = SENT
                futures.append(method(number) if number % LARGE_ONE_IN else method(number, LARGE))
            for number, future in zip(numbers, futures, strict=True):
                self._fate[number] = self._outcome(number, future)

    @staticmethod
    def _outcome(number: int, future: Any) -> int:
        try:
            return ANSWERED if future.get(timeout=60) == number else FAILED
        except ActorDeadError:
            return NOT_BEGUN
        except IsolateCrashed:
            return CRASHED
        except Exception:
            return FAILED


@attrs.define
class Result:
    """What became of the messages, what does not fit, and how many did not go by way of the host."""

    fates: Counter[int]
    kills: Counter[str]
    faults: list[str]
    directly: int


def faults_of(fates: bytes, ran: bytes) -> list[str]:
    """Compare what the sender was told with what ran."""
    found = []
    for number, (fate, count) in enumerate(zip(fates, ran, strict=True)):
        if count > 1:
            found.append(f"{number} ran {count} times")
        elif fate == ANSWERED and count != 1:
            found.append(f"{number} was answered and ran {count} times")
        elif fate in (NOT_SENT, NOT_BEGUN) and count:
            found.append(f"{number} was not begun, or not sent, and ran")
        elif fate == FAILED:
            found.append(f"{number} has failed in a way that is not one")
    return found


def run(messages: int, seed: int, channels: str = "routed") -> Result:
    """Send so many messages from one isolate to another, and kill both meanwhile."""
    luck, kills = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, name)) for name in ("ran", "fates")]
        for path in paths:
            Path(path).write_bytes(bytes(messages))
        last = Path(folder, "last")
        last.write_bytes(bytes(13))
        options: dict[str, Any] = {"restart": "permanent", "max_restarts": None, "channels": channels}
        receiver = Receiver.with_options(**options).start(paths[0], str(last))
        sender = Sender.with_options(**options).start(paths[1], receiver)
        first, next_kill, progress = 0, KILL_EVERY, mapped(paths[1])
        while first < messages:
            count = min(ROW, messages - first)
            call = sender.call("send", first, count)
            while not call.done():
                sent = messages - progress[:].count(NOT_SENT)
                if sent >= next_kill:
                    next_kill = sent + luck.randrange(2 * KILL_EVERY)
                    name, ref = luck.choice((("receiver", receiver), ("sender", sender)))
                    kill(ref)
                    kills[name] += 1
                with contextlib.suppress(Timeout):
                    call.exception(timeout=0.002)
            first += count
        receiver.stop(timeout=60)
        sender.stop(timeout=60)
        ran, fates = (Path(path).read_bytes() for path in paths)
        faults = faults_of(fates, ran) + ["a message began after one that was sent later"] * last.read_bytes()[8]
        directly = int.from_bytes(last.read_bytes()[9:], "little")
    return Result(Counter(fates), kills, faults, directly)


def kill(ref: Any) -> None:
    """End the process that runs now, if one does."""
    pid = ref.pid
    if pid is not None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def main() -> int:
    """Run, and say what was found."""
    logging.getLogger("piactors").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--channels", choices=["routed", "direct", "auto"], default="direct")
    options = parser.parse_args()
    began = time.monotonic()
    found = run(options.messages, options.seed, options.channels)
    names = ["not sent", "unknown to its sender", "answered", "not begun", "crashed", "failed"]
    print(f"{options.messages:,} messages, {time.monotonic() - began:.0f} s, kills: {dict(found.kills)}")
    print({name: found.fates[fate] for fate, name in enumerate(names)})
    print(f"{found.directly:,} went directly")
    print("\n".join(found.faults[:20]) or "no faults")
    return bool(found.faults)


if __name__ == "__main__":
    sys.exit(main())
