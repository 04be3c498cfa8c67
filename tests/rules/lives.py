"""Random lives of one isolate: a world that does what the rules ask for, and users, supervisors and luck that act.

`World` holds the processes and the mailbox as the actions leave them, and checks each action as it is performed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from piactors._rules import actions as do
from piactors._rules.bodies import ProcessEnding, Role
from piactors._rules.lifecycle import Lifecycle
from piactors._rules.moment import Moment
from piactors._rules.parent import Decision, Later
from piactors._rules.phases import Phase, Swap, Wish
from piactors._rules.restart import Again, Exhausted, StayDown
from piactors.exit_reason import ExitReason

NORMAL = ExitReason(kind="normal")
CRASH = ExitReason(kind="signaled", signal=9)
FAILED = ExitReason(kind="start_failed", detail="no luck")


class Parents:
    """A parent of each kind; `alone` decides by luck, as options and budgets may, a supervisor later."""

    def __init__(self, chance: random.Random, *, alone: bool) -> None:
        self.chance, self.alone = chance, alone

    def decide(self, moment: Moment, ending: ProcessEnding, ran_for: float) -> Decision:
        assert ran_for >= 0
        if not self.alone:
            return Later() if not ending.started or self.wants_restart(ending.reason) else StayDown()
        if ending.reason.is_normal:
            return StayDown()
        return Exhausted() if self.chance.random() < 0.1 else Again(0.1, 1)

    def wants_restart(self, reason: ExitReason) -> bool:
        return not reason.is_normal


class World:
    """The processes and the mailbox of one isolate."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = 0.0
        self.alive: dict[int, str] = {}
        """What each process does: starting, ready or ending."""
        self.roles: dict[int, Role] = {}
        self.killed: set[int] = set()
        self.attached: int | None = None
        self.paused = True
        self.shut = False
        self.closed = 0
        self.waits = self.held = False
        self.to_sync: set[int] = set()
        self.stopping: set[int] = set()
        self.seen: Counter[str] = Counter()

    def has_room_beside(self, number: int) -> bool:
        assert number in self.alive
        return self.chance.random() < 0.6

    def lives(self, number: int) -> bool:
        return self.alive[number] != "ending" or self.chance.random() < 0.5

    def perform(self, actions: Iterable[do.Action]) -> None:
        for action in actions:
            assert not self.closed, f"{action} after it was closed"
            self.seen[type(action).__name__] += 1
            performer: Callable[[Any], None] | None = getattr(self, "_" + type(action).__name__.lower(), None)
            if performer is not None:
                performer(action)

    def _launch(self, action: do.Launch) -> None:
        assert action.number not in self.alive
        assert not any(role is action.role for number, role in self.roles.items()), f"two of {action.role}"
        if action.role is Role.SUCCESSOR and self.attached is None:
            assert Role.RETIRING not in self.roles.values(), "there was no room for two"
        self.alive[action.number], self.roles[action.number] = "starting", action.role

    def _assign(self, action: do.Assign) -> None:
        assert action.number in self.alive
        assert self.roles[action.number] is not Role.RETIRING, "one that retires serves again"
        self.roles[action.number] = action.role

    def _retire(self, action: do.Retire) -> None:
        assert self.alive[action.number] in ("ready", "ending")
        assert self.roles[action.number] is Role.RETIRING
        self.alive[action.number] = "ending"

    def _kill(self, action: do.Kill) -> None:
        assert action.number in self.alive
        assert action.number not in self.killed, "the first reason stands"
        self.killed.add(action.number)
        self.alive[action.number] = "ending"

    def _bound(self, action: do.Bound) -> None:
        assert action.number in self.alive

    def _sync(self, action: do.Sync) -> None:
        assert action.number in self.alive
        self.to_sync.add(action.number)

    def _attach(self, action: do.Attach) -> None:
        assert self.roles[action.number] is Role.CURRENT
        self.attached, self.paused, self.shut = action.number, True, False

    def _detach(self, _: do.Detach) -> None:
        assert self.attached is not None
        self.attached, self.paused = None, True

    def _shut(self, _: do.Shut) -> None:
        assert self.attached is not None
        self.shut = True

    def _pause(self, _: do.Pause) -> None:
        assert self.attached is not None
        assert not self.paused
        self.paused = True

    def _resume(self, _: do.Resume) -> None:
        assert self.paused
        self.paused = False

    def _asktostop(self, _: do.AskToStop) -> None:
        assert self.attached is not None
        self.alive[self.attached] = "ending" if self.alive[self.attached] == "ready" else self.alive[self.attached]

    def _wait(self, action: do.Wait) -> None:
        assert not self.waits
        assert action.delay > 0
        self.waits = True

    def _cancelwait(self, _: do.CancelWait) -> None:
        assert self.waits
        self.waits = False

    def _held(self, _: do.Held) -> None:
        assert not self.held
        self.held = True

    def _closed(self, _: do.Closed) -> None:
        self.closed += 1

    def _replaced(self, action: do.Replaced) -> None:
        assert self.attached == action.new
        assert action.warm == (action.old in self.alive)


