"""What the suite has left behind is told, and what other programs have is not."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import in_shared_memory, left_in_shared_memory, pid_gone, wait_until

pytestmark = pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="no shared memory with names here")

HOLD = """
import mmap, os, signal, sys
with open(sys.argv[1], "r+b") as file:
    memory = mmap.mmap(file.fileno(), 0)
print(os.getpid(), flush=True)
signal.pause()
"""


@pytest.fixture
def path() -> Iterator[str]:
    """Return the path of a file in shared memory that there is not yet."""
    made = f"/dev/shm/test-{secrets.token_hex(8)}"
    yield made
    Path(made).unlink(missing_ok=True)


def test_what_nobody_holds_was_left(path: str) -> None:
    before = in_shared_memory()
    Path(path).write_bytes(b"x" * 4096)
    assert left_in_shared_memory(before) == {path}
    assert left_in_shared_memory({*before, path}) == set()


def test_what_was_made_and_is_held_here_was_left(path: str) -> None:
    before = in_shared_memory()
    with Path(path).open("wb"):
        assert left_in_shared_memory(before) == {path}


def test_what_another_program_has_mapped_is_its_own(path: str) -> None:
    """One that no process of this run has started, as far as the kernel knows."""
    before = in_shared_memory()
    Path(path).write_bytes(b"x" * 4096)
    command = ["sh", "-c", '"$0" -c "$1" "$2" &', sys.executable, HOLD, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
    try:
        assert left_in_shared_memory(before) == set()
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid_gone(pid))
    assert left_in_shared_memory(before) == {path}
