"""What do whole actor programs cost between processes: the twelve of `examples/savina`, and the same in threads?

    python -m benchmarks.savina
    python -m benchmarks.savina --peers                 needs `pip install 'piactors[bench]'`

Each is run as a program of its own, with its actors in processes and as pykka's `ThreadingActor`, in turns.  Figures
are microseconds for each message, start of the processes included.  Most of these programs do nothing but send
messages: they show what a message costs, and not what processes are for.

With `--peers`, seven of them also with xoscar (`benchmarks.peers.xoscar_programs`), in a pool with a process for each
actor: `xoscar` includes the start and the end of this pool, as the others do of theirs, `xoscar_running` does not.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import frame, talking_peers
from benchmarks.peers import INSTALL

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "savina"
PROGRAMS = {
    "ping_pong": 2000,
    "counting": 10_000,
    "fork_join": 10_000,
    "thread_ring": 4000,
    "chameneos": 1000,
    "big": 500,
    "concurrent_dictionary": 500,
    "dining_philosophers": 300,
    "sleeping_barber": 200,
    "bank_transaction": 1500,
    "trapezoidal": 8_000_000,
    "sieve": 20_000,
}
"""Their names, and sizes."""
IN_XOSCAR = frozenset(
    ("ping_pong", "counting", "fork_join", "thread_ring", "big", "concurrent_dictionary", "trapezoidal")
)
_EACH = re.compile(r"([0-9.]+) us each(?:, ([0-9.]+) in a pool that runs)?: result checked")
_SECONDS = 300


def run(command: Sequence[str]) -> tuple[float, float]:
    """Run a program; return how many microseconds a message took, and how many in a pool that ran already.

    Raises:
        RuntimeError: if it has failed.
    """
    try:
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{' '.join(command)} has not ended within {_SECONDS} seconds") from None
    found = _EACH.search(done.stdout)
    if found is None:
        raise RuntimeError(f"{' '.join(command)} has failed: {done.stdout}{done.stderr}")
    return float(found[1]), float(found[2] or found[1])


def in_xoscar(name: str, size: int, report: frame.Report) -> tuple[float, float]:
    """Do the same with xoscar; where that fails, say so, and return no numbers."""
    try:
        return run(["-m", "benchmarks.peers.xoscar_savina", name, str(size)])
    except RuntimeError as error:
        report.miss(f"{name}.xoscar", str(error)[:300])
        return math.nan, math.nan


def contest(name: str, size: int, rounds: int, report: frame.Report, xoscar: bool) -> None:
    """Measure one program, and add its figures."""
    contestants: dict[str, Callable[[], tuple[float, float]]] = {
        actors: functools.partial(run, [str(FOLDER / f"{name}.py"), "--actors", actors, "--size", str(size)])
        for actors in ("processes", "threads")
    }
    if xoscar and name in IN_XOSCAR:
        contestants["xoscar"] = functools.partial(in_xoscar, name, size, report)
    taken = frame.take_turns(rounds, contestants)
    results = {key: [whole for whole, _ in times] for key, times in taken.items()}
    if "xoscar" in taken:
        results["xoscar_running"] = [running for _, running in taken["xoscar"]]
    if f"{name}.xoscar" in report.missing:
        del results["xoscar"], results["xoscar_running"]
    for key, times in results.items():
        report.add_median(f"{name}.{key}", times, "µs")
    report.add_ratio(f"{name}.processes_over_threads", results["processes"], results["threads"])
    for key in (key for key in results if key.startswith("xoscar")):
        report.add_ratio(f"{name}.{key}_over_processes", results[key], results["processes"])


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("Twelve actor programs, in processes and in threads.")
    talking_peers.add_argument(parser)
    given = frame.parsed(parser)
    report = frame.Report("savina", given)
    xoscar = given.peers and importlib.util.find_spec("xoscar") is not None
    if given.peers and not xoscar:
        report.miss("xoscar", f"not installed; {INSTALL}")
    for name, size in PROGRAMS.items():
        contest(name, max(20, size // 20) if given.quick else size, given.rounds, report, xoscar)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
