"""Run in an isolate: a tool, whose lines are those of the isolate, and whose outcome is plain data."""

import collections
import subprocess
from typing import Any

_LAST = 20


def run(command: list[str], env: dict[str, str]) -> tuple[int, list[str]]:
    """Run a tool to its end; return its exit code, and its last lines."""
    last: Any = collections.deque(maxlen=_LAST)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            last.append(line.rstrip())
            print(line.rstrip(), flush=True)
    return process.returncode, list(last)
