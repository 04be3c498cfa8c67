"""Whether the events of an isolate make sense: started, ended, restarted, each once and in order.

Pure, as `tests.soak.ledger`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from tests.soak.ledger import Facts, Fault

NORMAL = ("normal", "shutdown")
MARGIN = 0.5
"""Seconds by which the time of an event may differ from that of the decision behind it."""
LAUNCHER_LOST = "its launcher was lost"


@attrs.frozen
class Told:
    """An event: its class's name, and what it says."""

    kind: str
    name: str
    pid: int | None = None
    generation: int = 0
    time: float = 0.0
    reason: str = ""
    detail: str = ""
    delay: float = 0.0

    @property
    def shown(self) -> str:
        """It in a few words."""
        why = f"{self.reason} ({self.detail[:60]})" if self.detail else self.reason
        return f"{self.kind.removeprefix('Isolate')} {self.generation} {why}".strip()


def by_name(events: Iterable[Told]) -> dict[str, list[Told]]:
    """Return the events of each isolate, in order."""
    found: dict[str, list[Told]] = defaultdict(list)
    for event in events:
        found[event.name].append(event)
    return found


def processes(events: Mapping[str, Sequence[Told]]) -> dict[str, dict[int, int]]:
    """Return which generation each process was, by isolate and pid."""
    return {
        name: {event.pid: event.generation for event in told if event.kind == "IsolateStarted" and event.pid}
        for name, told in events.items()
    }


def endings(events: Mapping[str, Sequence[Told]]) -> dict[str, dict[int, str]]:
    """Return the kind of reason why each generation has ended."""
    kinds = ("IsolateExited", "IsolateStartFailed")
    return {
        name: {event.generation: event.reason for event in told if event.kind in kinds} for name, told in events.items()
    }


def last_exits(events: Mapping[str, Sequence[Told]]) -> dict[str, str]:
    """Return the kind of reason why the last generation that had started has exited."""
    found = {}
    for name, told in events.items():
        newest = max((event.generation for event in told if event.kind == "IsolateStarted"), default=0)
        failed = any(event.kind == "IsolateStartFailed" and event.generation > newest for event in told)
        exits = [event.reason for event in told if event.kind == "IsolateExited" and event.generation == newest]
        if exits and not failed:
            found[name] = exits[-1]
    return found


def judge(events: Mapping[str, Sequence[Told]], facts: Mapping[str, Facts]) -> list[Fault]:
    """Return what is wrong with the events of isolates that have all ended."""
    faults: list[Fault] = []
    for name, isolate in facts.items():
        told = events.get(name, ())
        texts = [*_generations(told, isolate), *_left(told)]
        if isolate.own_rules:
            texts += [*_restarts(told, isolate), *_budget(told, isolate), *_why_down(told, isolate)]
        shown = ", ".join(event.shown for event in told[-12:])
        faults += [Fault("events", name, None, f"{text} [{shown}]") for text in texts]
    return faults


def _generations(told: Sequence[Told], isolate: Facts) -> Iterator[str]:
    """A generation starts once and ends once, and their numbers rise: by one, where nothing else uses numbers."""
    started: dict[int, int | None] = {}
    ended: set[int] = set()
    newest = 0
    for event in told:
        number = event.generation
        if event.kind == "IsolateStarted":
            if number <= newest:
                yield f"generation {number} starts after {newest}"
            elif not isolate.swaps and number != newest + 1:
                yield f"generation {number} follows {newest}"
            if not isolate.swaps and set(started) - ended:
                yield f"generation {number} starts while {sorted(set(started) - ended)} has not ended"
            started[number] = event.pid
            newest = max(number, newest)
        elif event.kind == "IsolateExited":
            if number not in started:
                yield f"generation {number} exits, and has not started"
            elif started[number] != event.pid:
                yield f"generation {number} started as pid {started[number]} and exits as {event.pid}"
            if number in ended:
                yield f"generation {number} exits twice"
            ended.add(number)
        elif event.kind == "IsolateStartFailed":
            if number in started:
                yield f"generation {number} has started, and its start fails"
            newest = max(number, newest)


