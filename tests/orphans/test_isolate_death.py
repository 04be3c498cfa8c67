"""When an isolate dies, everything that it has started goes with it, nothing else does, and then comes the news."""

from __future__ import annotations

import signal
from itertools import chain

import pytest

from tests.orphans.support import Watch, end_by_pidfd, state_of, time_limit, wait_until, watch

__all__ = ["watch"]
pytestmark = time_limit

START_METHODS = ("launcher", "spawn")

# A host that starts an isolate with daemons and, at its end, says at once which of them live.
WITNESS = """
from piactors import events
reports, fds = [], []
def on_exit(event):
    reports.append(("event", event.pid, gone(fds)))
events.subscribe(on_exit, events.IsolateExited)

ref = spawn("daemons:Daemons", shutdown_timeout=0.3)
pid = ref.pid
daemons = ref.proxy().leave(*GIVEN.get("kinds", [])).get(timeout=20)
fds = [os.pidfd_open(one) for one in [pid, *daemons]]
say(pid=pid, daemons=daemons)
"""


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("kind", ["child", "cleared child", "forked", "executed", "cleared", "stopped", "chain"])
def test_the_news_of_an_exit_come_when_all_that_it_left_is_gone(watch: Watch, kind: str, start_method: str) -> None:
    """After `kill -9` of an isolate, `wait_for_exit` and `IsolateExited` come when its descendants are gone too."""
    script = f"""{WITNESS}
reason = ref.wait_for_exit(20)
say(gone=gone(fds), kind=reason.kind, signal=reason.signal)
wait_for(lambda: reports)
say(reports=reports)
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method, kinds=[kind])
    line = host.hear_line("daemons")
    watch.add(line["pid"], *line["daemons"])
    assert watch.living() == {host.pid, line["pid"], *line["daemons"]}
    end_by_pidfd(line["pid"])
    news = host.hear_line("gone")
    assert (news["gone"], news["kind"], news["signal"]) == (True, "signaled", signal.SIGKILL)
    assert host.hear("reports") == [["event", line["pid"], True]]
    watch.assert_all_gone(0, besides=_host_and_launchers(watch, host.pid))


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("way", ["kill", "exit", "segfault", "error", "sys.exit", "stop", "terminate", "hang"])
def test_whatever_way_it_ends_nothing_of_it_is_left(watch: Watch, way: str, start_method: str) -> None:
    """Told to stop, ended by itself, crashed or killed for being late: the descendants are gone with the news."""
    script = f"""{WITNESS}
from pykka.messages import ProxyCall
way = GIVEN["way"]
if way == "stop":
    ref.stop(timeout=20)
elif way == "terminate":
    ref.terminate()
elif way == "hang":
    call = ref.invoke("gil:sleep_in_c", (), {{}})
    wait_for_go()
    ref._isolate.shut_down()
else:
    ref.tell(ProxyCall(attr_path=("ruin",), args=(way,), kwargs={{}}))
reason = ref.wait_for_exit(20)
say(gone=gone(fds), kind=reason.kind)
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method, way=way)
    line = host.hear_line("daemons")
    watch.add(line["pid"], *line["daemons"])
    if way == "hang":
        host.hear("at")
        host.go_on()
    news = host.hear_line("gone")
    assert news["gone"] is True
    expected = {
        "kill": "signaled",
        "exit": "exited",
        "segfault": "signaled",
        "error": "error",
        "sys.exit": "exited",
        "stop": "shutdown",
        "terminate": "killed",
        "hang": "killed",
    }
    assert news["kind"] == expected[way]
    watch.assert_all_gone(0, besides=_host_and_launchers(watch, host.pid))


@pytest.mark.parametrize("start_method", START_METHODS)
def test_two_that_die_at_once_take_their_own_and_no_siblings_processes(watch: Watch, start_method: str) -> None:
    """Two isolates die in the same instant; a third with the same kinds of descendants keeps all of them."""
    script = """
refs = [spawn("daemons:Daemons") for _ in range(3)]
left = [ref.proxy().leave().get(timeout=20) for ref in refs]
say(pids=[ref.pid for ref in refs], left=left)
reasons = [ref.wait_for_exit(20).signal for ref in refs[:2]]
say(signals=reasons, alive=refs[2].is_alive(), pid=refs[2].proxy().pid().get(timeout=20))
wait_for_go()
refs[2].stop(timeout=20)
say(stopped=1)
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method)
    line = host.hear_line("left")
    pids, left = line["pids"], line["left"]
    watch.add(*pids, *chain.from_iterable(left))
    for pid in pids[:2]:
        end_by_pidfd(pid, signal.SIGSTOP)
    wait_until(lambda: [state_of(pid) for pid in pids[:2]] == ["T", "T"])
    for pid in pids[:2]:
        end_by_pidfd(pid)
    news = host.hear_line("alive")
    assert news == {"signals": [signal.SIGKILL] * 2, "alive": True, "pid": pids[2]}
    assert not watch.living([*pids[:2], *left[0], *left[1]])
    assert watch.living([pids[2], *left[2]]) == {pids[2], *left[2]}
    host.go_on()
    host.hear("stopped")
    assert not watch.living([pids[2], *left[2]])


@pytest.mark.parametrize("start_method", START_METHODS)
def test_half_of_many_die_and_the_other_half_keeps_its_processes(watch: Watch, start_method: str) -> None:
    """Of 10 isolates with daemons 5 are killed one after the other, as fast as can be."""
    script = """
