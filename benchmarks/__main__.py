"""Runs all benchmarks, or compares piactors with other libraries.

    python -m benchmarks                                      all, one after another: some minutes
    python -m benchmarks --only small_calls arrays
    python -m benchmarks --peers --plot docs/images/peers.png --markdown peers.md

Each benchmark runs in a process of its own.  The figures go into one JSON file, and a table says which bounds are met.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import bounds, frame, peer_table
from benchmarks.peers import PEERS

BENCHMARKS: dict[str, list[str]] = {
    "small_calls": [],
    "pipelined": ["--burst"],
    "awaiting": [],
    "talking": ["--peers"],
    "streams": ["--peers"],
    "publishing": [],
    "arrays": [],
    "start": [],
    "first_start": [],
    "crash_to_reply": [],
    "idle_cost": [],
    "supervision_overhead": [],
    "scale": [],
}
"""Their names, and what they are told besides."""
DEFAULT_ROUNDS = 5


def parse() -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="All benchmarks, and their bounds.")
    parser.add_argument("--json", type=Path, default=Path("benchmark-results.json"), metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that they work, and no more")
    parser.add_argument("--rounds", type=int, help="in place of each benchmark's own number")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of them: benchmarks, or with --peers libraries")
    parser.add_argument("--peers", action="store_true", help="compare with other libraries")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="with --peers: a chart")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="with --peers: the table for a page")
    given = parser.parse_args()
    unknown = set(given.only or ()) - set(PEERS if given.peers else BENCHMARKS)
    if unknown:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}")
    if (given.plot or given.markdown) and not given.peers:
        parser.error("--plot and --markdown go with --peers")
    return given


def run(name: str, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one benchmark in a process of its own, and return its figures, or why there are none."""
    file = folder / f"{name}.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(file), *BENCHMARKS[name]]
    command += ["--quick"] * given.quick
    command += ["--rounds", str(given.rounds)] if given.rounds else []
    code = subprocess.run(command).returncode
    print(flush=True)
    if code or not file.exists():
        return {"benchmark": name, "failed": f"exit code {code}", "figures": {}}
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def run_all(given: argparse.Namespace) -> int:
    """Run them, and print which bounds are met."""
    with tempfile.TemporaryDirectory(prefix="benchmarks") as folder:
        results = {name: run(name, given, Path(folder)) for name in given.only or BENCHMARKS}
    about = frame.surroundings()
    frame.write_json(given.json, {**about, "quick": given.quick, "benchmarks": results})
    print(bounds.table(results))
    if given.quick:
        print("\nWith --quick all sizes are tiny: met or not says nothing.")
    machine = about["machine"]
    print(f"\n{about['date']}, piactors {about['piactors']}, {machine['python']}")
    print(f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}")
    failed = [name for name, found in results.items() if "failed" in found]
    for name in failed:
        print(f"failed: {name}, {results[name]['failed']}")
    return 1 if failed else 0


def main() -> int:
    """Do what was asked for."""
    given = parse()
    if given.peers:
        given.rounds = given.rounds or (1 if given.quick else DEFAULT_ROUNDS)
        return peer_table.run(given)
    return run_all(given)


if __name__ == "__main__":
    sys.exit(main())
