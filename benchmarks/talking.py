"""What does it cost that isolates talk: to call back into the host, to ask another isolate, to find a circle?

    python -m benchmarks.talking
    python -m benchmarks.talking --peers                needs `pip install 'piactors[bench]'`

All of it against a blocking call of the host to the same isolate, p50 of calls one after the other. `caller` is a
callback with run="caller", `routed` an ask of another isolate by way of the host, `direct` one without it, `cycle` the
time until three isolates that wait for each other are told.  The rates are of calls whose answers are looked at later.
With `--peers`, the same of libraries whose workers call back (`rpyc.callback`) or call each other (`xoscar.ask`), also
timed in the worker.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from benchmarks import frame, talking_peers
from benchmarks.talking_peers import Figure, Rivals
from piactors import DeadlockError, ProcessActor, by_ref, deadline

CALLBACK, ASK = ("dispatcher", "caller"), ("routed", "direct")
FIGURES = (
    Figure("rpyc", "callback", CALLBACK),
    Figure("pyro5", "callback", CALLBACK),
    Figure("xoscar", "callback", CALLBACK),
    Figure("pyro5", "ask", ASK),
    Figure("xoscar", "ask", ASK),
    Figure("ray", "ask", ASK),
)
"""Which libraries have what, and what of ours that is compared with."""


_DEPTH = 10
"""Calls of a chain."""


class Link:
    """What is lent, and leads to the next one."""

    def next(self) -> Any:
        """Lend the next one."""
        return by_ref(Link())

    def read(self) -> int:
        """Return something small."""
        return 1


class Talker(ProcessActor):
    """Calls back, asks others, and waits in circles."""

    def __init__(self, other: Any = None) -> None:
        super().__init__()
        self.other = None if other is None else other.proxy()

    def echo(self, value: Any) -> Any:
        """Return the value."""
        return value

    def link(self, other: Any) -> None:
        """Ask this one from now on."""
        self.other = other.proxy()

    def call_back(self, function: Any, calls: int) -> float:
        """Return the p50 of calls of a function, in microseconds."""
        return p50(lambda: function(1), calls)

    def ask(self, calls: int) -> float:
        """Return the p50 of calls of the other one, in microseconds."""
        assert self.other is not None
        echo = self.other.echo
        return p50(lambda: echo(1).get(), calls)

    def rate(self, calls: int) -> float:
        """Return how many calls a second the other one answers, if all are sent first."""
        assert self.other is not None
        echo = self.other.echo
        return calls / frame.timed(lambda: [future.get() for future in [echo(number) for number in range(calls)]])

    def ask_in_time(self, calls: int) -> float:
        """Return the same within a deadline, which goes along with each call."""
        with deadline(600):
            return self.ask(calls)

    def open(self) -> Any:
        """Lend the first link of a chain."""
        return by_ref(Link())

    def circle(self, steps: int) -> Any:
        """Ask the other one, which asks the next one."""
        assert self.other is not None
        return self.other.circle(steps - 1).get(timeout=60) if steps else None


def p50(call: Callable[[], object], calls: int) -> float:
    """Return the median of the times of a call, in microseconds."""
    times = [frame.timed(call) for _ in range(calls)]
    return frame.percentile(times, 50) * 1e6


def rate(proxy: Any, calls: int) -> float:
    """Return how many calls a second of the host are answered, if all are sent first."""
    return calls / frame.timed(
        lambda: [future.get(timeout=60) for future in [proxy.echo(number) for number in range(calls)]]
    )


def told(first: Any) -> None:
    """Close a circle of three, and be told."""
    try:
        first.circle(3).get(timeout=60)
    except DeadlockError:
        return
    raise AssertionError("no circle was found")


def pipelined(proxy: Any, depth: int) -> None:
    """Call what a call returns, so many times, and wait for the last answer alone."""
    future = proxy.open()
    for _ in range(depth - 2):
        future = future.call("next")
    assert future.call("read").get(timeout=60) == 1


def in_a_row(proxy: Any, depth: int) -> None:
    """Do the same, waiting for each answer."""
    found = proxy.open().get(timeout=60)
    for _ in range(depth - 2):
        found = found.next()
    assert found.read() == 1


def measure(rounds: int, calls: int, rivals: Rivals) -> dict[str, list[float]]:
    """Return microseconds, of each round."""
    other = Talker.start()
    ref = Talker.with_options(channels="routed").start(other)
    directly = Talker.with_options(channels="direct").start(other).proxy()
    ring = [Talker.start() for _ in range(3)]
    for one, following in zip(ring, ring[1:] + ring[:1], strict=True):
        one.proxy().link(following).get(timeout=60)
    proxy, first = ref.proxy(), ring[0].proxy()
    contestants: dict[str, Callable[[], float]] = {
        "call": lambda: p50(lambda: proxy.echo(1).get(timeout=60), calls),
        "dispatcher": lambda: proxy.call_back(by_ref(_identity), calls).get(timeout=600),
        "caller": lambda: proxy.call_back(by_ref(_identity, run="caller"), calls).get(timeout=600),
        "routed": lambda: proxy.ask(calls).get(timeout=600),
        "direct": lambda: directly.ask(calls).get(timeout=600),
        "routed_rate": lambda: proxy.rate(5 * calls).get(timeout=600),
        "direct_rate": lambda: directly.rate(5 * calls).get(timeout=600),
        "call_rate": lambda: rate(proxy, 5 * calls),
        "routed_in_time": lambda: proxy.ask_in_time(calls).get(timeout=600),
        "pipelined": lambda: p50(lambda: pipelined(proxy, _DEPTH), calls // 10 + 1),
        "in_a_row": lambda: p50(lambda: in_a_row(proxy, _DEPTH), calls // 10 + 1),
        "cycle": lambda: p50(lambda: told(first), max(5, calls // 100)),
    }
    try:
        frame.take_turns(1, contestants)
        return frame.take_turns(rounds, {**contestants, **rivals.contestants(calls // 2)})
    finally:
        for isolate in (ref, directly.actor_ref, other, *ring):
            isolate.stop()


def _identity(value: Any) -> Any:
    return value


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("Callbacks, asks between isolates and circles, against blocking calls of the host.")
    parser.add_argument("--calls", type=int, default=2000, help="calls of each contestant in a round")
    talking_peers.add_argument(parser)
    given = frame.parsed(parser)
    report, rivals = frame.Report("talking", given), Rivals(FIGURES, given)
    results = measure(given.rounds, 100 if given.quick else given.calls, rivals)
    in_turn = ("call", "dispatcher", "caller", "routed", "direct", "routed_in_time", "pipelined", "in_a_row", "cycle")
    for name in in_turn:
        report.add_median(name, results[name], "µs")
    for name in ("call_rate", "routed_rate", "direct_rate"):
        report.add_median(name, results[name], "/s")
    for name in ("dispatcher", "caller", "routed", "direct", "cycle"):
        report.add_ratio(f"{name}_over_call", results[name], results["call"])
    report.add_ratio("caller_over_dispatcher", results["caller"], results["dispatcher"])
    report.add_ratio("direct_rate_over_call_rate", results["direct_rate"], results["call_rate"])
    report.add_ratio("pipelined_over_in_a_row", results["pipelined"], results["in_a_row"])
    report.add_ratio("in_time_over_routed", results["routed_in_time"], results["routed"])
    rivals.report(report, results)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
