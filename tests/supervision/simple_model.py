"""The rules of OTP's `supervisor`, written down a second time: synchronous, with lists, and in no way fast.

It knows nothing of `piactors`, so what `piactors` decides can be compared with it.  Where it goes beyond OTP
(budgets of single children, exits that cost nothing, waits before restarts), it does the simplest thing that fits.
"""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Waits:
    """How long restarts wait: `initial`, times `factor` each time, up to `maximum` seconds."""

    initial: float
    factor: float
    maximum: float
    reset_after: float | None = None
    max_attempts: int | None = None


@dataclasses.dataclass(frozen=True)
class ChildSpec:
    """A child's specification; `own`: max_restarts and within of a budget of its own."""

    id: str
    restart: str = "permanent"
    significant: bool = False
    own: tuple[int, float] | None = None
    escalates: bool = True
    waits: Waits | None = None


@dataclasses.dataclass(frozen=True)
class TreeSpec:
    """A supervisor's flags; `max_restarts` None: no limit."""

    strategy: str
    max_restarts: int | None = 3
    within: float = 5.0
    auto_shutdown: str = "never"
    waits: Waits | None = None


@dataclasses.dataclass
class Counted:
    """A restart that counts, and how old it is."""

    id: str
    age: float = 0.0


@dataclasses.dataclass(eq=False)
class SimpleChild:
    """A child: `pid` is a number, "restarting", or None.

    Attributes:
        token: which restart it waits for, so that a message about another one is known to be old.
        wait: how long its backoff still lasts, or None where none is under way.
        ran: how long it has been running.
        attempt: restarts since it last ran for long enough.
        restarts: how often it was started again without anybody asking for it.
    """

    spec: ChildSpec
    pid: int | str | None = None
    token: int = 0
    wait: float | None = None
    ran: float = 0.0
    attempt: int = 0
    restarts: int = 0
    counted: list[Counted] = dataclasses.field(default_factory=list)

    @property
    def state(self) -> str:
        """``running``, ``restarting`` or ``stopped``."""
        if self.pid == "restarting":
            return "restarting"
        return "stopped" if self.pid is None else "running"


