"""The command line, as real processes."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import piactors
from piactors.cli import app

pytestmark = pytest.mark.timeout(60)

CHILDREN = Path(__file__).parent / "children"
SECONDS = 30


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "piactors", *args]


def targets(name: str) -> str:
    return f"cli_targets:{name}"


def environment(**more: str) -> dict[str, str]:
    """The host's environment, without what would colour or move output."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "TERM": "xterm-256color", **more}


def cli(*args: str, cwd: Path = CHILDREN, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        command(*args), cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=SECONDS, check=False
    )


def run(name: str, *args: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run one of the targets for these tests."""
    return cli("run", *options, targets(name), "--", *args)


def labels(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The events of plain output, by their labels."""
    return re.findall(r"^\[([a-z-]+)\] ", done.stderr, re.MULTILINE)


# What functions return


@pytest.mark.parametrize(
    ("name", "args", "code"),
    [
        ("nothing", [], 0),
        ("number", ["0"], 0),
        ("seven", [], 7),
        ("number", ["255"], 255),
        ("number", ["256"], 0),
        ("number", ["-1"], 255),
        ("number", ["1" + "0" * 30], 0),
        ("true", [], 1),
        ("coroutine", [], 9),
    ],
)
def test_result_is_exit_code(name: str, args: list[str], code: int) -> None:
    done = run(name, *args)
    assert done.returncode == code, done.stderr
    assert labels(done) == ["started", "exited", "exit"]
    assert done.stderr.splitlines()[-1] == f"[exit] {name} code={code}"


@pytest.mark.parametrize(("name", "said"), [("text", "'some text', a str"), ("unsendable", "an object")])
def test_other_result_is_an_error(name: str, said: str) -> None:
    done = run(name)
    assert done.returncode == 1
    assert said in done.stderr
    assert "which is not an exit code" in done.stderr or "that is not an exit code" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_threads_are_waited_for() -> None:
    done = run("leave_thread")
    assert (done.returncode, done.stdout) == (4, "the thread ends\n")


def test_crash_at_the_end_counts() -> None:
    assert run("crash_in_thread_at_end").returncode == 128 + signal.SIGABRT


# Arguments and output


def test_args() -> None:
    done = run("show_args", "a b", "--restart", "", "--", "é")
    assert done.stdout == "['a b', '--restart', '', '--', 'é']\n"


def test_no_args() -> None:
    assert cli("run", targets("show_args")).stdout == "[]\n"


def test_output_goes_through_unchanged() -> None:
    done = run("both_streams")
    assert done.stdout == "one\nthree, without a newline"
    assert "two\n" in done.stderr


def test_events_do_not_get_into_stdout() -> None:
    done = run("crash", options=("--restart", "--max-restart-attempts=1"))
    assert done.stdout == ""


def test_no_line_is_lost_for_a_slow_reader() -> None:
    lines = 300_000  # more than all buffers on the way hold
    with subprocess.Popen(
        command("run", targets("many_lines"), str(lines)),
        cwd=CHILDREN,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"[started]" in process.stderr.readline()  # it writes by now, and nobody reads
        assert process.stdout.read() == b"".join(b"line %d\n" % index for index in range(lines))
        assert process.wait(SECONDS) == 0


def test_broken_pipe_ends_quietly() -> None:
    with subprocess.Popen(
        command("run", targets("many_lines"), "10000000"),
        cwd=CHILDREN,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(SECONDS) == 141
    assert "Traceback" not in said
    assert "BrokenPipe" not in said


def test_broken_stderr_is_no_failure() -> None:
    with subprocess.Popen(
        command("run", targets("seven")), cwd=CHILDREN, env=environment(), stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.wait(SECONDS) == 7


def test_quiet() -> None:
    done = run("both_streams", options=("--quiet",))
    assert (done.stdout, done.stderr) == ("one\nthree, without a newline", "two\n")


def test_quiet_still_shows_errors() -> None:
    assert "this went wrong" in run("fail", options=("-q",)).stderr
    assert "there is no module" in cli("run", "-q", "no_such_module:x").stderr


def test_log_records() -> None:
    done = run("log")
    assert re.findall(r"^\[log\] .*", done.stderr, re.MULTILINE) == [
        "[log] log WARNING some.where: first line",
        "[log] log WARNING some.where: second line",
    ]


def test_log_level() -> None:
    assert "[log] log DEBUG some.where: quite small\n" in run("log", options=("--log-level", "debug")).stderr
    assert "[log] " not in run("log", options=("--log-level", "ERROR")).stderr


# Where it runs


def test_env_and_cwd(tmp_path: Path) -> None:
    done = run("place", options=("--cwd", str(tmp_path), "--env", "CLI_TEST_A=a=b", "--env", "CLI_TEST_B="))
    assert done.stdout == f"{tmp_path}\na=b \n"


def test_a_file_and_its_folder(tmp_path: Path) -> None:
    (tmp_path / "cli_sibling.py").write_text("CODE = 21\n")
    (tmp_path / "program.py").write_text("def main(args):\n    import cli_sibling\n    return cli_sibling.CODE\n")
    done = cli("run", f"{tmp_path.name}/program.py:main", cwd=tmp_path.parent)
    assert done.returncode == 21, done.stderr
    assert done.stderr.startswith("[started] main pid=")


def test_sys_path(tmp_path: Path) -> None:
    (tmp_path / "cli_sibling.py").write_text("CODE = 22\n")
    assert run("sibling", options=("--sys-path", str(tmp_path))).returncode == 22
    assert run("sibling").returncode == 1


def test_name() -> None:
    done = run("nothing", options=("--name", "my\nprogram"))
    assert re.match(r"\[started\] my\\nprogram pid=\d+ generation=1\n", done.stderr)


@pytest.mark.parametrize("method", ["launcher", "spawn"])
def test_start_method(method: str) -> None:
    assert run("seven", options=("--start-method", method)).returncode == 7


def interpreter(version: str) -> str:
    try:
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True, timeout=SECONDS).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no pyenv to find Python {version} with: {error}")
    found = sorted(Path(root.strip()).glob(f"versions/{version}.*/bin/python"))
    if not found:
        pytest.skip(f"pyenv has no Python {version}")
    return str(found[0])


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_other_interpreters(version: str) -> None:
    done = run("version", options=("--python", interpreter(version)))
    assert (done.returncode, done.stdout) == (0, f"{version}\n"), done.stderr


# Failures


def test_exception() -> None:
    done = run("fail")
    assert done.returncode == 1
    assert re.search(r'^  File ".*cli_targets\.py", line \d+, in fail$', done.stderr, re.MULTILINE)
    assert "\nValueError: this went wrong\n" in done.stderr
    assert done.stderr.count("Traceback") == 1


def test_exception_of_an_unknown_class() -> None:
    done = run("fail_in_own_way", options=("--restart",))
    assert done.returncode == 1
    assert "Special: this went wrong\n" in done.stderr
    assert done.stderr.count("Traceback") == 1
    assert "restarting" not in labels(done)  # an exception is no crash


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no_such_module:x", "there is no module 'no_such_module'"),
        ("cli_targets:no_such_name", "has no 'no_such_name'"),
        ("no/such/file.py:x", "there is no file"),
        ("cli_targets", "is not a target"),
        ("cli_targets:1x", "is not a target"),
        ("cli_targets:signal", "is a module"),
    ],
)
def test_bad_target(target: str, said: str) -> None:
    done = cli("run", target)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--env", "A"], "KEY=VALUE"),
        (["--env", "=x"], "KEY=VALUE"),
        (["--timeout", "0"], "above 0"),
        (["--timeout", "nan"], "above 0"),
        (["--cwd", "/no/such/folder"], "does not exist"),
        (["--python", "/no/such/python"], "not a program"),
        (["--start-method", "magic"], "magic"),
        (["--log-level", "LOUD"], "LOUD"),
        (["--max-restart-attempts", "-1"], "-1"),
        (["--name", ""], "name"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_bad_options(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, for nothing is started; what a whole process does with one is the last line's."""
    with pytest.raises(SystemExit) as ended:
        app.cli(["run", *options, targets("nothing")], prog_name="piactors")
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "[" not in out
    if options == ["--no-such-option"]:
        done = cli("run", *options, targets("nothing"))
        assert (done.returncode, done.stderr, labels(done)) == (2, err, [])


def test_start_error() -> None:
    done = run("nothing", options=("--python", "/bin/false"))
    assert done.returncode == 1
    assert "piactors: isolate nothing did not start" in done.stderr
    assert labels(done) == ["start-failed", "exit"]


# Crashes


def test_crash() -> None:
    done = run("crash_in_c")
    assert done.returncode == 139
    assert labels(done)[:2] == ["started", "exited"]
    assert re.search(r"^\[exited\] crash_in_c pid=\d+ generation=1 kind=signaled signal=11$", done.stderr, re.MULTILINE)
    assert re.search(r"^\[fault\] crash_in_c Fatal Python error: Segmentation fault$", done.stderr, re.MULTILINE)
    assert "[log]" not in done.stderr  # the event tells it, and nothing tells it twice


def test_killed_by_signal_without_a_stack() -> None:
    done = run("crash")
    assert done.returncode == 139
    assert "about to crash\n" in done.stderr


@pytest.mark.parametrize(
    ("name", "code"), [("exit_with", 0), ("exit_with", 3), ("exit_at_once", 0), ("exit_at_once", 33)]
)
def test_process_exits(name: str, code: int) -> None:
    done = run(name, str(code))
    assert done.returncode == code
    assert f" kind=exited exitcode={code}\n" in done.stderr


def test_exit_with_text() -> None:
    done = run("exit_with_text")
    assert done.returncode == 1
    assert "the reason for it\n" in done.stderr


def test_exception_that_ends_the_process() -> None:
    done = run("interrupt_itself")
    assert done.returncode == 1
    assert "KeyboardInterrupt: by itself\n" in done.stderr


def test_restart_until_it_works(tmp_path: Path) -> None:
    done = run("crash_times", str(tmp_path / "count"), "2", options=("--restart",))
    assert done.returncode == 5, done.stderr
    assert labels(done) == [*(["started", "exited", "restarting"] * 2), "started", "exited", "exit"]
    attempts = re.findall(r"^\[restarting\] crash_times attempt=(\d+) delay=\d\.\d{3}$", done.stderr, re.MULTILINE)
    assert attempts == ["1", "2"]


def test_no_restart(tmp_path: Path) -> None:
    done = run("crash_times", str(tmp_path / "count"), "1", options=("--restart", "--no-restart"))
    assert done.returncode == 33
    assert labels(done) == ["started", "exited", "exit"]


@pytest.mark.parametrize(
    ("options", "restarts"), [([], 3), (["--max-restart-attempts", "1"], 1), (["--max-restart-attempts", "0"], 0)]
)
def test_restarts_exceeded(tmp_path: Path, options: list[str], restarts: int) -> None:
    count = tmp_path / "count"
    done = run("crash_times", str(count), "100", options=("--restart", *options))
    assert done.returncode == 33
    assert count.stat().st_size == 1 + restarts
    again = ["restarting", "started", "exited"] * restarts
    assert labels(done) == ["started", "exited", *again, "restarts-exceeded", "exit"]
    assert f"[restarts-exceeded] crash_times max_restarts={restarts}\n" in done.stderr


def test_exit_0_is_no_crash() -> None:
    for _ in range(3):
        done = run("exit_with", "0", options=("--restart",))
        assert done.returncode == 0
        assert labels(done) == ["started", "exited", "exit"]


@pytest.mark.parametrize("restart", ["--restart", "--no-restart"])
def test_die_on_crash(tmp_path: Path, restart: str) -> None:
    done = run(
        "crash_times", str(tmp_path / "count"), "100", options=("--die-on-crash", restart, "--max-restart-attempts=1")
    )
    assert done.returncode == 33
    assert "[log] - CRITICAL piactors: the host exits with code 33" in done.stderr
    assert labels(done).count("exited") == (2 if restart == "--restart" else 1)


def test_die_on_crash_without_a_crash() -> None:
    assert run("seven", options=("--die-on-crash",)).returncode == 7


def test_die_on_crash_at_the_start() -> None:
    done = run("nothing", options=("--die-on-crash", "--python", "/bin/false"))
    assert done.returncode == 1
    assert "did not start" in done.stderr


# The end


def is_gone(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 0)[0])


@contextlib.contextmanager
def endless(*options: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A run that never ends, and pidfds of the isolate, a child of it, and the launcher."""
    with subprocess.Popen(
        command("run", *options, targets("wait_for_ever")),
        cwd=CHILDREN,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        fds: list[int] = []
        try:
            assert process.stdout is not None
            pids = [int(word) for word in process.stdout.readline().split()]
            threads = Path(f"/proc/{process.pid}/task").glob("*/children")
            launchers = [word for thread in threads for word in thread.read_text().split()]
            assert len(pids) == 2
            assert len(launchers) == 1
            fds += [os.pidfd_open(pid) for pid in (*pids, int(launchers[0]))]
            yield process, fds
        finally:
            process.kill()
            for fd in fds:
                os.close(fd)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfds")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("options", [[], ["--restart"], ["--die-on-crash"]])
def test_signal_ends_everything(number: int, code: int, options: list[str]) -> None:
    with endless(*options) as (process, fds):
        process.send_signal(number)
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == code
        assert [is_gone(fd) for fd in fds] == [True, True, True]
    assert said.splitlines()[-1] == f"[exit] wait_for_ever code={code}"
    assert "Traceback" not in said
    assert "restarting" not in said


def test_kill_ends_everything() -> None:
    with endless() as (process, fds):
        process.kill()
        process.wait(SECONDS)
        for fd in fds:
            assert select.select([fd], [], [], SECONDS)[0]


def test_many_signals() -> None:
    with endless() as (process, fds):
        for _ in range(20):
            process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert [is_gone(fd) for fd in fds] == [True, True, True]


def test_timeout_ends_everything() -> None:
    with endless("--timeout", "3.0") as (process, fds):
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 124
        assert [is_gone(fd) for fd in fds] == [True, True, True]
    assert "[timeout] wait_for_ever seconds=3\n" in said


def test_timeout_covers_restarts() -> None:
    done = run("crash", options=("--restart", "--max-restart-attempts=1000", "--timeout=1"))
    assert done.returncode == 124


# A terminal


def on_terminal(*args: str, **env: str) -> tuple[str, int]:
    """Run with a terminal for all streams; return what it shows, and the exit code."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            command(*args), cwd=CHILDREN, env=environment(**env), stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # the terminal's way of saying that nobody has it open any more
                while chunk := os.read(ours, 65536):
                    shown += chunk
            return shown.decode().replace("\r\n", "\n"), process.wait(SECONDS)
    finally:
        os.close(ours)


def unstyled(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_terminal() -> None:
    shown, code = on_terminal("run", targets("show_args"), "x")
    assert code == 0
    assert "\x1b[32mstarted" in shown
    started, printed, ended = unstyled(shown).splitlines()
    assert re.fullmatch(r"started    show_args  pid \d+", started)
    assert printed == "['x']"
    assert ended == "exit code  show_args  0"


def test_terminal_shows_crashes(tmp_path: Path) -> None:
    options = ("--restart", "--max-restart-attempts=1", "--name=[red]x")
    shown, code = on_terminal("run", *options, targets("crash_times"), str(tmp_path / "count"), "100")
    assert code == 33
    titles = [line.split("[red]x")[0].strip() for line in unstyled(shown).splitlines()]
    assert titles == ["started", "crashed", "restarting", "started", "crashed", "given up", "exit code"]
    assert "given up   [red]x  after 1 restart\n" in unstyled(shown)


def test_terminal_shows_where_it_crashed() -> None:
    shown, code = on_terminal("run", targets("crash_in_c"))
    assert code == 139
    lines = [line.strip() for line in unstyled(shown).splitlines()]
    assert lines[1:3] == [
        "crashed    crash_in_c  ended by a signal, signal 11 (SIGSEGV)",
        "Fatal Python error: Segmentation fault",
    ]
    assert lines[3].startswith("Current thread ")
    assert re.fullmatch(r'File ".*cli_targets\.py", line \d+ in crash_in_c', lines[-2])


def test_terminal_without_colour() -> None:
    shown, _ = on_terminal("run", targets("log"), NO_COLOR="1")
    assert "\x1b[3" not in shown
    assert "warning    some.where  first line\n           second line\n" in unstyled(shown)


def test_terminal_shows_errors() -> None:
    shown, code = on_terminal("run", targets("fail"))
    assert code == 1
    assert "\nValueError: this went wrong\n" in unstyled(shown)


# The command itself


def test_version() -> None:
    done = cli("--version")
    assert (done.returncode, done.stdout) == (0, f"piactors, version {piactors.__version__}\n")


def test_help() -> None:
    done = cli("run", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: piactors run [OPTIONS] TARGET [ARGS]...")
    assert "modulo 256" in done.stdout


def test_no_command() -> None:
    assert "Usage: piactors" in cli("--help").stdout


@pytest.mark.parametrize("package", ["click", "rich"])
def test_missing_extra(tmp_path: Path, package: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {package!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = cli("run", targets("nothing"), PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr == f"piactors: the command line needs {package}; pip install 'piactors[cli]'\n"
