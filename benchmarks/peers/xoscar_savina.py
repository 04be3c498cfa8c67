"""Runs a program of `benchmarks.peers.xoscar_programs`: `python -m benchmarks.peers.xoscar_savina NAME SIZE`.

It prints the microseconds for each message twice: with the start and the end of the pool, and without.
"""

from __future__ import annotations

import asyncio
import sys
import time

import xoscar

from benchmarks.peers.xoscar_programs import PROGRAMS, Stage


async def run(name: str, size: int) -> tuple[float, float]:
    """Return the seconds of the program for each message, with the pool and without."""
    processes, program = PROGRAMS[name]
    began = time.perf_counter()
    pool = await xoscar.create_actor_pool("127.0.0.1", n_process=processes)
    try:
        started = time.perf_counter()
        messages = await program(Stage(pool), size)
        took = time.perf_counter() - started
    finally:
        await pool.stop()
    return (time.perf_counter() - began) / messages, took / messages


if __name__ == "__main__":
    whole, running = asyncio.run(run(sys.argv[1], int(sys.argv[2])))
    print(f"{whole * 1e6:.1f} us each, {running * 1e6:.1f} in a pool that runs: result checked")
