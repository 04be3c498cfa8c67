"""Hosts within isolates, hosts that fork, and hosts that are the first process of a PID namespace."""

from __future__ import annotations

import shutil
import signal
import subprocess
from functools import cache

import pytest

from tests.orphans.support import Watch, end_by_pidfd, only_child, state_of, time_limit, wait_until, watch

__all__ = ["watch"]
pytestmark = time_limit

START_METHODS = ("launcher", "spawn")

# Isolates within isolates

NEST = """
ref = spawn("nested:Nest", GIVEN["depth"], GIVEN["start_method"])
say(pids=ref.proxy().pids().get(timeout=40), launchers=launchers())
"""
PER_LEVEL = 6  # the isolate that is a host, its launcher, its isolate, and three processes that that one left


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_isolates_within_isolates_end_with_the_outermost_host(watch: Watch, number: int, start_method: str) -> None:
    """Three levels of hosts, each in an isolate of the one above, each with daemons: a second is enough for all."""
    host = watch.host(f"{NEST}\nsleep_for_ever()", start_method=start_method, depth=3)
    line = host.hear_line("pids", 50)
    assert len(set(line["pids"])) == 3 * PER_LEVEL
    assert {*line["pids"], *line["launchers"]} <= watch.add_tree(host.pid)
    watch.assert_all_gone(since=host.signal(number))


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("way", ["SIGKILL", "terminate", "stop", "exit"])
def test_what_is_within_an_isolate_ends_before_the_news_of_its_end(watch: Watch, way: str, start_method: str) -> None:
    """An isolate that is a host ends, in whatever way: all levels within are gone when the news come."""
    script = f"""{NEST}
wait_for_go()
way = GIVEN["way"]
if way == "SIGKILL":
    os.kill(ref.pid, signal.SIGKILL)
elif way == "terminate":
    ref.terminate()
elif way == "exit":
    ref.invoke("os:_exit", (5,), {{}})
else:
    ref.stop(timeout=30)
say(kind=ref.wait_for_exit(30).kind)
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method, depth=2, way=way)
    pids = host.hear("pids", 50)
    watch.add(*pids)
    assert watch.living(pids) == set(pids)
    host.go_on()
    kinds = {"SIGKILL": "signaled", "terminate": "killed", "stop": "shutdown", "exit": "exited"}
    assert host.hear("kind") == kinds[way]
    assert not watch.living(pids)


@pytest.mark.parametrize("start_method", START_METHODS)
def test_an_orderly_end_of_the_outermost_host_ends_all_levels(watch: Watch, start_method: str) -> None:
    """When the outermost host has exited, there is nothing left on any level."""
    host = watch.host(f"{NEST}\nwait_for_go()", start_method=start_method, depth=3)
    host.hear("pids", 50)
    watch.add_tree(host.pid)
    host.go_on()
    assert host.exit_code() == 0, host.log()
    assert not watch.living()
    assert not watch.marked()


@pytest.mark.parametrize("start_method", START_METHODS)
def test_an_inner_launcher_that_dies_is_the_inner_hosts_affair(watch: Watch, start_method: str) -> None:
    """The inner host restarts its isolate in a new launcher; the outer host has nothing to do with it."""
    script = """
ref = spawn("nested:Nest", 1, GIVEN["start_method"], "permanent")
inner = ref.proxy().launchers().get(timeout=40)
say(inner=inner, before=ref.proxy().ask_daemons().get(timeout=40), pid=ref.pid)
wait_for_go()
wait_for(lambda: ref.proxy().ask_daemons().get(timeout=20)[0] == 2)
say(after=ref.proxy().ask_daemons().get(timeout=20), pid=ref.pid, launchers=ref.proxy().launchers().get(timeout=20))
"""
    host = watch.host(script, start_method=start_method)
    before = host.hear_line("before", 50)
    watch.add_tree(host.pid)
    end_by_pidfd(before["inner"][0])
    assert not watch.await_end([before["before"][1]], 1.0)
    host.go_on()
    after = host.hear_line("after")
    assert after["pid"] == before["pid"]
    assert after["after"][0] == 2
    assert after["launchers"] != before["inner"]
    assert host.exit_code() == 0
    assert not watch.living()
    assert not watch.marked()


@pytest.mark.parametrize("start_method", START_METHODS)
def test_the_loss_of_the_outer_launcher_ends_all_levels_within(watch: Watch, start_method: str) -> None:
    """The outermost launcher is killed: the isolate that is a host dies with it, and all that is within soon after.

    But for what has emptied its environment, as always where a launcher dies alone.
    """
    script = """