def _left(told: Sequence[Told]) -> Iterator[str]:
    started = {event.generation for event in told if event.kind == "IsolateStarted"}
    ended = {event.generation for event in told if event.kind == "IsolateExited"}
    if started - ended:
        yield f"no event tells of the end of generations {sorted(started - ended)}"


def _restarts(told: Sequence[Told], isolate: Facts) -> Iterator[str]:
    """Rule 18: the restart type decides, and nothing starts without a word."""
    last = None
    for event in told:
        if event.kind in ("IsolateExited", "IsolateStartFailed"):
            last = event
        elif event.kind == "IsolateRestarting":
            if isolate.restart == "temporary":
                yield "a temporary isolate restarts"
            if isolate.restart == "transient" and last is not None and last.reason in NORMAL and not isolate.swaps:
                yield f"a transient isolate restarts after an end of the kind {last.reason}"
    exceeded = [place for place, event in enumerate(told) if event.kind == "RestartsExceeded"]
    if exceeded and any(event.kind == "IsolateStarted" for event in told[exceeded[0] :]):
        yield "it starts after its restarts were used up"
    if len(exceeded) > 1:
        yield "its restarts are used up twice"
    if not isolate.swaps:
        starts = sum(event.kind in ("IsolateStarted", "IsolateStartFailed") for event in told)
        announced = sum(event.kind == "IsolateRestarting" for event in told)
        if starts - 1 not in (announced, announced - 1):  # a stop may have come before the last
            yield f"{starts} starts, and {announced} restarts were announced"


def _charged(told: Sequence[Told]) -> list[float]:
    """Return when restarts were charged: those after the loss of a launcher are not."""
    times, last = [], None
    for event in told:
        if event.kind in ("IsolateExited", "IsolateStartFailed"):
            last = event
        elif event.kind == "IsolateRestarting" and not (last is not None and LAUNCHER_LOST in last.detail):
            times.append(event.time)
    return times


def _budget(told: Sequence[Told], isolate: Facts) -> Iterator[str]:
    """Rule 18: never more restarts in the window than allowed; used up only where that many were in it."""
    most, within = isolate.max_restarts, isolate.within
    if most is None:
        return
    times = _charged(told)
    for first, after in zip(times, times[most:], strict=False):
        if after - first < within - MARGIN:
            yield f"{most + 1} restarts within {after - first:.2f} s, and {most} are allowed within {within:g} s"
    ends = [event.time for event in told if event.kind in ("IsolateExited", "IsolateStartFailed")]
    if any(event.kind == "RestartsExceeded" for event in told) and not isolate.swaps:
        restarts = [event for event in told if event.kind == "IsolateRestarting"]
        waited = sum(event.delay for event in restarts)  # meanwhile restarts do not grow old
        recent = sum(ends[-1] - event.time < within + MARGIN + waited for event in restarts)
        if recent < most:
            yield f"its restarts are used up after {recent} of {most}"


def _why_down(told: Sequence[Told], isolate: Facts) -> Iterator[str]:
    """Rule 18: an isolate that nobody has stopped stays down only where its restart type or its budget says so."""
    if isolate.stop_asked or any(event.kind == "RestartsExceeded" for event in told):
        return
    ends = [event for event in told if event.kind in ("IsolateExited", "IsolateStartFailed")]
    if not ends:
        yield "it has ended, and no event tells of an end"
        return
    last = ends[-1].reason
    stopped_itself = isolate.stops_itself and isolate.restart == "transient"  # it stays down however it ended then
    if isolate.restart == "permanent" or (isolate.restart == "transient" and last not in NORMAL and not stopped_itself):
        yield f"a {isolate.restart} isolate stays down after an end of the kind {last}, and nobody has stopped it"
