"""Actors that reach each other directly, and say so."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import piactors
from piactors import ProcessActor, by_ref
from piactors.pihost.wire import direct


def came_directly() -> bool:
    """Whether the call that runs here came directly."""
    call = piactors.current_call()
    return call is not None and direct.is_direct(call.id)


class Other(ProcessActor):
    """Is asked, and notes in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.value: Any = 0
        self.next: Any = None

    def link(self, following: Any) -> None:
        self.next = following.proxy()

    def echo(self, value: Any) -> Any:
        return value

    def directly(self, *_: Any) -> bool:
        return came_directly()

    def note(self, value: Any, *_: Any) -> None:
        self.seen.append(value)

    def notes(self) -> list[Any]:
        return self.seen

    def fail(self, text: str) -> None:
        raise LookupError(text)

    def fail_long(self) -> None:
        raise LookupError("x" * 10_000)

    def large(self, size: int) -> bytes:
        return b"x" * size

    def lend(self) -> Any:
        return by_ref(self.echo)

    def me(self) -> Any:
        return self.actor_ref

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)

    @piactors.stream_options(exclusive=True)
    def alone(self, number: int) -> Iterator[int]:
        yield from range(number)

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    async def rest(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "rested"

    def until_cancelled(self) -> bool:
        end = time.monotonic() + 20
        while not piactors.cancelled() and time.monotonic() < end:
            time.sleep(0.001)
        self.seen.append(("cancelled", piactors.cancelled()))
        return piactors.cancelled()

    def remaining(self) -> float:
        call = piactors.current_call()
        assert call is not None
        return call.remaining()

    @piactors.stream_options(exclusive=True)
    def only(self, number: int) -> Iterator[int]:
        yield from range(number)

    def go(self) -> Any:
        """Ask the next one, and wait, though nobody waits for this."""
        self.seen.append("go")
        try:
            return self.next.echo(1).get(timeout=20)
        except Exception as error:
            self.seen.append(type(error).__name__)
            raise

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self) -> None:
        raise SystemExit(3)

    def call_back(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def take(self, function: Any) -> None:
        self.value = function

    def call_taken(self, *args: Any) -> Any:
        return came_directly(), self.value(*args)

    def around(self, steps: int) -> Any:
        """Ask the next one, which asks the next one."""
        return self.next.around(steps - 1).get(timeout=20) if steps else came_directly()

    def hold(self, handle: Any) -> None:
        """Wait until that returns."""
        handle()

    def fork(self) -> int:
        pid = os.fork()
        return pid if pid == 0 else os.waitpid(pid, 0)[1]

    def on_receive(self, message: Any) -> Any:
        return "received", message, came_directly()


class Asking(ProcessActor):
    """Asks another one, directly if that is allowed; begins with one call that asks for the channel."""

    def __init__(self, other: Any) -> None:
        super().__init__()
        self.ref = other
        self.other = other.proxy()
        self.kept: list[Any] = []

    def connect(self) -> bool:
        """Ask until it goes directly, or has been refused; return whether it does."""
        for _ in range(5):
            if self.other.directly().get(timeout=20):
                return True
            while self.ref._asker._way is not None and self.ref._asker._way._is_asked:
                if self.other.directly().get(timeout=20):
                    return True
        return False

    def link(self, following: Any) -> None:
        self.ref, self.other = following, following.proxy()

    def change_after(self, number: int) -> None:
        """Ask for a channel after so many messages, to whoever is linked next."""
        sys.modules["_pihost.serve.control"].current.channels_after = number

    def ask(self, method: str, *args: Any) -> Any:
        return getattr(self.other, method)(*args).get(timeout=20)

    def ask_with(self, options: dict[str, Any], method: str, *args: Any) -> Any:
        return getattr(self.other, method).with_options(**options)(*args).get()

    def ask_many(self, method: str, rows: list[Any]) -> list[Any]:
        method = getattr(self.other, method)
        return [future.get(timeout=20) for future in [method(*row) for row in rows]]  # type: ignore[operator]

    def ask_lending(self, method: str) -> Any:
        """Give away something that is lent, and a ref."""
        return getattr(self.other, method)(by_ref(len), [1, 2, 3]).get(timeout=20)

    def read(self, method: str, number: int) -> list[int]:
        return list(getattr(self.other, method)(number))

    def tell(self, method: str, rows: list[Any]) -> None:
        for row in rows:
            getattr(self.other, method).defer(*row)

    def message(self, value: Any) -> Any:
        return self.ref.ask(value, timeout=20)

    def attribute(self, value: int) -> int:
        self.other.value = value
        return int(self.other.value.get(timeout=20))

    def fail(self, *args: Any) -> str:
        try:
            self.ask(*args)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "no error"

    def outcome(self, options: dict[str, Any], method: str, *args: Any) -> str:
        try:
            return repr(getattr(self.other, method).with_options(**options)(*args).get())
        except Exception as error:
            return type(error).__name__

    def from_threads(self, threads: int, calls: int) -> list[list[int]]:
        """Have several threads ask at once; each gets its own answers."""
        found: list[list[int]] = [[] for _ in range(threads)]

        def run(place: int) -> None:
            for number in range(calls):
                found[place].append(self.other.echo(place * calls + number).get(timeout=20))

        workers = [threading.Thread(target=run, args=(place,)) for place in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return found

    async def gather(self, calls: int) -> list[int]:
        return list(await asyncio.gather(*[self.other.echo(number) for number in range(calls)]))

    async def await_one(self, method: str, *args: Any) -> Any:
        return await getattr(self.other, method)(*args)

    def called_back(self, calls: int) -> int:
        """Return how many done-callbacks ran, though nobody waits."""
        done = threading.Semaphore(0)
        for number in range(calls):
            self.other.echo(number).add_done_callback(lambda _: done.release())
        return sum(done.acquire(timeout=20) for _ in range(calls))

    def crash(self, before: int, after: int, large: int = 0) -> list[Any]:
        """Have the other one die in the middle of calls; return what became of each.

        Args:
            large: which one after that is too large to go directly, and each that has as many before it; 0: none.
        """
        futures = [self.other.note(number) for number in range(before)]
        futures.append(self.other.die())
        for number in range(before, before + after):
            is_large = large and not (number - before + 1) % large
            futures.append(self.other.note(number, b"x" * 5000 if is_large else b""))
        return [self._outcome(future) for future in futures]

    @staticmethod
    def _outcome(future: Any) -> Any:
        try:
            return future.get(timeout=20)
        except Exception as error:
            return type(error).__name__

    def keep(self, method: str, *args: Any) -> None:
        """Begin a call and do not wait for it."""
        self.kept.append(getattr(self.other, method)(*args))

    def cancel_kept(self, kill_after: float | None = None) -> bool:
        return bool(self.kept[0].cancel(kill_after))

    def kept_outcome(self) -> Any:
        return self._outcome(self.kept.pop(0))

    def busy(self, method: str, *args: Any) -> Any:
        """Begin a call and wait for it, until this very call is cancelled."""
        future = getattr(self.other, method)(*args)
        try:
            return future.get(timeout=20)
        except BaseException as error:
            return type(error).__name__

    def around(self, steps: int) -> Any:
        return self.other.around(steps - 1).get(timeout=20) if steps else came_directly()

    async def tell_and_rest(self, count: int, told: Any, seconds: float) -> None:
        """Tell things, say so, and wait until this is cancelled."""
        for number in range(count):
            self.other.note.defer(number)
        told()
        await asyncio.sleep(seconds)

    def tell_and_ask(self, method: str) -> Any:
        """Have the other one begin something, and ask it by way of the host."""
        getattr(self.other, method).defer()
        return self.other.echo.with_options(direct=False)(2).get(timeout=20)

    def hold_and_cancel(self, number: int) -> list[bool]:
        """Send more than goes at once to somebody who is busy, and cancel the last ones."""
        futures = [self.other.note(place) for place in range(number)]
        return [future.cancel() for future in futures[-3:]]

    def cancel_many(self, number: int) -> int:
        return sum(future.cancel() for future in [self.other.note("never") for _ in range(number)])

    def direct_once(self) -> list[bool]:
        """Ask directly for one method, and then without saying so."""
        directly = self.other.directly.with_options(direct=True)
        found = [directly().get(timeout=20) for _ in range(20)]
        return [found[-1], self.other.directly().get(timeout=20), directly().get(timeout=20)]

    def through(self, method: str, *args: Any) -> Any:
        """Have the other one, which asks as well, ask on."""
        return self.other.ask(method, *args).get(timeout=20)

    def all_at_once(self, threads: int, calls: int) -> float:
        """Wait in threads and hear by callbacks, at once; return the longest time of a call, in seconds."""
        longest, heard = [0.0], threading.Semaphore(0)

        def wait() -> None:
            for number in range(calls):
                began = time.monotonic()
                assert self.other.echo(number).get(timeout=20) == number
                longest[0] = max(longest[0], time.monotonic() - began)

        def hear() -> None:
            for number in range(calls):
                self.other.echo(number).add_done_callback(lambda _: heard.release())

        workers = [threading.Thread(target=wait) for _ in range(threads)] + [threading.Thread(target=hear)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert all(heard.acquire(timeout=20) for _ in range(calls))
        return longest[0]

    def use_seconds(self, threads: int, seconds: float) -> float:
        """Return the processor time that threads take which only wait, in seconds."""
        workers = [threading.Thread(target=lambda: self.other.sleep(seconds).get(timeout=20)) for _ in range(threads)]
        began = time.process_time()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return time.process_time() - began

    def echo(self, value: Any) -> Any:
        return value

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    def forget(self) -> None:
        self.ref = self.other = None
        gc.collect()

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fork(self) -> int:
        """Ask in a fork, which must be refused there and do no harm here."""
        pid = os.fork()
        if pid == 0:
            try:
                self.other.echo(1).get(timeout=5)
            except RuntimeError:
                os._exit(0)
            os._exit(1)
        return os.waitpid(pid, 0)[1]


class Entered(Other):
    """May be entered while it waits."""

    @piactors.reentrant
    def value_of(self, number: int) -> int:
        return number
