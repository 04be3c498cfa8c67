"""A host that becomes another user, as daemons do that root starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys

import pytest

from piactors import IsolationOptions
from tests.support import HostScripts, pid_gone

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root has rights that it could give up"
)

PROGRAM = """
import json, logging, os, signal, sys, time
import piactors
from piactors import IsolationOptions, ProcessActor, StartError

class Worker(ProcessActor):
    def who(self):
        return [os.getuid(), os.getgid(), os.getgroups()]
    def end(self):
        os._exit(3)
    def hang(self):
        time.sleep(3600)

def start(**more):
    return Worker.with_options(start_method=sys.argv[1] or None, **more).start()

def say(**fields):
    print(json.dumps(fields), flush=True)

def outcome(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__ + ": " + str(error)
"""


def run(host_script: HostScripts, way: IsolationOptions, code: str) -> dict[str, object]:
    """Run a host program; return what it said.  It has to end by itself, with code 0."""
    host = host_script(PROGRAM + code, args=[way.start_method or ""])
    out, err = host.communicate(timeout=50)
    assert host.returncode == 0, err
    fields: dict[str, object] = {}
    for line in out.splitlines():
        fields.update(json.loads(line))
    return fields


def test_isolates_have_the_groups_that_the_host_has_now(host_script: HostScripts, way: IsolationOptions) -> None:
    found = run(
        host_script,
        way,
        """
first, again = start().proxy(), start(restart="permanent").proxy()
say(before=first.who().get(timeout=20))
os.setgroups([7, 8])
os.setgid(9)
say(after=start().proxy().who().get(timeout=20), first=first.who().get(timeout=20))
outcome(lambda: again.end().get(timeout=20))
say(again=again.who().get(timeout=20))
os.setgroups([])
say(last=start().proxy().who().get(timeout=20))
""",
    )
    assert found["before"] == found["first"] == [0, os.getgid(), os.getgroups()]
    assert found["after"] == found["again"] == [0, 9, [7, 8]]
    assert found["last"] == [0, 9, []]


def test_isolates_of_the_time_before_can_still_be_ended(host_script: HostScripts, way: IsolationOptions) -> None:
    found = run(
        host_script,
        way,
        """
late, doomed, orderly, left = start(call_timeout=0.5), start(), start(), start()
os.setgid(65534)
os.setuid(65534)
say(late=outcome(lambda: late.proxy().hang().get(timeout=20)))
doomed.proxy().hang()
say(terminated=doomed.terminate(timeout=20).kind)
say(stopped=orderly.stop(timeout=20))
say(new=outcome(lambda: start().proxy().who().get(timeout=20)))
left.proxy().hang()
""",
    )
    assert str(found["late"]).startswith("CallTimeout")
    assert (found["terminated"], found["stopped"]) == ("killed", True)
    # The tests' interpreter may lie in a folder of root's.
    assert (
        found["new"] == [65534, 65534, []]
        or "Permission denied" in str(found["new"])
        or ("this program has become another user (uid 65534)" in str(found["new"]))
    )


@pytest.mark.parametrize("way", ["portable"], indirect=True)
def test_what_nobody_may_end_is_let_go_of(host_script: HostScripts, way: IsolationOptions) -> None:
    """A process that is stopped does not even end by itself."""
    found = run(
        host_script,
        way,
        """
ref, other = start(), start(shutdown_timeout=0.2)
pids = [ref.pid, other.pid]
for pid in pids:
    os.kill(pid, signal.SIGSTOP)
os.setuid(65534)
reason = ref.terminate(timeout=20)
say(pids=pids, kind=reason.kind)
""",
    )
    pids = found["pids"]
    assert isinstance(pids, list)
    assert found["kind"] == "killed"
    for pid in pids:
        if not pid_gone(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
