"""Awaiting calls from asyncio: one call, many at once, timeouts, a crash.  The event loop is never blocked.

    python examples/asyncio_client.py

A future of piactors is awaited as it is; `gather` and `wait_for` take it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time

from piactors import IsolateCrashed, IsolationOptions, ProcessIsolator


def square(number: int) -> int:
    """Return the square of a number, after some thought."""
    time.sleep(0.3)
    return number * number


async def fetch(name: str) -> str:
    """Stand for something that waits for the network; coroutines run in the isolate as well."""
    await asyncio.sleep(0.3)
    return f"<{name}>"


async def talk() -> None:
    """Use an isolate from a coroutine."""
    # `concurrency`: so many calls run in the isolate at once.
    options = IsolationOptions(name="async", concurrency=4, restart="permanent")
    async with ProcessIsolator(options) as isolator:
        print("one call:  ", await isolator.invoke_method(square, 7))

        calls = [isolator.invoke_method(fetch, name) for name in ("a", "b", "c")]
        print("many calls:", await asyncio.gather(*calls))

        try:
            await asyncio.wait_for(isolator.invoke_method(time.sleep, 1), timeout=0.1)
        except TimeoutError:
            print("too slow:   given up after 0.1 s")

        try:
            await isolator.invoke_method(os._exit, 3)
        except IsolateCrashed as error:
            print("a crash:   ", error.reason.summary)
        print("after it:  ", await isolator.invoke_method(square, 8))
    print("at the end: alive is", isolator.is_alive)


async def tick(ticks: list[float]) -> None:
    """Note the time again and again: what a blocked event loop could not do."""
    while True:
        ticks.append(time.monotonic())
        await asyncio.sleep(0.02)


async def demonstrate() -> None:
    """Talk to the isolate while a clock ticks in the same event loop."""
    ticks: list[float] = []
    clock = asyncio.create_task(tick(ticks))
    await talk()
    clock.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await clock
    print(f"The event loop ran on meanwhile: the clock ticked {len(ticks)} times.")


def main() -> None:
    """Run the event loop."""
    logging.getLogger("piactors").setLevel(logging.CRITICAL)  # its warning of the crash: `talk` shows it here
    asyncio.run(demonstrate())


if __name__ == "__main__":
    main()
