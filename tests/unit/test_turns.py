"""Rules of `piactors._rules.read_turns`, and all interleavings of two callers, the loop and an isolate around them.

The explorer takes no thread: a state of the little world below is a value, a step is what `piactors._io.reader` does
under its lock without letting go, and every order of steps is tried.
"""

from __future__ import annotations

import pickle
from collections import deque
from typing import Any

import pytest

from piactors._rules import read_turns as turns_module
from piactors._rules.mailbox import Evidence, Mailbox
from piactors._rules.message import Message
from piactors._rules.read_turns import ReadTurn

ME, YOU = 1, 2

# Rules


def test_the_loop_watches_until_a_caller_takes_the_turn() -> None:
    """And one caller has it at a time."""
    turns = ReadTurn()
    assert turns.watched
    assert turns.take(ME)
    assert (turns.watched, turns.reader) == (False, ME)
    assert not turns.take(YOU)
    assert turns.reader == ME


def test_a_channel_rests_after_a_turn() -> None:
    """Nobody watches it; the next caller takes it, or the loop does where it has been unused."""
    turns = ReadTurn()
    turns.take(ME)
    assert not turns.give_back(0, answers_due=False)
    assert (turns.watched, turns.reader) == (False, None)
    assert turns.take(YOU)
    turns.give_back(0, answers_due=False)
    assert not turns.unused()
    assert turns.unused()
    assert turns.watch()
    assert turns.watched


def test_answers_due_or_handed_over_make_the_loop_watch() -> None:
    """At once, and only once."""
    for handed in (False, True):
        turns = ReadTurn()
        turns.take(ME)
        if handed:
            turns.hand_over()
        assert turns.give_back(0, answers_due=not handed)
        assert turns.watched
        assert not turns.watch()


def test_the_loop_does_not_watch_while_a_caller_reads() -> None:
    """Nor is that time without use."""
    turns = ReadTurn()
    turns.take(ME)
    assert not turns.watch()
    turns.unused()
    assert not turns.unused()


def test_a_turn_within_a_turn_ends_with_the_outer_one() -> None:
    """A signal handler may call while its thread reads; that one reads on."""
    turns = ReadTurn()
    assert turns.take(ME)
    depth = turns.depth
    assert turns.take(ME)
    assert not turns.give_back(depth, answers_due=True)
    assert turns.reader == ME
    assert not turns.take(YOU)
    assert turns.give_back(0, answers_due=True)
    assert turns.reader is None


def test_a_turn_may_be_given_back_twice() -> None:
    """An interrupted giving back is done again."""
    turns = ReadTurn()
    turns.take(ME)
    turns.give_back(0, answers_due=False)
    turns.give_back(0, answers_due=False)
    assert turns.take(YOU)
    assert turns.reader == YOU
    turns.give_back(0, answers_due=False)
    assert turns.reader is None


def test_what_waits_for_the_loop_goes_first() -> None:
    """No caller reads on before the loop has handled it."""
    turns = ReadTurn()
    turns.take(ME)
    turns.hand_over()
    turns.give_back(0, answers_due=False)
    assert not turns.take(YOU)
    turns.taken_over()
    assert turns.take(YOU)


def test_nobody_reads_or_watches_what_is_closed() -> None:
    """Whoever reads gives back, and nothing follows."""
    turns = ReadTurn()
    turns.take(ME)
    turns.close()
    assert not turns.take(ME)
    assert not turns.give_back(0, answers_due=True)
    assert not turns.watch()
    assert not turns.take(YOU)


# All interleavings


class Violation(AssertionError):
    """A rule is broken."""


class Line:
    """One generation's channel: what is in the socket, what was received, and who reads."""

    def __init__(self) -> None:
        self.turns = turns_module.ReadTurn()
        self.to_isolate: deque[int] = deque()
        self.in_socket: deque[tuple[str, int]] = deque()
        self.frames: deque[tuple[str, int]] = deque()
        self.written: list[tuple[str, int]] = []
        self.handled: list[tuple[str, int]] = []
        self.lock = ""
        self.taking_off = 0
        self.tick = False
        self.asked = self.watch_due = False
        self.calls = 0
        self.begun = 0
        self.running = 0
        self.alive = True

    def key(self) -> tuple[Any, ...]:
        turns = self.turns
        return (
            turns.reader,
            turns.watched,
            turns.closed,
            turns.handed,
            turns.used,
            turns.depth,
            tuple(self.to_isolate),
            tuple(self.in_socket),
            tuple(self.frames),
            tuple(self.handled),
            self.lock,
            self.taking_off,
            self.tick,
            self.asked,
            self.watch_due,
            self.calls,
            self.begun,
            self.running,
            self.alive,
        )


