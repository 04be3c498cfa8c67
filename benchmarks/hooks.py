"""What a hook of a plugin in an isolate costs, next to a bare call of an isolate, and to pluggy in one process.

    python -m benchmarks.hooks

Each of 8 plugins returns its argument at once (`echo`), or computes for a millisecond (`work`).  A fan-out asks all of
them; in a row, one after the other.  The swap reloads a plugin while a thread calls it; its figure is the longest
time between two answers beyond the median one.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pluggy

import piactors
from benchmarks import frame
from piactors import IsolationOptions
from piactors.plugins import Folder, PluginHost, PluginPolicy
from piactors.plugins.manager import HookManager

PLUGINS = 8
CALLS = 2_000
CODE = """
import time

def echo(value):
    return value

def work(value):
    until = time.thread_time() + 0.001
    while time.thread_time() < until:
        pass
    return value
"""
hookspec, hookimpl = pluggy.HookspecMarker("bench"), pluggy.HookimplMarker("bench")


class Specs:
    """The hooks."""

    @hookspec
    def echo(self, value: Any) -> Any:
        """Return the value."""

    @hookspec
    def work(self, value: Any) -> Any:
        """Return the value after a millisecond of computing."""


class Local:
    """A plugin that runs in this process."""

    @hookimpl
    def echo(self, value: Any) -> Any:
        """Return the value."""
        return value


def folder_of_plugins(root: Path) -> Folder:
    """Write the plugins."""
    for number in range(PLUGINS):
        place = root / f"p{number}"
        place.mkdir()
        (place / "code.py").write_text(CODE)
        (place / "plugin.toml").write_text(f'name = "p{number}"\ntarget = "code.py"\n')
    return Folder(str(root))


def microseconds(calls: int, call: Any) -> float:
    """Return what one call takes."""
    return frame.timed(lambda: [call() for _ in range(calls)]) / calls * 1e6


def in_process(manager: pluggy.PluginManager) -> Any:
    """Return a hook of eight plugins in this process."""
    manager.add_hookspecs(Specs)
    for number in range(PLUGINS):
        manager.register(Local(), f"p{number}")
    return manager.hook.echo


def longest_pause(host: PluginHost, swaps: int) -> float:
    """Return the longest time between two answers while a plugin is reloaded, beyond the median, in ms."""
    over, times = threading.Event(), [time.perf_counter()]

    def ask() -> None:
        while not over.is_set():
            host.hook.echo.call(value=1, only={"p0"})
            times.append(time.perf_counter())

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in range(swaps):
        host.reload("p0").get(timeout=60)
    over.set()
    thread.join()
    gaps = sorted(after - before for before, after in itertools.pairwise(times))
    return (gaps[-1] - gaps[len(gaps) // 2]) * 1e3


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("A hook over isolates, against bare calls and pluggy.")
    parser.add_argument("--calls", type=int, default=CALLS)
    given = frame.parsed(parser)
    report = frame.Report("hooks", given)
    with tempfile.TemporaryDirectory() as root:
        sources = [folder_of_plugins(Path(root))]
        policy = PluginPolicy(hook_timeout=None)
        ref = piactors.spawn(f"{root}/p0/code.py:echo", options=IsolationOptions(trust="data"))
        echo = ref.proxy().call
        with PluginHost.start(Specs, project="bench", sources=sources, policy=policy) as host:
            one = {"only": frozenset({"p0"})}
            calls = given.calls
            each = [frozenset({f"p{number}"}) for number in range(PLUGINS)]
            alone = PluginHost.start(Specs, project="bench", sources=[Folder(str(_only(Path(root))))], policy=policy)
            plain, ours = in_process(pluggy.PluginManager("bench")), in_process(HookManager("bench"))
            contestants = {
                "call": lambda: microseconds(calls, lambda: echo(1).get()),
                "hook": lambda: microseconds(calls, lambda: alone.hook.echo(value=1)),
                "outcome": lambda: microseconds(calls, lambda: host.hook.echo.call(value=1, **one)),
                "fan_out": lambda: microseconds(calls // 10, lambda: host.hook.work(value=1)),
                "in_a_row": lambda: microseconds(
                    calls // 10, lambda: [host.hook.work.call(value=1, only=only) for only in each]
                ),
                "pluggy": lambda: microseconds(calls, lambda: plain(value=1)),
                "in_process": lambda: microseconds(calls, lambda: ours(value=1)),
                "swap": lambda: longest_pause(host, 3),
            }
            frame.take_turns(1, contestants)
            results = frame.take_turns(given.rounds, contestants)
            alone.stop()
        ref.stop()
    for name, times in results.items():
        report.add_median(name, times, "ms" if name == "swap" else "us")
    report.add_ratio("hook_over_call", results["hook"], results["call"])
    report.add_ratio("fan_out_over_in_a_row", results["fan_out"], results["in_a_row"])
    report.add_ratio("in_process_over_pluggy", results["in_process"], results["pluggy"])
    return report.finish()


def _only(root: Path) -> Path:
    """Return a folder with one of the plugins alone."""
    place = root / "alone"
    place.mkdir(exist_ok=True)
    if not (place / "p0").exists():
        (place / "p0").symlink_to(root / "p0", target_is_directory=True)
    return place


if __name__ == "__main__":
    sys.exit(main())
