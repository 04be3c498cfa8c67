"""One isolate, as its ref, its supervisor and the runtime know it: joins its parts, and takes what they ask for.

They come in on their own threads.  What must be true when their call returns is done there, under the lock of
`Delivery`; what follows from it is an input of the rules (`life`), on the I/O thread.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from piactors import events
from piactors._codec import decode
from piactors._codec.encode import Whole
from piactors._future import waiting
from piactors._host import relay, runtime
from piactors._host.confiner import Plan
from piactors._isolate import control, crash_errors, dead
from piactors._isolate.asked import Asker, Strand
from piactors._isolate.cancelling import Cancelling
from piactors._isolate.containment import Containment
from piactors._isolate.delivery import Delivery
from piactors._isolate.direct import DirectChannels
from piactors._isolate.home import Home
from piactors._isolate.life import Life
from piactors._isolate.looks import Looks
from piactors._isolate.news import News
from piactors._isolate.parent import Alone, Losses, ParentLink, Supervised
from piactors._isolate.performing import Texts
from piactors._isolate.policies.call_timeout import CallClock
from piactors._isolate.policies.idle_memory import IdleMemory
from piactors._isolate.policies.recycling import RecyclePolicy
from piactors._isolate.replacing import taken_on
from piactors._isolate.reply_ports import StopReply, fail_all
from piactors._isolate.reports import Reports
from piactors._isolate.services import HostServices
from piactors._isolate.spec import IsolateSpec
from piactors._platform import reentry
from piactors._platform.reentry import Reentered
from piactors._process.local import LocalPlacement
from piactors._rules.message import Message
from piactors._rules.phases import Phase
from piactors.errors import ActorDeadError, StartError
from piactors.exit_reason import ExitReason
from piactors.future import Future, run_callbacks_with
from piactors.options import IsolationOptions

_RELEASE_SECONDS = 5.0
"""For an I/O thread that has failed meanwhile; a working one answers in much less."""


class Isolate(Looks):
    """One supervised process and its mailbox.

    Attributes:
        delivery: its messages.
        life: its processes.
        stop_requested: whether its end has been asked for.
        data: what was set with `set_data`, serialised.
    """

    def __init__(self, spec: IsolateSpec, ref: Any, link: ParentLink | None = None) -> None:
        self.ref = ref
        self.runtime = runtime.for_start()
        run_callbacks_with(self.runtime.dispatcher.submit)
        self.loop = self.runtime.loop.share(self.has_failed)
        self.data: dict[str, Whole] = {}
        self.stop_requested = self._has_begun = False
        self._make_data_path(spec, spec.options)
        self._make_life(spec, link)

    def _make_data_path(self, spec: IsolateSpec, options: IsolationOptions) -> None:
        accepted = {f"{cls.__module__}:{cls.__qualname__}": cls for cls in options.accept}
        about = (lambda: str(self.ref)) if spec.is_actor else None
        decoder = decode.Decoder(
            spec.name, spec.code, accepted, options.max_frame, lambda number: self.services.future(number), about
        )
        self.relay = relay.Relay(self.runtime.dispatcher, spec.name, options.output, self.loop.call_later)
        self.reports = Reports(spec, self.runtime, self.relay)
        self.delivery = Delivery(spec, self.loop, decoder, self.not_run)
        asker = Asker(self.delivery, Strand(self.runtime.dispatcher.submit), foreign=not spec.own_interpreter)
        self.services = HostServices(asker, lambda process: self.life.wants_stop(process))
        self.delivery.cancel_with(Cancelling(self.delivery, self._kill_for))
        self.delivery.reach_with(DirectChannels(self.delivery))
        self.idle_memory = IdleMemory(self.delivery, self.loop, options.keep_shared)
        self.recycling = RecyclePolicy(options, self.reports, lambda *asked: self.life.request_replacement(*asked))
        self.clock = CallClock(
            self.delivery,
            self.loop,
            lambda: self.life.options.shutdown_timeout,
            lambda: self.life.current,
            lambda: self.stop_requested,
            self._tell_of_late_call,
        )
        self.delivery.watch_calls(self.clock, self.recycling.call_done if self.recycling.counts else None)

    def _kill_for(self, detail: str) -> None:
        current = self.life.current
        if current is not None:
            current.kill("killed", detail)

    def _make_life(self, spec: IsolateSpec, link: ParentLink | None) -> None:
        urn, lanes = spec.urn, self.runtime.lanes
        losses = Losses(lambda: lanes.counts(urn, self.options.within, time.monotonic()))
        parent = Alone(spec.options, losses) if link is None else Supervised(link)
        self.news = News(spec, self.ref, link, losses, self.reports, self.delivery.decoder)
        self._home = Home(
            urn=self.ref.actor_urn,
            ref=lambda: self.ref,
            runtime=self.runtime,
            loop=self.loop,
            delivery=self.delivery,
            decoder=self.delivery.decoder,
            reports=self.reports,
            services=self.services,
            placement=LocalPlacement(self.loop, self.runtime.backend),
            data=self.data,
            on_large=self.idle_memory.used,
            leave=self._leave,
            has_failed=self.has_failed,
            request_replacement=self.recycling.request,
        )
        texts = Texts(
            not_run=self.not_run,
            not_begun=partial(dead.not_begun, self),
            takes_nothing=partial(dead.takes_nothing, self),
            restarts=partial(dead.restarts, self),
        )
        self.life = Life(
            self._home,
            spec,
            parent,
            self.news,
            losses,
            self.recycling,
            self.clock,
            texts,
            lambda: self.stop_requested,
        )
        dispatcher = self.runtime.dispatcher
        self._containment = Containment(spec.name, dispatcher, self.delivery, self.life, self.news, texts.takes_nothing)

    # About it, from any thread

    def set_data(self, key: str, value: Whole) -> Future[Any]:
        """Have this process, and all that follow, know a value; the future is settled once this one has it."""
        self.data[key] = value
        body = self.life.current
        if body is not None and body.is_ready:  # it is told here
            body.note_data(key, value)
        return control.set_data(self._process(), self.delivery.decoder, partial(dead.no_process, self), key, value)

    def not_run(self, message: Message, reason: ExitReason | None = None) -> BaseException:
        """Return the error of a message that no process runs; one that had begun before may have been executed."""
        return dead.not_begun(self, reason) if message.lost_in is None else crash_errors.crashed(*message.lost_in)

    # Its start

    def start(self) -> None:
        """Start the first process and return when it is ready.

        Raises:
            StartError: if it does not become ready; the cause is what its code raised.
        """
        try:
            self.begin()
            self.news.started.get()
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
            await self.news.started
        except StartError:
            raise
        except BaseException:
            self._call_off()
            await self.ref._ends.wait_briefly()
            raise

    def begin(self) -> None:
        """Begin to start the first process; `started` tells the outcome."""
        reentry.refuse(f"isolate {self.spec.name}")
        plan = self._planned(self.spec)
        self.life.use_plan(plan)
        if not self.life.generation_number:
            self.news.tell_of_missing(plan)
        self.runtime.add(self)
        self.news.begin()
        self.loop.call_soon(self._begin_here)

    def _planned(self, spec: IsolateSpec) -> Plan | None:
        limits = spec.options.limits
        return None if limits is None else self.runtime.confiner.plan(limits)

    def _begin_here(self) -> None:
        """On the loop, where nothing is interrupted: once, though it is asked for again by `_call_off`."""
        if self._has_begun or not self.runtime.knows(self):
            return
        self._has_begun = True
        if not self.news.is_registered:
            self.news.begin_again()
        if self.news.ended.is_set():  # it was stopped before its supervisor came to it
            self._leave()
            self.news.tell_no_start("stopped before it started")
        else:
            self.life.feed("stop" if self.stop_requested else "begin")

    def _call_off(self) -> None:
        """The caller that started it no longer wants it, and was perhaps interrupted, at any step of that."""
        self.loop.call_soon(self._begin_here)
        self.terminate()

    # Its end, as users ask for it: from any thread, and no restart follows

    def stop(self, future: Future[bool]) -> None:
        """Stop once what is in the mailbox has run; `future` gets True when all of it is gone.

        Raises:
            ActorDeadError: if it has stopped already.
        """
        self._wholly(self._stop, Message("stop", b"", StopReply(future)))

    def _wholly(self, step: Callable[..., None], *args: Any) -> None:
        """Do what does no harm if it is done twice; what a KeyboardInterrupt cut short is done again, on the loop."""
        if self.delivery.is_mine():
            raise Reentered(f"isolate {self.spec.name}")
        try:
            step(*args)
        except BaseException as error:
            if not isinstance(error, ActorDeadError):
                self.loop.call_soon(self._again, step, *args)
            raise

    @staticmethod
    def _again(step: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(ActorDeadError):
            step(*args)

    def _stop(self, message: Message) -> None:
        # Between the look and the message, it could end, and nobody would take the message out.
        with self.delivery.lock:
            if self.delivery.is_closed:
                raise dead.takes_nothing(self)
            self.stop_requested = True
            self.delivery.put_stop(message)
        self.loop.call_soon(self.life.feed, "stop")

    def shut_down(self) -> None:
        """Begin to stop: fail what has not begun, let running calls finish, kill after the shutdown time."""
        self.stop_requested = True
        if self.loop.is_current():
            self._shut_down()
        else:  # what is taken out of the mailbox there must not be lost, as it could be here by a KeyboardInterrupt
            self.loop.call_soon(self._shut_down)

    def _shut_down(self) -> None:
        if not self.news.ended.is_set():
            self.life.feed("shut_down")
            if not self.news.ended.is_set():
                self.delivery.put_stop(Message("stop", b""))

    def terminate(self) -> None:
        """End the process tree at once."""
        self._wholly(self._terminate)

    kill_now = terminate

    def _terminate(self) -> None:
        if self.news.ended.is_set():
            return
        self.stop_requested = True
        current = self.life.current
        if current is not None:  # before this returns, nothing more goes to it
            current.kill("killed", "terminated")
        self.loop.call_soon(self.life.feed, "terminate")

    def wait_ended(self, timeout: float | None) -> bool:
        """Wait until the isolate has ended for good, its whole process tree included."""
        reentry.refuse(f"isolate {self.spec.name}")
        return self.news.ended.wait(waiting.seconds_of(timeout))

    # What its supervisor asks for, from any thread

    def halt(self) -> None:
        """Begin to end this process within the shutdown time; what has not begun waits for the next one."""
        self.loop.call_soon(self.life.feed, "halt")

    def kill_process(self, detail: str) -> None:
        """End this process at once; what has not begun waits for the next one."""
        self.loop.call_soon(self.life.feed, "kill", detail)

    def start_held(self) -> bool:
        """Begin to start the next process of an isolate that is held; False if it is not (any more)."""
        if self.life.machine.phase is not Phase.HELD:
            return False
        self.loop.call_soon(self._start_held)
        return True

    def _start_held(self) -> None:
        """On the loop, where what was reported before is complete; somebody may have stopped it meanwhile."""
        if self.news.ended.is_set():
            self.news.tell_no_start("stopped while it waited to be restarted")
        else:
            self.news.expect_start()
            self.life.feed("stop" if self.stop_requested else "start_held")

    def declare_anew(self, spec: IsolateSpec) -> None:
        """Run this from the next process on: its supervisor has started anew, and has declared it once more."""
        self.loop.call_soon(self._declare_anew, taken_on(self.spec, spec), self._planned(spec))

    def _declare_anew(self, spec: IsolateSpec, plan: Plan | None) -> None:
        self.life.replace(Future(), "declared anew", spec, plan)
        if self.life.spec is spec:  # no process runs the calls
            self.life.machine.keep_standby(spec.options.standby)
            self.delivery.use_options(spec.options)
            self.idle_memory.keep(spec.options.keep_shared)

    def release(self) -> None:
        """End an isolate that is held, or that was never started, and return when its ref says so."""
        done = threading.Event()

        def end_it() -> None:
            self.life.feed("release")
            done.set()

        self.loop.call_soon(end_it)
        if not self.loop.is_current():
            done.wait(_RELEASE_SECONDS)

    def await_end(self) -> None:
        """Wait until an isolate that was let go of is gone with its standby: that may have an `on_stop` to run."""
        seconds = self.options.shutdown_timeout
        if self.options.standby and not self.loop.is_current():
            self.news.ended.wait(None if seconds is None else seconds + _RELEASE_SECONDS)

    def inherit(self, earlier: Isolate) -> None:
        """Go on where an isolate of the same ref has ended: count its processes, keep what was set."""
        self.life.continue_from(earlier.life)
        self.news.continue_from(earlier.news)
        self.data.update(earlier.data)
        self.reports.continue_with(earlier.reports.relay)  # what the earlier one has written is reported first

    # Another process in place of this one

    def replace(self, reason: str, spec: IsolateSpec | None = None) -> Future[int]:
        """Have another process take over between two calls, of another specification if one is given.

        The future gets its number once it runs the calls; it fails, and this process goes on, if that does not start.
        """
        future: Future[int] = Future()
        plan = None if spec is None else self._planned(spec)
        self.loop.call_soon(self.life.replace, future, reason, spec, plan)
        return future

    # For the runtime, and what is reported of it

    def io_failed(self, error: BaseException) -> None:
        """The I/O thread is gone: fail everything with this cause, so that nobody is left waiting."""
        self._containment.io_failed(error)

    def has_failed(self, error: BaseException) -> None:
        """Something on the I/O thread that belongs to it has raised: only this isolate pays for that."""
        self._containment.has_failed(error)

    def _leave(self) -> None:
        self.runtime.remove(self)
        self.runtime.leave_lane(self.spec.urn)

    def abandon(self) -> None:
        """This process is a forked copy of the host: be dead here, and touch nothing of the parent's."""
        text = "belongs to the process that this one was forked from"

        def error() -> BaseException:
            return dead.dead(self.spec.name, text, None)

        left = self.delivery.abandon(error)
        self.news.abandon()
        self.life.abandon()
        fail_all(left, error)

    def _tell_of_late_call(self, message: Message, stack: str) -> None:
        fields = {"call": message.what, "call_timeout": message.call_timeout, "stack": stack}
        self.reports.publish(events.CallTimedOut, self.pid, self.generation_number, **fields)
