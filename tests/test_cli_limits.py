"""Limits and call timeouts on the command line, as real processes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from piactors.cli import notes
from piactors.events import LimitBreached
from piactors.limits import Enforcement, IsolationLimits
from tests.test_cli import cli, labels, on_terminal, run, targets, unstyled

pytestmark = pytest.mark.timeout(60)

LIMIT_BROKEN = 122
CALL_TIMED_OUT = 123
BREACH = re.compile(
    r"^\[breach\] (\S+) pid=(\d+) generation=(\d+) limit=(\w+) hard=(yes|no) allowed=(\d+) observed=(\d+)"
    r" culprit_pid=(\d+) culprit=(.+)$",
    re.MULTILINE,
)


def breaches(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str]]:
    """What was broken, and whether the process was ended for it."""
    return [(found[3], found[4]) for found in BREACH.findall(done.stderr)]


def limits_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The summary at the end: what each limit was and what has enforced it, by name."""
    return dict(re.findall(r"^\[limit\] \S+ limit=(\w+) (.*)$", done.stderr, re.MULTILINE))


# Breaches


def test_memory_breach() -> None:
    done = run("allocate", options=("--max-memory", "100MB", "--soft-memory", "30MB"))
    assert done.returncode == LIMIT_BROKEN, done.stderr
    assert breaches(done) == [("soft_memory", "no"), ("max_memory", "yes")]
    hard = BREACH.findall(done.stderr)[-1]
    assert hard[0] == "allocate"
    assert hard[1] == hard[7]
    assert hard[5] == "100000000"
    assert int(hard[6]) > 90_000_000
    assert hard[8] == "isolate allocate"
    assert labels(done) == ["started", "breach", "breach", "exited", "limit", "limit", "exit"]
    assert re.search(r"^\[exited\] allocate pid=\d+ generation=1 kind=limit signal=9$", done.stderr, re.MULTILINE)
    assert done.stderr.splitlines()[-1] == f"[exit] allocate code={LIMIT_BROKEN}"
    assert list(limits_of(done)) == ["max_memory", "soft_memory"]
    assert limits_of(done)["soft_memory"] == "allowed=30000000 mechanism=monitor scope=tree"


def test_cpu_time_breach() -> None:
    done = run("burn", options=("--max-cpu-time", "0.2"))
    assert done.returncode == LIMIT_BROKEN
    assert "limit=max_cpu_time hard=yes allowed=0.2 observed=" in done.stderr


def test_breach_is_a_crash(tmp_path: Path) -> None:
    options = ("--max-memory", "60MB", "--mechanism", "monitor", "--restart", "--max-restart-attempts", "1")
    done = run("allocate", str(tmp_path / "count"), options=options)
    assert done.returncode == LIMIT_BROKEN
    assert (tmp_path / "count").stat().st_size == 2
    again = ["started", "breach", "exited"]
    assert labels(done) == [*again, "restarting", *again, "restarts-exceeded", "limit", "exit"]


def test_limits_on_a_terminal() -> None:
    shown, code = on_terminal("run", "--max-memory=60MB", "--nice=1", targets("allocate"))
    assert code == LIMIT_BROKEN
    lines = unstyled(shown).splitlines()
    assert [line.split("allocate")[0].strip() for line in lines] == ["started", "breach", "limit", "limit", "exit code"]
    assert re.fullmatch(r"breach     allocate  max_memory .*57\.2 MiB.* pid \d+ \(isolate allocate\)", lines[1])
    assert re.fullmatch(r"limit      allocate  max_memory 57\.2 MiB: by [a-z0-9 ]+, the whole tree", lines[2])
    assert lines[3] == "limit      allocate  nice 1: by scheduler, each process"


# What holds without a breach


def test_limits_are_set() -> None:
    cpu = min(os.sched_getaffinity(0))
    options = (
        "--affinity-mask",
        f"cpu{cpu}",
        "--nice",
        "7",
        "--max-open-files",
        "99",
        "--max-file-size",
        "1MB",
        "--max-cpu",
        "150%",
        "--max-processes",
        "64",
        "--io-class",
        "idle",
        "--strict",
    )
    done = run("state", options=options)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"[{cpu}] 7\n99 1000000\n"
    found = limits_of(done)
    assert list(found) == [
        "max_cpu",
        "affinity",
        "max_processes",
        "max_open_files",
        "max_file_size",
        "nice",
        "io_class",
    ]
    assert found["affinity"] == f"allowed={cpu} mechanism=scheduler scope=process"
    assert found["max_open_files"] == "allowed=99 mechanism=rlimit scope=process"
    assert found["max_cpu"].startswith("allowed=1.5 mechanism=")


# What is not enforced


