"""A plugin in an isolate, for an application that was not written for isolates: its side of the border.

It runs on Python 3.8 and newer, and needs neither piactors nor pluggy there.
"""

from __future__ import annotations

import contextvars
import inspect
import os
import sys
from typing import Any, Callable, FrozenSet, List, Optional, Sequence, Tuple

from . import facts, ledgers, packing, performing, things
from .loading import loaded
from .running import MainThread, Waiters, run_here, runs_a_loop

_MOST_ASKED = 1000


class CallOfHost:
    """What one call of the host does.

    Attributes:
        number: of the call; 0: it is done again, and asks nothing.
        lent: the numbers of what it has lent so far, in order.
        answers: what the host had answered the first time, if it is done again.
    """

    def __init__(self, number: int, answers: Optional[List[Any]] = None) -> None:
        self.number, self.answers = number, answers
        self.lent: List[int] = []


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
        self.packer = packing.Packer(self, accepted, names=True, base=self.token << 24)
        self.waiters: Optional[Waiters] = None
        """Where calls run that come from what another one waits for; None if one thread sees to that."""
        self.methods = things.Methods()
        self.attribute = self.methods.attribute

    def class_here(self, module: str, name: str) -> Any:
        """Return a class of this process that the host's one is known by; None if there is none."""
        return class_here(module, name)

    def use(self, reach: Any, operation: str, args: Any, kwargs: Any) -> Any:
        """Do something to a thing of the host, wait, and return what comes of it."""
        call = _call.get()
        if call is not None and call.answers is not None:
            return self._outcome(self._once_more(call, args, kwargs))
        asked = self._asked(call, reach, operation, args, kwargs, False)
        if self.waiters is None or call is None or runs_a_loop():
            return self._outcome(self._gateway(*asked))
        return self._outcome(self.waiters.wait(call.number, self._gateway.future(*asked)))

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
        number = 0 if call is None else call.number
        where = reach.anchor.value, list(reach.path)
        return self.token, number, *where, operation, packed, named, waits, self.packer.held.dropped()

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
        dropped = self.packer.held.dropped()
        if kind == "ok" and not call.lent and not dropped and node[0] == "v":
            return self.token, node[1]
        return self.token, kind, node, call.lent, dropped

    def done(self, asked: Sequence[Any]) -> Tuple[Any, Any]:
        """Do what the host asks for; return the thing if it was asked for an attribute of it, and what came."""
        root, path, operation, args, kwargs = asked
        given = [self.packer.unpacked(one) for one in args]  # first: each has to be counted as having come
        named = {name: self.packer.unpacked(one) for name, one in kwargs.items()}
        thing = self.packer.find(root, path)
        value = performing.perform(self.packer, thing, operation, given, named)
        return (thing if operation == "get" else None), value


def class_here(module: Any, name: Any) -> Any:
    """Return a class that this process has imported, by its names; None if it has not."""
    found: Any = sys.modules.get(module) if isinstance(module, str) else None
    for part in name.split(".") if isinstance(name, str) else ():
        found = vars(found).get(part) if isinstance(found, type) or inspect.ismodule(found) else None
    return found if isinstance(found, type) else None


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
        return run(lambda: side.answered(call, lambda: side.done(asked)))

    async def ause(self, number: int, asked: Sequence[Any], dropped: List[int], within: int) -> Any:
        """Do something that has to be awaited."""
        side, call = self._side, CallOfHost(number)
        side.packer.lent.drop(dropped)
        _call.set(call)  # of this task alone
        try:
            _, value = side.done(asked)
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
        return self._run(lambda: side.answered(call, lambda: self._repeated(asked)))

    def _repeated(self, asked: Sequence[Any]) -> Tuple[Any, Any]:
        thing, value = self._side.done(asked)
        if inspect.iscoroutine(value):
            value.close()
            raise ledgers.Gone("what a coroutine had lent is not lent again")
        return thing, value
