"""The rules of one isolate's life, one script each: what goes in, and exactly what it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from piactors._rules import actions as do
from piactors._rules.bodies import ProcessEnding, Role
from piactors._rules.lifecycle import Lifecycle
from piactors._rules.moment import Moment
from piactors._rules.parent import Decision, Later
from piactors._rules.phases import Phase, Swap, Wish
from piactors._rules.replacement import FIRST_PAUSE, LONGEST_PAUSE, PAUSE_AFTER_FAILURE
from piactors._rules.restart import Again, Exhausted, StayDown
from piactors.exit_reason import ExitReason

NORMAL = ExitReason(kind="normal")
CRASH = ExitReason(kind="signaled", signal=9)
SHUTDOWN = ExitReason(kind="shutdown")
FAILED = ProcessEnding(ExitReason(kind="start_failed"), started=False)
UNTOLD = do.Detach(reported=False)
NOT_NEEDED = ("shutdown", "it is not needed any more")


@attrs.define
class Scene:
    """A parent and a world that say what a test wants, and what they were asked."""

    decision: Decision = attrs.field(factory=lambda: Again(0.5, 1))
    restarts: bool = True
    room: bool = True
    dead: set[int] = attrs.field(factory=set)
    asked: list[tuple[ProcessEnding, float]] = attrs.field(factory=list)

    def decide(self, moment: Moment, ending: ProcessEnding, ran_for: float) -> Decision:
        self.asked.append((ending, ran_for))
        return self.decision

    def wants_restart(self, reason: ExitReason) -> bool:
        return self.restarts

    def has_room_beside(self, number: int) -> bool:
        return self.room

    def lives(self, number: int) -> bool:
        return number not in self.dead


class Life:
    """One machine, and a clock that a test moves: `life.stop()` gives the input `stop`."""

    def __init__(self, scene: Scene, **options: Any) -> None:
        self.machine = Lifecycle(scene, scene, **options)
        self.now = 100.0

    def __getattr__(self, name: str) -> Any:
        return lambda *args: getattr(self.machine, name)(Moment(self.now), *args)

    def run(self) -> list[do.Action]:
        """Bring it to where its first process runs."""
        return [*self.begin(), *self.ready(1), *self.synced(1)]


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def life(scene: Scene) -> Iterator[Life]:
    life = Life(scene)
    yield life
    if life.machine.phase is Phase.STOPPED:
        for late in (life.due, life.drained, life.stop, life.halt, life.terminate, life.start_held, life.release):
            assert late() == [], "something follows the end"


@pytest.fixture
def kept(scene: Scene) -> Life:
    """One with a standby, where both run."""
    life = Life(scene, keeps_standby=True)
    life.run()
    life.ready(2)
    assert life.machine.bodies[2].role is Role.STANDBY
    return life


# Starts


def test_a_first_start(life: Life) -> None:
    assert life.begin() == [do.Launch(1, Role.CURRENT, 0), do.Attach(1)]
    assert life.ready(1) == [do.Sync(1)]
    assert life.synced(1) == [do.Resume(), do.Started(1)]
    assert life.machine.phase is Phase.RUNNING
    assert life.begin() == life.ready(1) == life.synced(1) == []


def test_a_first_start_that_fails_is_the_end_whatever_the_parent_would_say(life: Life, scene: Scene) -> None:
    life.begin()
    assert life.gone(1, FAILED) == [do.Detach(), do.Closed(FAILED, wanted=False)]
    assert scene.asked == []


def test_who_asks_for_a_stop_during_the_first_start_has_it_started_and_stopped(life: Life) -> None:
    """What waits runs first."""
    life.begin()
    assert life.stop() == []
    assert life.ready(1) == [do.Sync(1)]
    assert life.synced(1) == [do.Resume(), do.Started(1)]
    assert life.stop_begun(1, SHUTDOWN) == [do.Shut(), do.FailWaiting(False, SHUTDOWN), do.Bound(1)]
    assert life.machine.is_final
    assert life.gone(1, ProcessEnding(SHUTDOWN)) == [do.Detach(), do.Closed(ProcessEnding(SHUTDOWN), wanted=True)]


def test_news_of_a_process_that_is_to_be_killed_change_nothing(life: Life) -> None:
    life.begin()
    assert life.doom(1) == life.ready(1) == life.synced(1) == []


# Ends and what follows


def test_a_crash_is_followed_by_what_the_parent_says(life: Life, scene: Scene) -> None:
    life.run()
    life.now += 7
    assert life.gone(1, ProcessEnding(CRASH)) == [do.Detach(), do.Wait(0.5, 1)]
    assert scene.asked == [(ProcessEnding(CRASH), 7.0)]
    assert life.machine.phase is Phase.WAITING
    assert life.due() == [do.Launch(2, Role.CURRENT, 0), do.Attach(2)]
    assert life.gone(2, FAILED) == [do.Detach(), do.Wait(0.5, 1)]
    assert scene.asked[1] == (FAILED, 0.0)


@pytest.mark.parametrize(("decision", "more"), [(StayDown(), []), (Exhausted(), [do.Exceeded()])])
def test_no_other_process_follows(life: Life, scene: Scene, decision: Decision, more: list[do.Action]) -> None:
    scene.decision = decision
    life.run()
    assert life.gone(1, ProcessEnding(CRASH)) == [do.Detach(), *more, do.Closed(ProcessEnding(CRASH), wanted=False)]


def test_a_supervisor_decides_later(life: Life, scene: Scene) -> None:
    scene.decision = Later()
    life.run()
    assert life.gone(1, ProcessEnding(CRASH)) == [do.Detach(), do.Held(ProcessEnding(CRASH))]
    assert life.due() == []
    assert life.start_held() == [do.Launch(2, Role.CURRENT, 0), do.Attach(2)]
    assert life.start_held() == []


def test_a_supervisor_lets_it_go(life: Life, scene: Scene) -> None:
    scene.decision = Later()
    life.run()
    life.gone(1, ProcessEnding(CRASH))
    (closed,) = life.release()
    assert (closed.ending.reason.kind, closed.ending.started, closed.wanted) == ("shutdown", True, False)


def test_one_that_was_never_started_is_let_go_of(life: Life) -> None:
    (closed,) = life.release()
    assert closed.ending.reason.kind == "start_failed"


def test_a_stop_that_the_actor_wishes_for_is_final_if_the_parent_wants_no_other(life: Life, scene: Scene) -> None:
    scene.restarts = False
    life.run()
    assert life.stop_begun(1, NORMAL) == [do.Shut(), do.FailWaiting(False, NORMAL), do.Bound(1)]
    assert life.gone(1, ProcessEnding(CRASH)) == [do.Detach(), do.Closed(ProcessEnding(CRASH), wanted=False)]
    assert scene.asked == [], "whatever its last hook does, it stays down"


def test_a_stop_that_is_not_final_keeps_what_waits(life: Life) -> None:
    life.run()
    assert life.stop_begun(1, CRASH) == [do.Shut(), do.Bound(1)]
    assert not life.machine.is_final
    assert life.gone(1, ProcessEnding(CRASH)) == [do.Detach(), do.Wait(0.5, 1)]


# What users ask for


def test_a_stop_while_it_waits_ends_it(life: Life) -> None:
    life.run()
    life.gone(1, ProcessEnding(CRASH))
    cancel, closed = life.stop()
    assert cancel == do.CancelWait()
    assert (closed.ending.reason.kind, closed.wanted) == ("shutdown", True)


def test_a_stop_while_it_restarts_kills_the_process_that_is_just_started(life: Life) -> None:
    life.run()
    life.gone(1, ProcessEnding(CRASH))
    life.due()
    assert life.stop() == [do.Kill(2, "shutdown", "stopped while it restarted")]
    assert life.gone(2, FAILED) == [do.Detach(), do.Closed(FAILED, wanted=True)]


def test_a_shut_down_runs_nothing_more_and_is_bounded(life: Life) -> None:
    life.run()
    assert life.shut_down() == [do.FailWaiting(True), do.Bound(1)]
    assert life.stop_begun(1, SHUTDOWN) == [do.Shut(), do.FailWaiting(False, SHUTDOWN), do.Bound(1)]


def test_terminate_ends_all_that_there_is(kept: Life) -> None:
    kept.replace("asked for")
    killed = kept.terminate()
    assert killed[:2] == [do.Kill(1, "killed", "terminated"), do.Kill(2, "killed", "terminated")]
    assert kept.terminate() == []
    assert kept.gone(1, ProcessEnding(CRASH)) == [do.Detach()]
    assert kept.machine.phase is Phase.CLOSING
    assert kept.gone(2, ProcessEnding(CRASH)) == [do.Closed(ProcessEnding(CRASH), wanted=True)]


def test_a_failure_of_the_host_ends_it_at_once(life: Life) -> None:
    life.run()
    reason = ExitReason(kind="killed", detail="no memory")
    assert life.fail(reason) == [do.Kill(1, "killed", "no memory"), do.Closed(ProcessEnding(reason), wanted=False)]
    assert life.gone(1, ProcessEnding(CRASH)) == []


# What a supervisor asks for


def test_a_halt_keeps_what_waits_and_the_supervisor_hears_of_the_end(life: Life, scene: Scene) -> None:
    life.run()
    assert life.halt() == [do.AskToStop(), do.Bound(1)]
    assert life.halt() == []
    assert life.stop_begun(1, SHUTDOWN) == [do.Shut(), do.Bound(1)]
    assert life.gone(1, ProcessEnding(SHUTDOWN)) == [do.Detach(), do.Held(ProcessEnding(SHUTDOWN))]
    assert scene.asked == []


def test_a_kill_of_this_process_alone(life: Life) -> None:
    life.run()
    assert life.kill("killed by it") == [do.Kill(1, "killed", "killed by it")]
    assert life.gone(1, ProcessEnding(CRASH)) == [do.Detach(), do.Held(ProcessEnding(CRASH))]


def test_a_halt_waits_for_what_retires(life: Life) -> None:
    life.run()
    life.replace("asked for")
    life.ready(2)
    life.drained()
    life.synced(2)
    life.halt()
    assert life.gone(2, ProcessEnding(SHUTDOWN)) == [do.Detach()]
    assert life.machine.phase is Phase.LEAVING
    assert life.start_held() == []
    assert life.gone(1, ProcessEnding(NORMAL)) == [do.Held(ProcessEnding(SHUTDOWN))]


def test_a_stop_after_a_halt_is_final(life: Life) -> None:
    life.run()
    life.halt()
    assert life.stop() == []
    assert life.gone(1, ProcessEnding(SHUTDOWN)) == [do.Detach(), do.Closed(ProcessEnding(SHUTDOWN), wanted=True)]


def test_a_halt_after_a_stop_makes_it_stop_at_once(life: Life) -> None:
    """What its users wait for may take long, and a supervisor has its shutdown time."""
    life.run()
    life.stop()
    assert life.halt() == [do.AskToStop(), do.Bound(1)]
    assert life.gone(1, ProcessEnding(SHUTDOWN)) == [do.Detach(), do.Closed(ProcessEnding(SHUTDOWN), wanted=True)]


# Replacement


def test_a_replacement_between_two_calls(life: Life) -> None:
    life.run()
    assert life.replace("after_calls") == [do.Launch(2, Role.SUCCESSOR, 0)]
    assert life.ready(2) == [do.Pause()]
    assert life.replace("after_seconds") == []
    assert life.drained() == [do.Sync(2)]
    assert life.synced(2) == [
        do.Assign(1, Role.RETIRING),
        do.Retire(1),
        do.Assign(2, Role.CURRENT),
        do.Attach(2),
        do.Resume(),
        do.Replaced(1, 2, "after_calls", warm=True),
    ]
    assert life.machine.current == 2
    assert life.gone(1, ProcessEnding(NORMAL)) == [], "what was asked for meanwhile was for the one that is gone"


def test_what_a_fresh_process_is_asked_for_waits_until_the_one_before_is_gone(life: Life) -> None:
    life.run()
    life.replace("after_calls")
    for news, *number in [("ready", 2), ("drained",), ("synced", 2)]:
        getattr(life, news)(*number)
    assert life.replace("above_memory") == []
    assert life.gone(1, ProcessEnding(NORMAL)) == [do.Launch(3, Role.SUCCESSOR, 0)]


def test_what_is_asked_for_while_a_replacement_fails_waits_as_that_does(life: Life) -> None:
    life.run()
    life.replace("after_calls")
    life.replace("after_seconds")
    assert life.gone(2, FAILED) == [
        do.NotReplaced("after_calls", None, FAILED),
        do.ReplaceLater(1, 5.0, "after_seconds"),
    ]


def test_a_replacement_without_room_for_two(life: Life, scene: Scene) -> None:
    scene.room = False
    life.run()
    assert life.replace("above_memory") == [do.Pause()]
    assert life.drained() == [do.Assign(1, Role.RETIRING), do.Retire(1), do.Detach()]
    assert life.machine.swap is Swap.COLD
    assert life.gone(1, ProcessEnding(NORMAL)) == [do.Launch(2, Role.SUCCESSOR, 0)]
    assert life.ready(2) == [do.Sync(2)]
    assert life.synced(2) == [
        do.Assign(2, Role.CURRENT),
        do.Attach(2),
        do.Resume(),
        do.Replaced(1, 2, "above_memory", warm=False),
    ]


def test_between_two_processes_a_stop_waits_for_the_next_one(life: Life, scene: Scene) -> None:
    """What its users sent before has to run."""
    scene.room = False
    life.run()
    life.replace("asked for")
    life.drained()
    assert life.stop() == []
    assert life.gone(1, ProcessEnding(NORMAL)) == [do.Launch(2, Role.SUCCESSOR, 0)]
    life.ready(2)
    assert do.Resume() in life.synced(2)


@pytest.mark.parametrize("how", ["shut_down", "terminate"])
def test_between_two_processes_an_end_is_an_end(life: Life, scene: Scene, how: str) -> None:
    scene.room = False
    life.run()
    life.replace("asked for")
    life.drained()
    getattr(life, how)()
    (closed,) = life.gone(1, ProcessEnding(NORMAL))
    assert closed.ending.reason.kind == ("killed" if how == "terminate" else "shutdown")


def test_a_replacement_that_does_not_start_leaves_the_old_one(life: Life) -> None:
    life.run()
    life.replace("after_calls")
    assert life.gone(2, FAILED) == [
        do.NotReplaced("after_calls", None, FAILED),
        do.ReplaceLater(1, PAUSE_AFTER_FAILURE, "after_calls"),
    ]
    assert life.replace("after_calls") == []
    life.now += PAUSE_AFTER_FAILURE
    assert life.replace("after_calls") == [do.Launch(3, Role.SUCCESSOR, 0)]


def test_a_successor_that_dies_while_the_old_one_drains(life: Life) -> None:
    life.run()
    life.replace("after_calls")
    life.ready(2)
    assert do.Resume() in life.gone(2, ProcessEnding(CRASH))
    assert life.machine.phase is Phase.RUNNING


def test_a_crash_calls_a_replacement_off(life: Life) -> None:
    life.run()
    life.replace("after_calls")
    life.ready(2)
    assert life.gone(1, ProcessEnding(CRASH)) == [
        do.Detach(),
        do.Assign(2, Role.RETIRING),
        do.Retire(2),
        do.Wait(0.5, 1),
    ]


@pytest.mark.parametrize("at", ["draining", "handing over"])
def test_what_is_to_be_killed_is_not_replaced_before_that(life: Life, at: str) -> None:
    """The call that it is killed for has been answered, too late, and fails with its end."""
    life.run()
    life.replace("after_calls")
    life.ready(2)
    if at == "handing over":
        life.drained()
    assert life.doom(1) == []
    assert life.drained() == life.synced(2) == []
    assert life.gone(1, ProcessEnding(CRASH))[0] == do.Detach()


def test_an_actor_that_stops_itself_while_it_drains_stops(life: Life) -> None:
    life.run()
    life.replace("after_calls")
    life.ready(2)
    assert life.own_stop(1) == [do.Assign(2, Role.RETIRING), do.Retire(2), do.Resume()]


def test_what_is_to_take_over_may_have_asked_for_its_own_end(life: Life) -> None:
    life.run()
    life.replace("after_calls")
    assert life.own_stop(2) == []
    life.ready(2)
    life.drained()
    assert life.synced(2)[3:6] == [do.Attach(2), do.AskToStop(), do.Resume()]


def test_another_version_takes_over_and_is_what_restarts_run(life: Life) -> None:
    life.run()
    assert life.replace("upgrade", 5) == [do.Launch(2, Role.SUCCESSOR, 5)]
    life.ready(2)
    life.drained()
    assert life.synced(2)[-1] == do.Replaced(1, 2, "upgrade", warm=True)
    life.gone(2, ProcessEnding(CRASH))
    assert life.due()[0] == do.Launch(3, Role.CURRENT, 5)


@pytest.mark.parametrize("room", [True, False])
def test_a_version_that_does_not_start_is_not_what_restarts_run(life: Life, scene: Scene, room: bool) -> None:
    scene.room = room
    life.run()
    life.replace("upgrade", 5)
    if not room:
        life.drained()
        life.gone(1, ProcessEnding(NORMAL))
    assert do.NotReplaced("upgrade", 5, FAILED) in life.gone(2, FAILED)
    if room:
        life.gone(1, ProcessEnding(CRASH))
    assert life.due()[0] == do.Launch(3, Role.CURRENT, 0)


def test_a_version_that_was_asked_for_while_nothing_runs_is_what_starts_next(life: Life) -> None:
    life.run()
    life.gone(1, ProcessEnding(CRASH))
    assert life.replace("upgrade", 5) == []
    assert life.due()[0] == do.Launch(2, Role.CURRENT, 5)


def test_a_version_that_was_asked_for_during_a_start_follows_it(life: Life) -> None:
    life.begin()
    assert life.replace("upgrade", 5) == []
    life.ready(1)
    assert life.synced(1) == [do.Resume(), do.Started(1), do.Launch(2, Role.SUCCESSOR, 5)]


def test_the_last_version_that_was_asked_for_counts(life: Life) -> None:
    life.run()
    life.replace("upgrade", 5)
    assert life.replace("upgrade", 6) == []
    assert life.replace("upgrade", 7) == [do.NotReplaced("upgrade", 6, None)]
    life.ready(2)
    life.drained()
    life.synced(2)
    assert life.gone(1, ProcessEnding(NORMAL)) == [do.Launch(3, Role.SUCCESSOR, 7)]


def test_an_end_calls_off_every_version_that_was_asked_for(life: Life) -> None:
    life.run()
    life.replace("upgrade", 5)
    life.replace("upgrade", 6)
    asked = [action.version for action in life.stop() if isinstance(action, do.NotReplaced)]
    assert asked == [6, 5]
    assert life.replace("upgrade", 7) == [do.NotReplaced("upgrade", 7, None)]


# Standing by


def test_a_standby_is_the_next_process_at_once(kept: Life) -> None:
    kept.gone(1, ProcessEnding(CRASH))
    assert kept.due() == [do.Assign(2, Role.CURRENT), do.Attach(2), do.Sync(2)]
    assert kept.synced(2) == [do.Resume(), do.Started(2), do.Launch(3, Role.STANDBY, 0)]


def test_a_standby_that_still_starts_is_taken_as_well(scene: Scene) -> None:
    life = Life(scene, keeps_standby=True)
    assert life.run()[-1] == do.Launch(2, Role.STANDBY, 0)
    life.gone(1, ProcessEnding(CRASH))
    assert life.due() == [do.Assign(2, Role.CURRENT), do.Attach(2)]
    assert life.ready(2) == [do.Sync(2)]


def test_a_standby_that_is_dead_though_nobody_has_told_yet_is_not_taken(kept: Life, scene: Scene) -> None:
    kept.gone(1, ProcessEnding(CRASH))
    scene.dead.add(2)
    assert kept.due() == [do.Launch(3, Role.CURRENT, 0), do.Attach(3)]


def test_a_standby_replaces_without_a_wait(kept: Life) -> None:
    assert kept.replace("after_calls") == [do.Assign(2, Role.SUCCESSOR), do.Pause()]


def test_a_standby_of_another_version_is_let_go(kept: Life) -> None:
    assert kept.replace("upgrade", 5) == [do.Assign(2, Role.RETIRING), do.Retire(2), do.Launch(3, Role.SUCCESSOR, 5)]


def test_what_was_to_take_over_stands_by_when_it_is_not_needed(kept: Life) -> None:
    kept.replace("after_calls")
    assert kept.gone(1, ProcessEnding(CRASH)) == [do.Detach(), do.Assign(2, Role.STANDBY), do.Wait(0.5, 1)]


def test_standbys_that_do_not_live_are_started_more_and_more_seldom(kept: Life) -> None:
    pauses = []
    for number in range(2, 10):
        lost, wait = kept.gone(number, ProcessEnding(CRASH))
        assert isinstance(lost, do.StandbyLost)
        assert wait == do.WaitForStandby(lost.delay)
        pauses.append(lost.delay)
        assert kept.standby_due() == [wait], "not before its time"
        kept.now += lost.delay
        assert kept.standby_due() == [do.Launch(number + 1, Role.STANDBY, 0)]
    assert pauses == [FIRST_PAUSE, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    kept.ready(10)
    kept.now += LONGEST_PAUSE
    assert kept.gone(10, ProcessEnding(CRASH))[0].delay == FIRST_PAUSE


def test_a_standby_goes_as_soon_as_nothing_can_follow(kept: Life) -> None:
    assert kept.stop() == [do.Assign(2, Role.RETIRING), do.Retire(2)]


def test_a_halt_leaves_the_standby(kept: Life) -> None:
    kept.halt()
    assert kept.gone(1, ProcessEnding(SHUTDOWN)) == [do.Detach(), do.Held(ProcessEnding(SHUTDOWN))]
    assert kept.start_held() == [do.Assign(2, Role.CURRENT), do.Attach(2), do.Sync(2)]


# What is lacking


def test_a_restart_that_lacks_something_is_tried_until_it_works_and_costs_nothing(life: Life, scene: Scene) -> None:
    lack = attrs.evolve(FAILED, lacked=True)
    life.run()
    life.gone(1, ProcessEnding(CRASH))
    life.due()
    assert life.gone(2, lack) == [UNTOLD, do.Lacking(lack.reason), do.Wait(0.05)]
    for delay in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        assert life.due()[0] == do.Launch(2, Role.CURRENT, 0), "what was not made has no number"
        assert life.gone(2, lack) == [UNTOLD, do.Wait(delay)]
    assert len(scene.asked) == 1


def test_a_lost_launcher_and_a_lack_are_counted_apart(life: Life) -> None:
    """Neither hides the other: the log says once what is lacking, and no launcher is charged for that."""
    lack, lost = attrs.evolve(FAILED, lacked=True), attrs.evolve(FAILED, lost=True, made=False)
    life.run()
    life.gone(1, ProcessEnding(CRASH))
    life.due()
    assert life.gone(2, lost) == [UNTOLD, do.Wait(0.05)]
    life.due()
    assert life.gone(2, lack) == [UNTOLD, do.Lacking(lack.reason), do.Wait(0.05)]
    for _ in range(6):
        life.due()
        life.gone(2, lack)
    life.due()
    assert life.gone(2, lost) == [UNTOLD, do.Wait(0.1)]


def test_a_first_start_does_not_wait_for_what_lacks(life: Life) -> None:
    lack = attrs.evolve(FAILED, lacked=True)
    life.begin()
    assert life.gone(1, lack) == [do.Detach(), do.Closed(lack, wanted=False)]


@pytest.mark.parametrize("first", [True, False])
def test_a_start_that_was_not_made_when_its_launcher_was_lost_is_made_again(life: Life, first: bool) -> None:
    """Nothing of it has run.  After some losses in a row it may be its own doing."""
    lost = attrs.evolve(FAILED, lost=True, made=False)
    life.begin()
    number = 1
    if not first:
        life.ready(1)
        life.synced(1)
        life.gone(1, ProcessEnding(CRASH))
        life.due()
        number = 2
    for delay in (0.05, 0.1, 0.2, 0.4, 0.8):
        assert life.gone(number, lost) == [UNTOLD, do.Wait(delay)]
        assert life.due()[0] == do.Launch(number, Role.CURRENT, 0)
    assert life.gone(number, lost)[-1] == (do.Closed(lost, wanted=False) if first else do.Wait(0.5, 1))


def test_a_process_is_not_believed_for_ever_that_it_lacks_something(life: Life, scene: Scene) -> None:
    lack = attrs.evolve(FAILED, lacked=True, by_own_word=True)
    life.run()
    life.gone(1, ProcessEnding(CRASH))
    for _ in range(100):
        life.due()
        life.gone(2, lack)
    assert len(scene.asked) == 1
    life.due()
    life.gone(2, lack)
    assert len(scene.asked) == 2


def test_a_supervisor_that_halts_what_waits_for_something_hears_at_once(life: Life, scene: Scene) -> None:
    scene.decision = Later()
    lack = attrs.evolve(FAILED, lacked=True)
    life.run()
    life.gone(1, ProcessEnding(CRASH))
    life.start_held()
    life.gone(2, lack)
    cancel, held = life.halt()
    assert cancel == do.CancelWait()
    assert not held.ending.started


def test_nothing_takes_a_wish_back(life: Life) -> None:
    life.run()
    life.shut_down()
    life.stop()
    assert life.machine.wish is Wish.END


# Nothing goes to a process that is about to end


@pytest.mark.parametrize("ask", ["halt", "kill"])
def test_a_supervisor_that_ends_a_process_in_the_middle_of_a_replacement_lets_nothing_slip_in(
    life: Life, ask: str
) -> None:
    """What waits would be sent otherwise before the stop, and fail with the process."""
    life.run()
    life.replace("after_calls")
    life.ready(2)
    actions = life.halt() if ask == "halt" else life.kill("killed by its supervisor")
    first = do.AskToStop() if ask == "halt" else do.Kill(1, "killed", "killed by its supervisor")
    assert actions.index(first) < actions.index(do.Resume())


def test_a_process_that_says_that_it_stops_before_it_was_let_run_gets_nothing(life: Life) -> None:
    life.begin()
    life.ready(1)
    assert life.stop_begun(1, CRASH) == []
    assert life.synced(1) == [do.Shut(), do.Resume(), do.Started(1), do.Shut(), do.Bound(1)]
    assert life.machine.phase is Phase.STOPPING


def test_one_that_stops_in_the_middle_of_a_replacement_gets_nothing_more(life: Life) -> None:
    life.run()
    life.replace("after_calls")
    life.ready(2)
    actions = life.stop_begun(1, CRASH)
    assert actions.index(do.Shut()) < actions.index(do.Resume())