class World:
    """Callers, the loop and the isolate."""

    def __init__(self, waits: tuple[bool, ...], deaths: int, requests: int) -> None:
        self.waits = waits
        self.pc = ["put"] * len(waits)
        self.on = [-1] * len(waits)
        self.outcomes: list[list[str]] = [[] for _ in waits]
        self.wanted: set[int] = set()
        self.due: dict[int, str] = {}
        self.mailbox = Mailbox(2, 1000)
        self.lines = [Line()]
        self.deaths = deaths
        self.requests = requests
        self.put_order: list[int] = []
        self.begun_order: list[int] = []

    def key(self) -> tuple[Any, ...]:
        waiting = tuple(message.reply_to for message in self.mailbox._waiting)
        in_flight = tuple((message.seq, message.reply_to) for message in self.mailbox.unanswered())
        return (
            tuple(self.pc),
            tuple(self.on),
            tuple(map(tuple, self.outcomes)),
            frozenset(self.wanted),
            tuple(self.due.items()),
            waiting,
            in_flight,
            self.mailbox.last_seq,
            tuple(line.key() for line in self.lines),
            self.deaths,
            self.requests,
            tuple(self.put_order),
            tuple(self.begun_order),
        )

    @property
    def line(self) -> Line:
        return self.lines[-1]

    # What may happen next

    def steps(self) -> list[tuple[str, int]]:
        found = [(pc, caller) for caller, pc in enumerate(self.pc) if self._may(caller, pc)]
        line = self.line
        if line.alive:
            found += [("begin", 0)] if line.to_isolate and not line.running else []
            found += [("answer", 0)] if line.running else []
            found += [("request", 0)] if self.requests else []
            found += [("die", 0)] if self.deaths and self.put_order else []
        if not line.lock:
            reads = (line.turns.watched and line.in_socket) or line.calls
            found += [("loop_read", 0)] if reads and not line.turns.closed else []
            found += [("look", 0)] if line.tick else []
            found += [("loop_watch", 0)] if line.watch_due else []
            found += [("ended", 0)] if not line.alive else []
        elif line.lock == "loop":
            found.append(("handle", -1))
        return found

    def _may(self, caller: int, pc: str) -> bool:
        line = self.lines[self.on[caller]]
        if pc == "put":  # of two that are alike, it does not matter which is the first
            return not caller or self.waits[caller] != self.waits[0] or self.pc[0] != "put"
        if pc == "watch":
            return True
        if pc == "handle":
            return line.lock == str(caller)
        if pc in ("borrow", "give"):
            return not (line if pc == "give" else self.line).lock
        if pc == "read":
            wakes = self.outcomes[caller] or line.turns.closed or line.turns.handed or line.in_socket
            return bool(wakes) and not line.lock
        return pc == "latched" and bool(self.outcomes[caller])

    # Steps

    def do(self, step: str, caller: int) -> None:
        getattr(self, f"_{step}")(caller)
        self._check()

    def _put(self, caller: int) -> None:
        message = Message("call", b"x", caller)
        self.put_order.append(caller)
        self.mailbox.put(message)
        if self.mailbox.next_to_send() is not None:
            self.line.to_isolate.append(message.seq)
        self.pc[caller] = "borrow" if self.waits[caller] else "watch"

    def _watch(self, caller: int) -> None:
        """Say that the answer is wanted, and have the loop see to it; no lock is taken here."""
        self.wanted.add(caller)
        self.line.asked = self.line.watch_due = True
        self.pc[caller] = "latched"

    def _loop_watch(self, _: int) -> None:
        line = self.line
        line.watch_due = False
        line.turns.watch()
        line.asked = not line.turns.watched  # then whoever has the turn sees to it

    def _borrow(self, caller: int) -> None:
        taken = self.line.turns.take(caller + 1)
        self.on[caller] = len(self.lines) - 1
        self.pc[caller] = "read" if taken else "watch"

    def _read(self, caller: int) -> None:
        line = self.lines[self.on[caller]]
        if self.outcomes[caller] or line.turns.closed or line.turns.handed:
            self.pc[caller] = "give"
            return
        self._receive(line)
        line.lock = str(caller)
        self.pc[caller] = "handle"

    @staticmethod
    def _receive(line: Line) -> None:
        line.frames.extend(line.in_socket)
        line.in_socket.clear()

    def _handle(self, caller: int) -> None:
        """One step of the handling of frames under the reader's lock: an answer's future first, its number then."""
        line = self.line if caller < 0 else self.lines[self.on[caller]]
        if line.taking_off:
            self.mailbox.complete(self.mailbox.expect(line.taking_off))
            line.taking_off = 0
            while (following := self.mailbox.next_to_send()) is not None:
                line.to_isolate.append(following.seq)
            line.frames.popleft()
        elif not line.frames:
            self._let_go(line, caller)
        elif line.frames[0][0] == "reply":
            self._log(line, line.frames[0])
            line.taking_off = line.frames[0][1]
            self._settle(self.mailbox.expect(line.taking_off).reply_to, "reply")
        elif caller >= 0:
            line.turns.hand_over()
            line.calls += 1
            self._let_go(line, caller)
        else:
            self._log(line, line.frames.popleft())

    def _let_go(self, line: Line, caller: int) -> None:
        line.lock = ""
        if caller >= 0:
            self.pc[caller] = "read"

    @staticmethod
    def _log(line: Line, frame: tuple[str, int]) -> None:
        line.handled.append(frame)
        if line.handled != line.written[: len(line.handled)]:
            raise Violation(f"handled {line.handled} of {line.written}")

    def _settle(self, caller: int, outcome: str) -> None:
        self.outcomes[caller].append(outcome)

    def _give(self, caller: int) -> None:
        line = self.lines[self.on[caller]]
        wanted = any(message.reply_to in self.wanted for message in self.mailbox.unanswered())
        line.turns.give_back(0, answers_due=line.asked or wanted)
        line.asked = False
        if not line.turns.watched and not line.turns.closed:
            line.tick = True
        self.pc[caller] = "done" if self.outcomes[caller] else "watch"

    def _latched(self, caller: int) -> None:
        self.pc[caller] = "done"

    def _begin(self, _: int) -> None:
        line = self.line
        line.running = line.begun = line.to_isolate.popleft()
        self.begun_order.append(self.mailbox.expect(line.running).reply_to)

    def _answer(self, _: int) -> None:
        line = self.line
        self._write(("reply", line.running))
        line.running = 0

    def _request(self, _: int) -> None:
        self.requests -= 1
        self._write(("request", 0))

    def _write(self, frame: tuple[str, int]) -> None:
        self.line.in_socket.append(frame)
        self.line.written.append(frame)

    def _die(self, _: int) -> None:
        """From here on it is known what becomes of each call."""
        line = self.line
        self.deaths -= 1
        line.alive = False
        for message in self.mailbox.unanswered():
            replied = ("reply", message.seq) in line.written
            self.due[message.reply_to] = "reply" if replied else "crashed" if message.seq <= line.begun else "later"

    def _loop_read(self, _: int) -> None:
        line = self.line
        line.calls = max(0, line.calls - 1)
        line.turns.taken_over()
        self._receive(line)
        line.lock = "loop"

    def _look(self, _: int) -> None:
        line = self.line
        if line.turns.closed:
            line.tick = False
        elif line.turns.unused():
            line.tick = False
            line.turns.watch()

    def _ended(self, _: int) -> None:
        """The news of the end: what it has written is handled, then the verdict, then the next generation."""
        line = self.line
        line.turns.taken_over()
        self._receive(line)
        while line.frames or line.taking_off:
            self._handle(-1)
        line.turns.close()
        line.tick = False
        for message in self.mailbox.generation_ended(Evidence(line.begun)).crashed:
            self._settle(message.reply_to, "crashed")
        self.lines.append(Line())
        while (message := self.mailbox.next_to_send()) is not None:
            self.line.to_isolate.append(message.seq)

    # Rules

    def _check(self) -> None:
        for caller, outcomes in enumerate(self.outcomes):
            if len(outcomes) > 1:
                raise Violation(f"call {caller} ended twice: {outcomes}")
            if outcomes and self.due.get(caller, "later") not in ("later", outcomes[0]):
                raise Violation(f"call {caller} ended with {outcomes[0]}, not with {self.due[caller]}")
        fresh = list(dict.fromkeys(self.begun_order))
        if fresh != self.put_order[: len(fresh)]:
            raise Violation(f"begun in the order {fresh}, put in {self.put_order}")
        for number, line in enumerate(self.lines):
            turns = line.turns
            reading = [c for c, pc in enumerate(self.pc) if self.on[c] == number and pc in ("read", "handle", "give")]
            if len(reading) > 1:
                raise Violation(f"{reading} read at once")
            if not turns.closed and not reading and not turns.watched and not line.tick:
                raise Violation("nobody reads, and nothing will change that")

    def check_end(self) -> None:
        """Nothing more can happen: all calls have ended."""
        stuck = [c for c, outcomes in enumerate(self.outcomes) if not outcomes or self.pc[c] != "done"]
        if stuck:
            raise Violation(f"callers {stuck} hang: {self.pc} {self.outcomes} {self.line.key()}")
        for line in self.lines:
            if line.handled != line.written:
                raise Violation(f"handled {line.handled}, of {line.written}")


