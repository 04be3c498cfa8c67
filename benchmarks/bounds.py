"""What is expected of piactors, as bounds on figures that were measured in one run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from benchmarks import frame

HOLDS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, "<": operator.lt, ">=": operator.ge}


@attrs.frozen
class Bound:
    """A question, the figure that answers it, and what it should be."""

    question: str
    benchmark: str
    key: str
    relation: Literal["<=", "<", ">="]
    limit: float
    unit: str = "x"

    def figure(self, results: Mapping[str, Any]) -> float | None:
        """Return the figure, or None where it was not measured."""
        found: float | None = results.get(self.benchmark, {}).get("figures", {}).get(self.key)
        return found

    def verdict(self, results: Mapping[str, Any]) -> str:
        """Return whether it holds, as text."""
        found = self.figure(results)
        if found is None:
            return "not measured"
        return "met" if HOLDS[self.relation](found, self.limit) else "NOT MET"


BOUNDS = (
    Bound("small call p50 / pipe", "small_calls", "unpinned.proxy.p50_over_pipe", "<=", 0.7),
    Bound("small call p99 / pipe", "small_calls", "unpinned.proxy.p99_over_pipe", "<=", 1.0),
    Bound("small call p50 / pipe, one core", "small_calls", "same_core.proxy.p50_over_pipe", "<=", 1.0),
    Bound("small call p50 / pipe, no spinning", "small_calls", "unpinned.proxy_no_spin.p50_over_pipe", "<=", 1.15),
    Bound("pipelined / pipe with 64 under way", "pipelined", "piactors_over_pipe", ">=", 1.7),
    Bound("map / the same", "pipelined", "map_over_pipe", ">=", 4),
    Bound("map, a frame for each item / the same", "pipelined", "map_one_over_pipe", ">=", 2),
    Bound("await / blocking call, asyncio", "awaiting", "asyncio_over_blocking", "<=", 1.3),
    Bound("await / blocking call, uvloop", "awaiting", "uvloop_over_blocking", "<=", 1.3),
    Bound("rate of 8 threads / of one", "awaiting", "threads.rate_over_one", ">=", 0.8),
    Bound("callback into the host / call", "talking", "dispatcher_over_call", "<=", 1.3),
    Bound("callback in the caller's thread / on the dispatcher", "talking", "caller_over_dispatcher", "<=", 0.8),
    Bound("ask between isolates, routed / call", "talking", "routed_over_call", "<=", 2.2),
    Bound("a chain of 10, pipelined / in a row", "talking", "pipelined_over_in_a_row", "<=", 0.25),
    Bound("ask with a deadline / without", "talking", "in_time_over_routed", "<=", 1.03),
    Bound("publish 1 MiB to 50 / 50 calls with it", "publishing", "publish_over_calls", "<=", 0.1),
    Bound("callback: RPyC / piactors", "talking", "rpyc.callback_over_dispatcher", ">=", 3),
    Bound("ask: xoscar / isolates", "talking", "xoscar.ask_over_routed", ">=", 6),
    Bound("ask: Ray / isolates", "talking", "ray.ask_over_routed", ">=", 15),
    Bound("ask: Pyro5 / isolates", "talking", "pyro5.ask_over_routed", ">=", 4),
    Bound("a circle of three / call", "talking", "cycle_over_call", "<=", 10),
    Bound("stream of small items / pipelined calls, rate", "streams", "calls_over_wide", ">=", 5),
    Bound("stream of small items: Ray / piactors", "streams", "ray.stream_over_wide", ">=", 20),
    Bound("stream of small items: Pyro5 / piactors", "streams", "pyro5.stream_over_wide", ">=", 10),
    Bound("stream of small items: RPyC / piactors", "streams", "rpyc.stream_over_wide", ">=", 10),
    Bound("stream of 1 MiB arrays / calls that return one, rate", "streams", "arrays_over_array_items", ">=", 0.9),
    *(
        Bound(f"{size} array / pipe, trust={trust}", "arrays", f"array.{label}.{trust}_over_pipe", ">=", least)
        for trust, bounds in (("code", (1, 1, 4, 12, 15)), ("data", (1, 1, 4, 10, 8)))
        for size, least in zip(("64 KiB", "256 KiB", "1 MiB", "16 MiB", "128 MiB"), bounds, strict=True)
        for label in (size.replace(" ", ""),)
    ),
    *(
        Bound(f"{size} MiB array / memcpy, trust={trust}", "arrays", f"array.{size}MiB.{trust}_over_memcpy", ">=", 0.6)
        for size in (16, 128)
        for trust in ("code", "data")
    ),
    *(
        Bound(
            f"16 MiB array without segments / socket, trust={trust}",
            "arrays",
            f"stream.16MiB.{trust}_over_socket",
            "<=",
            2,
        )
        for trust in ("code", "data")
    ),
    Bound("first reply / ProcessPoolExecutor(spawn)", "start", "launcher_over_executor", "<=", 1 / 15),
    Bound("first reply / bare fork", "start", "launcher_over_fork", "<=", 4),
    Bound("first start / ProcessPoolExecutor", "first_start", "piactors_over_executor", "<=", 1.5),
    Bound("crash to reply / pebble", "crash_to_reply", "piactors_over_pebble", "<=", 1 / 8),
    Bound("crash to reply / pebble, standby", "crash_to_reply", "piactors_standby_over_pebble", "<=", 1 / 8),
    Bound("memory of an idle isolate", "idle_cost", "isolate.uss", "<=", 2.5, "MiB"),
    Bound("start of 1,000 isolates", "scale", "start", "<", 10, "s"),
    Bound("host memory for each", "scale", "host.memory", "<=", 100, "KiB"),
    Bound("host descriptors for each", "scale", "host.descriptors", "<=", 6, ""),
    Bound("host threads", "scale", "host.threads", "<=", 5, ""),
    Bound("call to a random one / to a bare fork", "scale", "call.random_over_bare_fork", "<=", 1.2),
    Bound("idle host", "scale", "host.idle_cpu", "<", 1, "% of a core"),
    Bound("restarted that should not be, or not", "scale", "killed.in_wrong_generation", "<=", 0, ""),
    Bound("supervised call / one alone", "supervision_overhead", "supervised_over_alone", "<", 1.03),
)


def table(results: Mapping[str, Any]) -> str:
    """Return the table of all bounds on what was measured."""
    chosen = [bound for bound in BOUNDS if bound.benchmark in results]
    width = max((len(bound.question) for bound in chosen), default=8)
    lines = [f"{'question':{width}}  {'figure':>10}  {'bound':>20}"]
    for bound in chosen:
        found = bound.figure(results)
        figure = "-" if found is None else frame.number(found)
        limit = f"{bound.relation} {frame.number(bound.limit)} {bound.unit}".rstrip()
        lines.append(f"{bound.question:{width}}  {figure:>10}  {limit:>20}  {bound.verdict(results)}")
    return "\n".join(lines)
