"""Programs that tests of this folder run as real scripts, and what they begin with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STARTS = ("launcher", "spawn")
"""The ways in which a process is made: what was forked may have what a fresh interpreter lacks."""

HEAD = """\
import ctypes, dataclasses, enum, gc, json, os, pickle, queue, sys, tempfile, threading, time
import psutil, pykka, piactors
class Worker(piactors.ProcessActor):
    def run(self, function, *args, **kwargs): return function(*args, **kwargs)
    def take(self, *args, **kwargs): return [args, kwargs]
    def keep(self, value):
        self.kept = value
        return True
    def with_kept(self, function): return function(self.kept)
    def on_receive(self, message): return message
def start(**options):
    options = {"start_method": sys.argv[1], "call_timeout": 25, **options}
    return Worker.with_options(**options).start()
def told(attempt, *args, **kwargs):
    "Return the result, or the type and the text of the error."
    try: return attempt(*args, **kwargs)
    except BaseException as error: return [type(error).__name__, str(error)]
answer = {}
"""
"""Two helpers and an actor, which are themselves of `__main__`, as in users' scripts."""

TAIL = "\nprint(json.dumps(answer))\n"


def run_script(
    folder: Path, code: str, *args: str, head: str = HEAD, files: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a program that fills the dict `answer`, and return that.

    Args:
        folder: where the program is written, and runs.
        code: the program; common indentation is taken off.
        args: its command line.
        head: what comes before it.
        files: modules beside it, by path.

    Raises:
        AssertionError: if the program fails; with what it wrote.
    """
    write(folder, files or {})
    script = folder / "script.py"
    script.write_text(head + textwrap.dedent(code) + TAIL)
    return run_command([sys.executable, str(script), *args], folder)


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files of a program, by path; common indentation is taken off."""
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))


def run_command(command: Sequence[str], folder: Path, timeout: float = 110) -> dict[str, Any]:
    """Run a program and return the JSON of the last line that it prints.

    Raises:
        AssertionError: if it fails; with what it wrote.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stdout[-1000:]}{done.stderr[-4000:]}"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
