"""The benchmarks run: each one with tiny sizes, in a process of its own.  What they find is not held here."""

from __future__ import annotations

import json
import math
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_examples import marked
from tests.support import wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 30

SCRIPTS = {
    "small_calls": (
        "unpinned.pipe.p50",
        "unpinned.proxy.p50",
        "unpinned.proxy.p50_over_pipe",
        "unpinned.proxy.p99_over_pipe",
        "unpinned.invoke.p99",
        "unpinned.pipe_at_work.p50",
        "unpinned.proxy.p50_over_pipe_at_work",
        "same_core.pipe.p50",
        "same_core.proxy.p50_over_pipe",
    ),
    "pipelined": ("pipe.rate", "piactors.rate", "piactors_over_pipe", "map_over_pipe", "burst.bytes_per_call"),
    "awaiting": ("blocking", "asyncio", "asyncio_over_blocking", "threads.rate_over_one", "threads.rate_over_pipe"),
    "talking": (
        "call",
        "dispatcher",
        "caller",
        "routed",
        "cycle",
        "routed_over_call",
        "caller_over_dispatcher",
        "pipelined_over_in_a_row",
        "in_time_over_routed",
    ),
    "streams": ("calls", "items", "wide", "lent", "between", "array_items", "calls_over_wide"),
    "publishing": ("publish", "publisher", "calls", "publish_over_calls"),
    "arrays": ("array.64KiB.memcpy", "array.1MiB.pipe", "array.1MiB.code_over_pipe", "array.1MiB.data_over_memcpy"),
    "start": (
        "fork",
        "executor",
        "launcher",
        "launcher_numpy",
        "spawn",
        "launcher_over_fork",
        "launcher_over_executor",
    ),
    "first_start": ("piactors", "piactors.import", "executor", "piactors_over_executor"),
    "crash_to_reply": ("piactors", "piactors.slowest"),
    "idle_cost": ("isolate.uss", "executor.uss", "isolate_over_executor.uss"),
    "supervision_overhead": ("alone.p50", "supervised.p50", "supervised_over_alone"),
    "scale": (
        "start",
        "host.descriptors",
        "host.threads",
        "which_children_of_2",
        "which_children_of_20",
        "snapshot_of_20",
        "call.random.p50",
        "call.lone.p50",
        "call.random_over_lone",
        "call.random_over_bare_fork",
        "call.bare_fork.random_over_lone",
        "killed",
        "killed.until_all_answer",
        "stop",
    ),
}
"""The figures of each that are always there, and more than 0."""
MORE = {"pipelined": ["--burst"], "crash_to_reply": ["--only", "piactors"]}
PEERS = ("pipe", "piactors", "executor", "multiprocess", "pykka")
"""The libraries that are installed with the tests."""
PEER_FIGURES = ("first.ms", "start.ms", "small.p50", "small.p99", "pipelined.rate")


def run(arguments: list[str], folder: Path) -> tuple[dict[str, Any], str]:
    """Run a module of the benchmarks with `--quick`; return its figures and what it printed, and see it all end."""
    mark = f"PIACTORS_BENCHMARK_{secrets.token_hex(8)}"  # isolates and launchers inherit a variable of this prefix
    path = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", *arguments, "--quick", "--json", str(path)],
        cwd=ROOT,
        env={**os.environ, mark: "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    wait_until(lambda: not marked(mark))  # helpers of the standard library end just after their program
    return json.loads(path.read_text()), done.stdout


def assert_figures(figures: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Assert that these are there and more than 0, and that all others are numbers."""
    for key in keys:
        assert figures.get(key, 0) > 0, f"{key} in {figures}"
    assert all(math.isfinite(value) for value in figures.values())


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_benchmark_runs(name: str, tmp_path: Path) -> None:
    found, text = run([f"benchmarks.{name}", *MORE.get(name, [])], tmp_path)
    assert (found["benchmark"], found["quick"]) == (name, True)
    assert {"cpu", "cores", "kernel", "python"} == set(found["machine"])
    assert_figures(found["figures"], SCRIPTS[name])
    assert set(found["units"]) == set(found["figures"])
    assert all(key in text for key in found["figures"])
    assert all(f"not measured: {why}" in text for why in found["missing"].values())


def test_exactly_the_killed_ones_are_restarted(tmp_path: Path) -> None:
    found, _ = run(["benchmarks.scale"], tmp_path)
    assert found["figures"]["killed"] == 4
    assert found["figures"]["killed.in_wrong_generation"] == 0


def test_another_interpreter_is_measured_where_one_is_named(tmp_path: Path) -> None:
    link = tmp_path / "python"  # another path is another interpreter
    link.symlink_to(sys.executable)
    found, _ = run(["benchmarks.start", "--python", str(link)], tmp_path)
    assert_figures(found["figures"], ("other_interpreter", "other_interpreter_over_fork"))


def test_some_of_them_run_together_and_their_bounds_are_told(tmp_path: Path) -> None:
    found, text = run(["benchmarks", "--only", "pipelined", "supervision_overhead"], tmp_path)
    assert list(found["benchmarks"]) == ["pipelined", "supervision_overhead"]
    assert_figures(found["benchmarks"]["pipelined"]["figures"], SCRIPTS["pipelined"])
    lines = [line for line in text.splitlines() if line.endswith(("met", "NOT MET"))]
    assert [line.partition("  ")[0] for line in lines] == [
        "pipelined / pipe with 64 under way",
        "map / the same",
        "map, a frame for each item / the same",
        "supervised call / one alone",
    ]


def test_libraries_side_by_side(tmp_path: Path) -> None:
    page = tmp_path / "table.md"
    found, text = run(["benchmarks", "--peers", "--markdown", str(page), "--only", *PEERS], tmp_path)
    assert tuple(found["peers"]) == PEERS
    for peer in found["peers"].values():
        assert_figures({key: peer["figures"][key] for key in PEER_FIGURES}, PEER_FIGURES)
    assert found["peers"]["piactors"]["figures"]["crash.next_call"] is not None
    assert found["peers"]["pykka"]["cannot"]["array_1"] == "nothing travels: threads share their memory"
    assert "no process of its own" in text
    assert page.read_text().count("\n| ") == len(PEERS) + 1


@pytest.mark.parametrize(("module", "name"), [("peer", "execnet"), ("talker", "rpyc")])
def test_a_library_that_is_not_installed_is_named_with_the_reason(module: str, name: str) -> None:
    hidden = f"import sys; sys.modules[{name!r}] = None; sys.argv[1:] = [{name!r}]"
    code = f"{hidden}\nfrom benchmarks import {module}\n{module}.main()"
    done = subprocess.run(
        [sys.executable, "-c", code], input="start\n", cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
    )
    assert json.loads(done.stdout)["cannot"].startswith("not installed: ")
