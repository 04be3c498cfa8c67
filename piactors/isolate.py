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

from piactors import arrivals, dead, endings, events, questions, requests, sending, starting, stopping, waiting
from piactors._host import relay, runtime, serialise
from piactors._host.confining import Plan
from piactors._host.generation import End, Generation
from piactors._host.loop import Timer
from piactors._host.parcels import Outbox, bound
from piactors._host.spin import Spin, several_cores
from piactors._lifecycle.mailbox import Mailbox, Message
from piactors._lifecycle.states import State
from piactors._platform.wake import Waker
from piactors._policies import heart
from piactors._policies.call_clock import CallClock
from piactors._policies.recycling import Recycler
from piactors._supervision import restart
from piactors.errors import ProtocolError, StartError
from piactors.exit_reason import ExitReason, Kind
from piactors.future import Future, run_callbacks_with
from piactors.keeper import Keeper
from piactors.pihost import page, wire
from piactors.shape import Described
from piactors.spec import Current, Spec

logger = logging.getLogger("piactors")

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
        self.loop = self.runtime.loop
        self.lock = threading.Lock()
        self.room = threading.Condition(self.lock)
        self.mailbox = Mailbox(page.WINDOW, WINDOW_BYTES)
        self.outbox = Outbox(bound(spec.options))
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
        self.registered = False
        self.launchers_lost = 0
        self.raw_description: bytes | None = None
        self.plan: Plan | None = None
        self.recycler = Recycler(self)
        self.clock = CallClock(self)
        self.relay = relay.Relay(self.runtime.dispatcher, spec.name, spec.options.output)

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
        self.begin()
        try:
            self.started.get()
        except StartError:
            raise
        except BaseException:
            self.terminate()
            raise

    async def start_async(self) -> None:
        """Start as `start` does, and let the event loop run meanwhile; if this is cancelled, the isolate is ended.

        Raises:
            StartError: as `start`.
            RuntimeError: if another event loop than asyncio's runs here.
        """
        waiting.refuse_another_kind_of_loop("start, ...")
        self.begin()
        try:
            await self.started
        except StartError:
            raise
        except BaseException:
            self.terminate()
            raise

    def begin(self) -> None:
        """Begin to start the first generation; `started` tells what came of it."""
        if self.options.limits is not None:
            self.plan = self.runtime.confiner.plan(self.options.limits)
            self._tell_of_missing(self.plan)
        self.runtime.add(self)
        ActorRegistry.register(self.ref)
        self.registered = True
        self.ref._ends.begin_again()
        self.loop.call_soon(self.launch)

    def _tell_of_missing(self, plan: Plan) -> None:
        for found in plan.missing if plan.refusal is None else ():
            self.log(logging.WARNING, "isolate %s: %s", self.spec.name, found)

    def put(self, message: Message, *, may_block: bool = True) -> None:
        """See `sending.put`."""
        sending.put(self, message, may_block=may_block)

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
        """The caller of a message gave up on it: True where it will never begin."""
        with self.lock:
            if self.mailbox.give_up(message):
                self.room.notify()
                return True
            generation = self.process
            if generation is None or not self.mailbox.is_on_way(message) or not generation.give_up(message.seq):
                message.doubt = "cancelled" if self.mailbox.is_on_way(message) else ""
                return False
            message.given_up = True
            return True

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

    def after(self, seconds: float, callback: Job) -> Timer:
        """Have `callback()` called later, unless this generation has ended by then."""
        number = self.generation_number
        timer = self.loop.call_later(seconds, lambda: callback() if number == self.generation_number else None)
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

    def wants_output(self) -> bool:
        """See `Owner`."""
        return self.relay.has_room()

    def on_frame(self, frame: wire.Frame) -> None:
        """See `Owner`."""
        arrivals.handle(self, frame)

    on_answer = arrivals.answered

    def on_fault(self, error: Exception) -> None:
        """See `Owner`."""
        if not isinstance(error, ProtocolError):
            self.runtime.dispatcher.submit(_log_defect, self.spec.name, error)
        with self.lock:
            self.intend(endings.kind_of_fault(error), f"{type(error).__name__}: {error}")
            generation = self.process
        if generation is not None:
            generation.kill()

    def on_refused(self, text: str) -> None:
        """See `Owner`."""
        endings.ended_without_process(self, text)

    def on_end(self, end: End) -> None:
        """See `Owner`."""
        endings.ended(self, end)

    def _requested_future(self, number: int) -> Future[Any]:
        return self.requests.future(number)

    # For the runtime

    def io_failed(self, error: BaseException) -> None:
        """See `Member`."""
        endings.io_failed(self, error)

    def abandon(self) -> None:
        """See `Member`."""
        self.lock = threading.Lock()
        self.room = threading.Condition(self.lock)
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
            self.runtime.dispatcher.submit(relay.publish, event)

    def tell_user(self, callback: Callable[[Any], object], event: events.Event) -> None:
        """Have a callback of the options called."""
        self.runtime.dispatcher.submit(relay.call_guarded, callback, event)

    def log(self, level: int, message: str, *args: object) -> None:
        self.runtime.dispatcher.submit(logger.log, level, message, *args)


def _renew_registry_lock() -> None:
    """In a forked copy of the host: another thread may have held the lock of pykka's registry."""
    ActorRegistry._actor_refs_lock = threading.RLock()


runtime.after_fork(_renew_registry_lock)


def _log_defect(name: str, error: Exception) -> None:
    logger.error("piactors failed on what isolate %s sent", name, exc_info=error)
