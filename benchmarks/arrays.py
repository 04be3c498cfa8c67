"""How fast do large arrays and bytes travel to an isolate and back, next to a bare pipe and to a copy in memory?

    python -m benchmarks.arrays                         needs numpy
    python -m benchmarks.arrays --sizes 16 --rounds 9

An array goes there and comes back, so GB/s counts its bytes twice.  A copy is `np.copyto` between two arrays whose
memory has been touched before: what this machine's memory can do at most.  Code that was handed over answers with
trust="code", code that was named with trust="data", whose answers the host decodes without running anything.

Once more without shared memory (PIACTORS_PORTABLE=segments), next to the same bytes through a socket.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import piactors
from benchmarks import frame, subjects
from benchmarks.pipes import RawPipe, RawSocket
from piactors import IsolationOptions

SIZES = (0.0625, 0.25, 1, 16, 128)
"""MiB; the first two show from which size on it pays to do more than write to a socket."""
BYTES_FROM = 16
PER_ROUND = 32
"""MiB that each contestant moves in a round, but at least one array."""
MOST_CALLS = 200
MOST_PIPE_ROUNDS = 5
BIG = 16
STREAMED = 16
"""MiB that go through the data channel."""

Call = Callable[[Any], Any]


def moved_per_second(call: Call, value: Any, size: int, calls: int) -> float:
    """Return GB/s, from the median of some calls; the first one, which touches memory, does not count."""
    call(value)
    seconds = statistics.median(frame.timed(lambda: call(value)) for _ in range(calls))
    return 2 * size / seconds / 1e9


def copied_per_second(source: np.ndarray, calls: int) -> float:
    """Return GB/s of a copy within this process."""
    target = np.empty_like(source)
    np.copyto(target, source)
    seconds = statistics.median(frame.timed(lambda: np.copyto(target, source)) for _ in range(3 * calls))
    return source.nbytes / seconds / 1e9


def check(call: Call, value: Any) -> None:
    """See that what comes back is what was sent."""
    found = call(value)
    same = np.array_equal(found, value) if isinstance(value, np.ndarray) else found == value
    assert same, "what came back is not what was sent"


def measure_size(mebibytes: float, kind: str, rounds: int, calls: Mapping[str, Call]) -> dict[str, list[float]]:
    """Return GB/s of each contestant and of the copy, round by round."""
    size = int(mebibytes * frame.MIB)
    array = np.arange(size // 8, dtype=np.float64)
    value: Any = array if kind == "array" else array.tobytes()
    for call in calls.values():
        check(call, value)
    count = max(1, min(MOST_CALLS, int(PER_ROUND / mebibytes)))
    contestants: dict[str, Callable[[], float]] = {"memcpy": lambda: copied_per_second(array, count)}
    for name, call in calls.items():
        contestants[name] = lambda call=call: moved_per_second(call, value, size, count)  # type: ignore[misc]
    if mebibytes >= BIG:
        rounds = min(rounds, MOST_PIPE_ROUNDS)  # a pipe needs seconds for each of them
    return frame.take_turns(rounds, contestants)


def report_on(report: frame.Report, key: str, results: dict[str, list[float]]) -> None:
    """Take the medians, and what piactors is to the pipe and to the copy."""
    for name, rates in results.items():
        report.add_median(f"{key}.{name}", rates, "GB/s")
    for name in ("code", "data"):
        report.add_ratio(f"{key}.{name}_over_pipe", results[name], results["pipe"])
        report.add_ratio(f"{key}.{name}_over_memcpy", results[name], results["memcpy"])


def label(mebibytes: float) -> str:
    """Return the size as text."""
    return f"{mebibytes:g}MiB" if mebibytes >= 1 else f"{mebibytes * 1024:g}KiB"


def measure(report: frame.Report, sizes: list[float], rounds: int) -> None:
    """Measure all sizes."""
    code = subjects.Echo.with_options(trust="code").start()
    data = piactors.spawn("benchmarks.subjects:PlainEcho", options=IsolationOptions(trust="data"))
    code_proxy, data_proxy = code.proxy(), data.proxy()
    with RawPipe() as pipe:
        calls: dict[str, Call] = {
            "pipe": pipe.call,
            "code": lambda value: code_proxy.echo(value).get(timeout=120),
            "data": lambda value: data_proxy.echo(value).get(timeout=120),
        }
        for mebibytes in sizes:
            report_on(report, f"array.{label(mebibytes)}", measure_size(mebibytes, "array", rounds, calls))
        for mebibytes in (size for size in sizes if size >= BYTES_FROM):
            report_on(report, f"bytes.{label(mebibytes)}", measure_size(mebibytes, "bytes", rounds, calls))
    for ref in (code, data):
        ref.stop()


def measure_stream(report: frame.Report, rounds: int) -> None:
    """Measure what has to go through the data channel, next to a socket; in milliseconds there and back."""
    size = int(STREAMED * frame.MIB)
    array = np.arange(size // 8, dtype=np.float64)
    before = os.environ.get("PIACTORS_PORTABLE")
    os.environ["PIACTORS_PORTABLE"] = "segments"  # read when an isolate is made
    try:
        code = subjects.Echo.with_options(trust="code").start()
        data = piactors.spawn("benchmarks.subjects:PlainEcho", options=IsolationOptions(trust="data"))
    finally:
        del os.environ["PIACTORS_PORTABLE"]
        os.environ.update({} if before is None else {"PIACTORS_PORTABLE": before})
    with RawSocket(size) as sock:
        calls: dict[str, Call] = {
            "socket": sock.call,
            "code": lambda value: code.proxy().echo(value).get(timeout=120),
            "data": lambda value: data.proxy().echo(value).get(timeout=120),
        }
        for name, call in calls.items():
            if name != "socket":
                check(call, array)
        contestants = {name: lambda call=call: _milliseconds(call, array) for name, call in calls.items()}  # type: ignore[misc]
        results = frame.take_turns(rounds, contestants)
    key = f"stream.{label(STREAMED)}"
    for name, times in results.items():
        report.add_median(f"{key}.{name}", times, "ms")
    for name in ("code", "data"):
        report.add_ratio(f"{key}.{name}_over_socket", results[name], results["socket"])
    for ref in (code, data):
        ref.stop()


def _milliseconds(call: Call, value: Any) -> float:
    call(value)
    return statistics.median(frame.timed(lambda: call(value)) for _ in range(3)) * 1e3


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("Large arrays, against a bare pipe and a copy in memory.")
    parser.add_argument("--sizes", type=float, nargs="+", default=list(SIZES), metavar="MIB")
    given = frame.parsed(parser)
    report = frame.Report("arrays", given)
    measure(report, [0.0625, 1] if given.quick else given.sizes, given.rounds)
    measure_stream(report, given.rounds)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
