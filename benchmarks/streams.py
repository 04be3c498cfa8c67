"""What does a stream cost: small items against pipelined calls, arrays against calls that return one?

    python -m benchmarks.streams
    python -m benchmarks.streams --peers                needs `pip install 'piactors[bench]'`

`calls` are calls of the host that return a number, 1,000 under way; `items` is a stream of numbers with the window
that is the default, `wide` one of 256, `lent` such a stream that the host lends to the isolate, `between` one from an
isolate to another.  `arrays` are calls that return an array of 1 MiB, one after the other; `array_items` is a stream of
these.  Figures are microseconds for each item.

With `--peers`, also generators of other libraries, which this program reads: Ray's `ObjectRefGenerator`, the remote
iterators of Pyro5, RPyC and xoscar, and RPyC's `buffiter`, which fetches them in chunks (`rpyc.stream_in_chunks`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy

from benchmarks import frame, talking_peers
from benchmarks.talking_peers import Figure, Rivals
from piactors import ProcessActor, stream, stream_options

SMALL = ("items", "wide")
FIGURES = (
    *(Figure(name, "stream", SMALL) for name in ("ray", "pyro5", "rpyc", "xoscar")),
    Figure("rpyc", "stream_in_chunks", SMALL),
)
"""Which libraries have streams, and what of ours these are compared with."""
_MEBIBYTE = 1 << 20
_FEWER = 10
"""How many times fewer items others yield: with most of them, an item takes as long as a call."""


class Maker(ProcessActor):
    """Yields items, returns them, and reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.array = numpy.zeros(_MEBIBYTE, "u1")

    def one(self) -> int:
        """Return a number."""
        return 1

    def items(self, number: int) -> Iterator[int]:
        """Yield numbers."""
        yield from range(number)

    @stream_options(window=256)
    def wide(self, number: int) -> Iterator[int]:
        """Yield numbers, with a wide window."""
        yield from range(number)

    def total(self, items: Any) -> int:
        """Add up what is given."""
        return sum(items)

    def one_array(self) -> Any:
        """Return an array."""
        return self.array

    def arrays(self, number: int) -> Iterator[Any]:
        """Yield arrays."""
        for _ in range(number):
            yield self.array


def per_item(work: Callable[[], object], number: int) -> float:
    """Return how many microseconds each of so many items takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / number * 1e6


def piped(proxy: Any, number: int) -> None:
    """Make calls, 1,000 at a time."""
    for _ in range(0, number, 1000):
        for future in [proxy.one() for _ in range(1000)]:
            future.get()


def measure(rounds: int, number: int, rivals: Rivals) -> dict[str, list[float]]:
    """Return microseconds for each item, of each round."""
    ref, other = Maker.start(), Maker.start()
    proxy, reader = ref.proxy(), other.proxy()
    few = max(20, number // 500)
    contestants: dict[str, Callable[[], float]] = {
        "calls": lambda: per_item(lambda: piped(proxy, number), number),
        "items": lambda: per_item(lambda: sum(proxy.items(number)), number),
        "wide": lambda: per_item(lambda: sum(proxy.wide(number)), number),
        "lent": lambda: per_item(lambda: proxy.total(stream(range(number), window=256)).get(), number),
        "between": lambda: per_item(lambda: reader.total(proxy.wide(number)).get(), number),
        "arrays": lambda: per_item(lambda: sum(int(proxy.one_array().get()[0]) for _ in range(few)), few),
        "array_items": lambda: per_item(lambda: sum(int(array[0]) for array in proxy.arrays(few)), few),
    }
    try:
        frame.take_turns(1, contestants)
        return frame.take_turns(rounds, {**contestants, **rivals.contestants(number // _FEWER)})
    finally:
        ref.stop()
        other.stop()


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("Streams, against calls that return the same.")
    parser.add_argument("--items", type=int, default=50_000, help="items of each contestant in a round")
    talking_peers.add_argument(parser)
    given = frame.parsed(parser)
    report, rivals = frame.Report("streams", given), Rivals(FIGURES, given)
    results = measure(given.rounds, 2000 if given.quick else given.items, rivals)
    for name in ("calls", "items", "wide", "lent", "between", "arrays", "array_items"):
        report.add_median(name, results[name], "µs")
    for name in ("items", "wide", "lent", "between"):
        report.add_ratio(f"calls_over_{name}", results["calls"], results[name])
    report.add_ratio("arrays_over_array_items", results["arrays"], results["array_items"])
    rivals.report(report, results)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
