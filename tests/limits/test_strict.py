"""`strict`, `enforcement()` and other interpreters: what is said where a limit cannot be held."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import piactors
from piactors import IsolationLimits, IsolationOptions, StartError
from piactors.limits import LIMITS
from tests.limits.mechanisms import CGROUPS, HOGS, MIB, PATIENCE, exceeded, limited, pid_of, why_not
from tests.orphans.support import CHILDREN, Watch, watch

__all__ = ["watch"]

VALUES: dict[str, Any] = {
    "max_memory": "128 MiB",
    "soft_memory": "64 MiB",
    "max_cpu": 0.5,
    "affinity": min(os.sched_getaffinity(0)),
    "max_cpu_time": 100,
    "max_processes": 100,
    "max_open_files": 128,
    "max_file_size": "1 MiB",
    "nice": 3,
    "io_class": "idle",
}
WRONG = {
    "max_memory": "scheduler",
    "soft_memory": "rlimit",
    "max_cpu": "rlimit",
    "affinity": "monitor",
    "max_cpu_time": "scheduler",
    "max_processes": "rlimit",
    "max_open_files": "monitor",
    "max_file_size": "scheduler",
    "nice": "rlimit",
    "io_class": "monitor",
}
ALL = "cgroup-v2,cgroup-v1,rlimit,scheduler,monitor"


def start(**limits: Any) -> Any:
    return piactors.spawn(f"{HOGS}:Hog", options=IsolationOptions(limits=IsolationLimits(**limits)))


def test_every_limit_has_an_example() -> None:
    assert set(VALUES) == set(WRONG) == set(LIMITS)


@pytest.mark.parametrize("limit", LIMITS)
def test_what_cannot_be_held_refuses_to_start(limit: str) -> None:
    with pytest.raises(StartError, match=limit) as caught:
        start(**{limit: VALUES[limit]}, mechanisms=WRONG[limit], strict=True)
    reason = caught.value.reason
    assert reason is not None
    assert reason.kind == "start_failed"
    for text in (str(caught.value), reason.detail or ""):
        assert f"{limit}: not enforced (only " in text
        assert "mechanisms does not allow that" in text


@pytest.mark.parametrize("limit", LIMITS)
def test_without_strict_it_is_logged(limit: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "piactors"):
        ref = start(**{limit: VALUES[limit]}, mechanisms=WRONG[limit])
        found = ref.enforcement()[limit]
        assert ref.proxy().pid().get(timeout=PATIENCE) == ref.pid
        ref.stop()  # what is logged is handed over before that is done
    assert (found.limit, found.mechanism, found.scope) == (limit, None, None)
    assert found.why.startswith("only ")
    (text,) = [one.getMessage() for one in caplog.records if limit in one.getMessage()]
    assert text == f"isolate {ref.name}: {found}"


def test_a_refused_start_starts_nothing() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(StartError):
        start(max_memory="1 GiB", nice=1, mechanisms="scheduler", strict=True)
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1


def test_enforcement_names_the_best_that_there_is() -> None:
    ref = start(**VALUES)
    found = ref.enforcement()
    assert list(found) == list(LIMITS)
    expected = dict.fromkeys(("affinity", "nice", "io_class"), "scheduler")
    expected |= dict.fromkeys(("max_open_files", "max_file_size"), "rlimit")
    expected |= dict.fromkeys(("soft_memory", "max_cpu_time"), "monitor")
    for limit in ("max_memory", "max_cpu", "max_processes"):
        expected[limit] = next(name for name in (*CGROUPS, "monitor") if why_not(name, limit) is None)
        assert found[limit].scope == "tree"
        assert (found[limit].why == "") == (expected[limit] == "cgroup v2")
    assert {limit: one.mechanism for limit, one in found.items()} == expected
    for limit, one in found.items():
        assert one.limit == limit
        assert str(one).startswith(f"{limit}: {one.mechanism}, ")
    assert found["max_open_files"].scope == "process"
    ref.stop()
    assert ref.enforcement() == found, "it is known after the end too"


def test_without_limits_there_is_nothing_to_tell() -> None:
    ref = piactors.spawn(f"{HOGS}:Hog")
    assert ref.enforcement() == {}
    ref.stop()


# Where the machine does not have it: a host to which mechanisms are not there


SCRIPT = f"""
import logging
logging.basicConfig(level="WARNING", stream=sys.stderr)
from piactors import IsolationLimits
for given in GIVEN["limits"]:
    limits = IsolationLimits(**given)
    kind, found = outcome(lambda: spawn("{CHILDREN}/hogs.py:Hog", limits=limits))
    if kind == "value":
        enforcement = dict((name, (one.mechanism, one.why)) for name, one in found.enforcement().items())
        say(kind=kind, enforcement=enforcement, pid=found.proxy().pid().get(timeout=20))
    else:
        say(kind=kind, text=found)
