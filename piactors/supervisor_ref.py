"""What a program holds of a supervisor."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import attrs
import pykka
from pykka.messages import _ActorStop

from piactors._future import waiting
from piactors._isolate.reply_ports import StopFuture
from piactors._rules.moment import Moment
from piactors._rules.supervisor.actions import Answer
from piactors._rules.supervisor.machine import SupervisorMachine
from piactors._spawn import start
from piactors._text import shown
from piactors._text.logs import plain as logger
from piactors._tree import answers, render
from piactors._tree.tree_runner import TreeRunner, make_refs_with
from piactors.child_spec import ChildCounts, ChildInfo, ChildSpec
from piactors.errors import ChildNotFound, PiactorsError
from piactors.exit_reason import ExitReason
from piactors.future import Future

if TYPE_CHECKING:
    from piactors._tree.runner import Runner


class SupervisorRef(pykka.ActorRef[Any]):
    """Reference to a supervisor; it stays valid when its own supervisor restarts it.

    Its methods may be called from any thread but the supervisor's own (that of `children`, `restart_on`).
    """

    def __init__(self, runner: TreeRunner) -> None:
        self._runner = runner
        self._ends = runner.ends
        self.actor_class = runner.supervisor_class
        self.actor_urn = uuid.uuid4().urn
        self.actor_stopped = runner.stopped
        self.pid: int | None = None
        """None: a supervisor has no process of its own."""
        self._spawned = itertools.count(1)

    def __str__(self) -> str:
        reason = self._ends.reason
        why = "" if reason is None else f": {reason.detail or reason.summary}"
        name = shown.line(self.name)
        return f"supervisor {name} ({self.state}, generation {self.generation}{why}, {self.actor_urn})"

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} cannot leave its process: a ref is useful only where it was made")

    @property
    def name(self) -> str:
        """The supervisor's name."""
        return self._runner.name

    @property
    def generation(self) -> int:
        """How often it has been started."""
        return self._runner.generation

    @property
    def state(self) -> str:
        """``starting``, ``running``, ``restarting``, ``stopping`` or ``stopped``."""
        return self._runner.state

    # Children

    def child(self, id: str) -> Any:
        """Return the ref of a child: the same before and after a restart.

        Raises:
            ChildNotFound: if there is no child with that id.
        """
        runner = self._runner.runners.get(id)
        if runner is None:
            names = ", ".join(map(repr, list(self._runner.runners)[:20])) or "none"
            name = shown.line(self.name)
            raise ChildNotFound(f"supervisor {name}: there is no child {id!r}; the children are: {names}")
        return runner.ref

    def which_children(self) -> list[ChildInfo]:
        """Return what there is to know of each child, in order; never waits for a start or a stop.

        Raises:
            ActorDeadError: if the supervisor does not run.
        """
        found = [(child, self._runner.runners.get(child.id)) for child in self._runner.children()]
        return [
            ChildInfo(child.id, runner.ref, child.state, child.rule.type, child.restarts, child.reason)
            for child, runner in found
            if runner is not None
        ]

    def count_children(self) -> ChildCounts:
        """Return how many children there are.

        Raises:
            ActorDeadError: if the supervisor does not run.
        """
        children = self._runner.children()
        supervisors = sum(child.rule.type == "supervisor" for child in children)
        active = sum(child.is_active for child in children)
        return ChildCounts(len(children), active, supervisors, len(children) - supervisors)

    def start_child(self, spec: ChildSpec | None = None, /, *args: Any, **kwargs: Any) -> Any:
        """Add a child, start it, and return its ref.

        Args:
            spec: what to start.  Of a `DynamicSupervisor` with a template it may be left out: `args` and `kwargs`
                are then added to those of the template, and the child gets an id of its own.

        Raises:
            StartError: if it does not start; it is not a child then.
            ChildAlreadyStarted, ChildAlreadyPresent: if there is a child with that id.
            TooManyChildren: if `max_children` allows no more.
            ActorDeadError: if the supervisor does not run, or ends first.
        """
        runner = self._made_child(spec, args, kwargs)
        return self._call(lambda machine, at, call: machine.start_child(at, runner.link.rule, call))

    async def start_child_async(self, spec: ChildSpec | None = None, /, *args: Any, **kwargs: Any) -> Any:
        """Add a child as `start_child` does, and let the event loop run meanwhile.

        If this is cancelled, the child is ended and forgotten.

        Raises:
            StartError, ChildAlreadyStarted, ChildAlreadyPresent, TooManyChildren, ActorDeadError: as `start_child`.
        """
        import asyncio  # whoever awaits this has it

        waiting.refuse_another_kind_of_loop("tree.start_child, ...")
        runner = await self._made_child_async(spec, args, kwargs)
        call = self._begin(lambda machine, at, call: machine.start_child(at, runner.link.rule, call))
        try:
            return await answers.answer(call)
        except asyncio.CancelledError:
            self._forget(runner)
            answers.if_it_succeeds(call, partial(self._forget, runner))  # what was put off starts only then
            raise

    def _made_child(self, spec: ChildSpec | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Runner:
        return self._made_of(self._checked(spec, args, kwargs))

    async def _made_child_async(self, spec: ChildSpec | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Runner:
        """Return what runs a child as `_made_child` does; the loop runs while its environment is built."""
        found = self._checked(spec, args, kwargs)
        if found.is_isolate and found.isolation.environment is not None:
            found = attrs.evolve(found, options=await start.inside_async(found.isolation))
        return self._made_of(found)

    def _made_of(self, spec: ChildSpec) -> Runner:
        return self._runner.make_child(spec, listed=not self._runner.settings.dynamic)

    def _checked(self, spec: ChildSpec | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ChildSpec:
        settings = self._runner.settings
        if not isinstance(spec, ChildSpec):
            spec = self._from_template(settings.template, (() if spec is None else (spec, *args)), kwargs)
        elif args or kwargs:
            raise TypeError("start_child: arguments belong in the ChildSpec; on their own they need a template")
        settings.check_child(spec)
        return spec

    def _forget(self, runner: Runner) -> None:
        """Begin to end a child that nobody wants any more, and to delete it; not another one of the same id."""
        engine, id = self._runner.engine, runner.link.rule.id
        if engine is None:
            return

        def end(machine: SupervisorMachine, at: Moment, call: Future[Any]) -> Any:
            if self._runner.runners.get(id) is runner:
                return machine.terminate_child(at, id, call)
            return [Answer(call, error=ChildNotFound(f"{id!r} is another one"))]

        ended = engine.call(end)
        answers.if_it_succeeds(ended, lambda: engine.call(lambda m, at, call: m.delete_child(at, id, call)))

    def _from_template(self, template: ChildSpec | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ChildSpec:
        if template is None:
            name = shown.line(self.name)
            raise TypeError(f"supervisor {name}: start_child needs a ChildSpec, since there is no template")
        id = f"{template.id}-{next(self._spawned)}"
        return attrs.evolve(template, id=id, args=(*template.args, *args), kwargs={**template.kwargs, **kwargs})

    def terminate_child(self, child: str | pykka.ActorRef[Any]) -> None:
        """Stop a child within its shutdown time, or call off its restart, and wait for that.

        Its specification stays, for `restart_child`, unless the child is temporary.  One that does not run stays so.

        Args:
            child: its id or its ref.

        Raises:
            ChildNotFound: if there is none.
        """
        id = self._id_of(child)
        self._call(lambda machine, at, call: machine.terminate_child(at, id, call))

    async def terminate_child_async(self, child: str | pykka.ActorRef[Any]) -> None:
        """Stop a child as `terminate_child` does, and let the event loop run meanwhile.

        If this is cancelled, the child stops all the same.

        Raises:
            ChildNotFound: as `terminate_child`.
        """
        id = self._id_of(child)
        waiting.refuse_another_kind_of_loop("tree.terminate_child, ...")
        await answers.answer(self._begin(lambda machine, at, call: machine.terminate_child(at, id, call)))

    def restart_child(self, child: str | pykka.ActorRef[Any]) -> Any:
        """Start a child that is stopped, and return its ref.

        Raises:
            ChildNotFound, ChildRunning, ChildRestarting: if there is none that is stopped.
            StartError: if it does not start.
        """
        id = self._id_of(child)
        return self._call(lambda machine, at, call: machine.restart_child(at, id, call))

    async def restart_child_async(self, child: str | pykka.ActorRef[Any]) -> Any:
        """Start a stopped child as `restart_child` does, and let the event loop run meanwhile.

        If this is cancelled, the child is stopped again.

        Raises:
            ChildNotFound, ChildRunning, ChildRestarting, StartError: as `restart_child`.
        """
        import asyncio  # as above

        waiting.refuse_another_kind_of_loop("tree.restart_child, ...")
        id = self._id_of(child)
        call = self._begin(lambda machine, at, call: machine.restart_child(at, id, call))
        try:
            return await answers.answer(call)
        except asyncio.CancelledError:
            answers.if_it_succeeds(call, partial(self._end_again, id))
            raise

    def _end_again(self, id: str) -> None:
        engine = self._runner.engine
        if engine is not None:
            engine.call(lambda machine, at, call: machine.terminate_child(at, id, call))

    def delete_child(self, child: str | pykka.ActorRef[Any]) -> None:
        """Forget a child that is stopped.

        Raises:
            ChildNotFound, ChildRunning, ChildRestarting: if there is none that is stopped.
        """
        id = self._id_of(child)
        self._call(lambda machine, at, call: machine.delete_child(at, id, call))

    def replace_child(self, spec: ChildSpec) -> Future[int]:
        """Have another process take over in the child of this id, between two calls, and go by what is declared now.

        The child keeps its ref and its mailbox; no message is lost.  Whatever starts it from now on runs that, too.

        Returns:
            A future of its process's generation once that runs the calls; at once if the child is stopped.  It fails
            with `PiactorsError`, and the old process goes on, if the new one does not start.

        Raises:
            ChildNotFound: if there is no child of this id.
            TypeError, ValueError: if the child is not one in a process, or its options differ in what concerns the
                isolate and not one process of it (see `IsolateRef.replace`).
            ActorDeadError: if the supervisor does not run.
        """
        self._runner.settings.check_child(spec)
        rule, begin = self._runner.redeclare(spec)
        self._call(lambda machine, at, call: machine.redeclare_child(at, rule, call))
        return begin()

    def _id_of(self, child: str | pykka.ActorRef[Any]) -> str:
        if isinstance(child, str):
            return child
        for id, runner in list(self._runner.runners.items()):
            if runner.ref is child:
                return id
        raise ChildNotFound(f"supervisor {shown.line(self.name)}: {child!r} is not a child of it")

    def _call(self, give: Callable[[SupervisorMachine, Moment, Future[Any]], Any]) -> Any:
        return self._begin(give).get()

    def _begin(self, give: Callable[[SupervisorMachine, Moment, Future[Any]], Any]) -> Future[Any]:
        engine = self._runner.engine
        if engine is None:
            raise self._runner.why_not()
        if engine.is_current():
            raise PiactorsError(f"{self} is asked from its own thread, which would wait for itself")
        return engine.call(give)

    # As an actor

    def is_alive(self) -> bool:
        """Whether it runs, or is being restarted."""
        return not self._runner.stopped.is_set()

    def tell(self, message: Any) -> None:
        """Stop it, if the message says so; a supervisor takes no other message, and logs that, as pykka's actors do."""
        if isinstance(message, _ActorStop):
            self.stop(block=False)
        else:
            logger.warning("%s takes no messages, and drops %r; tell one of its children", self, message)

    @overload
    def ask(self, message: Any, *, block: Literal[False], timeout: float | None = None) -> Future[Any]: ...

    @overload
    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any: ...

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """A supervisor takes no messages but the one that stops it."""
        if not isinstance(message, _ActorStop):
            raise TypeError(f"{self} takes no messages; ask one of its children {message!r}")
        return self.stop(block=block, timeout=timeout)

    def proxy(self) -> Any:
        """A supervisor has no proxy: its methods are those of this ref."""
        raise TypeError(f"{self} has no proxy; call the methods of the ref itself")

    @overload
    def stop(self, *, block: Literal[True] = True, timeout: float | None = None) -> bool: ...

    @overload
    def stop(self, *, block: Literal[False], timeout: float | None = None) -> Future[bool]: ...

    @overload
    def stop(self, *, block: bool = True, timeout: float | None = None) -> bool | Future[bool]: ...

    def stop(self, *, block: bool = True, timeout: float | None = None) -> bool | Future[bool]:
        """Stop it: its children in reverse order, each within its shutdown time; no restart follows.

        Returns True if it was alive, False if it was not; a future of that if `block` is False.
        """
        future = StopFuture(f"supervisor {shown.line(self.name)}")
        if not self.is_alive():
            future.set(False)
        else:
            self._runner.stop_wanted(future)
        return future.get(timeout=timeout) if block else future

    async def stop_async(self) -> bool:
        """Stop it as `stop` does, and let the event loop run meanwhile; if this is cancelled, the stop goes on."""
        stopped: bool = await self.stop(block=False)
        return stopped

    def terminate(self, timeout: float | None = 5.0) -> ExitReason | None:
        """End it and all that is below it at once; return why it ended, None if that takes more than `timeout` s."""
        if self.is_alive():
            self._runner.stop_wanted()
            self._runner.kill()
        return self.wait_for_exit(timeout)

    def wait_for_exit(self, timeout: float | None = None) -> ExitReason | None:
        """Wait until it has ended for good, and return why; None if `timeout` seconds pass first."""
        return self._ends.reason if self._runner.over.wait(waiting.seconds_of(timeout)) else None

    def render(self, *, memory: bool = True) -> str:
        """Return the tree from here as text, one line each: state, pid, generation, restarts and memory."""
        return render.render(self._runner, memory=memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            await self.stop_async()
        except BaseException:  # the time for an orderly stop is over
            self._runner.kill()
            await self._ends.wait_briefly()
            raise


make_refs_with(SupervisorRef)
