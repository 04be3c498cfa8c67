"""A child in a thread of the host: a plain pykka actor, with the life of a supervised one."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import pykka
from pykka import messages

from piactors import events
from piactors._host import runtime
from piactors._io import background
from piactors._isolate.parent import made
from piactors._rules.exit import Exit
from piactors._text.logs import logger
from piactors._tree.clock import Clock
from piactors._tree.news import publish
from piactors._tree.runner import ChildLink, Faults, Runner
from piactors._tree.thread_ref import Sent, ThreadRef, WantedStop, fail_all, settle
from piactors.errors import IsolateCrashed, PoisonMessage, StartError
from piactors.exit_reason import ExitReason
from piactors.future import Future


class ThreadRunner:
    """Runs an actor under one ref, one thread per generation."""

    def __init__(
        self,
        link: ChildLink,
        clock: Clock,
        actor_class: type[pykka.Actor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        shutdown: float | None,
        *,
        queues: bool = True,
        faults: Faults | None = None,
        start_timeout: float | None = None,
    ) -> None:
        self.link = link
        self.ref = ThreadRef(
            actor_class, uuid.uuid4().urn, link.rule.id, on_wanted_stop=self._wanted_stop, on_terminate=self._terminate
        )
        self.clock = clock
        self.args = args
        self.kwargs = kwargs
        self.queues = queues
        """Whether messages wait while it restarts; if not, they fail."""
        self.faults = faults
        self.start_timeout = start_timeout
        """Seconds until a start is given up, or None: a thread cannot be killed."""
        self._shutdown = shutdown
        self._life: ThreadLife | None = None
        self._down = True
        self.told_to_stop = False
        """Whether the supervisor itself stops it, and knows whether it may start again."""

    def hold_to(self, faults: Faults | None, start_timeout: float | None) -> None:
        """In a test: have starts fail as it says, and give one up after so many seconds."""
        self.faults, self.start_timeout = faults, start_timeout

    def start(self) -> None:
        """Begin to start it, anew or in place of what has ended; report `started` or `start_failed`."""
        if self.ref.actor_stopped.is_set():
            self.release()  # it was stopped for good by a supervisor that has been restarted since
        self.told_to_stop = False
        if self._down:
            self._down = False
            self.ref.begin()
        self.ref.begin_generation()
        life = self._life = ThreadLife(self)
        if self.start_timeout is not None:
            text = f"not ready within start_timeout, {self.start_timeout:g} s"
            life.timers.append(self.clock.call_later(self.start_timeout, partial(life.start_too_late, text)))
        if self.ref.generation > 1:
            background.start(self.clock, life.thread, lambda error: life.start_too_late(str(error)))
            return
        try:
            life.thread.start()
        except BaseException:  # the caller that starts it is told so: nobody waits for this life
            life.over = life.told = True
            for timer in life.timers:
                timer.cancel()
            raise

    def stop(self, keep: bool) -> None:
        """Begin to stop it within its shutdown time, even if it is starting; report `exited`."""
        self.told_to_stop = True
        life = self._life
        if life is None or life.over:
            return  # it has reported already
        if not keep:
            fail_all(self.ref.take_no_more(), self.ref)
        if self._shutdown == 0:
            life.abandon("stopped with shutdown='kill'")
            return
        life.halt()
        if self._shutdown is not None:
            text = f"did not stop within its shutdown time, {self._shutdown:g} s"
            timer = self.clock.call_later(self._shutdown, partial(life.abandon, text))
            life.timers.append(timer)

    def _wanted_stop(self) -> None:
        """Somebody stops it through its ref: nothing reads that message while it waits for a restart."""
        life = self._life
        if life is None or life.over:
            self.link.terminated()

    def _terminate(self) -> None:
        """Somebody ends it at once through its ref."""
        life = self._life
        if life is None or life.over:
            self.link.terminated()
        else:
            life.abandon("terminated", wanted=True)

    def swap_for(self, other: Runner) -> Callable[[], Future[int]]:
        """Return what has another process take over, of what `other` was made for; its future gets the generation."""
        text = "what can be replaced is a child in a process"
        raise TypeError(f"replace_child: {self.link.rule.id!r} is a thread; {text}")

    def take_over(self, other: Runner) -> bool:
        """Run from the next start on what `other` was made for; False if that is of another kind."""
        if not isinstance(other, ThreadRunner):
            return False
        self.args, self.kwargs = other.args, other.kwargs
        self.ref.host_class(other.ref.actor_class)
        self._shutdown, self.queues, self.clock = other._shutdown, other.queues, other.clock
        return True

    def release(self) -> None:
        """It stays down: fail what waits for it."""
        if not self._down:
            self._down = True
            life = self._life
            self.ref.end(ExitReason(kind="shutdown") if life is None or life.reason is None else life.reason)

    def await_end(self) -> None:
        """Nothing: nothing stands by for a thread."""

    def kill(self) -> None:
        """End it at once; report `exited`."""
        self.told_to_stop = True
        if self._life is not None:
            self._life.abandon("killed")

    def crash(self, reason: ExitReason) -> None:
        """End the running generation as a death of its process would: a test's way."""
        if self._life is not None:
            self._life.abandon(reason=reason)

    def abandon(self) -> None:
        """This process is a forked copy of the host: be dead here, and touch nothing of the parent's."""
        self.ref.abandon()

    def is_busy(self) -> bool:
        """Whether it handles a message, or is about to: for tests."""
        life = self._life
        if life is None or not life.ready or life.told:
            return False
        return life.over or self.ref.actor_inbox.taken or self.ref.mailbox_size > 0

    def describe(self, memory: bool) -> str:
        """Return what a view shows of it besides its name and state; with `memory` also how much it uses."""
        return f"thread  generation {self.ref.generation}"


