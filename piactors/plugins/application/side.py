"""The host's end of the border with one plugin: calls of what that has lent, and what it asks of the application."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import weakref
from collections import Counter
from typing import Any

from piactors._future import waiting
from piactors.errors import IsolateCrashed, ProtocolError, Released
from piactors.plugins.application import calls, origins
from piactors.plugins.application.calls import SentCall
from piactors.plugins.application.epochs import Epochs
from piactors.plugins.application.origins import CallRecord, Origin
from piactors.plugins.inside._piactors_plugin import changes, facts, ledgers, packing, performing, things
from piactors.plugins.inside._piactors_plugin.ledgers import OF_A_PROCESS

_MOST_DROPPED = 1_000_000
_NOTHING: list[int] = []
_MOST_GONE, _DEEPEST = 10, 10
"""How many things of one call are found again, and how many that those come from."""
_PLACED = frozenset(("__next__", "__anext__"))
"""What has these is at some place, where another process would not begin."""


class HostSide:
    """The host's end.

    Args:
        plugin: its name, for texts.
        accepted: the classes, as ``"module:qualname"``, whose instances the plugin may send besides plain data.
        trusts: whether what the plugin sends may be of any class that this program has imported.
    """

    def __init__(self, plugin: str, accepted: frozenset[str], *, trusts: bool) -> None:
        self.plugin, self.trusts = plugin, trusts
        self.packer = packing.Packer(self, accepted, names=False)
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop that the application was seen to use last."""
        self._proxy: Any = None
        self._lock = threading.Lock()
        self._token = 0
        self._epochs = Epochs()
        self._is_tidy = True
        """Whether nothing is lent that only processes hold which have ended."""
        self._numbers = itertools.count(1)
        self._records: dict[int, CallRecord] = {}
        self._origins: weakref.WeakSet[Origin] = weakref.WeakSet()
        self.attribute = things.Methods().attribute
        self._told: dict[tuple[str, str, str], Any] = {}
        """The methods of this program's classes that the plugin has asked for."""

    def connect(self, proxy: Any) -> None:
        """This is the plugin's process, and those that come after it."""
        self._proxy = proxy

    class_here = staticmethod(things.class_here)

    # What the host asks of the plugin

    def use(self, reach: Any, operation: str, args: Any, kwargs: Any) -> Any:
        """Do something to a thing of the plugin, wait, and return what comes of it.

        Raises:
            Released: if its process has ended, and it cannot be found again.
            IsolateCrashed: if the process ends meanwhile.
            Exception: what the plugin raises.
        """
        self.loop = waiting.running_loop() or self.loop
        for _ in range(_MOST_GONE):
            call = SentCall(self, reach, operation, args, kwargs)
            with call:
                call.has(self._taken(call.send(self._proxy.use).get(), call))
            if not call.is_gone:
                return self._outcome(call)
            self._find_again(call)
        raise self._gone(call.anchor)

    async def use_async(self, reach: Any, operation: str, args: Any, kwargs: Any) -> Any:
        """Do that, and let the event loop run meanwhile."""
        self.loop = asyncio.get_running_loop()
        for _ in range(_MOST_GONE):
            call = SentCall(self, reach, operation, args, kwargs)
            with call:
                call.has(self._taken(await call.send(self._proxy.ause), call))
            if not call.is_gone:
                return self._outcome(call)
            await asyncio.to_thread(self._find_again, call)
        raise self._gone(call.anchor)

    def _find_again(self, call: SentCall) -> None:
        """See to it that what a call had named, and is gone, is there again: what was called, or an argument."""
        self._find(call.named(call.reply[1]), call.reply[1], 0)

    def _find(self, anchor: things.Anchor | None, number: Any, depth: int) -> None:
        if anchor is None or (anchor.value == number and (anchor.origin is None or depth > _DEEPEST)):
            raise self._gone(anchor)
        if anchor.value == number:  # else somebody has found it already
            self._repeat(anchor.origin, depth)

    def refresh(self, anchor: things.Anchor) -> None:
        """Something of the plugin's own is named in what is sent: see to it that the process of now has it."""
        is_stale = type(anchor.value) is int and anchor.value >> OF_A_PROCESS != self._token
        if is_stale and self._token and anchor.origin is not None:
            self._find(anchor, anchor.value, 0)

    def _gone(self, anchor: things.Anchor | None) -> Released:
        reach = None if anchor is None else things.reach_of(anchor.stand_in())
        name = "something" if reach is None else reach.facts["name"]
        return Released(f"{name} was lent by a process of plugin {self.plugin} that has ended, and is not found again")

    def _repeat(self, origin: Origin, depth: int) -> None:
        """Have the plugin do once more what it lent something in.

        Raises:
            Released: if that does not lead to the same.
        """
        for _ in range(_MOST_GONE):
            try:
                kind, node, numbers = self._again(origin)
            except IsolateCrashed:
                continue
            if kind == "gone":
                self._find(origin.named(node), node, depth + 1)
                continue
            if kind not in ("ok", "m"):
                break
            try:
                with self._lock:
                    anchors = origin.found(numbers)
            except (ledgers.Gone, ValueError):
                break
            self._adopt(numbers, anchors)
            return
        raise self._gone(origin.first())

    def _again(self, origin: Origin) -> tuple[Any, Any, list[int]]:
        number, epoch = self.begin(CallRecord())
        with self._lock:
            origin.hold(self.packer.lent.find)  # a call of its time may run still, so that nothing is forgotten
            asked, answers = origin.repetition(self.packer.lent.lend)
        methods = [[*key, told] for key, told in list(self._told.items())]
        lent, is_lost = list(origins.numbers_in((asked, answers))), False
        self.lent(lent)
        try:
            return self._taken(self._proxy.again(asked, answers, methods).get())
        except IsolateCrashed:
            is_lost = True
            raise
        finally:
            self.end(number, epoch, lent, lost=is_lost)

    def _adopt(self, numbers: list[int], anchors: dict[int, things.Anchor]) -> None:
        for number, count in Counter(numbers).items():
            if number in anchors:
                self.packer.held.moved(number, anchors[number], count)
            else:
                self.packer.held.unused(number, count)

    def begin(self, record: CallRecord) -> tuple[int, int]:
        """A call of the plugin begins; return its number and its epoch."""
        with self._lock:
            number = next(self._numbers)
            self._records[number] = record
            return number, self._epochs.begin()

    def end(self, number: int, epoch: int, lent: list[int], *, lost: bool) -> None:
        """A call has ended, in which these were lent; `lost` if its process has ended in it."""
        with self._lock:
            self._records.pop(number, None)
            self._epochs.end(epoch, lent, lost=lost)
            if not self._is_tidy:
                self._forget_unused()

    def lent(self, numbers: list[int]) -> None:
        """These numbers are sent."""
        if numbers:
            with self._lock:
                self._epochs.lent(numbers)

    def _forget_unused(self) -> None:
        self._is_tidy, unused = self._epochs.are_earlier_over, self._epochs.unused()
        if unused:
            still = self.packer.lent.all_numbers()
            for origin in list(self._origins):
                origin.hold(self.packer.lent.find)
            self.packer.lent.keep_only(still - unused)
            self._epochs.given_back(unused)

    def _heard(self, token: Any, dropped: Any) -> None:
        """A process has said something, and that it does not use these any more."""
        if token != self._token:
            if type(token) is not int or token.bit_length() > 64:
                raise ProtocolError("the plugin's side says what it cannot")
            with self._lock:
                self._token = token
                self._epochs.heard(str(token))
                self._forget_unused()
        if not dropped:
            return
        if type(dropped) is not list or len(dropped) > _MOST_DROPPED or not all(type(one) is int for one in dropped):
            raise ProtocolError("the plugin's side gives back what it cannot")
        went = self.packer.lent.drop(dropped)
        if went:
            with self._lock:
                self._epochs.given_back(went)

    def _taken(self, reply: Any, call: SentCall | None = None) -> tuple[Any, Any, list[int]]:
        """Take what came with an answer; return its kind, its node, and the numbers of what is lent with it."""
        if type(reply) is tuple and len(reply) == 2:  # the usual one: a plain value, and nothing besides
            self._heard(reply[0], None)
            return "ok", ("v", reply[1]), _NOTHING
        if type(reply) is not tuple or len(reply) != 6:
            raise ProtocolError("the plugin's side gives an answer that is not one")
        token, kind, node, lent, dropped, changed = reply
        if type(lent) is not list or not all(type(one) is int for one in lent):
            raise ProtocolError("the plugin's side lends what it cannot")
        self._heard(token, dropped)
        if changed:
            self._change(call, changed)
        return kind, node, lent

    def _change(self, call: SentCall | None, changed: Any) -> None:
        """Do to arguments what the plugin has done to their copies."""
        containers = {} if call is None else call.containers
        if type(changed) is not dict or not changed.keys() <= containers.keys():
            raise ProtocolError("the plugin's side changes what it was not given")
        for place, node in changed.items():
            try:
                changes.restore(containers[place], self.packer.unpacked(node))
            except (TypeError, ValueError) as error:
                raise ProtocolError(f"plugin {self.plugin}: {error}") from error

    def _outcome(self, call: SentCall) -> Any:
        """Return what an answer of the plugin comes to.

        Raises:
            Exception: what it has raised.
        """
        kind, node, lent = call.reply
        try:
            if kind == "raised":
                raise self.packer.error(*node)
            value = things.Method(facts.checked(node)) if kind == "m" else self.packer.unpacked(node)
        except (TypeError, ValueError) as error:
            if kind == "raised" and error.__cause__ is not None:
                raise
            raise ProtocolError(f"plugin {self.plugin}: {error}") from error
        if kind not in ("ok", "m"):
            raise ProtocolError(f"plugin {self.plugin} gives an answer of no kind that there is")
        if lent and call.record.answers is not None:
            self._note_origin(call, lent)
        return value

    def _note_origin(self, call: SentCall, lent: list[int]) -> None:
        """Note what was lent in a call, so that it is found again if its process ends: what has no place of its own."""
        stand_ins = {number: self.packer.held.find(number) for number in set(lent)}
        reaches = {number: things.reach_of(one) for number, one in stand_ins.items() if one is not None}
        anchors = {
            number: reach.anchor
            for number, reach in reaches.items()
            if reach is not None and reach.anchor.origin is None and not _PLACED & set(reach.facts.get("special", ()))
        }
        if anchors and call.record.answers is not None:
            origin = Origin(call.anchor, call.asked[1:], call.record.answers, {**call.lent.own, **call.record.own})
            origin.has_lent(lent, anchors)
            self._origins.add(origin)

    # What the plugin asks of the application

    def asked(
        self,
        token: Any,
        call: Any,
        root: Any,
        path: Any,
        operation: Any,
        args: Any,
        kwargs: Any,
        waits: Any,
        dropped: Any,
    ) -> calls.HostAnswer:
        """Do what the plugin asks for, and return what came of it.

        Raises:
            ProtocolError: if it cannot be asked for.
        """
        self._heard(token, dropped)
        if type(args) is not list or type(kwargs) is not dict or not all(type(name) is str for name in kwargs):
            raise ProtocolError("the plugin's side asks for what it cannot")
        if root == "output":
            return self._printed(path, args)
        answering = calls.HostAnswer(self, self._records.get(call) if type(call) is int else None)
        try:
            given = [self.packer.unpacked(one) for one in args]
            named = {name: self.packer.unpacked(one) for name, one in kwargs.items()}
            thing = self.packer.find(root, path)
            with calls.within(self, call):
                value = performing.perform(self.packer, thing, operation, given, named)
        except BaseException as error:
            answering.fails(error)
            return answering
        if waits is True and performing.is_awaitable(value):
            answering.awaits(value if asyncio.iscoroutine(value) else _awaited(value))
        else:
            answering.has(value, (thing, given[0]) if operation == "get" else None)
        return answering

    def _printed(self, path: Any, args: Any) -> calls.HostAnswer:
        """Write what the plugin has printed to this program's own output."""
        ((_, text),) = args
        stream = {"stdout": sys.stdout, "stderr": sys.stderr}[path[0]]
        answering = calls.HostAnswer(self, None)
        answering.has(None if stream is None else stream.write(str(text)) and None)
        return answering

    def answer_of(self, record: CallRecord | None, of: tuple[Any, str] | None, value: Any) -> Any:
        """Return the answer that is a value; of an attribute of something, what has it, and its name."""
        with self.packer.sending() as lent:
            node = self.packer.packed(value, lent) if of is None else self.packer.packed_attribute(of[0], value, lent)
        reply: Any = ("ok", node)
        if of is not None:
            thing, name = of
            if node[0] == "m":  # not recorded: another process knows it, or is told with what it is to repeat
                cls = type(thing)
                self._told[cls.__module__, cls.__qualname__, name] = node[1]
                return "m", node[1]
        self.lent(lent)
        if record is not None:
            record.answered(reply, lent)
        return reply

    def failed(self, error: BaseException, record: CallRecord | None = None) -> Any:
        """Return the answer that says that what was asked for has failed."""
        with self.packer.sending() as lent:
            reply = "raised", list(self.packer.error_node(error, lent))
        self.lent(lent)
        if record is not None:
            record.answered(reply, lent)
        return reply


async def _awaited(value: Any) -> Any:
    return await value
