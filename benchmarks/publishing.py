"""What does it cost to publish something large to many, against a call of each with the same?

    python -m benchmarks.publishing

Milliseconds for one, of 8 in a row; both end when each actor has them.  What `publish` itself takes is `publisher`.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from benchmarks import frame
from piactors import ProcessActor, Topic

_SIZE = 1 << 20
_IN_A_ROW = 8


class Subscriber(ProcessActor):
    """Takes arrays, and looks at none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def take(self, array: Any) -> int:
        """Count it."""
        assert len(array) == _SIZE
        self.count += 1
        return self.count


def measure(rounds: int, actors: int) -> dict[str, list[float]]:
    """Return milliseconds, of each round."""
    import numpy

    array, topic = numpy.ones(_SIZE, "u1"), Topic[Any]("arrays")
    refs = [Subscriber.start() for _ in range(actors)]
    for ref in refs:
        topic.subscribe(ref, "take")
    publisher: list[float] = []

    def all_have(count: int) -> None:
        for ref in refs:
            while ref.proxy().count.get(timeout=60) < count:
                time.sleep(0.0005)

    def publish() -> float:
        before = refs[0].proxy().count.get(timeout=60)
        began = time.perf_counter()
        for _ in range(_IN_A_ROW):
            topic.publish(array)
        publisher.append((time.perf_counter() - began) * 1e3 / _IN_A_ROW)
        all_have(before + _IN_A_ROW)
        return (time.perf_counter() - began) * 1e3 / _IN_A_ROW

    def calls() -> float:
        began = time.perf_counter()
        for _ in range(_IN_A_ROW):
            for future in [ref.proxy().take(array) for ref in refs]:
                future.get(timeout=60)
        return (time.perf_counter() - began) * 1e3 / _IN_A_ROW

    try:
        frame.take_turns(2, {"publish": publish, "calls": calls})
        publisher.clear()
        return {**frame.take_turns(rounds, {"publish": publish, "calls": calls}), "publisher": publisher}
    finally:
        for ref in refs:
            ref.stop(block=False)
        for ref in refs:
            ref.wait_for_exit(60)


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("One publication of 1 MiB to many actors, against a call of each with it.")
    parser.add_argument("--actors", type=int, default=50, help="how many subscribe")
    given = frame.parsed(parser)
    report = frame.Report("publishing", given)
    results = measure(given.rounds, 10 if given.quick else given.actors)
    for name in ("publish", "publisher", "calls"):
        report.add_median(name, results[name], "ms")
    report.add_ratio("publish_over_calls", results["publish"], results["calls"])
    report.add_ratio("publisher_over_calls", results["publisher"], results["calls"])
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
