"""What ``piactors doctor`` prints for people, as lines of text.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from piactors.cli.advice import Advice
from piactors.cli.facts import Facts, Interpreter, LimitFact, Trial

_SCOPES = {"tree": "the whole tree", "process": "each process"}


def lines(facts: Facts, found: Sequence[Advice]) -> list[str]:
    """Return the report: each heading begins its line, and everything else is indented."""
    return [
        *_machine(facts),
        "",
        *_limits(facts),
        "",
        *_starts(facts),
        "",
        *_interpreters(facts.interpreters),
        "",
        *_kernel(facts),
        *_advice(found),
        "",
        *_verdict(facts),
    ]


def _machine(facts: Facts) -> Iterator[str]:
    machine = facts.machine
    cpus = f"{machine.cpus} CPU{'' if machine.cpus == 1 else 's'}"
    if machine.usable_cpus != machine.cpus:
        cpus += f", {machine.usable_cpus} of them usable"
    place = f", in a container ({machine.container})" if machine.container is not None else ""
    yield f"Machine: {machine.system} {machine.kernel}, {cpus}, {'root' if machine.root else 'not root'}{place}"
    yield f"  {machine.python}"
    if machine.taken_away:
        yield f"  PIACTORS_PORTABLE takes away: {', '.join(machine.taken_away)}"


def _limits(facts: Facts) -> Iterator[str]:
    yield "Limits, and what would enforce each"
    for limit, fact in facts.limits.items():
        by = f"{fact.mechanism}, {_SCOPES[fact.scope]}" if fact.scope is not None else "nothing works"
        yield _row(limit, "no" if fact.mechanism is None else "yes", by)
        yield from _mechanisms(fact)
    for name, why_not in facts.priorities.items():
        yield _row(name, "yes" if why_not is None else "partly", why_not or "")


def _mechanisms(fact: LimitFact) -> Iterator[str]:
    others = {name: why_not for name, why_not in fact.by.items() if name != fact.mechanism}
    for name, why_not in others.items():
        yield f"      {name:<11} {'works too' if why_not is None else why_not}"


def _starts(facts: Facts) -> Iterator[str]:
    yield "Start methods"
    for name, trial in facts.start_methods.items():
        yield _row(name, *_outcome(trial))


def _interpreters(found: Sequence[Interpreter] | None) -> Iterator[str]:
    yield "Interpreters that isolates run in" + ("" if found is not None else ": not looked for (--no-interpreters)")
    for one in found or ():
        name = f"{one.implementation or 'Python'} {one.version or '(version unknown)'}"
        works, detail = _outcome(one)
        yield _row(name, works, f"{one.path}{' (this one)' if one.own else ''}, {detail}")


def _kernel(facts: Facts) -> Iterator[str]:
    yield "Kernel"
    for name, found in facts.kernel.items():
        yield _row(name, "yes" if found.works else "no", found.detail)
    for one in facts.cgroups:
        controllers = ", ".join(one.controllers) or "no useful controller"
        own = "own group outside of it" if one.own is None else f"own group {one.own}"
        right = "writable" if one.writable else "not writable"
        yield f"  cgroup v{one.version} at {one.folder}: {controllers}; {own}, {right}"
    if not facts.cgroups:
        yield "  no control groups are mounted"


def _advice(found: Sequence[Advice]) -> Iterator[str]:
    if found:
        yield ""
        yield "To get more"
    for one in found:
        yield f"  {one.about}: {one.text}"
        for command in one.commands:
            yield f"      {command}"


def _verdict(facts: Facts) -> Iterator[str]:
    if not facts.missing:
        yield "All limits can be enforced."
        return
    yield "Something is missing:"
    for text in facts.missing:
        yield f"  {text}"


def _row(name: str, works: str, detail: str) -> str:
    return f"  {name:<18}  {works:<6}  {detail}".rstrip()


def _outcome(trial: Trial | Interpreter) -> tuple[str, str]:
    return ("yes", f"{trial.seconds:.2f} s") if trial.works else ("no", trial.why_not or "")
