"""What is to be shown of an event, or of the limits of a run: the words, for machines and for people.

Pure: the screens of `show` decide what it looks like.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from piactors import events
from piactors.exit_reason import Breach, ExitReason
from piactors.limits import Enforcement, IsolationLimits


@attrs.frozen(kw_only=True)
class Note:
    """One piece of news, for machines and for people.

    Attributes:
        label: the first word of a plain line.
        facts: what a plain line says, in order.
        title: the first words on a terminal, or None if it is not shown there.
        text: what follows them.
        style: their colour.
        more: text of the crash itself, shown below.
        more_label: the first word of its plain lines.
    """

    label: str
    facts: dict[str, object]
    title: str | None
    text: str = ""
    style: str = "dim"
    more: str = ""
    more_label: str = "fault"


def note_of(event: events.Event) -> Note | None:
    """Return what is to be shown of an event, or None if it is nothing."""
    place: dict[str, object] = {"pid": event.pid, "generation": event.generation}
    if isinstance(event, events.IsolateStarted):
        return Note(label="started", facts=place, title="started", text=f"pid {event.pid}", style="green")
    if isinstance(event, events.IsolateExited):
        return _exited(event.reason, place)
    if isinstance(event, events.IsolateStartFailed):
        return Note(label="start-failed", facts={**place, **_facts(event.reason)}, title=None)
    if isinstance(event, events.IsolateRestarting):
        facts: dict[str, object] = {"attempt": event.attempt, "delay": f"{event.delay:.3f}"}
        text = f"attempt {event.attempt}, in {event.delay:.1f} s"
        return Note(label="restarting", facts=facts, title="restarting", text=text, style="yellow")
    if isinstance(event, events.RestartsExceeded):
        text = f"after {event.max_restarts} restart{'' if event.max_restarts == 1 else 's'}"
        facts = {"max_restarts": event.max_restarts}
        return Note(label="restarts-exceeded", facts=facts, title="given up", text=text, style="bold red")
    if isinstance(event, events.LimitBreached):
        return _breached(event, place)
    if isinstance(event, events.CallTimedOut):
        facts = {**place, "seconds": f"{event.call_timeout:g}"}
        text = f"the call ran longer than {event.call_timeout:g} s, its --call-timeout"
        stack = event.stack.rstrip()
        return Note(
            label="call-timeout",
            facts=facts,
            title="timed out",
            text=text,
            style="bold red",
            more=stack,
            more_label="stack",
        )
    return None


def notes_of_limits(limits: IsolationLimits, enforcement: Iterable[Enforcement]) -> list[Note]:
    """Return what each limit of a run was, and what has enforced it."""
    return [_limit(found, getattr(limits, found.limit)) for found in enforcement]


def _limit(found: Enforcement, value: object) -> Note:
    mechanism = "none" if found.mechanism is None else found.mechanism.replace(" ", "-")
    given = ",".join(map(str, value)) if isinstance(value, tuple) else value
    shown = f"{given:g}" if isinstance(given, float) else given
    facts: dict[str, object] = {"limit": found.limit, "allowed": shown, "mechanism": mechanism}
    if found.scope is not None:
        facts["scope"] = found.scope
    by = f"by {found.mechanism}, {_SCOPES[found.scope]}" if found.scope is not None else "not enforced"
    text = f"{found.limit} {_for_people(found.limit, value, str(shown))}: {by}"
    style = "red" if found.mechanism is None else "dim"
    return Note(label="limit", facts=facts, title="limit", text=text, style=style)


_SCOPES = {"tree": "the whole tree", "process": "each process"}
_UNITS = {"max_cpu": " cores", "max_cpu_time": " s", "max_processes": " tasks", "max_open_files": " files"}


def _for_people(limit: str, value: object, shown: str) -> str:
    if isinstance(value, int) and (limit.endswith("memory") or limit == "max_file_size"):
        return f"{value / (1 << 20):,.1f} MiB" if value >= 1 << 20 else f"{value:,} bytes"
    return f"cpu{shown.replace(',', ' cpu')}" if limit == "affinity" else f"{shown}{_UNITS.get(limit, '')}"


def _exact(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _breached(event: events.LimitBreached, place: dict[str, object]) -> Note:
    facts = {
        **place,
        "limit": event.limit,
        "hard": "yes" if event.hard else "no",
        "allowed": _exact(event.allowed),
        "observed": _exact(event.observed),
        "culprit_pid": event.culprit_pid,
        "culprit": event.culprit,
    }
    breach = Breach(
        limit=event.limit,
        allowed=event.allowed,
        observed=event.observed,
        culprit_pid=event.culprit_pid,
        culprit=event.culprit,
        time=event.time,
    )
    style = "bold red" if event.hard else "yellow"
    return Note(label="breach", facts=facts, title="breach", text=str(breach), style=style)


def _exited(reason: ExitReason, place: dict[str, object]) -> Note:
    facts = {**place, **_facts(reason)}
    ours = reason.kind == "killed" and reason.detail == "terminated"  # at a timeout or a signal, which is shown itself
    told = reason.kind in ("limit", "call_timeout")  # by an event of its own, with more to say
    expected = reason.is_normal or ours or told or exited_with_0(reason)
    title, text, fault = None if expected else "crashed", reason.summary, reason.fault.rstrip()
    return Note(label="exited", facts=facts, title=title, text=text, style="bold red", more=fault)


def _facts(reason: ExitReason) -> dict[str, object]:
    facts: dict[str, object] = {"kind": reason.kind}
    if reason.signal is not None:
        facts["signal"] = reason.signal
    elif reason.exitcode is not None:
        facts["exitcode"] = reason.exitcode
    return facts


def exited_with_0(reason: ExitReason) -> bool:
    """Whether the program has exited by itself and said that all is well: what `sys.exit(0)` does."""
    return reason.kind == "exited" and reason.exitcode == 0
