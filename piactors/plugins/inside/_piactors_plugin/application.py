"""A plugin in an isolate, for an application that was not written for isolates: its side of the border.

It runs on Python 3.8 and newer, and needs neither piactors nor pluggy there.
"""

from __future__ import annotations

import contextvars
import inspect
import os
from typing import Any, Callable, FrozenSet, List, Optional, Sequence, Tuple

from . import changes, facts, ledgers, output, packing, performing, things
from .loading import loaded
from .running import MainThread, Waiters, run_here, runs_a_loop

_MOST_ASKED = 1000


class CallOfHost:
    """What one call of the host does.

    Attributes:
        number: of the call; 0: it is done again, and asks nothing.
        lent: the numbers of what it has lent so far, in order.
        watched: its arguments that it may change in place.
        answers: what the host had answered the first time, if it is done again.
    """

    def __init__(self, number: int, answers: Optional[List[Any]] = None) -> None:
        self.number, self.answers = number, answers
        self.lent: List[int] = []
        self.watched: changes.Watched = []

    def watches(self, watched: changes.Watched) -> None:
        """It may change these in place."""
        self.watched = watched


_call: "contextvars.ContextVar[Optional[CallOfHost]]" = contextvars.ContextVar(
    "piactors_application_call", default=None
)


class IsolatesSide:
    """This process's end of the border.

    Args:
        gateway: the host's function that does what is asked there.
        accepted: the classes whose instances are copied besides plain data.
    """

    trusts = True

    def __init__(self, gateway: Any, accepted: FrozenSet[str]) -> None:
        self._gateway = gateway
        self.token = int.from_bytes(os.urandom(4), "big") or 1
        self.packer = packing.Packer(self, accepted, names=True, base=self.token << ledgers.OF_A_PROCESS)
        self.waiters: Optional[Waiters] = None
        """Where calls run that come from what another one waits for; None if one thread sees to that."""
        self.methods = things.Methods()
        self.attribute = self.methods.attribute

    def refresh(self, anchor: Any) -> None:
        """What the host has lent is there as long as this process is."""

    class_here = staticmethod(things.class_here)

    def use(self, reach: Any, operation: str, args: Any, kwargs: Any) -> Any:
        """Do something to a thing of the host, wait, and return what comes of it."""
        call = _call.get()
        if call is not None and call.answers is not None:
            return self._outcome(self._once_more(call, args, kwargs))
        asked = self._asked(call, reach, operation, args, kwargs, False)
        if self.waiters is None or call is None or runs_a_loop():
            return self._outcome(self._gateway(*asked))
        return self._outcome(self.waiters.wait(call.number, lambda: self._gateway.future(*asked)))

    async def use_async(self, reach: Any, operation: str, args: Any, kwargs: Any) -> Any:
        """Do something to a thing of the host, and let the event loop run meanwhile."""
        call = _call.get()
        if call is not None and call.answers is not None:
            return self._outcome(self._once_more(call, args, kwargs))
        return self._outcome(await self._gateway.future(*self._asked(call, reach, operation, args, kwargs, True)))

    def _asked(
        self, call: Optional[CallOfHost], reach: Any, operation: str, args: Any, kwargs: Any, waits: bool
    ) -> Any:
        with self.packer.sending() as lent:
            packed = [self.packer.packed(one, lent) for one in args]
            named = {name: self.packer.packed(one, lent) for name, one in kwargs.items()}
        if call is not None:
            call.lent.extend(lent)
        output.flush()
        number = 0 if call is None else call.number
        where = reach.anchor.value, list(reach.path)
        return self.token, number, *where, operation, packed, named, waits, self.packer.held.dropped()

    def print(self, name: str, text: str) -> bool:
        """Write a text to the host's output; False if no call of the host runs here."""
        call = _call.get()
        if call is None or call.answers is not None:
            return call is not None  # what was printed the first time is not printed again
        # It waits for that: what comes after it, the result as well, is to come after it.
        self._gateway(self.token, call.number, "output", [name], "call", [("v", text)], {}, False, [])
        return True

    def _once_more(self, call: CallOfHost, args: Any, kwargs: Any) -> Any:
        """Return what the host had answered when this was asked the first time; what is lent with it is lent anew."""
        with self.packer.sending() as lent:
            for one in (*args, *kwargs.values()):
                self.packer.packed(one, lent)
        call.lent.extend(lent)
        if not call.answers:
            raise ledgers.Gone("done again, it asks more than it did the first time")
        return call.answers.pop(0)

    def _outcome(self, reply: Any) -> Any:
        kind, node = reply
        if kind == "m":
            return things.Method(node)
        if kind == "ok":
            return self.packer.unpacked(node)
        raise self.packer.error(*node)

    # What the host asks for

    def answered(self, call: CallOfHost, work: Callable[[], Tuple[Any, Any]]) -> Any:
        """Do something for the host, and return how that is answered."""
        token = _call.set(call)
        try:
            return self._reply(call, *work())
        except ledgers.Gone as gone:
            return self._answer("gone", gone.number, call)
        except BaseException as error:
            return self._failed(call, error)
        finally:
            _call.reset(token)

    def _failed(self, call: CallOfHost, error: BaseException) -> Any:
        with self.packer.sending() as lent:
            node = list(self.packer.error_node(error, lent))
        call.lent.extend(lent)
        return self._answer("raised", node, call)

    def _reply(self, call: CallOfHost, thing: Any, value: Any) -> Any:
        with self.packer.sending() as lent:
            node = self.packer.packed(value, lent) if thing is None else self._of(thing, value, lent)
        call.lent.extend(lent)
        return self._answer("m", node[1], call) if node[0] == "m" else self._answer("ok", node, call)

    def _of(self, thing: Any, value: Any, lent: packing.LentNumbers) -> Any:
        return self.packer.packed_attribute(thing, value, lent)

    def _answer(self, kind: str, node: Any, call: CallOfHost) -> Any:
        """Return an answer; what most of them do not hold is left out."""
        output.flush()
        changed = self._changed(call) if call.watched else None
        dropped = self.packer.held.dropped()
        if kind == "ok" and not call.lent and not dropped and node[0] == "v" and not changed:
            return self.token, node[1]
        return self.token, kind, node, call.lent, dropped, changed

    def _changed(self, call: CallOfHost) -> Any:
        """Return the nodes of the arguments that a call has changed in place."""
        try:
            with self.packer.sending() as lent:
                found = {place: self.packer.packed(one, lent) for place, one in changes.changed(call.watched).items()}
        except ledgers.NotLent:  # what it has put there
            return None
        call.lent.extend(lent)
        return found

    def done(self, call: CallOfHost, asked: Sequence[Any]) -> Tuple[Any, Any]:
        """Do what the host asks for; return the thing if it was asked for an attribute of it, and what came."""
        root, path, operation, args, kwargs = asked
        given = [self.packer.unpacked(one) for one in args]  # first: each has to be counted as having come
        named = {name: self.packer.unpacked(one) for name, one in kwargs.items()}
        thing = self.packer.find(root, path)
        if operation == "call":
            call.watches(changes.watched(given, named))
        value = performing.perform(self.packer, thing, operation, given, named)
        return (thing if operation == "get" else None), value


