"""One isolate: what joins the pure rules (mailbox, states, restarts) to the processes.

Calls of users come in on their own threads and hold the lock for a few steps.  News of processes
comes in on the I/O thread.  The lock is never held while foreign code runs: outcomes and events are
collected under it and given out after it.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
from pykka import ActorRegistry

from piactors import (
    arrivals,
    containment,
    dead,
    endings,
    events,
    questions,
    requests,
    sending,
    starting,
    stopping,
    waiting,
)
from piactors._host import relay, runtime, serialise
from piactors._host.confining import Plan
from piactors._host.generation import Generation
from piactors._host.loop import Timer
from piactors._host.owning import End
from piactors._host.parcels import Outbox, bound
from piactors._host.room import Room
from piactors._host.spin import Spin, several_cores
from piactors._lifecycle.mailbox import Mailbox, Message
from piactors._lifecycle.states import State
from piactors._platform import reentry
from piactors._platform.reentry import Reentered
from piactors._platform.wake import Waker
from piactors._policies import heart
from piactors._policies.call_clock import CallClock
from piactors._policies.idle_memory import IdleMemory
from piactors._policies.recycling import Recycler
from piactors._supervision import restart
from piactors.errors import ProtocolError, StartError
from piactors.exit_reason import ExitReason, Kind
from piactors.future import Future, run_callbacks_with
from piactors.keeper import Keeper
from piactors.pihost import page, wire
from piactors.shape import Described
from piactors.spec import Current, Spec

WINDOW_BYTES = 1 << 20

Job = Callable[[], object]


class Isolate:
    """One supervised process and its mailbox; see the module's text for who calls what."""

    answers_anywhere = True

    def __init__(self, spec: Spec, ref: Any, keeper: Keeper | None = None) -> None:
        self.spec = spec
        self.keeper = keeper
        self.options = spec.options
        self.ref = ref
        self.actor_stopped = threading.Event()
        self.generation_number = 0
        self.last_reason: ExitReason | None = None
        self.final_reason: ExitReason | None = None
        """Why it has ended for good, once that is decided."""
        self.decoder = serialise.Decoder(
            spec.name, spec.code, {f"{cls.__module__}:{cls.__qualname__}": cls for cls in spec.options.accept},
            spec.options.max_frame, self._requested_future,
        )  # fmt: skip
        self.named = not spec.trusts_objects
        """Whether code may have run in it that was called by name (see `trusting`)."""
        self.state = State.STARTING
        self.data: dict[str, bytes] = {}
        self.requests = requests.Requests(self)
        self.runtime = runtime.for_start()
        run_callbacks_with(self.runtime.dispatcher.submit)
        self.loop = self.runtime.loop.share(self.on_failure)
        self._make_locks()
        self.mailbox = Mailbox(page.WINDOW, WINDOW_BYTES)
        self.outbox = Outbox(bound(spec.options))
        self.idle_memory = IdleMemory(self)
        self.capacity = spec.options.mailbox_capacity
        self._spin = Spin(spec.options.spin and several_cores())
        self.process: Generation | None = None
        self.current = Current()
        self.stop_requested = False
        self.halting = False
        self.held = False
        self.final = False
        self.told_exit = False
        self.history = restart.History()
        self.restart_timer: Timer | None = None
        self.started: Future[None] = Future()
        self.ended = threading.Event()
        self.registered = self._has_begun = False
        self.launchers_lost = 0
        self.lacks = 0
        """How often in a row its restart has lacked something."""
        self.raw_description: bytes | None = None
        self.plan: Plan | None = None
        self.recycler = Recycler(self)
        self.clock = CallClock(self)
        self.relay = relay.Relay(self.runtime.dispatcher, spec.name, spec.options.output, self.loop.call_later)

    def _make_locks(self) -> None:
        self.lock = reentry.lock()
        self.is_mine: Callable[[], bool] = self.lock._is_owned
        """Whether this thread has the lock: then this is a signal handler that has interrupted it."""
        self.room = Room()

    # For users, on their threads

    @property
    def pid(self) -> int | None:
        """The pid of the process that runs, or None."""
        generation = self.process
        return None if generation is None else generation.pid

    @property
    def shown_state(self) -> str:
        """Its state as users see it: it stops from the moment on at which somebody asks for that."""
        state = self.state
        if state is State.STOPPED or not (self.stop_requested or self.current.stop_wanted):
            return State.STOPPING.value if self.halting and state is State.RUNNING else state.value
        return State.STOPPING.value

    @property
    def mailbox_size(self) -> int:
        """How many messages wait or are on their way."""
        with self.lock:
            return len(self.mailbox)

    def held_bytes(self) -> int:
        """About how much memory the messages that wait take."""
        with self.lock:
            return self.mailbox.held_bytes()

    def is_alive(self) -> bool:
        """Whether messages are taken."""
        return not self.actor_stopped.is_set()

    def start(self) -> None:
        """Start the first generation and return when it is ready.

        Raises:
            StartError: where it does not become ready; the cause is what its code raised.
        """
        try:
            self.begin()
            self.started.get()
        except StartError:
            raise
        except BaseException:
            self._call_off()
            raise

    async def start_async(self) -> None:
        """Start as `start` does, and let the event loop run meanwhile; if this is cancelled, the isolate ends first.

        Raises:
            StartError: as `start`.
            RuntimeError: if another event loop than asyncio's runs here.
        """
        waiting.refuse_another_kind_of_loop("start, ...")
        try:
            self.begin()
            await self.started
        except StartError:
            raise
        except BaseException:
            self._call_off()
            await self.ref._ends.wait_briefly()
            raise

    def begin(self) -> None:
        """Begin to start the first generation; `started` tells what came of it."""
        reentry.refuse(f"isolate {self.spec.name}")
        if self.options.limits is not None:
            self.plan = self.runtime.confiner.plan(self.options.limits)
            self._tell_of_missing(self.plan)
        self.runtime.add(self)
        ActorRegistry.register(self.ref)
        self.registered = True
        self.ref._ends.begin_again()
        self.loop.call_soon(self._begin_here)

    def _begin_here(self) -> None:
        """On the loop, where nothing is interrupted: once, though it is asked for again by `_call_off`."""
        if self._has_begun or not self.runtime.knows(self):
            return
        self._has_begun = True
        if not self.registered:
            ActorRegistry.unregister(self.ref)  # whoever registered it may have been interrupted in that
            ActorRegistry.register(self.ref)
            self.registered = True
            self.ref._ends.begin_again()
        self.launch()

    def _call_off(self) -> None:
        """Nobody wants it any more who started it; he was perhaps interrupted, at any step of that."""
        self.loop.call_soon(self._begin_here)
        self.terminate()

    def _tell_of_missing(self, plan: Plan) -> None:
        for found in plan.missing if plan.refusal is None else ():
            self.log(logging.WARNING, "isolate %s: %s", self.spec.name, found)

    def put(self, message: Message, *, may_block: bool = True, until: float | None = None) -> None:
        """See `sending.put`."""
        sending.put(self, message, may_block=may_block, until=until)

    def pump(self) -> None:
        """See `sending.pump`."""
        sending.pump(self)

    def take_back(self) -> None:
        """See `sending.take_back`."""
        sending.take_back(self)

    def lend(self, future: Future[Any], waker: Waker, deadline: float | None) -> None:
        """Let the caller that waits for `future` read the answers of the process that runs now."""
        generation = self.process
        if generation is not None:
            generation.lend(future, waker, self._spin, deadline, self.mailbox.count_on_way)

    def watch(self) -> None:
        """See to it that answers are read that no caller reads."""
        generation = self.process
        if generation is not None:
            generation.watch()

    def has_begun(self, message: Message) -> bool:
        """Whether the process says that it has begun a message, which has not been answered."""
        with self.lock:
            generation = self.process
            return generation is not None and self.mailbox.is_on_way(message) and generation.has_begun(message.seq)

    def give_up(self, message: Message) -> bool:
        """The caller of a message gave up on it: True where it will never begin, and has not begun before."""
        if self.is_mine():
            raise Reentered(f"isolate {self.spec.name}")
        with self.lock:
            if message.attempts:
                return False  # its caller is told what comes of it
            if self.mailbox.give_up(message):
                message.cancelled = True
                self.room.notify()
                return True
            generation = self.process
            on_way = self.mailbox.is_on_way(message)
            message.doubt = "cancelled" if on_way else ""  # before the isolate may skip it
            if generation is None or not on_way or not generation.give_up(message.seq):
                return False
            message.cancelled = message.given_up = True
            message.doubt = ""
            return True

    def has_given_up(self, message: Message) -> bool:
        """Whether a message will never begin because its caller gave up on it; he may have been interrupted."""
        with self.lock:
            return message.given_up or not (message in self.mailbox or self.mailbox.is_on_way(message))

    def stop(self, future: Future[bool]) -> None:
        """See `stopping.stop`."""
        stopping.stop(self, future)

    def shut_down(self) -> None:
        """See `stopping.shut_down`."""
        stopping.shut_down(self)

    def terminate(self) -> None:
        """See `stopping.terminate`."""
        stopping.terminate(self)

    kill_now = terminate

    @functools.cached_property
    def code_decoder(self) -> serialise.Decoder:
        """What decodes the answers of functions that were handed over."""
        return attrs.evolve(self.decoder, code=True)

    # For its supervisor (see also `supervised`)

    def wants_restart(self, reason: ExitReason) -> bool:
        """Whether another generation may follow such an exit; the budget is another matter."""
        if self.stop_requested or self.final:
            return False
        if self.keeper is None:
            return restart.wants_restart(self.options.restart, reason)
        return self.halting or self.keeper.wants_restart(reason)

    def wait_ended(self, timeout: float | None) -> bool:
        """Wait until the isolate has ended for good, its whole process tree included."""
        reentry.refuse(f"isolate {self.spec.name}")
        return self.ended.wait(waiting.seconds_of(timeout))

    def control(self, operation: str, *args: Any) -> Future[Any]:
        """See `questions.ask`."""
        return questions.ask(self, operation, *args)

    def description(self) -> Described:
        """See `questions.description`."""
        return questions.description(self)

    # On the I/O thread

    def policies_begin(self) -> None:
        """A generation has become ready: hold it to what the options say."""
        self.recycler.generation_ready()
        heart.start(self, self.process)

    def launch(self) -> None:
        """Begin to make the next generation."""
        starting.launch(self)

    def restart_due(self) -> None:
        """The pause before a restart is over."""
        self.restart_timer = None
        self.launch()

    def after(self, seconds: float, callback: Job) -> Timer:
        """Have `callback()` called later, unless this generation has ended by then."""
        number = self.generation_number
        timer = self.loop.deadline(seconds, lambda: callback() if number == self.generation_number else None)
        self.current.timers.append(timer)
        return timer

    def intend(self, kind: Kind, detail: str) -> None:
        """Record why the process is about to be killed, before it is; the first reason stands."""
        if self.current.intent is None:
            self.current.intent, self.current.detail = kind, detail

    # What generations tell (see `_host.generation.Owner`)

    def on_launched(self, generation: Generation) -> None:
        """See `Owner`."""
        if self.current.confined is not None:
            self.current.confined.launched(generation, self.current)

    def on_lines(self, stream: str, lines: list[str]) -> None:
        """See `Owner`."""
        self.relay.lines(self.pid, self.generation_number, stream, lines)

    def output_room(self) -> int:
        """See `Owner`."""
        return self.relay.room()

    def on_dropped(self, lines: int) -> None:
        """See `Owner`."""
        self.relay.drop(lines=lines)

    def on_frame(self, frame: wire.Frame) -> None:
        """See `Owner`."""
        arrivals.handle(self, frame)

    on_answer = arrivals.answered

    def on_fault(self, error: Exception) -> None:
        """See `Owner`."""
        if not isinstance(error, ProtocolError):
            text = "piactors failed on what isolate %s sent"
            self.relay.say(logging.ERROR, text, self.spec.name, exc_info=error)
        with self.lock:
            self.intend(endings.kind_of_fault(error), f"{type(error).__name__}: {error}")
            generation = self.process
        if generation is not None:
            generation.kill()

    def on_failure(self, error: BaseException) -> None:
        """See `Owner`; also for whatever else of it fails on the I/O thread."""
        containment.contain(self, error)

    def on_refused(self, text: str, lack: bool) -> None:
        """See `Owner`."""
        starting.refused(self, text, lack=lack)

    def on_end(self, end: End) -> None:
        """See `Owner`."""
        starting.ended(self, end)

    def _requested_future(self, number: int) -> Future[Any]:
        return self.requests.future(number)

    # For the runtime

    def io_failed(self, error: BaseException) -> None:
        """See `Member`."""
        containment.io_failed(self, error)

    def abandon(self) -> None:
        """See `Member`."""
        self._make_locks()
        self.state = State.STOPPED
        self.actor_stopped = threading.Event()
        self.actor_stopped.set()
        self.ended = threading.Event()
        self.ended.set()
        self.unregister()
        left = [*self.mailbox.unanswered(), *self.mailbox.close()]
        generation, self.process = self.process, None
        if generation is not None:
            generation.abandon()
        self.recycler.abandon()
        text = "belongs to the process that this one was forked from"
        endings.fail_all(left, lambda: dead.dead(self.spec.name, text, None))

    def unregister(self) -> None:
        """Leave pykka's registry, once."""
        if self.registered:
            self.registered = False
            ActorRegistry.unregister(self.ref)

    def publish(self, cls: type[events.Event], **fields: Any) -> None:
        if events.bus.is_wanted(cls):
            fields = {"pid": self.pid, "generation": self.generation_number, **fields}
            self.post(cls(name=self.spec.name, time=time.time(), **fields))

    def post(self, event: events.Event) -> None:
        """Have the subscribers of an event called."""
        if events.bus.is_wanted(type(event)):
            self.relay.post(event)

    def tell_user(self, callback: Callable[[Any], object], event: events.Event) -> None:
        """Have a callback of the options called."""
        self.runtime.dispatcher.submit(relay.call_guarded, callback, event)

    def log(self, level: int, message: str, *args: object) -> None:
        """Log something about it, after what it wrote and what was told of it before."""
        self.relay.say(level, message, *args)


def _renew_registry_lock() -> None:
    """In a forked copy of the host: another thread may have held the lock of pykka's registry."""
    ActorRegistry._actor_refs_lock = threading.RLock()


runtime.after_fork(_renew_registry_lock)