def test_warning_of_what_is_not_enforced() -> None:
    options = ("--max-memory=64MB", "--nice=3", "--mechanism=scheduler", "--mechanism=rlimit", "--max-cpu=50")
    done = run("nothing", options=options)
    assert done.returncode == 0
    warnings = [line for line in done.stderr.splitlines() if "not enforced" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("piactors: WARNING: max_cpu: not enforced (only cgroup v2, cgroup v1, monitor can")
    assert limits_of(done)["max_cpu"] == "allowed=0.5 mechanism=none"
    assert limits_of(done)["max_memory"] == "allowed=64000000 mechanism=rlimit scope=process"


def test_quiet_does_not_hide_the_warning() -> None:
    done = run("nothing", options=("--nice=1", "--mechanism=rlimit", "--quiet"))
    assert done.stderr.splitlines() == [
        "piactors: WARNING: nice: not enforced (only scheduler can, and mechanisms does not allow that)"
    ]


def test_strict_refuses_to_start() -> None:
    done = run("nothing", options=("--max-cpu=50", "--strict", "--mechanism=rlimit"))
    assert done.returncode == 1
    assert "its limits cannot be enforced here: strict=True, and max_cpu: not enforced" in done.stderr
    assert labels(done) == ["start-failed", "limit", "exit"]


# Call timeouts


def test_call_timeout(tmp_path: Path) -> None:
    options = ("--call-timeout=0.3", "--restart", "--max-restart-attempts=1")
    done = run("sleep_long", str(tmp_path / "count"), options=options)
    assert done.returncode == CALL_TIMED_OUT, done.stderr
    assert (tmp_path / "count").stat().st_size == 2  # it is a crash
    found = [label for label in labels(done) if label != "stack"]
    again = ["started", "call-timeout", "exited"]
    assert found == [*again, "restarting", *again, "restarts-exceeded", "exit"]
    assert re.search(r"^\[call-timeout\] sleep_long pid=\d+ generation=2 seconds=0\.3$", done.stderr, re.MULTILINE)
    assert re.search(
        r'^\[stack\] sleep_long   File ".*cli_targets\.py", line \d+, in sleep_long$', done.stderr, re.MULTILINE
    )
    assert "kind=call_timeout" in done.stderr


def test_call_timeout_on_a_terminal() -> None:
    shown, code = on_terminal("run", "--call-timeout=0.3", targets("sleep_long"))
    assert code == CALL_TIMED_OUT
    lines = unstyled(shown).splitlines()
    assert lines[1] == "timed out  sleep_long  the call ran longer than 0.3 s, its --call-timeout"
    assert any(re.fullmatch(r' +File ".*cli_targets\.py", line \d+, in sleep_long', line) for line in lines)
    assert "crashed" not in unstyled(shown)


# Usage

USAGE = [
    ("--max-memory", "lots", '"256 MiB"'),
    ("--max-memory", "5", "from 1048576"),
    ("--soft-memory", "1.5GB", '"256 MiB"'),
    ("--max-cpu", "0", "150 is 1.5"),
    ("--max-cpu", "fast", "percentage of one core"),
    ("--max-cpu", "inf", "percentage of one core"),
    ("--affinity-mask", "cpu9999", "this machine has cpu0"),
    ("--affinity-mask", "left", '"cpu0 cpu2"'),
    ("--max-cpu-time", "0", "more than 0"),
    ("--max-cpu-time", "long", "number of seconds"),
    ("--max-processes", "3", "at least 4"),
    ("--max-processes", "few", "at least 4"),
    ("--max-open-files", "5", "at least 32"),
    ("--max-file-size", "-1", "from 0 to"),
    ("--nice", "20", "from -20 to 19"),
    ("--nice", "-5.5", "from -20 to 19"),
    ("--io-class", "fast", "'best-effort'"),
    ("--mechanism", "magic", "'scheduler'"),
    ("--call-timeout", "0", "more than 0"),
    ("--call-timeout", "nan", "number of seconds"),
]


@pytest.mark.parametrize(("option", "value", "allowed"), USAGE)
def test_bad_values(option: str, value: str, allowed: str) -> None:
    from click.testing import CliRunner

    from piactors.cli.app import cli as command

    done = CliRunner().invoke(command, ["run", option, value, "nowhere:x"])  # refused before anything is started
    assert done.exit_code == 2
    said = done.output.splitlines()[-1]
    assert f"'{option}'" in said
    assert value.removeprefix("cpu").rstrip(".0") in said
    assert allowed in said
    assert "None" not in said


def test_soft_limit_above_the_hard_one() -> None:
    done = cli("run", "--max-memory", "10MB", "--soft-memory", "20MB", targets("nothing"))
    assert done.returncode == 2
    assert "Invalid value for '--soft-memory': 20000000 is not allowed; use less than max_memory" in done.stderr
    assert labels(done) == []


# The words


def breach(**fields: object) -> LimitBreached:
    facts = {
        "limit": "max_memory",
        "hard": True,
        "allowed": 2.0**40,
        "observed": 2.0**41,
        "culprit_pid": 4,
        "culprit": "python x.py",
        **fields,
    }
    return LimitBreached(name="n", pid=3, generation=2, time=0.0, **facts)  # type: ignore[arg-type]


def test_large_numbers_are_exact() -> None:
    note = notes.note_of(breach())
    assert note is not None
    assert (note.facts["allowed"], note.facts["observed"]) == ("1099511627776", "2199023255552")


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (IsolationLimits(max_file_size=0), "max_file_size 0 bytes: by rlimit, each process"),
        (IsolationLimits(max_file_size="1 MiB"), "max_file_size 1.0 MiB: by rlimit, each process"),
        (IsolationLimits(max_cpu=1.5), "max_cpu 1.5 cores: by rlimit, each process"),
        (IsolationLimits(affinity=[0]), "affinity cpu0: by rlimit, each process"),
    ],
)
def test_limits_in_words(limits: IsolationLimits, text: str) -> None:
    (name,) = limits.wanted
    found = Enforcement(limit=name, mechanism="rlimit", scope="process")
    assert [note.text for note in notes.notes_of_limits(limits, [found])] == [text]


@pytest.mark.parametrize("option", ["--strict", "--mechanism=monitor"])
def test_how_to_enforce_without_a_limit(option: str) -> None:
    done = run("allocate", options=(option,))
    assert done.returncode == 2
    assert "but there is no limit" in done.stderr
