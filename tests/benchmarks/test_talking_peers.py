"""Other libraries in the rounds of a benchmark: who is left out, and what is said of it.  Processes are played."""

from __future__ import annotations

import argparse
from typing import Any, Self
from unittest.mock import patch

from benchmarks import frame, talking_peers
from benchmarks.driver import DriverFailed
from benchmarks.talking_peers import Figure, Rivals


def given(*, peers: bool = True) -> argparse.Namespace:
    """Return what the command line says."""
    return argparse.Namespace(peers=peers, quick=False, rounds=1, json=None)


class NotInstalled:
    """Stands for the process of a library that is not here."""

    def __init__(self, name: str, module: str) -> None:
        self.name = name

    def ask(self, command: str, timeout: float) -> dict[str, Any]:
        return {"cannot": "not installed: it is not here"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        pass


class FailsLater(NotInstalled):
    """Stands for the processes of libraries, of which RPyC's ends in a measurement."""

    def ask(self, command: str, timeout: float) -> dict[str, Any]:
        if self.name == "rpyc" and command.endswith(" 1000"):
            raise DriverFailed("it ended")
        return {"us": 10.0}


def test_libraries_that_are_not_installed_are_left_out_of_a_benchmark_with_one_line_each() -> None:
    figures = [Figure("rpyc", "callback", ["own"]), Figure("rpyc", "stream", ["own"]), Figure("ray", "ask", ["own"])]
    with patch.object(talking_peers, "Driver", NotInstalled):
        rivals = Rivals(figures, given())
    assert rivals.contestants(10) == {}
    report = frame.Report("talking", given())
    rivals.report(report, {"own": [1.0]})
    assert report.figures == {}
    wanted = "not installed: it is not here; pip install 'piactors[bench]'"
    assert report.missing == {"RPyC": wanted, "Ray": wanted}


def test_a_library_that_fails_in_a_round_has_no_figures_and_the_others_have() -> None:
    figures = [Figure("rpyc", "callback", ["own"]), Figure("pyro5", "callback", ["own"])]
    with patch.object(talking_peers, "Driver", FailsLater):
        rivals = Rivals(figures, given())
        results = frame.take_turns(2, {"own": lambda: 5.0, **rivals.contestants(1000)})
    report = frame.Report("talking", given())
    rivals.report(report, results)
    assert report.figures == {"pyro5.callback": 10.0, "pyro5.callback_over_own": 2.0}
    assert report.missing == {"rpyc.callback": "it ended"}


def test_without_peers_no_library_is_tried() -> None:
    rivals = Rivals([Figure("rpyc", "callback", ["own"])], given(peers=False))
    assert (rivals.contestants(10), rivals.missing) == ({}, {})
