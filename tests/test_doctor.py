"""``piactors doctor``: what it finds, what it advises, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from piactors.cli import interpreters, report
from piactors.cli.advice import Advice, advice
from piactors.cli.facts import Cgroups, Facts, Interpreter, Kernel, LimitFact, Machine, Trial
from piactors.limits import LIMITS
from tests.support import wait_until
from tests.test_cli import cli, command, environment, on_terminal, unstyled

pytestmark = pytest.mark.timeout(60)

ALL = "cgroup-v1,cgroup-v2,monitor,rlimit,scheduler"
QUICK = "--no-interpreters"


def stale_groups() -> set[str]:
    """Groups of hosts that are gone, by their paths."""
    found = Path("/sys/fs/cgroup").rglob("piactors-*-*-*")
    return {str(path) for path in found if not Path("/proc", path.name.split("-")[2]).exists()}


def executable(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


# The command


def test_json() -> None:
    done = cli("doctor", "--json", QUICK)
    found = json.loads(done.stdout)
    assert list(found) == [
        "version",
        "ok",
        "missing",
        "limits",
        "start_methods",
        "interpreters",
        "machine",
        "kernel",
        "cgroups",
        "priorities",
        "advice",
    ]
    assert done.returncode == (0 if found["ok"] else 1)
    assert found["ok"] == (found["missing"] == [])
    assert list(found["limits"]) == list(LIMITS)
    for fact in found["limits"].values():
        assert list(fact) == ["limit", "mechanism", "scope", "by"]
        assert fact["mechanism"] == next((name for name, why_not in fact["by"].items() if why_not is None), None)
    assert found["limits"]["max_open_files"] == {
        "limit": "max_open_files",
        "mechanism": "rlimit",
        "scope": "process",
        "by": {"rlimit": None},
    }
    assert {name: trial["works"] for name, trial in found["start_methods"].items()} == {"launcher": True, "spawn": True}
    assert found["interpreters"] is None
    assert found["machine"]["system"] == "Linux"
    assert all(list(one) == ["about", "text", "commands"] for one in found["advice"])


def test_text_and_interpreters() -> None:
    before = stale_groups()
    done = cli("doctor")
    wait_until(lambda: stale_groups() <= before)  # a host of another test may be on the point of leaving none
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    heads = [re.split(" |:", line)[0] for line in lines if line and not line.startswith(" ")]
    assert heads[:5] == ["Machine", "Limits,", "Start", "Interpreters", "Kernel"]
    assert lines[-1] == "All limits can be enforced." or done.returncode == 1
    (own,) = [line for line in lines if "(this one)" in line]
    version, path = re.escape(platform.python_version()), re.escape(sys.executable)
    assert re.fullmatch(rf"  CPython {version} +yes +{path} \(this one\), [\d.]+ s", own)


def test_nothing_works() -> None:
    done = cli("doctor", QUICK, PIACTORS_PORTABLE=ALL)
    assert done.returncode == 1
    assert re.search(r"^  max_memory +no +nothing works$", done.stdout, re.MULTILINE)
    assert re.search(r"^      cgroup v1 +taken away by PIACTORS_PORTABLE$", done.stdout, re.MULTILINE)
    missing = done.stdout.partition("Something is missing:\n")[2].splitlines()
    assert missing == [f"  the limit {limit} cannot be enforced" for limit in LIMITS]
    assert "      unset PIACTORS_PORTABLE\n" in done.stdout


def test_without_a_launcher() -> None:
    done = cli("doctor", QUICK, "--json", PIACTORS_PORTABLE="launcher,pidfd,memfd,cgroup-v2,cgroup-v1")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert found["missing"] == ["the start method launcher does not work"]
    assert "fresh interpreters" in found["start_methods"]["launcher"]["why_not"]
    assert found["start_methods"]["spawn"]["works"]
    assert (found["kernel"]["pidfd"]["works"], found["kernel"]["memfd"]["works"]) == (False, False)
    assert found["limits"]["max_memory"]["mechanism"] == "monitor"
    assert found["limits"]["max_memory"]["by"]["cgroup v1"] == "taken away by PIACTORS_PORTABLE"


def test_terminal() -> None:
    shown, _ = on_terminal("doctor", QUICK)
    assert re.search(r"^  max_open_files +yes +rlimit, each process$", unstyled(shown), re.MULTILINE)
    assert "\x1b[32myes" in shown


@pytest.mark.alone
def test_signal_leaves_nothing_behind(tmp_path: Path) -> None:
    tell = executable(tmp_path / "python3.99", f"echo > {tmp_path}/asked; sleep 30")  # it is tried, and never ready
    before = stale_groups()
    path = os.pathsep.join([str(Path(tell).parent), os.environ["PATH"]])
    with subprocess.Popen(
        command("doctor"), env=environment(PATH=path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        wait_until((tmp_path / "asked").exists, 30)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 128 + signal.SIGTERM
    wait_until(lambda: stale_groups() <= before)  # a host of another test may be on the point of leaving none


# Interpreters


def test_finding_interpreters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "pyenv"
    executable(tmp_path / "bin/pyenv", f"echo {root}")
    one = executable(tmp_path / "bin/python3.77", "exit 0")
    executable(tmp_path / "bin/python3.77-config", "exit 0")
    (tmp_path / "bin/python3.78").write_text("not executable")
    other = executable(root / "versions/3.79.1/bin/python3.79", "exit 0")
    (root / "versions/3.79.1/bin/python3").symlink_to(other)
    executable(root / "shims/python3.80", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{root}/shims:relative:/no/such/folder:/bin")
    found = interpreters.paths()
    assert found[0] == sys.executable
    assert one in found
    assert str(root / "versions/3.79.1/bin/python3") in found
    assert not [path for path in found if "config" in path or "3.78" in path or "3.80" in path]
    assert len({os.path.realpath(path) for path in found}) == len(found)


@pytest.mark.parametrize(
    ("said", "version", "why_not"),
    [("Python 3.5.2", "3.5.2", "too old: isolates need Python 3.8 or later"), ("hello", None, "did not start")],
)
def test_interpreters_that_do_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, version: str | None, why_not: str
) -> None:
    path = executable(tmp_path / "python3.99", f"[ $1 = --version ] && echo {said}; exit 3")
    monkeypatch.setattr(interpreters, "paths", lambda: [path])
    (found,) = interpreters.found()
    assert (found.path, found.version, found.works, found.own) == (path, version, False, False)
    assert found.why_not is not None
    assert found.why_not.startswith(why_not)


# The advice


def limit_fact(limit: str, by: dict[str, str | None]) -> LimitFact:
    works = next((name for name, why_not in by.items() if why_not is None), None)
    return LimitFact(limit=limit, mechanism=works, scope=None if works is None else "tree", by=by)


GROUPED: dict[str, str | None] = {"cgroup v2": None, "cgroup v1": "not mounted", "monitor": None}
MONITORED: dict[str, str | None] = {"cgroup v2": "not writable", "cgroup v1": "not mounted", "monitor": None}
UNIFIED = Cgroups(version=2, controllers=("memory", "cpu", "pids"), folder="/cg", own="/cg/a", writable=False)
MACHINE = Machine(
    system="Linux",
    kernel="6.1",
    python="CPython 3.12.1",
    root=False,
    cpus=4,
    usable_cpus=4,
    container=None,
    systemd=True,
    taken_away=(),
)
WORKS = Trial(works=True, seconds=0.1)


def facts(by: dict[str, str | None] = GROUPED, machine: dict[str, Any] | None = None, **more: Any) -> Facts:
    given: dict[str, Any] = {
        "limits": {limit: limit_fact(limit, by) for limit in ("max_memory", "max_cpu", "max_processes")},
        "start_methods": {"launcher": WORKS, "spawn": WORKS},
        "interpreters": None,
        "kernel": {},
        "machine": attrs.evolve(MACHINE, **(machine or {})),
        "cgroups": (UNIFIED,),
        "priorities": {"nice -20": None, "io_class realtime": None},
        **more,
    }
    return Facts(**given)


def only(found: list[Advice]) -> Advice:
    assert len(found) == 1
    return found[0]


def test_no_advice_where_all_is_well() -> None:
    assert advice(facts()) == []


def test_advice_to_delegate_by_systemd() -> None:
    found = only(advice(facts(MONITORED)))
    assert found.about == "control groups, for max_memory, max_cpu, max_processes"
    assert found.commands == (
        "systemd-run --user --scope -p Delegate=yes -- bash",
        "cd /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)",
        "mkdir host && echo $$ > host/cgroup.procs",
        "echo '+memory +cpu +pids' > cgroup.subtree_control",
        "cd - && piactors doctor",
    )
    assert "user@.service" in found.text


def test_advice_to_root_with_systemd() -> None:
    found = only(advice(facts(MONITORED, {"root": True})))
    assert found.commands[0] == "systemd-run --scope -p Delegate=yes -- bash"


@pytest.mark.parametrize(("root", "said"), [(True, "> /cg/a/host/cgroup.procs"), (False, "chown -R $(id -u) /cg/")])
def test_advice_without_systemd(root: bool, said: str) -> None:
    found = only(advice(facts(MONITORED, {"root": root, "systemd": False})))
    assert said in "\n".join(found.commands)


def test_advice_in_a_container() -> None:
    found = only(advice(facts(MONITORED, {"container": "docker", "root": True})))
    assert found.commands[0].startswith("docker run --cgroupns=private ")
    assert "mkdir /sys/fs/cgroup/host && echo $$ > /sys/fs/cgroup/host/cgroup.procs" in found.commands
    writable = attrs.evolve(UNIFIED, writable=True, own="/cg")
    found = only(advice(facts(MONITORED, {"container": "docker", "root": True}, cgroups=(writable,))))
    assert "docker" not in "\n".join(found.commands)
    assert "mkdir -p /cg/host" in found.commands[0]


def test_advice_with_version_1() -> None:
    memory = Cgroups(version=1, controllers=("memory",), folder="/cg/memory", own="/cg/memory/x", writable=False)
    empty = attrs.evolve(UNIFIED, controllers=())
    found = only(advice(facts(MONITORED, {"systemd": False}, cgroups=(memory, empty))))
    assert "unified_cgroup_hierarchy=1" in found.text
    assert "chown -R $(id -u) /cg/memory/x/piactors" in found.commands[0]


def test_advice_where_nothing_is_mounted() -> None:
    assert "mount -t cgroup2" in only(advice(facts(MONITORED, cgroups=()))).commands[0]


def test_only_what_is_missing_is_asked_for() -> None:
    limits = {"max_memory": limit_fact("max_memory", MONITORED), "max_cpu": limit_fact("max_cpu", GROUPED)}
    found = only(advice(facts(limits=limits)))
    assert found.about == "control groups, for max_memory"
    assert "echo '+memory' > cgroup.subtree_control" in found.commands


@pytest.mark.parametrize(("container", "said"), [(None, "setcap cap_sys_nice"), ("podman", "--cap-add SYS_NICE")])
def test_advice_about_priorities(container: str | None, said: str) -> None:
    found = only(advice(facts(machine={"container": container}, priorities={"nice -20": "refused", "other": None})))
    assert found.about == "nice -20"
    assert said in found.commands[0]


def test_advice_about_the_rest() -> None:
    broken = Trial(works=False, seconds=0.1, why_not="no")
    alone = Interpreter(path="/p", version="3.12.1", implementation="CPython", own=True, works=True, seconds=0.1)
    found = advice(
        facts(
            machine={"usable_cpus": 2},
            kernel={"pidfd": Kernel(works=False, detail="")},
            interpreters=(alone,),
            start_methods={"launcher": broken, "spawn": WORKS},
        )
    )
    assert [one.about for one in found] == ["affinity", "pidfd", "start methods: launcher", "interpreters"]
    assert "2 of the 4" in found[0].text


def test_advice_on_another_system() -> None:
    assert only(advice(facts(MONITORED, {"system": "Darwin"}))).about == "the system"


def test_report() -> None:
    text = report.lines(facts(MONITORED, {"taken_away": ("memfd",)}, priorities={"nice -20": "refused"}), [])
    assert text[0] == "Machine: Linux 6.1, 4 CPUs, not root"
    assert "  PIACTORS_PORTABLE takes away: memfd" in text
    assert "  max_memory          yes     monitor, the whole tree" in text
    assert "      cgroup v2   not writable" in text
    assert "  nice -20            partly  refused" in text
    assert text[-1] == "All limits can be enforced."
