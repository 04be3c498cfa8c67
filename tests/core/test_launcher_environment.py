"""What stands in /proc/self/environ of an isolate, and so in its memory: nothing that it may not have."""

from __future__ import annotations

import sys

import pytest

from piactors import IsolationOptions
from tests.support import HostScripts

CODE = """
import os, sys
os.environ["OUR_TOKEN"] = "a-secret"
import piactors
from piactors import IsolationOptions, ProcessActor, ProcessIsolator, spawn
from piactors._host import runtime

def environ():
    with open("/proc/self/environ", "rb") as file:
        return b"a-secret" in file.read()

class Handed(ProcessActor):
    def look(self):
        return environ(), os.environ.get("OUR_TOKEN")

method = sys.argv[1] or None
READ = "pathlib:Path.read_bytes"
def options(**fields):
    return IsolationOptions(start_method=method, **fields)
def look(ref):
    found = ref.invoke("subprocess:check_output", (["cat", f"/proc/{ref.pid}/environ"],), {}).get(timeout=20)
    names = {item.partition(b"=")[0].decode() for item in found.split(b"\\0")} - {""}
    return b"a-secret" in found, sorted(n for n in names if not n.startswith("PIACTORS_") and n not in KEPT)
KEPT = {"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME"}
whole = Handed.with_options(options()).start()
print(*whole.proxy().look().get(timeout=20))
named = spawn("math:floor", options=options())
secret, names = look(named)
print(secret, set(names) <= set(os.environ), "PATH" in names)
print(*look(spawn("math:floor", options=options(inherit_env=False))))
print(look(spawn("math:floor", options=options(inherit_env=True)))[0])
print(look(spawn("math:floor", options=options(inherit_env=["OUR_TOKEN"])))[0] or method != "spawn")
with ProcessIsolator(options(restart="permanent")) as isolator:
    pid = isolator.invoke_method("os:getpid").get(timeout=20)
    print(b"a-secret" in open(f"/proc/{pid}/environ", "rb").read())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_secrets_of_the_host_are_not_in_an_isolates_memory(host_script: HostScripts, way: IsolationOptions) -> None:
    host = host_script(CODE, args=[way.start_method or ""])
    out, err = host.communicate(timeout=50)
    assert out.splitlines() == ["True a-secret", "False True True", "False []", "True", "True", "False"], err