def explore(world: World) -> int:
    """Try all orders of steps; how many states there are.  From each of them the end has to be within reach."""
    before: dict[int, list[int]] = {0: []}
    numbers = {world.key(): 0}
    ends: list[int] = []
    todo = [(0, world)]
    while todo:
        number, world = todo.pop()
        steps = world.steps()
        if not steps:
            world.check_end()
            ends.append(number)
            continue
        copies = pickle.dumps(world, -1)
        for step, caller in steps:
            following = pickle.loads(copies)
            following.do(step, caller)
            key = following.key()
            if key not in numbers:
                numbers[key] = len(numbers)
                before[numbers[key]] = []
                todo.append((numbers[key], following))
            before[numbers[key]].append(number)
    good = set(ends)
    while ends:
        for number in before[ends.pop()]:
            if number not in good:
                good.add(number)
                ends.append(number)
    if len(good) < len(numbers):
        raise Violation(f"of {len(numbers)} states, {len(numbers) - len(good)} never come to an end")
    return len(numbers)


BOTH, ONE = (True, True), (True, False)
WORLDS = [(BOTH, 0, 0), (BOTH, 0, 1), (ONE, 0, 1), (BOTH, 1, 0), (ONE, 1, 0)]
"""Which callers wait in a thread, how often the isolate may die, and how many requests it may make."""


