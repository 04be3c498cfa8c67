"""What an environment costs, next to the same commands typed by hand.

    python -m benchmarks.environments
    python -m benchmarks.environments --requirements numpy pandas

The packages are resolved first, and each tool's cache is filled, so that nothing is fetched while it is measured.  A
hit finds an environment that is there; a miss builds it; eight processes ask for the same one at once.  By hand:
``uv venv`` and ``uv pip install``, and ``python -m venv`` and ``pip install``, of the same locked versions.  The figure
``hit.started`` counts the processes and threads that a hit starts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from benchmarks import frame
from piactors.environments import EnvironmentLock, EnvironmentSpec, EnvironmentStore
from piactors.environments.builders import _uv

AT_ONCE = 8
SECONDS = 600

ASKS = """
import json, sys
from piactors.environments import EnvironmentSpec, EnvironmentStore
store, spec = EnvironmentStore(sys.argv[1]), EnvironmentSpec(requirements=json.loads(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
store.prepare(spec).get(timeout=600)
print("there", flush=True)
sys.stdin.readline()
"""


class Contest:
    """One set of packages, and each way to get an environment of it, in a folder that is thrown away."""

    def __init__(self, folder: Path, requirements: list[str], uv: str) -> None:
        self.folder, self.uv = folder, uv
        self.spec = EnvironmentSpec(requirements=requirements)
        self.stores = {kind: EnvironmentStore(folder / kind, builder=kind) for kind in ("uv", "pip")}  # type: ignore[arg-type]
        self.locks: dict[str, EnvironmentLock] = {kind: store.lock(self.spec) for kind, store in self.stores.items()}
        self.listed = folder / "requirements.txt"
        self.listed.write_text(self.locks["uv"].requirements)

    def miss(self, kind: str) -> float:
        """Return the seconds of a build."""
        store = self.stores[kind]
        found = store.find(self.spec)
        if found is not None:
            store.remove(found)
        return frame.timed(lambda: store.prepare(self.spec).get(timeout=SECONDS))

    def hit(self) -> float:
        """Return the seconds of finding one that is there."""
        return frame.timed(lambda: self.stores["uv"].prepare(self.spec).get(timeout=SECONDS))

    def by_uv(self) -> float:
        """Return the seconds of uv's two commands, with the cache of the store."""
        place = self.folder / "by-uv"
        shutil.rmtree(place, ignore_errors=True)
        cache = ["--no-config", "--cache-dir", str(self.stores["uv"].root / "v1" / "cache" / "uv")]
        base = self.locks["uv"].interpreter.base
        return frame.timed(
            lambda: self._run(
                [self.uv, "venv", "-q", *cache, "--no-project", "--python", base, str(place)],
                [
                    *(self.uv, "pip", "install", "-q", *cache, "--python", f"{place}/bin/python"),
                    *("--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(self.listed)),
                ],
            )
        )

    def by_pip(self) -> float:
        """Return the seconds of venv and pip, with the cache of the store."""
        place = self.folder / "by-pip"
        shutil.rmtree(place, ignore_errors=True)
        cache = ["--cache-dir", str(self.stores["pip"].root / "v1" / "cache" / "pip"), "--disable-pip-version-check"]
        return frame.timed(
            lambda: self._run(
                [self.locks["pip"].interpreter.base, "-m", "venv", str(place)],
                [
                    *(f"{place}/bin/python", "-m", "pip", "install", "-q", *cache),
                    *("--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(self.listed)),
                ],
            )
        )

    def eight(self) -> float:
        """Return the seconds until eight processes have the environment, which is not there before."""
        store = self.stores["uv"]
        found = store.find(self.spec)
        if found is not None:
            store.remove(found)
        command = [sys.executable, "-c", ASKS, str(store.root), json.dumps(list(self.spec.requirements))]
        hosts = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(AT_ONCE)]
        for host in hosts:
            assert host.stdout is not None
            host.stdout.readline()
        try:
            return frame.timed(lambda: _all_go(hosts))
        finally:
            for host in hosts:
                host.communicate(timeout=SECONDS)

    @staticmethod
    def _run(*commands: list[str]) -> None:
        for command in commands:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _all_go(hosts: list[subprocess.Popen[bytes]]) -> None:
    """Let them go, all at once, and wait until the last one has it."""
    for host in hosts:
        assert host.stdin is not None
        host.stdin.write(b"go\n")
        host.stdin.flush()
    for host in hosts:
        assert host.stdout is not None
        assert host.stdout.readline() == b"there\n"


def started_by_a_hit(contest: Contest) -> int:
    """Return how many processes and threads a hit starts."""
    started: list[object] = []
    usual, thread = subprocess.Popen.__init__, threading.Thread.start
    subprocess.Popen.__init__ = lambda self, *args, **kwargs: (started.append(args), usual(self, *args, **kwargs))[1]  # type: ignore[method-assign,func-returns-value]
    threading.Thread.start = lambda self: (started.append(self), thread(self))[1]  # type: ignore[method-assign,func-returns-value]
    try:
        contest.hit()
    finally:
        subprocess.Popen.__init__, threading.Thread.start = usual, thread  # type: ignore[method-assign]
    return len(started)


def main() -> int:
    """Measure and report."""
    parser = frame.arguments("An environment, against uv and pip by hand.", rounds=5)
    parser.add_argument("--requirements", nargs="+", default=["datasette==0.65.*"], metavar="REQUIREMENT")
    given = frame.parsed(parser)
    uv = _uv()
    if uv is None:
        print("there is no uv to compare with: pip install 'piactors[uv]'", file=sys.stderr)
        return 1
    report = frame.Report("environments", given)
    with tempfile.TemporaryDirectory(prefix="benchmark-environments-") as folder:
        contest = Contest(Path(folder), given.requirements, uv)
        contestants = {
            "uv.miss": lambda: contest.miss("uv"),
            "uv.by_hand": contest.by_uv,
            "hit": contest.hit,
            "eight": contest.eight,
            "pip.miss": lambda: contest.miss("pip"),
            "pip.by_hand": contest.by_pip,
        }
        frame.take_turns(1, contestants)
        results = frame.take_turns(given.rounds, contestants)
        report.add("packages", len(contest.locks["uv"].packages))
        report.add("hit.started", started_by_a_hit(contest))
    for name, times in results.items():
        report.add_median(name, [one * 1e3 for one in times], "ms")
    report.add_ratio("hit_over_uv", results["hit"], results["uv.by_hand"])
    report.add_ratio("uv_miss_over_uv", results["uv.miss"], results["uv.by_hand"])
    report.add_ratio("uv_miss_over_pip", results["uv.miss"], results["pip.by_hand"])
    report.add_ratio("pip_miss_over_pip", results["pip.miss"], results["pip.by_hand"])
    report.add_ratio("eight_over_one", results["eight"], results["uv.miss"])
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
