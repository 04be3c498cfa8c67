"""The ledger: what was called, what came of it, what ran; and the rules by which these must fit together.

Pure: it is given histories and returns the faults in them.  `docs/semantics.md` has the rules; the numbers stand beside
each check.  The tests in `test_ledger.py` feed it wrong histories.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import attrs

OutcomeKind = Literal["value", "error", "cancelled", "gave_up", "refused"]
CRASHES = frozenset({"IsolateCrashed", "LimitExceeded", "CallTimeout", "PoisonMessage"})
NEVER_BEGUN = frozenset({"ActorDeadError", "MailboxFull", "NotSendable"})
"""Errors that say that the call has not begun."""
COROUTINES = frozenset({"doze", "leave_asleep"})
"""Methods that may have begun if their calls are cancelled: they end of that."""
LATE_BEGIN = 5.0
"""Seconds after a blocking `ask` has given up, by which a call that had begun has written that down."""
IN_TIME = 0.4
"""Seconds before its deadline that a call must have ended to count as answered in time."""


@attrs.frozen
class Outcome:
    """What came of a call.

    Attributes:
        kind: "value"; "error", with the class in `error`; "cancelled"; "gave_up", where a blocking `ask` timed out;
            "refused", where the message was not taken at all.
        right: whether the value is the one that this call has to return, or the exception its own.
        generation, pid, reason: of an `IsolateCrashed`: where, and the kind of its `ExitReason`.
        attempts: of a `PoisonMessage`.
        at: seconds, by the monotonic clock.
    """

    kind: OutcomeKind
    error: str = ""
    right: bool = True
    generation: int | None = None
    pid: int | None = None
    reason: str = ""
    attempts: int = 0
    at: float = 0.0
    text: str = attrs.field(default="", eq=False)

    @property
    def shown(self) -> str:
        """It in a few words."""
        return " ".join(filter(None, (self.kind, self.error, self.text[:200])))

    def same_as(self, other: Outcome) -> bool:
        """Whether it is the same outcome, seen by somebody else."""
        return (self.kind, self.error, self.generation) == (other.kind, other.error, other.generation)


@attrs.define
class Call:
    """One call, or `tell`.

    Attributes:
        number: counts up through the whole program, so the calls of one sender are in order.
        has_future: whether there is one, so that exactly one outcome and one done-callback are due.
        call_timeout: seconds that it may run, by its method, its own argument or its isolate's options.
        raises: names of the exceptions that its method has for its caller.
        small: whether arguments and result are, so that an answer leaves at once.
    """

    number: int
    isolate: str
    sender: str
    way: str
    method: str
    sent: float = 0.0
    has_future: bool = True
    retries: int = 0
    call_timeout: float | None = None
    raises: frozenset[str] = frozenset()
    small: bool = True
    cancelled_by_us: bool = False
    outcomes: list[Outcome] = attrs.field(factory=list)
    callbacks: int = 0


@attrs.define
class Facts:
    """What is known of an isolate.

    Attributes:
        own_rules: whether it decides by its own options, and not a supervisor.
        stop_asked: whether anybody has asked it to stop, or a link may have.
        stops_itself: whether it has begun to stop of its own accord.
        leaves: whether its code has ended the process: after a stop was asked for, nothing follows that.
        swaps: whether processes are swapped: recycling, standby.
        pauses: when it was stopped by a signal, as intervals of the monotonic clock.
        last_exit: the kind of reason why its last generation has ended, if that was ready before.
        limited: whether it has limits.
        drops: whether it may drop what waits: an overflow or a restart does, by its options.
        drains: whether it was told to stop in a way that lets it run what it has.
    """

    name: str
    concurrency: int = 1
    restart: str = "temporary"
    max_restarts: int | None = None
    within: float = 60.0
    own_rules: bool = True
    swaps: bool = False
    limited: bool = False
    drops: bool = False
    capacity: str = ""
    stop_asked: bool = False
    stops_itself: bool = False
    leaves: bool = False
    drains: bool = False
    pauses: list[tuple[float, float]] = attrs.field(factory=list)
    last_exit: str = ""
    watches: list[int] = attrs.field(factory=list)


class Run(NamedTuple):
    """One line of a journal: a call begins ("B"), ends ("E") or raises ("R")."""

    mark: str
    number: int
    pid: int
    at: float


Runs = Mapping[int, Sequence[Run]]
"""What was written down of each call."""
Ends = Mapping[str, Mapping[int, str]]
"""The kind of the reason why each generation of each isolate has ended."""


@attrs.frozen
class Fault:
    """Something that must not be."""

    rule: str
    isolate: str
    number: int | None
    text: str

    def __str__(self) -> str:
        call = "" if self.number is None else f", call {self.number}"
        return f"{self.rule} ({self.isolate}{call}): {self.text}"


def parse(journal: str) -> list[Run]:
    """Return the lines of a journal."""
    fields = (line.split() for line in journal.splitlines())
    return [Run(mark, int(number), int(pid), int(at) / 1e9) for mark, number, pid, at in fields]


def of_call(call: Call, rule: str, text: str) -> Fault:
    """Return a fault of a call."""
    outcomes = "; ".join(outcome.shown for outcome in call.outcomes) or "no outcome"
    return Fault(rule, call.isolate, call.number, f"{text} [{call.way} {call.method} by {call.sender}: {outcomes}]")


# One outcome


def outcomes_of(calls: Iterable[Call]) -> Iterator[Fault]:
    """Rule 3: one outcome each, told once."""
    for call in calls:
        if call.has_future and not call.outcomes:
            yield of_call(call, "unset", "there is no outcome")
        first = call.outcomes[0] if call.outcomes else None
        for other in call.outcomes[1:]:
            if first is not None and not other.same_as(first):
                yield of_call(call, "two outcomes", f"first {first.shown}, then {other.shown}")
        expected = 1 if call.has_future and call.way != "blocking ask" else 0
        if call.callbacks != expected:
            yield of_call(call, "callbacks", f"done-callbacks were called {call.callbacks} times, not {expected}")


def possible(calls: Iterable[Call], facts: Mapping[str, Facts]) -> Iterator[Fault]:
    """Rules 5 to 12: no outcome of a kind that cannot be, and no answer to another call."""
    for call in calls:
        for outcome in call.outcomes:
            if not outcome.right:
                yield of_call(call, "wrong answer", f"not the {outcome.kind} of this call: {outcome.text[:300]}")
            why = _why_impossible(call, outcome, facts[call.isolate])
            if why:
                yield of_call(call, "impossible", f"{outcome.shown}: {why}")


def _why_impossible(call: Call, outcome: Outcome, isolate: Facts) -> str:
    if outcome.kind == "cancelled":
        return "" if call.cancelled_by_us else "nobody has cancelled it"
    if outcome.kind not in ("error", "refused") or outcome.error in call.raises:
        return ""
    allowed: dict[str, str] = {
        "ActorDeadError": "",
        "IsolateCrashed": "",
        "CallTimeout": "" if call.call_timeout is not None else "it has no call_timeout",
        "LimitExceeded": "" if isolate.limited else "the isolate has no limits",
        "PoisonMessage": "" if call.retries else "it is not to be tried again",
        "MailboxFull": "" if isolate.capacity or call.way == "tell" else "its mailbox has no bound",
        "MemoryError": "" if isolate.limited else "the isolate has no limits",
    }
    return allowed.get(outcome.error, "no call of this kind ends so")


# What ran


def runs_of(calls: Iterable[Call], runs: Mapping[int, Sequence[Run]]) -> Iterator[Fault]:
    """Rules 5 to 7: at most once, exactly once where it was answered, never where it was given up."""
    for call in calls:
        own = runs.get(call.number, ())
        begun = sum(run.mark == "B" for run in own)
        ended = sum(run.mark in "ER" for run in own)
        most = call.retries + 1
        if begun > most:
            yield of_call(call, "ran twice", f"it ran {begun} times, and may {most}")
        outcome = call.outcomes[0] if call.outcomes else None
        if outcome is None:
            continue
        answered = outcome.kind == "value" or outcome.error in call.raises
        if answered and not ended:
            yield of_call(call, "answered and never ran", f"begun {begun} times, ended {ended}")
        if answered and not call.retries and (begun, ended) != (1, 1):
            yield of_call(call, "answered, not run once", f"begun {begun} times, ended {ended}")
        # A coroutine that has begun may end of being cancelled.
        cancelled = outcome.kind == "cancelled" and call.method not in COROUTINES
        not_begun = cancelled or outcome.kind == "refused" or outcome.error in NEVER_BEGUN
        if begun and not_begun:
            yield of_call(call, "ran although it never begins", f"it ran {begun} times")
        late = [run.at - outcome.at for run in own if run.mark == "B" and run.at > outcome.at + LATE_BEGIN]
        if late and outcome.kind == "gave_up":
            yield of_call(call, "begun after it was given up", f"{late[0]:.2f} s after that")
        if outcome.error == "PoisonMessage" and outcome.attempts != most:
            yield of_call(call, "attempts", f"{outcome.attempts} attempts are told of, not {most}")


def unknown_runs(calls: Mapping[int, Call], runs: Mapping[str, Sequence[Run]]) -> Iterator[Fault]:
    """Whether something ran that nobody has called there."""
    for name, lines in runs.items():
        for run in lines:
            if run.number not in calls or calls[run.number].isolate != name:
                yield Fault("ran elsewhere", name, run.number, "nobody has called it here")


def order_of(
    calls: Mapping[int, Call], runs: Mapping[str, Sequence[Run]], facts: Mapping[str, Facts]
) -> Iterator[Fault]:
    """Rule 2: what one sender has sent begins in that order, by the first time that each begins."""
    for name, lines in runs.items():
        if facts[name].concurrency > 1:
            continue  # they begin in order, but each in a thread of its own, which writes it down when it can
        seen: set[int] = set()
        last: dict[str, int] = {}
        for run in lines:
            call = calls.get(run.number)
            if run.mark != "B" or run.number in seen or call is None:
                continue
            seen.add(run.number)
            if run.number < last.get(call.sender, -1):
                yield of_call(call, "order", f"it began after {last[call.sender]}, which its sender has sent later")
            last[call.sender] = max(run.number, last.get(call.sender, -1))


def generations_of(runs: Mapping[str, Sequence[Run]], pids: Mapping[str, Mapping[int, int]]) -> Iterator[Fault]:
    """Rules 55 and 56: once a generation has begun to run calls, no earlier one begins any."""
    for name, lines in runs.items():
        newest = 0
        for run in lines:
            generation = pids.get(name, {}).get(run.pid)
            if run.mark != "B":
                continue
            if generation is None:
                yield Fault("unknown process", name, run.number, f"pid {run.pid} ran it, which no event tells of")
                continue
            if generation < newest:
                text = f"generation {generation} began it, after {newest} had begun others"
                yield Fault("split", name, run.number, text)
            newest = max(newest, generation)


# Crashes


def crashes_of(calls: Iterable[Call], facts: Mapping[str, Facts], ends: Ends) -> Iterator[Fault]:
    """Rule 5: at an end no more calls fail than had begun, and they tell of the end that there was."""
    failed: dict[tuple[str, int], list[Call]] = defaultdict(list)
    for call in calls:
        outcome = call.outcomes[0] if call.outcomes else None
        if outcome is None or outcome.error not in CRASHES or outcome.generation is None:
            continue
        failed[call.isolate, outcome.generation].append(call)
        told = ends.get(call.isolate, {}).get(outcome.generation)
        if told is None:
            yield of_call(call, "crash without an end", f"no event tells of that of generation {outcome.generation}")
        elif told != outcome.reason and call.retries == 0:
            yield of_call(call, "another reason", f"the call says {outcome.reason}, the event {told}")
    for (name, generation), lost in failed.items():
        most = facts[name].concurrency
        once = [call for call in lost if not call.retries]
        if len(once) > most:
            numbers = ", ".join(f"{call.number} {call.method}" for call in once[:10])
            text = f"{len(once)} calls failed with generation {generation}, which runs {most} at once: {numbers}"
            yield Fault("too many crashed", name, None, text)


def lost_tells(calls: Iterable[Call], facts: Mapping[str, Facts], runs: Runs, ends: Ends) -> Iterator[Fault]:
    """Rules 6 and 14: an isolate that was let run what it had has run every `tell`, but what crashes took along."""
    missing: Counter[str] = Counter()
    for call in calls:
        if call.way == "tell" and not call.outcomes and not runs.get(call.number):
            missing[call.isolate] += 1
    for name, count in missing.items():
        isolate = facts[name]
        crashes = sum(kind not in ("normal", "shutdown") for kind in ends.get(name, {}).values())
        orderly = isolate.drains and isolate.last_exit == "shutdown" and not (isolate.drops or isolate.leaves)
        if orderly and count > crashes * isolate.concurrency:
            yield Fault("lost tells", name, None, f"{count} never ran, with {crashes} crashes")


def late_verdicts(calls: Iterable[Call], facts: Mapping[str, Facts], runs: Runs) -> Iterator[Fault]:
    """Rule 53: a call that has ended in good time is not late, also where the host was stopped meanwhile."""
    for call in calls:
        limit = call.call_timeout
        if limit is None or not call.small or not any(outcome.error == "CallTimeout" for outcome in call.outcomes):
            continue
        own = {run.mark: run.at for run in runs.get(call.number, ())}
        if "B" not in own or "E" not in own or facts[call.isolate].concurrency > 1:
            continue
        paused = any(start < own["B"] + limit and own["B"] < end for start, end in facts[call.isolate].pauses)
        took = own["E"] - own["B"]
        if took < limit - IN_TIME and not paused:
            yield of_call(call, "late verdict", f"it took {took:.2f} of {limit:g} s, and was ended for being late")


def watches_of(facts: Iterable[Facts]) -> Iterator[Fault]:
    """Rule 45: a watch tells once."""
    for isolate in facts:
        for told in isolate.watches:
            if told != 1:
                yield Fault("watch", isolate.name, None, f"a watch has told of its end {told} times")


def judge(
    calls: Mapping[int, Call],
    facts: Mapping[str, Facts],
    runs: Mapping[str, Sequence[Run]],
    pids: Mapping[str, Mapping[int, int]],
    ends: Mapping[str, Mapping[int, str]],
) -> list[Fault]:
    """Return all faults of a round.

    Args:
        calls: by number.
        facts: of the isolates, by name.
        runs: the journals, by the isolate's name.
        pids: which generation each process was, by isolate.
        ends: the kind of the reason why each generation has ended, by isolate.
    """
    by_number: dict[int, list[Run]] = defaultdict(list)
    for lines in runs.values():
        for run in lines:
            by_number[run.number].append(run)
    found: list[Iterator[Any]] = [
        outcomes_of(calls.values()),
        possible(calls.values(), facts),
        runs_of(calls.values(), by_number),
        unknown_runs(calls, runs),
        order_of(calls, runs, facts),
        generations_of(runs, pids),
        crashes_of(calls.values(), facts, ends),
        lost_tells(calls.values(), facts, by_number, ends),
        late_verdicts(calls.values(), facts, by_number),
        watches_of(facts.values()),
    ]
    return [fault for faults in found for fault in faults]
