"""Descriptors above 1,023, which `select.select` does not know."""

from __future__ import annotations

import ast
import resource
from pathlib import Path

import pytest

import piactors
from piactors import IsolationOptions
from tests.support import HostScripts

PACKAGE = Path(piactors.__file__).parent


def test_nothing_uses_select() -> None:
    """Neither the call, nor what is built on it."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found += [(path, node.lineno)] * (
                    (node.value.id, node.attr) in {("select", "select"), ("selectors", "SelectSelector")}
                )
            if isinstance(node, ast.ImportFrom) and node.module in ("select", "selectors"):
                names = {alias.name for alias in node.names}
                found += [(path, node.lineno)] * bool(names & {"select", "SelectSelector", "*"})
    assert not found


MANY = """
import os, signal, sys
import piactors
from piactors import ProcessActor
from piactors._host import runtime

held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1500)]

class Echo(ProcessActor):
    def say(self, x):
        return x
    def end(self):
        os._exit(3)

ref = Echo.with_options(start_method=sys.argv[1] or None, restart="permanent").start()
proxy = ref.proxy()
assert min(fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > max(held)) > 1100
print(proxy.say("hello").get(timeout=20), len(proxy.say(b"x" * 1_000_000).get(timeout=20)))
try:
    proxy.end().get(timeout=20)
except piactors.IsolateCrashed as error:
    print(error.reason.exitcode, proxy.say("again").get(timeout=20))
for pid in runtime.current().launcher_pids():
    os.kill(pid, signal.SIGKILL)
    ref.wait_for_exit(0.01)
print(ref.stop(timeout=20))
"""


def test_a_program_with_many_descriptors_starts_isolates(host_script: HostScripts, way: IsolationOptions) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1600:
        pytest.skip("RLIMIT_NOFILE is too low")
    host = host_script(MANY, args=[way.start_method or ""])
    out, err = host.communicate(timeout=50)
    assert out.splitlines() == ["hello 1000000", "3 again", "True"], err
