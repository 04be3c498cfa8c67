"""When a host ends in order, everything is gone by the time that it has exited."""

from __future__ import annotations

import os
import pty
import signal
import sys

import pytest

from tests.orphans.support import Watch, script_of, time_limit, together, wait_until, watch

__all__ = ["watch"]
pytestmark = time_limit

START_METHODS = ("launcher", "spawn")

ENDS = {
    "return": ("pass", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "exception": ("raise ValueError('on purpose')", 1),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); sleep_for_ever()", -signal.SIGINT),
    "in main only": ("threading.Thread(target=sleep_a_little).start()", 0),
}

CONDITIONS = {
    "idle": "ref = spawn('daemons:Daemons')",
    "busy": "ref = spawn('busy:spin', shutdown_timeout=0.2); call = ref.proxy().call()",
    "c call with the GIL": "ref = spawn('gil:sleep_in_c', shutdown_timeout=0.2); call = ref.proxy().call()",
    "stopped": "ref = spawn('stopped:stop', shutdown_timeout=0.2); call = ref.proxy().call()",
    "deaf": "ref = spawn('deaf:sleep', shutdown_timeout=0.2); call = ref.proxy().call()",
    "with daemons": "ref = spawn('daemons:Daemons'); ref.proxy().leave().get(timeout=20)",
}


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("conditions", together(CONDITIONS))
def test_nothing_is_left_when_the_host_has_exited(
    watch: Watch, conditions: tuple[str, ...], end: str, start_method: str
) -> None:
    """Whatever the isolates do and however main ends, nothing is there once the host is not; its exit code stands."""
    line, code = ENDS[end]
    script = f"""
def sleep_a_little():
    time.sleep(0.1)
{script_of(CONDITIONS, conditions)}
say(ready=1)
wait_for_go()
{line}
"""
    host = watch.host(script, start_method=start_method)
    host.hear("ready")
    for condition in conditions:
        if condition not in ("idle", "with daemons"):
            host.hear("at")
    assert len(watch.add_tree(host.pid)) >= 1 + len(conditions)
    host.go_on()
    found = host.exit_code()
    assert not watch.living()
    assert not watch.marked()
    assert found == code, host.log()


@pytest.mark.parametrize("start_method", START_METHODS)
def test_ctrl_c_in_the_terminal_reaches_the_host_alone(watch: Watch, start_method: str) -> None:
    """A real terminal sends SIGINT to its foreground group; isolates are in groups of their own and work on."""
    script = """
ref = spawn("daemons:Daemons")
slow = spawn("time:sleep")
call = slow.proxy().call(0.5)
pids = [os.getpid(), ref.pid, slow.pid, *launchers()]
caught = False
try:
    say(pid=ref.pid, groups=[os.getpgid(pid) for pid in pids], sessions=[os.getsid(pid) for pid in pids])
    sleep_for_ever()
except KeyboardInterrupt:
    caught = True
try:
    say(caught=caught, pid=ref.proxy().pid().get(timeout=20), slow=outcome(lambda: call.get(timeout=20)))
    sleep_for_ever()
except KeyboardInterrupt:
    say(twice=1)
    raise
"""
    controller, terminal = pty.openpty()
    wrap = (sys.executable, "-c", _TAKE_TERMINAL, os.ttyname(terminal))
    try:
        host = watch.host(script, wrap, start_method=start_method)
        line = host.hear_line("groups")
        watch.add_tree(host.pid)
        assert len(set(line["groups"])) == 4
        assert line["sessions"][0] not in line["sessions"][1:]
        os.write(controller, b"\x03")
        assert host.hear_line("caught") == {"caught": True, "pid": line["pid"], "slow": ["value", None]}
        os.write(controller, b"\x03")
        host.hear("twice")
        assert host.exit_code() == -signal.SIGINT
        assert not watch.living()
        assert not watch.marked()
    finally:
        os.close(terminal)
        os.close(controller)


_TAKE_TERMINAL = """
import fcntl, os, sys, termios
terminal = os.open(sys.argv[1], os.O_RDWR)
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
os.dup2(terminal, 0)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_terminal_that_goes_away_ends_the_host_and_nothing_is_left(watch: Watch, start_method: str) -> None:
    """A hangup ends the host by SIGHUP, and everything else within a second."""
    controller, terminal = pty.openpty()
    wrap = (sys.executable, "-c", _TAKE_TERMINAL, os.ttyname(terminal))
    script = "ref = spawn('daemons:Daemons')\nref.proxy().leave().get(timeout=20)\nsay(ready=1)\nsleep_for_ever()"
    try:
        host = watch.host(script, wrap, start_method=start_method)
        host.hear("ready")
        watch.add_tree(host.pid)
    finally:
        os.close(terminal)
        os.close(controller)
    watch.assert_all_gone()


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_signal_to_the_hosts_group_reaches_the_host_alone(watch: Watch, start_method: str) -> None:
    """SIGTERM to the group, as a shell's `kill %1` sends it: only the host gets it, and then all of it ends."""
    script = """
signal.signal(signal.SIGTERM, lambda *_: say(term=1))
ref = spawn("daemons:Daemons")
say(pid=ref.pid, launchers=launchers())
wait_for_go()
say(pid=ref.proxy().pid().get(timeout=20), launchers=launchers())
"""
    host = watch.host(script, start_method=start_method)
    before = host.hear_line("launchers")
    watch.add_tree(host.pid)
    os.killpg(host.pid, signal.SIGTERM)
    host.hear("term")
    host.go_on()
    assert host.hear_line("launchers") == before
    assert host.exit_code() == 0
    assert not watch.living()
    assert not watch.marked()


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_second_ctrl_c_ends_a_host_that_waits_for_a_hanging_isolate(watch: Watch, start_method: str) -> None:
    """The first Ctrl-C waits out the shutdown time of an isolate; the second kills at once, and nothing is left."""
    script = """
ref = spawn("gil:sleep_in_c", shutdown_timeout=None)
call = ref.proxy().call()
try:
    say(ready=1)
    sleep_for_ever()
except KeyboardInterrupt:
    say(first=1)
    raise
"""
    host = watch.host(script, start_method=start_method)
    host.hear("ready")
    host.hear("at")
    watch.add_tree(host.pid)
    host.signal(signal.SIGINT)
    host.hear("first")
    wait_until(lambda: _ends_now(watch, host.pid))
    host.exit_code()
    assert not watch.living()
    assert not watch.marked()


def _ends_now(watch: Watch, pid: int) -> bool:
    """Send SIGINT, a little after the one before: only what comes while the host waits for isolates counts."""
    if watch.await_end([pid], 0.3):
        os.kill(pid, signal.SIGINT)  # unreaped, so nobody else's
        return False
    return True


@pytest.mark.parametrize("portable", ["launcher", "launcher,pidfd,memfd"])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_without_a_launcher_nothing_is_left_either(watch: Watch, condition: str, portable: str) -> None:
    """An orderly end on the portable path leaves nothing that carries its mark or stayed in the isolate's tree."""
    setup = CONDITIONS[condition].replace("leave()", "leave('child', 'forked', 'executed', 'stopped', 'chain')")
    host = watch.host(f"{setup}\nsay(ready=1)\nwait_for_go()", env={"PIACTORS_PORTABLE": portable})
    host.hear("ready")
    if condition not in ("idle", "with daemons"):
        host.hear("at")
    watch.add_tree(host.pid)
    host.go_on()
    assert host.exit_code() == 0
    assert not watch.living()
    assert not watch.marked()