class ThreadLife:
    """One generation: from the start of its thread to its end, or to the time when it is given up."""

    def __init__(self, runner: ThreadRunner) -> None:
        self._runner = runner
        self._ref = runner.ref
        self._lock = threading.Lock()  # its end and its being given up race, and only one of them counts
        self._halted = False
        self._current: Any = None
        self._by_message = False
        self.ready = False
        self.over = False
        self.told = False
        """Whether its supervisor knows of its end."""
        self.reason: ExitReason | None = None
        self.timers: list[Any] = []
        name = f"{runner.ref.actor_class.__name__}-{runner.link.rule.id}"
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def halt(self) -> None:
        """Have it end after the message that it handles."""
        self._halted = True
        self._ref.actor_inbox.wake()

    def abandon(self, detail: str = "", reason: ExitReason | None = None, *, wanted: bool = False) -> None:
        """A thread cannot be killed: let it run on, with nobody listening to it any more."""
        if not self._end(reason or ExitReason(kind="killed", detail=detail)):
            return
        envelope = self._current  # none is taken on any more
        self.halt()
        if envelope is not None:
            self._settle_lost(envelope)
        if reason is None and self.thread.is_alive() and detail not in ("killed", "terminated"):
            text = "child %s %s; its thread cannot be killed, and is abandoned"
            runtime.current().dispatcher.log(logging.WARNING, text, self._ref.name, detail)  # maybe on the I/O thread
        if self.ready:
            self._tell_exit(wanted=wanted)
            return
        if wanted:
            self._runner.link.terminated()
        self._tell_no_start(detail)

    def start_too_late(self, detail: str) -> None:
        """Give up on a start."""
        if not self.ready and self._end(ExitReason(kind="start_failed", detail=detail)):
            self._tell_no_start(detail)

    def _tell_no_start(self, detail: str) -> None:
        reason = self.reason
        assert reason is not None
        publish(events.IsolateStartFailed, self._ref, reason=reason)
        text = f"child {self._ref.name} did not start: {detail or reason.summary}"
        self._runner.link.start_failed(reason, partial(StartError, text, reason))

    # On its own thread

    def _run(self) -> None:
        try:
            if self._runner.faults is not None:
                self._runner.faults.before_start()
            actor = self._make()
            if not self.over:
                actor.on_start()
        except BaseException as error:
            self._not_started(error)
            return
        with self._lock:
            if self.over:
                return
            self.ready = True
            self._ref.show("running")
        publish(events.IsolateStarted, self._ref)
        self._runner.link.started()
        self._serve(actor)

    def _make(self) -> pykka.Actor:
        runner, ref = self._runner, self._ref
        actor: pykka.Actor = ref.actor_class(*runner.args, **runner.kwargs)
        own = getattr(actor, "_actor_ref", None)
        if own is None:
            raise TypeError(f"{ref.actor_class.__name__}.__init__() has not called super().__init__()")
        if self.over:
            return actor
        early, own.actor_urn, own.actor_inbox = actor.actor_inbox, ref.actor_urn, ref.actor_inbox
        actor.actor_urn, actor.actor_inbox, actor._actor_ref = ref.actor_urn, ref.actor_inbox, ref
        while not early.empty():  # what __init__ has sent to itself
            ref.tell_envelope(early.get())
        ref.host(getattr(actor, "hosted", actor))
        return actor

    def _not_started(self, error: BaseException) -> None:
        reason = ExitReason(kind="start_failed", error=_text(error))
        if self._end(reason):
            publish(events.IsolateStartFailed, self._ref, reason=reason)
            self._runner.link.start_failed(reason, made(error))

    def _serve(self, actor: pykka.Actor) -> None:
        while True:
            envelope = self._ref.actor_inbox.next_unless(lambda: self._halted)
            if envelope is None:
                self._stop(actor, ExitReason(kind="shutdown"), wanted=False)
                return
            with self._lock:
                over, self._current = self.over, None if self.over else envelope
            if over:
                self._give_back(envelope)
                return
            if isinstance(envelope.message, messages._ActorStop):
                wanted = isinstance(envelope.message, WantedStop)
                if wanted:  # the caller that asked learns it when the supervisor knows
                    self._ref._stoppers.append(envelope)
                self._stop(actor, ExitReason(kind="shutdown" if wanted else "normal"), wanted=wanted)
                return
            crash = None if self._runner.faults is None else self._runner.faults.before_message()
            if crash is not None:
                self.abandon(reason=crash)
            if self.over or not self._handle(actor, envelope):
                return
            self._current = None

    def _give_back(self, envelope: Any) -> None:
        """The message has been taken out, and the generation was given up before it began."""
        if not self._ref.actor_inbox.push_front(envelope):
            fail_all([envelope], self._ref)

    def _handle(self, actor: pykka.Actor, envelope: Any) -> bool:
        """Handle one message; False if the generation has ended with it."""
        try:
            value = actor._handle_receive(envelope.message)
        except Exception as error:
            if envelope.reply_to is not None:
                settle(envelope, error=error)
                return not self.over
            self._fail(actor, error)
        except BaseException as error:
            code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else None
            reason = ExitReason(kind="error" if code is None else "exited", exitcode=code, error=_text(error))
            self._current = None
            self._settle_lost(envelope, reason)
            self._stop(actor, reason, wanted=False)
        else:
            settle(envelope, value)
            return not self.over
        return False

    def _fail(self, actor: pykka.Actor, error: Exception) -> None:
        if self.over:
            return
        reason = ExitReason(kind="error", error=_text(error))
        logger.warning("child %s: %s", self._ref.name, reason.report())
        self._close_if_final(reason, wanted=False)
        self._hook(actor, actor.on_failure, *sys.exc_info())
        if self._end(reason):
            self._tell_exit(wanted=False)

    def _stop(self, actor: pykka.Actor, reason: ExitReason, *, wanted: bool) -> None:
        if self.over:
            return
        self._close_if_final(reason, wanted=wanted)
        self._hook(actor, actor.on_stop)
        if self._end(reason):
            self._tell_exit(wanted=wanted)

    def _hook(self, actor: pykka.Actor, hook: Any, *args: Any) -> None:
        actor.actor_stopped.set()
        self._ref.show("stopping")
        try:
            hook(*args)
        except BaseException:
            logger.exception("child %s: %s has failed", self._ref.name, hook.__name__)

    def _close_if_final(self, reason: ExitReason, *, wanted: bool) -> None:
        link = self._runner.link
        if wanted or not (self._runner.told_to_stop or link.wants_restart(reason)):
            fail_all(self._ref.take_no_more(), self._ref)

    # Its end, on any thread

    def _end(self, reason: ExitReason) -> bool:
        """Be over, once."""
        with self._lock:
            if self.over:
                return False
            self.over, self.reason = True, reason
        for timer in self.timers:
            timer.cancel()
        return True

    def _tell_exit(self, *, wanted: bool) -> None:
        reason, link = self.reason, self._runner.link
        assert reason is not None
        publish(events.IsolateExited, self._ref, reason=reason)
        if not self._ref.actor_stopped.is_set():
            self._ref.show("restarting")
            if not self._runner.queues:
                fail_all(self._ref.actor_inbox.refuse(), self._ref)
        if wanted and not self.ready:
            link.terminated()
        link.exited(Exit(reason, wanted=wanted, charged=not self._by_message))
        self.told = True

    def _settle_lost(self, envelope: Any, reason: ExitReason | None = None) -> None:
        """The message has ended its actor: it is tried again, or fails."""
        reason = reason or self.reason or ExitReason(kind="killed")
        attempts = retries = 0
        if isinstance(envelope, Sent):
            attempts, retries = envelope.count_attempt(), envelope.retries
            self._by_message = retries > 0 and self._runner.link.quarantine
            if attempts <= retries and self._ref.actor_inbox.push_front(envelope):
                return
        ref = self._ref
        text = f"actor {ref.name} (a thread, generation {ref.generation}) ended while the call ran in it"
        facts: dict[str, Any] = {"name": ref.name, "pid": None, "generation": ref.generation, "reason": reason}
        if retries:
            text = f"actor {ref.name}: the call has ended {attempts} generations and is not tried again"
            settle(envelope, error=PoisonMessage(f"{text}: {reason.summary}", attempts=attempts, **facts))
        else:
            settle(envelope, error=IsolateCrashed(f"{text}: {reason.summary}", **facts))


def _text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