"""


def test_strict_refuses_where_mechanisms_are_taken_away(watch: Watch) -> None:
    limits = [{limit: VALUES[limit], "strict": True} for limit in LIMITS]
    host = watch.host(SCRIPT, limits=limits, env={"PIACTORS_PORTABLE": ALL})
    for limit in LIMITS:
        line = host.hear_line("kind")
        assert line["kind"] == "StartError", line
        assert f"{limit}: not enforced (" in line["text"]
        assert "taken away by PIACTORS_PORTABLE" in line["text"]
    assert host.exit_code() == 0


def test_without_strict_all_is_logged_where_they_are_taken_away(watch: Watch) -> None:
    host = watch.host(SCRIPT, limits=[VALUES], env={"PIACTORS_PORTABLE": ALL})
    line = host.hear_line("kind")
    assert line["kind"] == "value"
    assert line["pid"]
    assert list(line["enforcement"]) == list(LIMITS)
    assert host.exit_code() == 0
    log = host.log()
    for limit, (mechanism, why) in line["enforcement"].items():
        assert mechanism is None
        assert "taken away by PIACTORS_PORTABLE" in why
        assert f"{limit}: not enforced ({why})" in log


def test_the_next_best_takes_over(watch: Watch) -> None:
    """Without groups the monitor, without that the kernel's limits of single processes."""
    for taken, expected in {"cgroup-v2,cgroup-v1": "monitor", "cgroup-v2,cgroup-v1,monitor": "rlimit"}.items():
        host = watch.host(SCRIPT, limits=[{"max_memory": "1 GiB", "strict": True}], env={"PIACTORS_PORTABLE": taken})
        mechanism, why = host.hear_line("kind")["enforcement"]["max_memory"]
        assert mechanism == expected
        assert why.count("taken away by PIACTORS_PORTABLE") == taken.count(",") + 1
        assert host.exit_code() == 0


# Another interpreter


@functools.cache
def python38() -> str | None:
    root = os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))
    if shutil.which("pyenv"):
        told = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False).stdout.strip()
        root = told or root
    return next((str(path) for path in Path(root, "versions").glob("3.8.*/bin/python")), shutil.which("python3.8"))


@pytest.fixture
def old_python() -> str:
    found = python38()
    if found is None:
        pytest.skip("no Python 3.8 on this machine, neither by pyenv nor on the PATH")
    return found


def test_an_old_interpreter_is_held_to_all_limits(old_python: str) -> None:
    ref = piactors.spawn(
        f"{HOGS}:Hog", options=IsolationOptions(python=old_python, limits=IsolationLimits(**VALUES, strict=True))
    )
    pid = pid_of(ref)
    assert os.getpriority(os.PRIO_PROCESS, pid) == 3
    assert os.sched_getaffinity(pid) == {VALUES["affinity"]}
    assert ref.proxy().rlimit("RLIMIT_NOFILE").get(timeout=PATIENCE) == (128, 128)
    assert ref.proxy().rlimit("RLIMIT_FSIZE").get(timeout=PATIENCE) == (MIB, MIB)
    error = exceeded(ref.proxy().take("bytearray", 400, 400.0))
    assert (error.limit, error.culprit_pid) == ("max_memory", pid)


@pytest.mark.parametrize("mechanism", [*CGROUPS, "monitor", "rlimit"])
def test_memory_of_an_old_interpreter(old_python: str, mechanism: str) -> None:
    reason = why_not(mechanism, "max_memory")
    if reason is not None:
        pytest.skip(reason)
    ref = limited(mechanism, options={"python": old_python}, max_memory="128 MiB")
    call = ref.proxy().take("bytearray", 400, 400.0)
    if mechanism == "rlimit":
        assert isinstance(call.exception(timeout=PATIENCE), MemoryError)
        assert ref.proxy().pid().get(timeout=PATIENCE) == ref.pid
        ref.stop()
    else:
        assert exceeded(call).limit == "max_memory"