def check(life: Lifecycle, world: World, *, told_to_stop: bool) -> None:
    """See that the rules know the world as it is, and that what holds always holds."""
    assert set(life.bodies) == set(world.alive), (life.bodies, world.alive)
    assert {number: body.role for number, body in life.bodies.items()} == world.roles
    roles = Counter(world.roles.values())
    assert all(roles[role] <= 1 for role in (Role.CURRENT, Role.SUCCESSOR, Role.STANDBY)), roles
    if life.phase is Phase.RUNNING and life.swap is not Swap.COLD:
        assert life.current is not None
        assert world.attached == life.current
        assert world.paused == (life.swap in (Swap.DRAINING, Swap.HANDING_OVER, Swap.COLD_DRAINING))
    assert life.phase is not Phase.RUNNING or life.current not in world.stopping, "it has said that it stops"
    assert world.shut or life.phase is not Phase.STOPPING, "messages go to a process that stops"
    if life.phase in (Phase.WAITING, Phase.LEAVING, Phase.HELD, Phase.CLOSING, Phase.STOPPED):
        assert life.current is None
        assert world.attached is None
        assert world.paused
    assert world.waits == (life.phase is Phase.WAITING)
    assert world.held == (life.phase is Phase.HELD)
    if world.held and life.halting:
        assert set(roles) <= {Role.STANDBY}, "its supervisor hears of an end before all of it is there"
    if life.phase in (Phase.LEAVING, Phase.CLOSING):
        assert roles.keys() - ({Role.STANDBY} if life.phase is Phase.LEAVING else set()), "it waits for nobody"
    assert (world.closed == 1) == (life.phase is Phase.STOPPED)
    assert life.swap is Swap.NONE or life.phase is Phase.RUNNING
    assert (Role.SUCCESSOR in roles) <= (life.swap is not Swap.NONE)
    assert not told_to_stop or life.phase not in (Phase.WAITING, Phase.LEAVING, Phase.HELD), "it may start again"
    assert not told_to_stop or life.wish is not Wish.NONE, "a stop was taken back"


