"""When the launcher alone dies, the host ends what escaped, starts another, and restarts what is permanent."""

from __future__ import annotations

import signal
from itertools import chain

import pytest

from tests.orphans.support import Watch, end_by_pidfd, groups_can_be_made, time_limit, watch

__all__ = ["watch"]
pytestmark = time_limit

START_METHODS = ("launcher", "spawn")

KILL = """
def kill_launcher():
    (pid,) = launchers()
    fd = os.pidfd_open(pid)
    signal.pidfd_send_signal(fd, signal.SIGKILL)
    wait_for(lambda: pid not in launchers())

def wait_ready(ref, generation):
    wait_for(lambda: ref.generation == generation and ref.state == "running")
"""


@pytest.mark.parametrize("start_method", START_METHODS)
def test_calls_are_answered_or_crashed_and_the_next_generation_serves(watch: Watch, start_method: str) -> None:
    """The launcher is killed under load: each call gets a value or `IsolateCrashed`, none hangs, generations go on."""
    script = f"""{KILL}
refs = [spawn("daemons:Daemons", restart="permanent") for _ in range(4)]
results, enough = [], threading.Event()
def work(ref):
    while not enough.is_set():
        results.append(outcome(lambda: ref.proxy().pid().get(timeout=20)))
workers = [threading.Thread(target=work, args=(ref,)) for ref in refs for _ in range(3)]
for worker in workers:
    worker.start()
before = [ref.pid for ref in refs]
for number in (2, 3):
    count = len(results)
    wait_for(lambda: len(results) > count + 500)
    kill_launcher()
    for ref in refs:
        wait_ready(ref, number)
count = len(results)
wait_for(lambda: len(results) > count + 500)
enough.set()
for worker in workers:
    worker.join(25)
say(
    hanging=sum(worker.is_alive() for worker in workers), generations=[ref.generation for ref in refs],
    kinds=sorted({{kind for kind, _ in results}}), before=before, after=[ref.pid for ref in refs],
    sample=[text for kind, text in results if kind not in ("value", "IsolateCrashed")][:3],
)
"""
    host = watch.host(script, start_method=start_method)
    line = host.hear_line("kinds", 50)
    assert line["hanging"] == 0
    assert line["generations"] == [3, 3, 3, 3]
    assert set(line["kinds"]) <= {"value", "IsolateCrashed"}, line["sample"]
    assert not set(line["before"]) & set(line["after"])
    assert host.exit_code() == 0
    watch.assert_all_gone(0)


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_lost_launcher_costs_no_restart(watch: Watch, start_method: str) -> None:
    """With `max_restarts=1` three launchers may die, and after that the one restart is still to be had."""
    script = f"""{KILL}
ref = spawn("daemons:Daemons", restart="permanent", max_restarts=1)
pids = [ref.pid]
for number in (2, 3, 4):
    kill_launcher()
    wait_ready(ref, number)
    pids.append(ref.proxy().pid().get(timeout=20))
say(pids=pids, generation=ref.generation)
os.kill(ref.pid, signal.SIGKILL)
wait_ready(ref, 5)
say(charged=ref.proxy().pid().get(timeout=20))
os.kill(ref.pid, signal.SIGKILL)
reason = ref.wait_for_exit(20)
say(alive=ref.is_alive(), kind=reason.kind, generation=ref.generation)
"""
    host = watch.host(script, start_method=start_method)
    line = host.hear_line("pids")
    assert len(set(line["pids"])) == 4
    assert line["generation"] == 4
    host.hear("charged")
    last = host.hear_line("alive")
    assert last == {"alive": False, "kind": "signaled", "generation": 5}
    assert host.exit_code() == 0
    watch.assert_all_gone(0)


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("kind", ["child", "forked", "executed", "stopped", "chain"])
def test_what_escapes_with_the_launcher_is_ended(watch: Watch, kind: str, start_method: str) -> None:
    """Daemons of an isolate have no parent left when launcher and isolate die; the host finds and ends them."""
    script = """
ref = spawn("daemons:Daemons")
left = ref.proxy().leave(*GIVEN["kinds"]).get(timeout=20)
fds = [os.pidfd_open(pid) for pid in [ref.pid, *left]]
say(left=left, pid=ref.pid, launchers=launchers())
reason = ref.wait_for_exit(20)
say(gone=gone(fds), kind=reason.kind, detail=reason.detail)
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method, kinds=[kind])
    line = host.hear_line("left")
    watch.add_tree(host.pid)
    watch.add(line["pid"], *line["left"], *line["launchers"])
    since = end_by_pidfd(line["launchers"][0])
    news = host.hear_line("gone")
    watch.assert_all_gone(since=since, besides=[host.pid])
    assert news == {"gone": True, "kind": "killed", "detail": "its launcher was lost"}


@pytest.mark.skipif(not groups_can_be_made(), reason="no control group can be made here, and it has no mark")
@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("kind", ["cleared", "cleared child"])
def test_what_has_emptied_its_environment_is_ended_too(watch: Watch, kind: str, start_method: str) -> None:
    """What has no environment any more is found by the launcher's control group."""
    host = watch.host(
        "ref = spawn('daemons:Daemons')\n"
        "say(left=ref.proxy().leave(*GIVEN['kinds']).get(timeout=20), one=launchers())\n"
        "ref.wait_for_exit(20)\nsay(news=1)\nsleep_for_ever()",
        start_method=start_method,
        kinds=[kind],
    )
    line = host.hear_line("left")
    watch.add(*line["left"])
    end_by_pidfd(line["one"][0])
    host.hear("news")
    assert not watch.await_end(line["left"], 1.0)


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("condition", ["gil:sleep_in_c", "busy:spin", "deaf:sleep", "stopped:stop"])
def test_isolates_end_with_the_launcher_whatever_they_do(watch: Watch, condition: str, start_method: str) -> None:
    """Also an isolate that holds the GIL, is stopped or ignores signals is gone within a second of its launcher."""
    script = """
ref = spawn(GIVEN["target"])
call = ref.proxy().call()
say(launchers=launchers(), pid=ref.pid)
say(result=outcome(lambda: call.get(timeout=20))[0], alive=ref.is_alive())
again = spawn("daemons:Daemons")
say(again=again.proxy().pid().get(timeout=20))
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method, target=condition)
    line = host.hear_line("launchers")
    host.hear("at")
    watch.add(line["pid"], *line["launchers"])
    since = end_by_pidfd(line["launchers"][0])
    assert not watch.await_end([line["pid"]], 1.0), since
    assert host.hear("result") == "IsolateCrashed"
    host.hear("again")


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_start_that_loses_its_launcher_fails_or_succeeds_and_never_hangs(watch: Watch, start_method: str) -> None:
    """The launcher dies while isolates start, again and again; each start has an outcome, and the last one works."""
    script = """