class SimpleSupervisor:
    """One supervisor with its children, which start and stop at once; `failing`: which starts fail, from 0."""

    def __init__(self, spec: TreeSpec, failing: frozenset[int]) -> None:
        self.spec = spec
        self.failing = failing
        self.children: list[SimpleChild] = []
        self.alive = True
        self.log: list[str] = []
        self.answers: list[tuple[int, str]] = []
        self._mailbox: list[tuple[Any, ...]] = []
        self._counted: list[Counted] = []
        self._waiting: list[SimpleChild] = []
        self._living: set[int] = set()
        self._starts = 0
        self._tokens = 0

    # What a test does and sees

    def start(self, specs: list[ChildSpec]) -> None:
        """Start it with these children; it ends at once where one of them fails."""
        self.children = [SimpleChild(spec) for spec in specs]
        failed = self._start_all(self.children, again=False)
        if failed is not None:
            self._end(f"start of {failed.spec.id}")

    def kill(self, id: str, how: str) -> None:
        """End a child's process, if there is one: "crash", "normal", "wanted" or "uncharged"."""
        for child in self.children:
            if child.spec.id == id and child.pid in self._living:
                self._living.discard(child.pid)
                self._mailbox.append(("exit", child.pid, how))

    def call(self, number: int, name: str, argument: Any) -> None:
        """Put a call into its mailbox; its result appears in `answers`."""
        self._mailbox.append(("call", number, name, argument))

    def shut_down(self) -> None:
        """Tell it to end."""
        self._mailbox.append(("stop",))

    def handle_all(self) -> None:
        """Handle what the mailbox holds, and what that leads to."""
        while self._mailbox and self.alive:
            self._handle(*self._mailbox.pop(0))

    def elapse(self, seconds: float) -> None:
        """Let time pass."""
        while self.alive:
            first = min(self._waiting, key=lambda child: child.wait or 0.0, default=None)
            if first is None or first.wait is None or first.wait > seconds:
                break
            seconds -= first.wait
            self._grow_older(first.wait)
            self._mailbox.append(("waited", first.spec.id, first.token))
            self.handle_all()
        self._grow_older(seconds)

    def view(self) -> list[tuple[str, str, int]]:
        """Return id, state and restarts of each child, in order."""
        return [(child.spec.id, child.state, child.restarts) for child in self.children]

    # Messages

    def _handle(self, kind: str, *args: Any) -> None:
        if kind == "stop":
            self._end("shutdown")
        elif kind == "call":
            number, name, argument = args
            self.answers.append((number, getattr(self, f"_{name}")(argument)))
        elif kind == "exit":
            self._exited(*args)
        else:
            self._goes_on(kind, *args)

    def _exited(self, pid: int, how: str) -> None:
        for child in self.children:
            if child.pid == pid:
                self._ran(child)
                kind = child.spec.restart
                if how == "wanted":
                    self._remove(child)
                elif kind == "temporary" or (kind == "transient" and how == "normal"):
                    self._remove(child)
                    self._auto_shutdown(child)
                else:
                    self._restart(child, charged=how != "uncharged")
                return

    def _goes_on(self, kind: str, id: str, token: int) -> None:
        child = self._find(id)
        if child is None or child.pid != "restarting" or child.token != token:
            return
        if kind == "waited":
            self._wait_ends(child)
            self._restart_group(child)
        else:
            self._restart(child, charged=True)

    # Calls

    def _start_child(self, spec: ChildSpec) -> str:
        old = self._find(spec.id)
        if old is not None:
            return "ChildAlreadyStarted" if isinstance(old.pid, int) else "ChildAlreadyPresent"
        child = SimpleChild(spec)
        if not self._start_one(child):
            return "did not start"
        self.children.append(child)
        return "ok"

    def _terminate_child(self, id: str) -> str:
        child = self._find(id)
        if child is None:
            return "ChildNotFound"
        self._terminate(child)
        self._remove(child)
        return "ok"

    def _restart_child(self, id: str) -> str:
        child = self._find(id)
        refusal = self._refusal(child)
        if refusal is None and child is not None:
            return "ok" if self._start_one(child) else "did not start"
        return str(refusal)

    def _delete_child(self, id: str) -> str:
        child = self._find(id)
        refusal = self._refusal(child)
        if refusal is None and child is not None:
            self.children.remove(child)
            return "ok"
        return str(refusal)

    @staticmethod
    def _refusal(child: SimpleChild | None) -> str | None:
        if child is None:
            return "ChildNotFound"
        if child.pid == "restarting":
            return "ChildRestarting"
        return None if child.pid is None else "ChildRunning"

    # Restarts

    def _restart(self, child: SimpleChild, charged: bool) -> None:
        waits = child.spec.waits or self.spec.waits
        child.pid = None
        if not charged:
            self._restart_group(child)
            return
        child.attempt += 1
        spent = waits is not None and waits.max_attempts is not None and child.attempt > waits.max_attempts
        allowed = self._count(child)
        if spent or not allowed:
            self._give_up(child, ends=child.spec.escalates or (child.spec.own is None and not allowed))
        elif waits is not None and waits.initial > 0:
            child.pid, child.token = "restarting", self._new_token()
            child.wait = min(waits.maximum, waits.initial * waits.factor ** (child.attempt - 1))
            self._waiting.append(child)
        else:
            self._restart_group(child)

    def _count(self, child: SimpleChild) -> bool:
        own = child.spec.own
        counted = self._counted if own is None else child.counted
        most, within = (self.spec.max_restarts, self.spec.within) if own is None else own
        counted.append(Counted(child.spec.id))
        counted[:] = [one for one in counted if one.age <= within]
        return most is None or len(counted) <= most

    def _give_up(self, child: SimpleChild, ends: bool) -> None:
        if ends:
            self._remove(child)
            self._end("shutdown")
        else:
            self._remove(child)
            self._auto_shutdown(child)

    def _restart_group(self, child: SimpleChild) -> None:
        child.pid = None
        at = self.children.index(child)
        group = {
            "one_for_one": [child],
            "one_for_all": list(self.children),
            "rest_for_one": self.children[at:],
        }[self.spec.strategy]
        for other in reversed(group):
            self._terminate(other)
            self._remove(other)
        failed = self._start_all([other for other in group if other in self.children], again=True)
        if failed is not None:
            failed.pid, failed.token = "restarting", self._new_token()
            self._mailbox.append(("try again", failed.spec.id, failed.token))

    def _auto_shutdown(self, child: SimpleChild) -> None:
        if not child.spec.significant or self.spec.auto_shutdown == "never":
            return
        others = [other for other in self.children if other.spec.significant and other.pid is not None]
        if self.spec.auto_shutdown == "any_significant" or not others:
            self._end("shutdown")

    def _end(self, why: str) -> None:
        for child in reversed(self.children):
            self._terminate(child)
        self.alive = False
        self.log.append(f"ended: {why}")

    # Children

    def _start_all(self, children: list[SimpleChild], again: bool) -> SimpleChild | None:
        """Start them up to the first that fails; return that."""
        for child in children:
            child.restarts += again
            if not self._start_one(child):
                return child
        return None

    def _start_one(self, child: SimpleChild) -> bool:
        number, self._starts = self._starts, self._starts + 1
        if number in self.failing:
            self.log.append(f"start failed {child.spec.id}")
            return False
        self.log.append(f"started {child.spec.id}")
        child.pid, child.ran = number, 0.0
        self._living.add(number)
        return True

    def _terminate(self, child: SimpleChild) -> None:
        """Stop its process, or call off its restart."""
        if isinstance(child.pid, int):
            self.log.append(f"stopped {child.spec.id}")
            self._living.discard(child.pid)
            self._ran(child)
        self._wait_ends(child)
        child.pid = None

    def _remove(self, child: SimpleChild) -> None:
        """Forget its process, and a temporary child altogether."""
        child.pid = None
        if child.spec.restart == "temporary":
            self.children.remove(child)

    def _find(self, id: str) -> SimpleChild | None:
        return next((child for child in self.children if child.spec.id == id), None)

    # Time

    def _ran(self, child: SimpleChild) -> None:
        waits = child.spec.waits or self.spec.waits
        if waits is not None and waits.reset_after is not None and child.ran >= waits.reset_after:
            child.attempt = 0

    def _wait_ends(self, child: SimpleChild) -> None:
        child.wait = None
        if child in self._waiting:
            self._waiting.remove(child)

    def _grow_older(self, seconds: float) -> None:
        """Time passes, except for the past of children that wait."""
        waiting = {child.spec.id for child in self._waiting}
        for one in self._counted + [one for child in self.children for one in child.counted]:
            one.age += 0.0 if one.id in waiting else seconds
        for child in self.children:
            child.ran += seconds
            if child.wait is not None:
                child.wait -= seconds

    def _new_token(self) -> int:
        self._tokens += 1
        return self._tokens