refs = [spawn("daemons:Daemons") for _ in range(10)]
left = [ref.proxy().leave("forked", "executed", "cleared", "child") for ref in refs]
say(pids=[ref.pid for ref in refs], left=[call.get(timeout=20) for call in left])
for ref in refs[:5]:
    ref.wait_for_exit(20)
say(answers=[ref.proxy().pid().get(timeout=20) for ref in refs[5:]])
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method)
    line = host.hear_line("left")
    watch.add(*line["pids"], *chain.from_iterable(line["left"]))
    for pid in line["pids"][:5]:
        end_by_pidfd(pid)
    assert host.hear("answers") == line["pids"][5:]
    assert not watch.living([*line["pids"][:5], *chain.from_iterable(line["left"][:5])])
    kept = {*line["pids"][5:], *chain.from_iterable(line["left"][5:])}
    assert watch.living(kept) == kept


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_process_that_keeps_forking_ends_with_its_isolate(watch: Watch, start_method: str) -> None:
    """What an isolate left may be another process every millisecond; it is caught, and then comes the news."""
    script = """
ref, other = spawn("runner:run_away"), spawn("daemons:Daemons")
ref.proxy().call().get(timeout=20)
say(pid=ref.pid)
ref.wait_for_exit(20)
say(exited=1, other=other.proxy().pid().get(timeout=20))
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method)
    pid = host.hear("pid")
    watch.add(pid)
    end_by_pidfd(pid)
    host.hear("exited")
    watch.assert_all_gone(0, besides=_host_and_launchers(watch, host.pid))


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize(
    "setting",
    [
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)",
    ],
)
def test_the_hosts_own_signal_settings_change_nothing(watch: Watch, setting: str, start_method: str) -> None:
    """A host may block or ignore signals: the launcher sees deaths all the same, and isolates are not deaf for it."""
    script = f"""
{setting}
ref, other = spawn("daemons:Daemons"), spawn("daemons:Daemons")
say(left=ref.proxy().leave().get(timeout=20), pid=ref.pid, other=other.pid)
say(signals=[one.wait_for_exit(15).signal if one.wait_for_exit(15) else None for one in (ref, other)])
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method)
    line = host.hear_line("left")
    watch.add(line["pid"], line["other"], *line["left"])
    end_by_pidfd(line["pid"])
    end_by_pidfd(line["other"], signal.SIGTERM)
    assert host.hear("signals") == [signal.SIGKILL, signal.SIGTERM]
    watch.assert_all_gone(0, besides=_host_and_launchers(watch, host.pid))


def test_a_living_isolate_keeps_what_it_has_started(watch: Watch) -> None:
    """Daemons of a living isolate are let be, also while others come and go."""
    script = """
ref = spawn("daemons:Daemons")
left = ref.proxy().leave().get(timeout=20)
fds = [os.pidfd_open(pid) for pid in left]
for _ in range(5):
    other = spawn("daemons:Daemons")
    other.proxy().leave("forked", "child").get(timeout=20)
    other.terminate()
import select
poller = select.poll()
for fd in fds:
    poller.register(fd, select.POLLIN)
say(ended=len(poller.poll(0)))
sleep_for_ever()
"""
    assert watch.host(script).hear("ended") == 0


@pytest.mark.parametrize("portable", ["launcher", "launcher,pidfd,memfd"])
@pytest.mark.parametrize("way", ["kill", "exit", "sys.exit", "stop", "terminate"])
def test_without_a_launcher_what_it_left_is_found_by_its_mark(watch: Watch, way: str, portable: str) -> None:
    """On the portable path the exit status is exact, and the descendants are gone before the news come."""
    script = f"""{WITNESS}
from pykka.messages import ProxyCall
way = GIVEN["way"]
if way == "stop":
    ref.stop(timeout=20)
elif way == "terminate":
    ref.terminate()
else:
    ref.tell(ProxyCall(attr_path=("ruin",), args=(way,), kwargs={{}}))
reason = ref.wait_for_exit(20)
say(gone=gone(fds), kind=reason.kind, status=reason.exitcode if reason.signal is None else -reason.signal)
sleep_for_ever()
"""
    kinds = ["child", "forked", "executed", "stopped", "chain"]
    host = watch.host(script, env={"PIACTORS_PORTABLE": portable}, way=way, kinds=kinds)
    line = host.hear_line("daemons")
    watch.add(line["pid"], *line["daemons"])
    news = host.hear_line("gone")
    assert news["gone"] is True
    assert news["status"] == {"kill": -9, "exit": 3, "sys.exit": 4, "stop": 0, "terminate": -9}[way]


@pytest.mark.parametrize("portable", ["launcher", "launcher,pidfd,memfd"])
def test_without_a_launcher_terminate_kills_the_whole_tree(watch: Watch, portable: str) -> None:
    """`terminate` on the portable path reaches children of the isolate that carry no mark."""
    script = f"""{WITNESS}
ref.terminate()
say(gone=gone(fds))
sleep_for_ever()
"""
    host = watch.host(script, env={"PIACTORS_PORTABLE": portable}, kinds=["cleared child", "child"])
    line = host.hear_line("daemons")
    watch.add(line["pid"], *line["daemons"])
    assert host.hear("gone") is True


def _host_and_launchers(watch: Watch, host: int) -> set[int]:
    """Return the pids of a host and of what is below it by now: nothing but launchers and other isolates."""
    return {host, *watch.add_tree(host)}