class Application:
    """A plugin.

    Args:
        target: ``"module:attribute"`` or ``"module"``, or the plugin itself.
        gateway: the host's function that does what is asked there.
        accepted: the classes whose instances are copied besides plain data, as ``"module:qualname"``.
        threads: in how many threads it is called at once.
    """

    def __init__(self, target: Any, gateway: Any, accepted: Sequence[str], threads: int) -> None:
        self._side = IsolatesSide(gateway, frozenset(accepted))
        self._target = target
        self._run = MainThread().run if threads > 1 else run_here
        if threads > 1:
            self._side.waiters = Waiters()
        output.take_over(self._side.print)
        self._plugin = self._run(lambda: loaded(target) if isinstance(target, str) else target)

    def describe(self) -> Any:
        """Return the node of the plugin, with all of its attributes."""
        if isinstance(self._target, str) and ".py" not in self._target:
            module, _, path = self._target.partition(":")
            return "n", module, path.split(".") if path else [], facts.facts_of(self._plugin, names=True)
        return "r", self._side.packer.lent.lend(self._plugin), facts.facts_of(self._plugin, names=True)

    def use(self, number: int, asked: Sequence[Any], dropped: List[int], within: int) -> Any:
        """Do something to a thing of this process, and answer.

        Args:
            number: of the call.
            asked: what is to be done.
            dropped: what the host does not use any more.
            within: the number of the call of this process that the host does this for; 0 if for none.
        """
        side, call = self._side, CallOfHost(number)
        side.packer.lent.drop(dropped)
        run = self._run if side.waiters is None else side.waiters.place_of(within) or self._run
        return run(lambda: side.answered(call, lambda: side.done(call, asked)))

    async def ause(self, number: int, asked: Sequence[Any], dropped: List[int], within: int) -> Any:
        """Do something that has to be awaited."""
        side, call = self._side, CallOfHost(number)
        side.packer.lent.drop(dropped)
        _call.set(call)  # of this task alone
        try:
            _, value = side.done(call, asked)
            return side._reply(call, None, await value if performing.is_awaitable(value) else value)
        except ledgers.Gone as gone:
            return side._answer("gone", gone.number, call)
        except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            return side._failed(call, error)

    def again(self, asked: Sequence[Any], answers: List[Any], methods: List[Any]) -> Any:
        """Do once more what a process of the plugin had done that has ended; the host is asked nothing.

        Args:
            methods: what that process knew of the host's classes.

        Returns:
            As `use`: what it has lent is what the first one had, in the same order.
        """
        side, call = self._side, CallOfHost(0, list(answers)[:_MOST_ASKED])
        side.methods.learn(methods)
        return self._run(lambda: side.answered(call, lambda: self._repeated(call, asked)))

    def _repeated(self, call: CallOfHost, asked: Sequence[Any]) -> Tuple[Any, Any]:
        thing, value = self._side.done(call, asked)
        if inspect.iscoroutine(value):
            value.close()
            raise ledgers.Gone("what a coroutine had lent is not lent again")
        return thing, value