results = []
def start():
    results.append(outcome(lambda: spawn("daemons:Daemons").proxy().pid().get(timeout=20))[0])
for round_number in range(6):
    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for(launchers)
    time.sleep(0.03 * round_number)
    for pid in launchers():
        os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join(20)
    if any(thread.is_alive() for thread in threads):
        say(hang=round_number)
wait_for(lambda: not launchers() or True)
say(results=results, last=outcome(lambda: spawn("daemons:Daemons").proxy().pid().get(timeout=20))[0])
"""
    host = watch.host(script, start_method=start_method)
    line = host.hear_line("results", 50)
    assert not any("hang" in said for said in host.said)
    assert set(line["results"]) <= {"value", "StartError", "IsolateCrashed", "ActorDeadError"}
    assert host.exit_code() == 0
    watch.assert_all_gone(0)


def test_a_launcher_that_dies_takes_no_isolates_of_another_launcher(watch: Watch) -> None:
    """Each set of preloaded modules has a launcher of its own; the loss of one is nothing to the others."""
    script = """
one, two = spawn("daemons:Daemons", preload=["daemons"]), spawn("daemons:Daemons", preload=["deaf"])
left = [ref.proxy().leave("forked", "executed").get(timeout=20) for ref in (one, two)]
import psutil
say(left=left, pids=[one.pid, two.pid], launcher=psutil.Process(one.pid).ppid(), launchers=launchers())
one.wait_for_exit(20)
say(alive=two.is_alive(), pid=two.proxy().pid().get(timeout=20))
sleep_for_ever()
"""
    host = watch.host(script, start_method="launcher")
    line = host.hear_line("left")
    watch.add(*line["pids"], *chain.from_iterable(line["left"]))
    assert len(line["launchers"]) == 2
    end_by_pidfd(line["launcher"])
    assert host.hear("pid") == line["pids"][1]
    assert not watch.living([line["pids"][0], *line["left"][0]])
    assert watch.living([line["pids"][1], *line["left"][1]]) == {line["pids"][1], *line["left"][1]}


def test_an_isolate_may_kill_its_launcher_and_is_restarted(watch: Watch) -> None:
    """The launcher is the parent of hosted code, which may well kill it."""
    script = f"""{KILL}
