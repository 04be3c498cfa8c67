"""The head start of a program's first launcher: taken over, or ended, and never left behind."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.support import HostScripts, pid_gone, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the children of a process are read from /proc")

WATCHED = """
import os, sys, threading
from piactors import IsolationOptions, ProcessActor
from piactors._process import launcher_process

began = []
start_ahead = launcher_process._start_ahead

def seen(options):
    launcher = start_ahead(options)
    if launcher is not None:
        began.append(launcher.process.pid)
    return launcher

launcher_process._start_ahead = seen

def children():
    own = [task for task in os.listdir("/proc/self/task")]
    return [int(pid) for task in own for pid in open(f"/proc/self/task/{task}/children").read().split()]

class Empty(ProcessActor):
    def parent(self):
        return os.getppid()
"""
"""A host that notes which launchers had a head start; `children` are the processes that it has now."""


def told(host_script: HostScripts, code: str) -> list[str]:
    """Return the words that such a host prints."""
    host = host_script(WATCHED + code)
    out, err = host.communicate(timeout=50)
    assert host.returncode == 0, err
    return out.split()


def test_the_first_isolate_comes_from_the_launcher_that_began_first(host_script: HostScripts) -> None:
    code = """
ref = Empty.start()
print(began == [ref.proxy().parent().get(timeout=20)] == children(), launcher_process._ahead == [])
Empty.start()
print(len(began), children() == began)
"""
    assert told(host_script, code) == ["True", "True", "1", "True"]


@pytest.mark.parametrize(
    "change",
    [
        "os.environ['CHANGED'] = '1'",
        "sys.path.append('/somewhere/else')",
        "options = IsolationOptions(inherit_env=False)",
        "options = IsolationOptions(preload=('wave',))",
    ],
)
def test_one_that_is_not_like_what_is_needed_ends(host_script: HostScripts, change: str) -> None:
    code = f"""
options = IsolationOptions()
with launcher_process.head_start(options):
    {change}
    ref = Empty.with_options(options).start()
    parent = ref.proxy().parent().get(timeout=20)
print(parent != began[0], children() == [parent])
"""
    assert told(host_script, code) == ["True", "True"]


def test_a_start_that_fails_leaves_none(host_script: HostScripts) -> None:
    code = """
try:
    Empty.start(threading.Lock())
except TypeError as error:
    print(len(began), children(), launcher_process._ahead)
print(Empty.start().proxy().parent().get(timeout=20) in began)
"""
    assert told(host_script, code) == ["1", "[]", "[]", "False"]


def test_a_thread_that_may_end_soon_gives_none(host_script: HostScripts) -> None:
    code = """
found = []
thread = threading.Thread(target=lambda: found.append(Empty.start()))
thread.start()
thread.join()
print(began, found[0].proxy().parent().get(timeout=20) == children()[0])
"""
    assert told(host_script, code) == ["[]", "True"]


def test_a_forked_copy_of_the_host_has_a_launcher_of_its_own(host_script: HostScripts) -> None:
    code = """
with launcher_process.head_start(IsolationOptions()):
    pid = os.fork()
    if pid == 0:
        parent = Empty.start().proxy().parent().get(timeout=20)
        os._exit(0 if parent != began[0] else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), began[0] in children())
print(children())
"""
    assert told(host_script, code) == ["0", "True", "[]"]


def test_a_host_that_is_killed_meanwhile_leaves_none(host_script: HostScripts) -> None:
    code = """
with launcher_process.head_start(IsolationOptions()):
    print(*began, flush=True)
    signal = sys.stdin.readline()
"""
    host = host_script(WATCHED + code)
    assert host.stdout is not None
    launcher = int(host.stdout.readline())
    host.send_signal(signal.SIGKILL)
    host.wait(timeout=20)
    wait_until(lambda: pid_gone(launcher))
