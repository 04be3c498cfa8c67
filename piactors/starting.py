"""How a generation of an isolate begins, on the I/O thread."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import attrs

from piactors import endings
from piactors._host import pihost_files
from piactors._host.confining import Confinement
from piactors._host.generation import Generation
from piactors._host.owning import End, Owner
from piactors._lifecycle.states import State
from piactors._platform import own_python
from piactors._policies.call_clock import Capture
from piactors._policies.confined import Confined
from piactors.pihost import inherit, lacks, stdio
from piactors.spec import Current

if TYPE_CHECKING:
    from piactors.isolate import Isolate

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds until a restart that lacked something is tried again: longer each time."""
_MOST_COUNTED = 30


def launch(isolate: Isolate) -> None:
    """Begin to make the next process, unless the isolate has been told to stop meanwhile."""
    if _is_called_off(isolate):
        endings.called_off(isolate)
        return
    if isolate.recycler.standby.take_over():
        return
    with isolate.lock:
        isolate.current.number_before = isolate.generation_number
        isolate.generation_number = isolate.recycler.next_number()
    refusal = _refusal(isolate)
    if refusal is not None:
        endings.ended_without_process(isolate, refusal)
        return
    try:
        generation = new_generation(isolate, isolate, isolate.current, isolate.generation_number)
    except Exception as error:
        refused(isolate, f"no process could be made: {_told(error)}", lack=lacks.is_lack(error))
        return
    with isolate.lock:
        isolate.process = generation
        if not isolate.options.debug:
            late = partial(start_too_late, isolate)
            isolate.current.start_timer = isolate.after(isolate.options.start_timeout, late)
        doomed = isolate.stop_requested or isolate.halting
    if doomed:
        isolate.intend("shutdown" if isolate.halting else "killed", "stopped while it started")
        generation.kill()


def refused(isolate: Isolate, text: str, *, lack: bool) -> None:
    """There is no process: the isolate's rules decide what follows, but for a restart that only lacks something."""
    if not (lack and _waits(isolate, text)):
        endings.ended_without_process(isolate, text)


def ended(isolate: Isolate, end: End) -> None:
    """The process of an isolate is gone: its rules decide, but for one that lacked something before it was ready."""
    current = isolate.current
    lack = current.lacked and current.intent is None and not (end.lost or isolate.ended.is_set())
    text = isolate.decoder.traceback(current.start_failure or b"").strip() if lack else ""
    if not (lack and _waits(isolate, text.rpartition("\n")[2])):
        endings.ended(isolate, end)


def _waits(isolate: Isolate, text: str) -> bool:
    """Have a restart that lacks something tried again in a moment; False if it is not a restart, or not wanted."""
    with isolate.lock:
        wanted = not (isolate.stop_requested or isolate.halting)
        waits = wanted and isolate.state is State.RESTARTING
        if waits:
            _wait_for_resources(isolate)
    if waits and isolate.lacks == 1:
        place = (isolate.spec.name, text)
        isolate.log(logging.WARNING, "isolate %s cannot be restarted now, and is tried again until it can: %s", *place)
    return waits


def _wait_for_resources(isolate: Isolate) -> None:
    """Try again in a moment, at no further cost: what is lacking, the isolate does not answer for.  Under its lock."""
    current, isolate.process = isolate.current, None
    for timer in current.timers:
        timer.cancel()
    if current.confined is not None:
        current.confined.ended(None, None)
    isolate.recycler.take_back_number()
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**isolate.lacks)
    isolate.lacks = min(isolate.lacks + 1, _MOST_COUNTED)
    isolate.restart_timer = isolate.loop.call_later(pause, isolate.restart_due)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, OSError) else repr(error)


def _refusal(isolate: Isolate) -> str | None:
    """Return why no process of this isolate may be started here."""
    if not isolate.spec.order.interpreter:
        return own_python.why_none()
    if not pihost_files.COMMAND:
        return pihost_files.why_missing()
    unheld = None if isolate.plan is None else isolate.plan.refusal
    return None if unheld is None else f"its limits cannot be enforced here: {unheld}"


def _is_called_off(isolate: Isolate) -> bool:
    with isolate.lock:
        isolate.told_exit = False
        isolate.current = Current(data=dict(isolate.data))
        return (isolate.stop_requested or isolate.halting) and isolate.state is not State.STOPPED


def new_generation(isolate: Isolate, owner: Owner, current: Current, number: int) -> Generation:
    """Make the process of a generation, confined to its limits.

    Raises:
        OSError: where the kernel refuses.
    """
    options, spec = isolate.options, isolate.spec
    confinement = Confinement()
    if isolate.plan is not None:
        confinement = isolate.runtime.confiner.confine(isolate.plan, f"{spec.name}-{number}")
    current.confined = Confined(isolate, isolate.plan, confinement)
    if options.output == "inherit" and number == 1:
        _tell_of_missing_output(isolate)
    order = attrs.evolve(spec.order, orders={"inherited": inherit.read(), **confinement.orders})  # limits win
    try:
        backend = isolate.runtime.backend(order, options.preload, own=spec.own_interpreter)
        generation = Generation(
            isolate.loop, backend, owner, number, order, spec.init(isolate.ref.actor_urn, number, current.data),
            options.concurrency, options.output if isinstance(options.output, str) else "callable", options.max_frame,
            partial(_fell_back, isolate), spec.needs,
        )  # fmt: skip
        generation.on_large = isolate.idle_memory.used
        return generation
    except BaseException:
        current.confined.ended(None, None)
        raise


def _tell_of_missing_output(isolate: Isolate) -> None:
    missing = [name for number, name in ((1, "stdout"), (2, "stderr")) if stdio.is_missing(number)]
    if missing:
        text = "isolate %s: output='inherit', and this program has no %s: that output is discarded"
        isolate.log(logging.WARNING, text, isolate.spec.name, " and no ".join(missing))


def _fell_back(isolate: Isolate, text: str) -> None:
    isolate.log(logging.WARNING, "isolate %s starts in a fresh interpreter: %s", isolate.spec.name, text)


def start_too_late(isolate: Isolate) -> None:
    """End a process that has not become ready within its time, and have it say where it was."""
    with isolate.lock:
        current, generation = isolate.current, isolate.process
        if current.ready_at is not None or generation is None:
            return
    end_late_start(isolate, generation, current)


def end_late_start(isolate: Isolate, generation: Generation, current: Current) -> None:
    """End a process that has not become ready within its time; from here on it is too late for that."""
    with isolate.lock:
        doomed = current.intent is not None
        if not doomed:
            seconds = isolate.options.start_timeout
            current.intent, current.detail = "start_failed", f"not ready within start_timeout, {seconds:g} s"
    if doomed:
        generation.kill()
        return
    if current.confined is not None:
        current.confined.let_run()
    Capture(generation, partial(_kill_late, generation, current)).begin()


def _kill_late(generation: Generation, current: Current, stack: str) -> None:
    current.stack = stack
    generation.kill()