ref = spawn("nested:Nest", 2, GIVEN["start_method"], "temporary", ["forked", "executed", "child"])
say(pids=ref.proxy().pids().get(timeout=40), launchers=launchers())
ref.wait_for_exit(20)
say(news=1)
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method)
    line = host.hear_line("pids", 50)
    watch.add(*line["pids"], *line["launchers"])
    since = end_by_pidfd(line["launchers"][0])
    host.hear("news")
    watch.assert_all_gone(since=since, besides=[host.pid])


# Hosts that fork

FORK = """
ref, busy = spawn("daemons:Daemons"), spawn("busy:spin", shutdown_timeout=0.1)
left = ref.proxy().leave().get(timeout=20)
call = busy.proxy().call()
say(mine=[ref.pid, busy.pid, *left, *launchers()])
forked = os.fork()
if forked == 0:
    begun = time.monotonic()
    say(
        alive=[ref.is_alive(), busy.is_alive()], ask=outcome(lambda: ref.ask("hello", timeout=10))[0],
        tell=outcome(lambda: ref.tell("hello"))[0], proxy=outcome(lambda: ref.proxy().pid().get(timeout=10))[0],
        pending=outcome(lambda: call.get(timeout=10))[0], stop=outcome(lambda: ref.stop(timeout=10)),
        exited=outcome(lambda: busy.wait_for_exit(10))[0], terminated=outcome(lambda: busy.terminate(10))[0],
        seconds=time.monotonic() - begun, launchers=launchers(),
    )
    own = spawn("daemons:Daemons")
    say(own=[own.pid, *own.proxy().leave().get(timeout=20), *launchers()], copy=os.getpid())
    wait_for_go()
"""


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("end", ["sys.exit(0)", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_fork_of_the_host_is_a_host_of_its_own(watch: Watch, end: str, start_method: str) -> None:
    """In a fork the refs are dead and pending calls have failed; its own isolates end with it, the parent's do not."""
    script = f"""{FORK}
    {end}
os.waitpid(forked, 0)
say(reaped=1)
wait_for_go()
say(pid=ref.proxy().pid().get(timeout=20), alive_after=busy.is_alive(), done=call.done())
ref.stop(timeout=20)
"""
    host = watch.host(script, start_method=start_method)
    mine = host.hear("mine")
    seen = host.hear_line("alive")
    assert seen.pop("seconds") < 5
    assert seen == {
        "alive": [False, False],
        "ask": "ActorDeadError",
        "tell": "ActorDeadError",
        "proxy": "ActorDeadError",
        "pending": "ActorDeadError",
        "stop": ["value", False],
        "exited": "value",
        "terminated": "value",
        "launchers": [],
    }
    line = host.hear_line("own")
    watch.add_tree(host.pid)
    assert not set(line["own"]) & set(mine)
    host.go_on()
    host.hear("reaped")
    if "sys.exit" in end:
        assert not watch.living(line["own"])
    assert not watch.await_end(line["own"], 1.0)
    assert watch.living(mine) == set(mine)
    host.go_on()
    after = host.hear_line("pid")
    assert after == {"pid": mine[0], "alive_after": True, "done": False}
    assert host.exit_code() == 0
    assert not watch.living()


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("end", ["sys.exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_the_end_of_the_parent_does_not_touch_the_isolates_of_its_fork(
    watch: Watch, end: str, start_method: str
) -> None:
    """The parent ends, and all its isolates with it; those of the fork, which lives on, are let be."""
    script = f"""{FORK}
    say(answer=own.proxy().pid().get(timeout=20))
    wait_for_go()
    sys.exit(0)
wait_for_go()
{end}
"""
    host = watch.host(script, start_method=start_method)
    mine, line = host.hear("mine"), host.hear_line("own")
    line["own"] += watch.add_tree(line["copy"]) - set(line["own"])  # its launcher's spare
    watch.add_tree(host.pid)
    if "kill" in end:
        since = host.signal(signal.SIGKILL)
    else:
        end_by_pidfd(line["copy"], signal.SIGSTOP)  # so that the parent is the one that goes on
        wait_until(lambda: state_of(line["copy"]) == "T")
        host.go_on()
        host.exit_code()
        end_by_pidfd(line["copy"], signal.SIGCONT)
        assert not watch.living(mine)
        since = None
    watch.assert_all_gone(since=since, besides=[line["copy"], *line["own"]])
    assert watch.living(line["own"]) == set(line["own"])
    host.go_on()
    assert host.hear("answer") == line["own"][0]
    host.go_on()
    assert not watch.await_end([line["copy"]], 20)
    assert not watch.living()


def test_forks_at_any_time_neither_hang_nor_disturb(watch: Watch) -> None:
    """Forked while threads call isolates as fast as they can: every fork can look at the refs and end."""
    script = """
refs = [spawn("daemons:Daemons") for _ in range(3)]
errors, calls, enough = [], [0], threading.Event()
def work(ref):
    while not enough.is_set():
        kind, text = outcome(lambda: ref.proxy().pid().get(timeout=20))
        calls[0] += 1
        if kind != "value":
            errors.append((kind, text))
workers = [threading.Thread(target=work, args=(ref,)) for ref in refs for _ in range(2)]
for worker in workers:
    worker.start()
codes = []
for _ in range(40):
    count = calls[0]
    wait_for(lambda: calls[0] > count + 5)
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        dead = [outcome(lambda: ref.ask("hello", timeout=5))[0] == "ActorDeadError" for ref in refs]
        os._exit(0 if all(dead) and not any(ref.is_alive() for ref in refs) else 7)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
enough.set()
for worker in workers:
    worker.join(25)
say(codes=codes, errors=errors[:3], hanging=sum(worker.is_alive() for worker in workers))
"""
    host = watch.host(script)
    line = host.hear_line("codes", 50)
    assert line == {"codes": [0] * 40, "errors": [], "hanging": 0}
    assert host.exit_code() == 0
    watch.assert_all_gone(0)


def test_a_fork_that_ends_in_order_leaves_the_parents_isolates(watch: Watch) -> None:
    """`multiprocessing` with the fork method, whose processes run exit handlers of their own, changes nothing."""
    script = """
import multiprocessing
ref = spawn("daemons:Daemons")
pid = ref.pid
def use():
    own = spawn("daemons:Daemons")
    say(inner=own.proxy().pid().get(timeout=20), outer=ref.is_alive())
context = multiprocessing.get_context("fork")
for _ in range(3):
    process = context.Process(target=use)
    process.start()
    process.join(20)
    say(code=process.exitcode, pid=ref.proxy().pid().get(timeout=20))
say(before=pid)
"""
    host = watch.host(script)
    pid = host.hear("before", 50)
    for _ in range(3):
        assert host.hear_line("code") == {"code": 0, "pid": pid}
        assert host.hear_line("inner")["outer"] is False
    assert host.exit_code() == 0
    watch.assert_all_gone(0)


# The first process of a PID namespace, as in a container

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc")


@cache
def _why_not() -> str:
    """Say why no PID namespace can be made here, or nothing where it can."""
    if shutil.which("unshare") is None:
        return "there is no unshare"
    made = subprocess.run([*UNSHARE, "true"], check=False, capture_output=True, text=True)
    return made.stderr.strip()


def _need_namespaces() -> None:
    if _why_not():
        print(f"skipped: {_why_not()}")
        pytest.skip(_why_not())


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_host_works_as_the_first_process(watch: Watch, start_method: str) -> None:
    """As PID 1: calls, deaths of isolates and of the launcher, and an orderly end; no zombies, nothing left."""
    _need_namespaces()
    script = """
import psutil
ref = spawn("daemons:Daemons", restart="permanent", max_restarts=1)
fds = [os.pidfd_open(pid) for pid in ref.proxy().leave().get(timeout=20)]
os.kill(ref.pid, signal.SIGKILL)
wait_for(lambda: ref.generation == 2 and ref.state == "running")
say(pid=os.getpid(), gone=gone(fds), answer=ref.proxy().pid().get(timeout=20) == ref.pid)
fds = [os.pidfd_open(pid) for pid in ref.proxy().leave("forked", "executed", "child", "chain").get(timeout=20)]
os.kill(launchers()[0], signal.SIGKILL)
wait_for(lambda: ref.generation == 3 and ref.state == "running")
say(gone_again=gone(fds), answer=ref.proxy().pid().get(timeout=20) == ref.pid)
zombies = [process.pid for process in psutil.process_iter() if process.status() == psutil.STATUS_ZOMBIE]
say(zombies=zombies, ancestry=[(p.pid, p.ppid(), p.name()) for p in psutil.process_iter()])
ref.proxy().leave().get(timeout=20)
wait_for_go()
sys.exit(9)
"""
    host = watch.host(script, UNSHARE, start_method=start_method)
    assert host.hear_line("gone") == {"pid": 1, "gone": True, "answer": True}
    assert host.hear_line("gone_again") == {"gone_again": True, "answer": True}
    last = host.hear_line("zombies")
    assert last["zombies"] == [], last
    watch.add_tree(host.pid)
    host.go_on()
    assert host.exit_code() == 9
    assert not watch.living()
    assert not watch.marked()


def test_the_first_process_reaps_what_it_had_adopted_before_it_looked(watch: Watch) -> None:
    """The host is late: what its launcher left is its own by then, and takes longer to end than it waits for one."""
    _need_namespaces()
    script = """
import psutil
from piactors._platform import quelling
from piactors._process.launcher import LauncherBackend

def late(backend, look=LauncherBackend._end_what_escaped):
    wait_for(lambda: all(psutil.Process(pid).ppid() == 1 for pid in left))
    look(backend)

LauncherBackend._end_what_escaped = late
quelling._Held.wait_ended = lambda held, seconds: None
ref = spawn("daemons:Daemons", restart="permanent", max_restarts=1)
left = ref.proxy().leave("forked", "executed", "stopped").get(timeout=20)
os.kill(launchers()[0], signal.SIGKILL)
wait_for(lambda: ref.generation == 2 and ref.state == "running")
say(left=[pid for pid in left if psutil.pid_exists(pid)], answer=ref.proxy().pid().get(timeout=20) == ref.pid)
"""
    host = watch.host(script, UNSHARE)
    assert host.hear_line("left") == {"left": [], "answer": True}
    assert host.exit_code() == 0
    assert not watch.marked()


@pytest.mark.parametrize("start_method", START_METHODS)
def test_nothing_outlives_a_host_that_was_the_first_process(watch: Watch, start_method: str) -> None:
    """PID 1 of a namespace is killed from outside."""
    _need_namespaces()
    script = "ref = spawn('daemons:Daemons'); ref.proxy().leave().get(timeout=20); say(ready=1); sleep_for_ever()"
    host = watch.host(script, UNSHARE, start_method=start_method)
    host.hear("ready")
    watch.add_tree(host.pid)
    since = end_by_pidfd(only_child(host.pid))
    watch.assert_all_gone(since=since)


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_namespaces_second_process_can_be_a_host_too(watch: Watch, start_method: str) -> None:
    """The host is a child of PID 1, as under an init of a container, and is killed: PID 1 alone is left."""
    _need_namespaces()
    script = "ref = spawn('daemons:Daemons'); ref.proxy().leave().get(timeout=20); say(ready=1); sleep_for_ever()"
    init = ("bash", "-c", '"$@" & trap : CHLD; while :; do wait; sleep 0.05; done', "init")
    host = watch.host(script, (*UNSHARE, *init), start_method=start_method)
    host.hear("ready")
    tree = watch.add_tree(host.pid)
    first = only_child(host.pid)
    end_by_pidfd(only_child(first))
    assert not watch.await_end(tree - {first}, 1.0)
