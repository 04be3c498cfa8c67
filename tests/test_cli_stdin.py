"""What `piactors run` runs reads the stdin of the command."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.test_cli import CHILDREN, SECONDS, command, environment, targets

WAYS = {
    "launcher": ({}, ()),
    "spawn": ({}, ("--start-method", "spawn")),
    "portable": ({"PIACTORS_PORTABLE": "launcher,pidfd"}, ()),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[dict[str, str], tuple[str, ...]]:
    env, options = WAYS[request.param]
    return environment(**env), options


def test_a_pipe_is_read_to_its_end(way: tuple[dict[str, str], tuple[str, ...]]) -> None:
    env, options = way
    run = command("run", "--quiet", *options, targets("read_all"))
    done = subprocess.run(
        run, cwd=CHILDREN, env=env, input="x" * 200_000, capture_output=True, text=True, timeout=SECONDS
    )
    assert (done.stdout, done.returncode) == ("200000 False\n", 0), done.stderr


def test_a_restarted_process_reads_on(tmp_path: Path, way: tuple[dict[str, str], tuple[str, ...]]) -> None:
    env, options = way
    run = command("run", "--quiet", "--restart", *options, targets("read_one"), "--", str(tmp_path / "crashed"))
    with subprocess.Popen(
        run, cwd=CHILDREN, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in ("one\n", "two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == f"{line!r}\n"
        assert process.wait(SECONDS) == 0


def test_without_a_stdin_it_is_empty(way: tuple[dict[str, str], tuple[str, ...]]) -> None:
    env, options = way
    run = command("run", "--quiet", *options, targets("read_all"))
    shell = ["sh", "-c", 'exec "$@" <&-', "sh", *run]
    done = subprocess.run(shell, cwd=CHILDREN, env=env, capture_output=True, text=True, timeout=SECONDS)
    assert (done.stdout, done.returncode) == ("0 False\n", 0), done.stderr


def test_a_terminal_is_read(way: tuple[dict[str, str], tuple[str, ...]]) -> None:
    """It stands in a process group of its own: in the terminal's session its reading would stop it."""
    env, options = way
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(CHILDREN)
        run = command("run", "--quiet", *options, targets("read_one"))
        os.execve(run[0], run, env)
    try:
        os.write(terminal, b"typed\n")
        shown = b""
        try:
            while chunk := os.read(terminal, 65536):
                shown += chunk
        except OSError:  # the terminal's way of saying that nobody has it open any more
            pass
        _, status = os.waitpid(pid, 0)
        pid = 0
    finally:
        os.close(terminal)
        if pid:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    assert b"'typed\\n'" in shown, shown
    assert os.waitstatus_to_exitcode(status) == 0