@pytest.mark.parametrize(("waits", "deaths", "requests"), WORLDS)
def test_every_interleaving_ends_each_call_once(waits: tuple[bool, ...], deaths: int, requests: int) -> None:
    """Rightly, in order, one reader at a time, and never with nobody who will read."""
    assert explore(World(waits, deaths, requests)) > 100


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("waits", "deaths", "requests"), [(BOTH, 1, 1), (ONE, 1, 1)])
def test_every_interleaving_with_a_death_and_a_request(waits: tuple[bool, ...], deaths: int, requests: int) -> None:
    """The same, of larger worlds."""
    assert explore(World(waits, deaths, requests)) > 1000


class SharedTurns(ReadTurn):
    """Broken: several callers read at once."""

    def take(self, thread: int) -> bool:
        self.reader = None
        return super().take(thread)


class DeafTurns(ReadTurn):
    """Broken: the loop is not told to watch."""

    def watch(self) -> bool:
        return False


class KeptTurns(ReadTurn):
    """Broken: the turn is not given back."""

    def give_back(self, depth: int, *, answers_due: bool) -> bool:
        return False


class HastyWorld(World):
    """Broken: the verdict comes before what was written is read."""

    def _ended(self, caller: int) -> None:
        self.line.in_socket.clear()
        super()._ended(caller)


class TicklessWorld(World):
    """Broken: nobody looks after an unwatched channel."""

    def _give(self, caller: int) -> None:
        super()._give(caller)
        self.line.tick = False


@pytest.mark.parametrize("broken", [SharedTurns, DeafTurns, KeptTurns, HastyWorld, TicklessWorld])
def test_the_explorer_notices_a_broken_rule(broken: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these variants is caught in one of the worlds."""
    world: type[World] = broken if issubclass(broken, World) else World
    if world is World:
        monkeypatch.setattr(turns_module, "ReadTurn", broken)
    assert any(is_broken(world(*size)) for size in WORLDS)


def is_broken(world: World) -> bool:
    try:
        explore(world)
    except Violation:
        return True
    return False