class Explorer:
    """Takes one isolate through random steps; `life` may be a mutant."""

    def __init__(self, seed: int, make: type[Lifecycle] = Lifecycle) -> None:
        self.chance = random.Random(seed)
        self.world = World(self.chance)
        self.alone = self.chance.random() < 0.5
        parents = Parents(self.chance, alone=self.alone)
        self.life = make(parents, self.world, keeps_standby=self.chance.random() < 0.5)
        self.told_to_stop = False
        self.version = 0

    def run(self, steps: int) -> Counter[str]:
        """Take so many steps, then see that it ends once it is told to, if all do what they are told."""
        self.do("begin")
        for _ in range(steps):
            self.step()
            if self.world.closed:
                break
        self.finish()
        return self.world.seen

    def do(self, name: str, *args: Any) -> None:
        """Give the machine one input, and have what it asks for done."""
        world = self.world
        world.now += self.chance.choice((0.0, 0.1, 3.0))
        if name in ("start_held", "release") and self.life.phase is Phase.HELD:
            world.held = False
        if name == "due":
            world.waits = False
        if name in ("stop", "shut_down", "terminate") and world.held:
            world.held = False
        world.perform(getattr(self.life, name)(Moment(world.now, self.chance.random()), *args))
        check(self.life, world, told_to_stop=self.told_to_stop)

    def step(self) -> None:
        """Do one thing that may happen."""
        chance, alive = self.chance, self.world.alive
        number = chance.choice(list(alive)) if alive else 0
        weights = [
            (self._users, 3),
            (self._supervisor, 6 if not self.alone else 0),
            (self._timers, 10),
            (self._replacement, 10),
            (self._news, 60),
        ]
        what = chance.choices([step for step, _ in weights], [weight for _, weight in weights])[0]
        what(number)

    def _users(self, number: int) -> None:
        name = self.chance.choice(["stop", "shut_down", "terminate", "own_stop", "own_stop", "own_stop"])
        if name == "own_stop":
            if self.world.alive.get(number) == "ready":
                self.do(name, number)
            return
        self.told_to_stop = True
        self.do(name)

    def _supervisor(self, _: int) -> None:
        name = self.chance.choice(["halt", "kill", "start_held", "start_held", "start_held", "release"])
        self.do(name, *(["killed by its supervisor"] if name == "kill" else []))

    def _timers(self, _: int) -> None:
        name = self.chance.choice(["due", "drained", "standby_due"])
        if name == "due" and not self.world.waits:
            return
        self.do(name)

    def _replacement(self, _: int) -> None:
        version = None
        if self.chance.random() < 0.3:
            self.version += 1
            version = self.version
        self.do("replace", "asked for", version)

    def _news(self, number: int) -> None:
        world, chance = self.world, self.chance
        state = world.alive.get(number, "")
        if number in world.to_sync and chance.random() < 0.7:
            world.to_sync.discard(number)
            self.do("synced", number)
        elif state == "starting" and chance.random() < 0.7:
            world.alive[number] = "ready"
            self.do("ready", number)
        elif state == "ready" and chance.random() < 0.15:
            if world.roles[number] is Role.CURRENT:  # of others it is a fault
                world.stopping.add(number)
            self.do("stop_begun", number, chance.choice([NORMAL, CRASH]))
        elif state == "ready" and chance.random() < 0.1:
            world.killed.add(number)
            world.alive[number] = "ending"
            self.do("doom", number)
        elif state == "ending" or (state and chance.random() < 0.2):
            self.gone(number)

    def gone(self, number: int) -> None:
        """A process ends, in any way."""
        started = self.life.bodies[number].ready
        reason = self.chance.choice([NORMAL, CRASH]) if started else FAILED
        del self.world.alive[number], self.world.roles[number]
        self.world.to_sync.discard(number)
        chance = self.chance.random
        lacked, made, lost = not started and chance() < 0.3, started or chance() < 0.8, chance() < 0.2
        self.do("gone", number, ProcessEnding(reason, started=started, made=made, lost=lost, lacked=lacked))

    def finish(self) -> None:
        """Tell it to end, in one of the ways, let everybody do what they are told, and see that it is closed, once."""
        if not self.world.closed:
            self.told_to_stop = True
            how = self.chance.choice(["stop", "shut_down", "terminate"])
            self.do(how)
            for _ in range(60):
                if self.world.closed:
                    break
                self._obey()
        assert self.life.phase is Phase.STOPPED, (self.life.phase, self.life.swap, self.life.bodies)
        assert not self.world.alive

    def _obey(self) -> None:
        """Let each do what it has been told, and nothing else."""
        world = self.world
        for number, state in list(world.alive.items()):
            if number not in world.alive:
                continue
            if number in world.to_sync:
                world.to_sync.discard(number)
                self.do("synced", number)
            elif state == "starting":
                world.alive[number] = "ready"
                self.do("ready", number)
            elif state == "ending":
                self.gone(number)
            elif number == world.attached and not world.paused:  # the message that tells it to stop has come to it
                world.stopping.add(number)
                self.do("stop_begun", number, NORMAL)
                world.alive[number] = "ending"
        if world.paused and world.attached is not None:
            self.do("drained")
        if world.waits:
            self.do("due")
        if world.held:
            self.do("release")
