"""A fresh generation in place of one that has served its time: between two calls, in order, with nothing lost.

    idle ──asked──> starting ──ready──> draining ──last answer──> swapped: idle
      │                                                             ▲
      └─asked, little memory──> draining ──> retiring ──gone──> starting (cold)

Draining takes back what was sent and has not begun, and waits for what runs.  The old process then
stops in its own time, while the new one runs the calls.  Without the memory for two, the old one ends
first, and the calls wait meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import psutil

from piactors import endings, events
from piactors._lifecycle.states import State
from piactors._platform import process_stats
from piactors._platform.limits import cgroups
from piactors._policies.companions import Newcomer, Retiree
from piactors._policies.standby import Standby
from piactors.exit_reason import ExitReason
from piactors.spec import Current

if TYPE_CHECKING:
    from piactors._host.generation import Generation
    from piactors.isolate import Isolate

_PAUSE_AFTER_FAILURE = 5.0
"""Seconds until the next try, after a start that failed, or of a generation that is too large from the beginning."""
_SPARE = 2
"""So many times what the old process has in RAM must be free for a new one beside it."""


class Recycler:
    """Swaps the generations of one isolate.  `ask` comes from any thread, the rest from the I/O thread.

    Attributes:
        draining: whether no further message may be sent; read under the isolate's lock.
        last_number: the highest number that a generation of this isolate has had, those that never ran calls included.
        counts: whether it wants to know of calls that are done.
        standby: keeps a process ready, where the options ask for one; it is the newcomer then.
    """

    def __init__(self, isolate: Isolate) -> None:
        self._isolate = isolate
        self._options = isolate.options.recycle
        self._after_calls = None if self._options is None else self._options.after_calls
        self._calls = 0
        self._reason = ""
        self._not_before = 0.0
        self._asked = False
        self._cold = False
        self._over = False
        self._warned = False
        self._newcomer: Newcomer | None = None
        self._retirees: set[Retiree] = set()
        self._replaced: tuple[int | None, int] = (None, 0)
        self._then: Callable[[], object] | None = None
        self._for_good = False
        self.draining = False
        self.last_number = 0
        self.counts = self._after_calls is not None
        self.standby = Standby(isolate, self)

    # What can ask for it

    def generation_ready(self) -> None:
        """A generation runs: begin to count its calls and seconds, and have another one stand by."""
        self._calls = 0
        self.standby.begin()
        self._look_at_birth()
        if self._options is not None and self._options.after_seconds is not None:
            with self._isolate.lock:
                self._isolate.after(self._options.after_seconds, partial(self._begin, "after_seconds"))

    def _look_at_birth(self) -> None:
        """See whether a fresh generation is larger already than one should grow: then swapping it is of no use."""
        isolate, limits = self._isolate, self._isolate.options.limits
        bounds = [] if self._options is None else [self._options.above_memory]
        if limits is not None and limits.on_soft_memory == "recycle":
            bounds.append(limits.soft_memory)
        most, pid = min((bound for bound in bounds if bound is not None), default=None), isolate.pid
        if most is None or pid is None or process_stats.resident(pid) <= most:
            return
        found = process_stats.memory(pid)
        if found is None or (found.anon_pss or 0) <= most:
            return
        self._not_before = time.monotonic() + _PAUSE_AFTER_FAILURE
        if not self._warned:
            self._warned = True
            isolate.log(
                logging.WARNING, "isolate %s uses %.1f MiB as soon as it is ready, and is to be recycled at %.1f MiB",
                isolate.spec.name, (found.anon_pss or 0) / (1 << 20), most / (1 << 20),
            )  # fmt: skip

    def call_done(self) -> None:
        """A message has been answered; under the isolate's lock, and only where `counts`."""
        self._calls += 1
        if self._after_calls is not None and self._calls >= self._after_calls and not self._asked:
            self.ask("after_calls")

    def ask(self, reason: str) -> None:
        """Have the generation that runs now replaced, as soon as may be; nothing happens where that is under way."""
        if not self._asked and time.monotonic() >= self._not_before:
            self._asked = True
            self._isolate.loop.call_soon(self._begin, reason)

    # The way of it

    def _begin(self, reason: str) -> None:
        isolate = self._isolate
        self._asked = True
        under_way = self._newcomer is not None or self.draining or self._cold
        if under_way or not self._may_go_on():
            self._asked = under_way
            return
        self._reason = reason
        if self._retirees:
            return  # one old process at a time; `_retiree_gone` goes on from here
        process = isolate.process
        if process is not None and (self.standby.is_fit() or _has_room(process)):
            self._start_newcomer()
        else:
            self._cold = True
            self._drain()

    def _may_go_on(self) -> bool:
        isolate = self._isolate
        wanted = not (isolate.stop_requested or isolate.halting or isolate.held)
        runs = isolate.state is State.RUNNING and isolate.process is not None
        return runs and wanted and isolate.current.intent is None

    def _is_doomed(self) -> bool:
        """Whether an isolate between two processes is to have none any more; a stop waits for the next one."""
        return self._over or self._isolate.halting or self._isolate.current.intent is not None

    def next_number(self) -> int:
        """Return a number for one more process of this isolate."""
        self.last_number = max(self.last_number, self._isolate.generation_number) + 1
        return self.last_number

    def take_back_number(self) -> None:
        """The process that was to have the last number was not made: the next one has it."""
        self.last_number -= 1
        self._isolate.generation_number = self._isolate.current.number_before

    def _start_newcomer(self) -> None:
        """Have a newcomer: what stands by, or one that is started now."""
        self._newcomer = self.standby.give()
        if self._newcomer is not None:
            self._newcomer.serve(self._ready, self._newcomer_gone)
            if self._newcomer.is_ready:
                self._ready()
            return
        try:
            self._newcomer = Newcomer(self._isolate, self.next_number(), self._ready, self._newcomer_gone)
        except Exception as error:
            self._newcomer_gone(ExitReason(kind="start_failed", detail=f"no process could be made: {error!r}"))

    def _ready(self) -> None:
        if self._cold:
            self._swap()
        else:
            self._drain()

    def _drain(self) -> None:
        """Send nothing more, and take back what has not begun; what runs may finish."""
        isolate = self._isolate
        with isolate.lock:
            if not self._may_go_on() or isolate.mailbox.stop_sent:
                drained = None
            else:
                self.draining = True
                isolate.take_back()
                drained = isolate.mailbox.on_way == 0
        if drained is None:
            self._give_up("the isolate stops")
        elif drained:
            self._drained()

    def answered(self) -> None:
        """A message has been answered while it drains."""
        if self.draining and self._isolate.mailbox.on_way == 0:
            self._drained()

    def _drained(self) -> None:
        if not self._cold:
            self._swap()
            return
        retiree = None
        with self._isolate.lock:
            if self._may_go_on():
                retiree = self._retire()
                # Whatever is decided from here on concerns the isolate, and not the end of the old process.
                ready_at, self._isolate.process = self._isolate.current.ready_at, None
                self._isolate.current = Current(ready_at=ready_at, announced=True)
        if retiree is None:
            self._give_up("the isolate stops")
        else:
            retiree.retire()

    def _retire(self) -> Retiree:
        isolate = self._isolate
        assert isolate.process is not None
        self._replaced = (isolate.process.pid, isolate.process.number)
        retiree = Retiree(isolate, isolate.process, isolate.current, self._retiree_gone)
        self._retirees.add(retiree)
        isolate.process.hand_over(retiree)
        return retiree

    def _swap(self) -> None:
        """Let the newcomer run the calls from here on."""
        isolate, newcomer = self._isolate, self._newcomer
        assert newcomer is not None
        retiree = None
        with isolate.lock:  # from the check on: a stop that comes between would be lost with the old process
            called_off = self._is_doomed() if self._cold else not self._may_go_on()
            unknown = [] if called_off else newcomer.unknown_data()
            if not (called_off or unknown):
                retiree = None if isolate.process is None else self._retire()
                self._take_over(newcomer)
                warm, self._cold, self._asked = not self._cold, False, False
                isolate.pump()
        if called_off:
            self._give_up("the isolate stops")
        if unknown:
            newcomer.tell_data(unknown, lambda: self._swap() if self._newcomer is newcomer else None)
        if called_off or unknown:
            return
        if retiree is not None:
            retiree.retire()
        isolate.publish(events.IsolateStarted)
        isolate.publish(
            events.IsolateRecycled, pid=self._replaced[0], generation=self._replaced[1], reason=self._reason,
            new_pid=isolate.pid, warm=warm,
        )  # fmt: skip
        isolate.policies_begin()

    def _take_over(self, newcomer: Newcomer) -> None:
        """Make the newcomer the isolate's process."""
        self._newcomer, self.draining = None, False
        newcomer.install()
        newcomer.current.announced = True  # to its supervisor the child has been running all the time
        newcomer.begin_to_run()

    # When it does not work out, or the isolate ends

    def _give_up(self, detail: str) -> None:
        """Go on with the old generation, or to its end."""
        with self._isolate.lock:
            self.abort(detail)
            self._isolate.pump()

    def abort(self, detail: str, *, for_good: bool = False) -> None:
        """Call off a swap, under the isolate's lock: it is about to stop, or to be stopped.

        Args:
            for_good: whether nothing waits any more that a new generation would have to run.
        """
        self.draining = False
        self._over |= for_good
        newcomer = self._newcomer
        self.standby.look_again()
        if newcomer is not None:
            self._isolate.loop.call_soon(self._dismiss, newcomer, detail)
        elif not self._cold:
            self._asked = False

    def _dismiss(self, newcomer: Newcomer, detail: str) -> None:
        """Let one stand by that is not needed now, or end it."""
        if self._newcomer is not newcomer:
            return
        kept = not self._cold and self.standby.keep(newcomer)
        if kept or self.let_go(newcomer, detail):
            self._newcomer, self._asked = None, False
            self.go_on_with_end()

    def let_go(self, newcomer: Newcomer, detail: str) -> bool:
        """End one that is not needed any more; once its `on_start` has run, its `on_stop` is to run too.

        Returns:
            whether it is a retiree from here on; where not, its own `on_gone` tells of its end.
        """
        if not newcomer.is_ready:
            newcomer.kill("shutdown", detail)
            return False
        retiree = Retiree(self._isolate, newcomer.generation, newcomer.current, self._retiree_gone, announced=False)
        self._retirees.add(retiree)
        newcomer.generation.hand_over(retiree)
        retiree.retire()
        return True

    def abandon(self) -> None:
        """In a forked copy of the host: close the descriptors of what is not this process's."""
        for companion in [self._newcomer, self.standby.newcomer, *self._retirees]:
            if companion is not None:
                companion.generation.abandon()

    def kill_all(self, detail: str) -> None:
        """End all that is besides the current generation, but for what may still take over from it."""
        spare = self.standby.newcomer if self._isolate.stop_requested else None
        for companion in [self._newcomer, spare, *self._retirees]:
            if companion is not None:
                companion.kill("killed", detail)

    def generation_ended(self) -> None:
        """The current generation has ended by itself: nothing is to be swapped any more."""
        if self._newcomer is not None and self.standby.keep(self._newcomer):  # it is what a restart would start
            self._newcomer = None
        with self._isolate.lock:
            self.abort("the generation that it was to replace has ended")
        self._cold = False
        self._asked = self._newcomer is not None

    def when_alone(self, then: Callable[[], object], *, for_good: bool = True) -> None:
        """Call `then()` once there is no process of this isolate, now where there is none.

        Args:
            for_good: whether no generation will follow; where one may, what stands by for it goes on to do so.
        """
        self._for_good = for_good
        if for_good:
            self.standby.close()
        if self._is_alone():
            then()
        else:
            self._then = then
            with self._isolate.lock:
                self.abort("the isolate ends")

    def _is_alone(self) -> bool:
        companions = [self._newcomer, self.standby.newcomer if self._for_good else None, *self._retirees]
        return all(companion is None or companion.generation.is_over for companion in companions)

    def wish_to_stop(self, generation: Generation) -> bool:
        """An actor asks for its own stop: True where that is no matter of the generation that runs the calls."""
        for newcomer in (self._newcomer, self.standby.newcomer):
            if newcomer is not None and newcomer.generation is generation:
                newcomer.wants_stop = True
                return True
        return generation is not self._isolate.process

    def _newcomer_gone(self, reason: ExitReason) -> None:
        isolate, newcomer = self._isolate, self._newcomer
        self._newcomer, self._asked = None, False
        failed = reason.kind != "shutdown"
        if failed:
            self._not_before = time.monotonic() + _PAUSE_AFTER_FAILURE
        if self._cold:
            self._end_without_generation(reason, newcomer)
            return
        if failed and self._may_go_on() and isolate.process is not None:
            isolate.log(
                logging.WARNING, "isolate %s is not recycled, generation %s goes on: %s",
                isolate.spec.name, isolate.generation_number, reason.report(),
            )  # fmt: skip
        with isolate.lock:
            if failed:
                isolate.after(_PAUSE_AFTER_FAILURE, partial(self.ask, self._reason))
            self.draining = False
            isolate.pump()
        self.go_on_with_end()

    def _retiree_gone(self, retiree: Retiree) -> None:
        self._retirees.discard(retiree)
        if self._cold and self._newcomer is None and self._isolate.process is None:
            if not self._is_doomed():
                self._start_newcomer()
            else:
                current = self._isolate.current
                detail = current.detail or "stopped while it was recycled"
                reason = ExitReason(kind=current.intent or "shutdown", detail=detail)
                self._end_without_generation(reason, None)
        elif self._asked and self._newcomer is None and not self.draining:
            self._begin(self._reason)
        self.go_on_with_end()

    def _end_without_generation(self, reason: ExitReason, newcomer: Newcomer | None) -> None:
        """There is no old generation to go on with: the isolate's own rules decide what follows."""
        self._cold = self.draining = False
        if newcomer is not None and not self._is_doomed():
            with self._isolate.lock:
                self._isolate.current = newcomer.current
        endings.settle_end(self._isolate, reason, None)

    def go_on_with_end(self) -> None:
        """A process of this isolate is gone: go on with what waits until all are."""
        if self._then is not None and self._is_alone():
            then, self._then = self._then, None
            then()


def _has_room(process: Generation) -> bool:
    """Whether there is memory for a second process beside this one, on the machine and within the host's own limit."""
    used = sum(map(process_stats.resident, [] if process.pid is None else process_stats.tree(process.pid)))
    free, allowed = int(psutil.virtual_memory().available), cgroups.headroom()
    return min(free, free if allowed is None else allowed) > _SPARE * used