ref = spawn("daemons:Daemons", restart="permanent", max_restarts=0)
(before,) = launchers()
call = ref.invoke("os:kill", (before, signal.SIGKILL), {{}})
say(result=outcome(lambda: call.get(timeout=20))[0])
wait_ready(ref, 2)
say(after=launchers(), before=before, pid=ref.proxy().pid().get(timeout=20))
"""
    host = watch.host(script)
    assert host.hear("result") in ("value", "IsolateCrashed")
    line = host.hear_line("after")
    assert line["before"] not in line["after"]
    assert host.exit_code() == 0
    watch.assert_all_gone(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stray_signal_does_not_end_the_launcher(watch: Watch, number: int) -> None:
    """What a user's tool sends to a whole group or session leaves the launcher and its isolates be."""
    script = """
ref = spawn("daemons:Daemons")
say(pid=ref.pid, launchers=launchers())
wait_for_go()
say(again=spawn("daemons:Daemons").proxy().pid().get(timeout=20), pid=ref.proxy().pid().get(timeout=20))
sleep_for_ever()
"""
    host = watch.host(script)
    line = host.hear_line("launchers")
    watch.add(*line["launchers"])
    end_by_pidfd(line["launchers"][0], number)
    host.go_on()
    assert host.hear_line("again")["pid"] == line["pid"]
    assert watch.living(line["launchers"]) == set(line["launchers"])


def test_the_host_can_die_right_after_its_launcher(watch: Watch) -> None:
    """Launcher and host are killed one after the other: the isolates, whose parent was the launcher, are gone."""
    host = watch.host("ref = spawn('gil:sleep_in_c')\nref.proxy().call()\nsay(launchers=launchers())\nsleep_for_ever()")
    host.hear("at")
    launchers = host.hear("launchers")
    watch.add_tree(host.pid)
    end_by_pidfd(launchers[0])
    watch.assert_all_gone(since=host.signal(signal.SIGKILL))


def test_a_lost_launcher_leaves_no_zombies(watch: Watch) -> None:
    """The host reaps the launchers that it loses."""
    script = f"""{KILL}
import psutil
ref = spawn("daemons:Daemons", restart="permanent")
ref.proxy().leave("forked", "child").get(timeout=20)
for number in (2, 3):
    kill_launcher()
    wait_ready(ref, number)
say(zombies=[p.pid for p in psutil.Process().children() if p.status() == psutil.STATUS_ZOMBIE])
"""
    host = watch.host(script)
    assert host.hear("zombies") == []
    assert host.exit_code() == 0


def test_an_isolate_that_kills_its_launchers_is_found_and_charged(watch: Watch) -> None:
    """It ends by its own budget, and its siblings soon have a launcher of their own."""
    script = """
from piactors import ProcessActor
class Killer(ProcessActor):
    def on_start(self):
        parent = os.getppid()
        threading.Thread(target=lambda: (time.sleep(0.05), os.kill(parent, 9)), daemon=True).start()
siblings = [spawn("daemons:Daemons", restart="permanent", max_restarts=0, inherit_env=True) for _ in range(3)]
killer = Killer.with_options(restart="permanent", max_restarts=1, within=60).start()
reason = killer.wait_for_exit(25)
wait_for(lambda: all(ref.state == "running" for ref in siblings))
say(alive=killer.is_alive(), generation=killer.generation, detail=reason.detail)
say(siblings=[ref.generation for ref in siblings], pids=[ref.proxy().pid().get(timeout=20) for ref in siblings])
"""
    host = watch.host(script)
    line = host.hear_line("alive", 40)
    assert not line["alive"]
    assert 5 <= line["generation"] <= 8
    assert "launcher" in line["detail"]
    assert max(host.hear("siblings")) <= 5
    assert host.exit_code() == 0
    watch.assert_all_gone(0)


@pytest.mark.parametrize("again", [False, True])
def test_a_start_that_its_launcher_has_not_made_is_made_by_another_one(watch: Watch, again: bool) -> None:
    """Nothing of it has run, so nobody is told, and it costs nothing; also of a restart."""
    script = f"""{KILL}
from piactors import Backoff, events
told = []
events.subscribe(lambda event: told.append(type(event).__name__))
one = spawn("daemons:Daemons", restart="permanent", max_restarts=1, backoff=Backoff(initial=1.0, jitter=0.0))
(launcher,) = launchers()
(backend,) = runtime.current()._backends.values()
if {again}:
    os.kill(one.pid, signal.SIGKILL)
    wait_for(lambda: one.state == "restarting")
before = backend._next_id
os.kill(launcher, signal.SIGSTOP)
if {again}:
    call = lambda: (one.proxy().pid().get(timeout=20) > 0, one.generation)
else:
    call = lambda: (True, spawn("daemons:Daemons").generation)
done = threading.Thread(target=lambda: say(got=outcome(call)))
done.start()
wait_for(lambda: backend._next_id > before)  # it has been asked, and cannot have made it
os.kill(launcher, signal.SIGKILL)
done.join(25)
wait_for(lambda: told.count("IsolateStarted") == {2 if again else 3})
say(told=[name for name in told if name not in ("OutputReceived", "IsolateStarted", "IsolateExited")])
"""
    host = watch.host(script)
    assert host.hear("got", 40) == ["value", [True, 2 if again else 1]], host.log()
    assert host.hear("told", 40) == ["IsolateRestarting"]
    assert host.exit_code() == 0
    watch.assert_all_gone()
