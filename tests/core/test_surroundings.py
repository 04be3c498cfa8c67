"""What an isolate is given: environment, folders, interpreter; and what it says: output and logging."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest

import piactors
from piactors import IsolationOptions, ProcessIsolator, StartError
from piactors.events import OutputReceived
from tests.support import wait_until

PLAIN = "tests.children.plain"


def call(options: IsolationOptions, name: str, *args: Any, **kwargs: Any) -> Any:
    with ProcessIsolator(options) as isolator:
        return isolator.invoke_method(f"{PLAIN}:{name}", *args, **kwargs).get(timeout=20)


def test_the_environment_is_an_allow_list_plus_env(way: IsolationOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET_TOKEN", "x")
    options = attrs.evolve(way, env={"COLOUR": "blue"})
    assert call(options, "environment", "MY_SECRET_TOKEN") is None
    assert call(options, "environment", "COLOUR") == "blue"
    assert call(options, "environment", "PATH") == os.environ["PATH"]
    assert call(attrs.evolve(way, inherit_env=True), "environment", "MY_SECRET_TOKEN") == "x"


def test_cwd_and_sys_path(way: IsolationOptions, tmp_path: Path) -> None:
    options = attrs.evolve(way, cwd=tmp_path, sys_path=[tmp_path / "lib"])
    assert call(options, "where") == str(tmp_path)
    assert str(tmp_path / "lib") in call(options, "path")


def test_a_working_directory_that_is_not_there_is_a_start_error(way: IsolationOptions) -> None:
    with pytest.raises(StartError, match="nowhere"):
        ProcessIsolator(attrs.evolve(way, cwd="/nowhere")).start()


def test_the_host_sees_its_own_path_and_nothing_of_pihost() -> None:
    paths = call(IsolationOptions(start_method="spawn"), "path")
    assert set(filter(None, sys.path)) <= set(paths)
    assert not any(path.endswith("pihost") for path in paths)


def test_variables_that_work_before_a_start_only_make_it_a_spawn(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "piactors")
    assert call(IsolationOptions(env={"PYTHONHASHSEED": "7"}), "environment", "PYTHONHASHSEED") == "7"
    assert "PYTHONHASHSEED" in caplog.text


def test_forks_have_random_numbers_of_their_own() -> None:
    numbers = {call(IsolationOptions(), "random_number") for _ in range(3)}
    assert len(numbers) == 3


def test_preload_is_there_and_a_bad_preload_is_a_start_error() -> None:
    options = IsolationOptions(preload=["xml.dom.minidom"])
    assert "xml.dom.minidom" in call(options, "modules")
    with pytest.raises(StartError, match="no_such_module_xyz"):
        ProcessIsolator(IsolationOptions(preload=["no_such_module_xyz"])).start()


def test_a_launcher_with_threads_does_not_fork(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A fork would lose the threads that a preloaded module has started; a fresh interpreter does not."""
    code = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    (tmp_path / "starts_a_thread.py").write_text(code)
    sys.path.insert(0, str(tmp_path))
    try:
        with ProcessIsolator(IsolationOptions(preload=["starts_a_thread"])) as isolator:
            assert isolator.invoke_method(f"{PLAIN}:give", 1).get(timeout=20) == 1
    finally:
        sys.path.remove(str(tmp_path))
    wait_until(lambda: "1 Python threads" in caplog.text)


def test_native_threads_are_no_reason_against_a_fork(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("numpy")
    with ProcessIsolator(IsolationOptions(preload=["numpy"])) as isolator:
        assert isolator.invoke_method("numpy:ones", 3).get(timeout=30).tolist() == [1, 1, 1]
    assert "fresh interpreter" not in caplog.text


def test_lines_of_output_arrive_as_events(way: IsolationOptions) -> None:
    seen: list[OutputReceived] = []
    options = attrs.evolve(way, output=seen.append, name="talker")
    with ProcessIsolator(options) as isolator:
        isolator.invoke_method(f"{PLAIN}:say", "one\ntwo\r\nthr\u00e9e\rfour").get(timeout=20)
        isolator.invoke_method(f"{PLAIN}:say", "oops\n", "stderr").get(timeout=20)
    wait_until(lambda: len(seen) == 5)
    assert [event.line for event in seen if event.stream == "stdout"] == ["one", "two", "thr\u00e9e", "four"]
    assert [event.line for event in seen if event.stream == "stderr"] == ["oops"]
    assert {event.name for event in seen} == {"talker"}


def test_output_is_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "piactors.output")
    call(IsolationOptions(name="speaker"), "say", "hear, hear\n")
    wait_until(lambda: "hear, hear" in caplog.text)
    assert any(getattr(record, "isolate", None) == "speaker" for record in caplog.records)


@pytest.mark.parametrize("chunk", [b"x" * 65536, b"50%\r" * 16384, b"\xff\x00" * 32768])
def test_a_flood_of_output_neither_blocks_calls_nor_grows_the_host(chunk: bytes) -> None:
    me = psutil.Process()
    with ProcessIsolator(IsolationOptions(output=lambda event: None)) as isolator:
        isolator.invoke_method(f"{PLAIN}:flood", 16, chunk).get(timeout=20)
        before = me.memory_info().rss
        assert isolator.invoke_method(f"{PLAIN}:flood", 1600, chunk).get(timeout=50) == 1600
        assert me.memory_info().rss - before < 48 << 20


def test_a_slow_reader_of_output_never_blocks_calls() -> None:
    def slow(event: OutputReceived) -> None:
        time.sleep(0.01)

    with ProcessIsolator(IsolationOptions(output=slow)) as isolator:
        assert isolator.invoke_method(f"{PLAIN}:flood", 400, b"y" * 65535 + b"\n").get(timeout=30) == 400


def test_a_print_never_touches_the_protocol() -> None:
    with ProcessIsolator(IsolationOptions(output="discard")) as isolator:
        for number in range(50):
            isolator.invoke_method("builtins:print", "noise" * 100)
            assert isolator.invoke_method(f"{PLAIN}:give", number).get(timeout=20) == number


def test_logging_records_arrive_as_records(way: IsolationOptions, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    options = attrs.evolve(way, name="logger", log_level="DEBUG")
    with ProcessIsolator(options) as isolator:
        isolator.invoke_method(f"{PLAIN}:log", "plugin.part", 10, "fine", colour="red", odd=[1, 2]).get(timeout=20)
        isolator.invoke_method(f"{PLAIN}:log_error", "lost").get(timeout=20)
    wait_until(lambda: "it went wrong" in caplog.text)
    fine = next(record for record in caplog.records if record.getMessage() == "fine")
    assert (fine.name, fine.levelno, fine.isolate, fine.colour, fine.odd) == (  # type: ignore[attr-defined]
        "plugin.part",
        10,
        "logger",
        "red",
        [1, 2],
    )
    wrong = next(record for record in caplog.records if record.getMessage() == "it went wrong")
    assert "in log_error" in (wrong.exc_text or "")
    assert "LookupError: lost" in (wrong.exc_text or "")


def test_log_level_keeps_records_in_the_isolate(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ProcessIsolator(IsolationOptions(log_level="WARNING")) as isolator:
        isolator.invoke_method(f"{PLAIN}:log", "plugin", 20, "not wanted").get(timeout=20)
        isolator.invoke_method(f"{PLAIN}:log", "plugin", 30, "wanted").get(timeout=20)
    wait_until(lambda: " wanted" in caplog.text or "wanted" in caplog.messages)
    assert "not wanted" not in caplog.messages


def test_debug_without_debugpy_is_a_clear_start_error() -> None:
    pytest.importorskip("piactors")
    try:
        import debugpy  # noqa: F401
    except ImportError:
        with pytest.raises(StartError, match="pip install debugpy"):
            ProcessIsolator(IsolationOptions(debug=True)).start()
    else:
        pytest.skip("debugpy is installed here, so its absence cannot be seen")


def test_isolates_answer_control_questions_while_a_call_runs(tmp_path: Path) -> None:
    with ProcessIsolator() as isolator:
        isolator.invoke_method(f"{PLAIN}:wait_for", str(tmp_path / "go"))
        isolate = isolator.ref._isolate
        assert isolate.control("ping").get(timeout=20) == isolator.pid
        wait_until(lambda: "wait_for" in isolate.control("stacks").get(timeout=20))
        assert isolate.control("usage").get(timeout=20)["threads"] >= 2
        (tmp_path / "go").touch()


def test_die_on_crash_ends_the_host_with_the_code_of_the_crash(tmp_path: Path) -> None:
    script = tmp_path / "host.py"
    script.write_text(
        "import piactors, time\n"
        "ref = piactors.spawn('tests.children.plain:exit_with', options=piactors.IsolationOptions(die_on_crash=True))\n"
        "ref.proxy().call(23)\n"
        "time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=50)
    assert done.returncode == 23


def test_large_payloads_both_ways_at_once_do_not_deadlock(way: IsolationOptions) -> None:
    with ProcessIsolator(way) as isolator:
        payload = os.urandom(8 << 20)
        futures = [isolator.invoke_method(f"{PLAIN}:give", payload) for _ in range(6)]
        assert all(future.get(timeout=50) == payload for future in futures)


def test_a_message_or_result_over_the_bound_fails_its_call_only() -> None:
    with ProcessIsolator(IsolationOptions(max_frame="1 MiB")) as isolator:
        with pytest.raises(TypeError, match="max_frame"):
            isolator.invoke_method("builtins:bytes", 2 << 20).get(timeout=20)
        with pytest.raises(ValueError, match="max_frame"):
            isolator.invoke_method(f"{PLAIN}:give", bytes(2 << 20)).get(timeout=20)
        assert isolator.invoke_method(f"{PLAIN}:give", 1).get(timeout=20) == 1


def test_importing_piactors_starts_nothing(tmp_path: Path) -> None:
    code = (
        "import threading, os, piactors\n"
        "assert threading.active_count() == 1\n"
        "assert not os.path.exists('/proc/self/task') or len(os.listdir('/proc/self/task')) == 1\n"
        "import psutil; assert psutil.Process().children() == []\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=50)


def test_main_classes_travel_and_come_back_as_the_hosts_own(tmp_path: Path) -> None:
    """What stands in the host's __main__ is sent by value; its class comes back as the one of the host."""
    script = tmp_path / "main_program.py"
    script.write_text(
        "import piactors, attrs, dataclasses\n"
        "FACTOR = 3\n"
        "@dataclasses.dataclass\n"
        "class Point:\n    x: int\n"
        "class Oops(Exception):\n    def __init__(self, a): super().__init__(a)\n"
        "def times(p): return Point(p.x * FACTOR)\n"
        "class Actor(piactors.ProcessActor):\n"
        "    def scale(self, p): return times(p)\n"
        "    def fail(self): raise Oops(5)\n"
        "ref = Actor.start()\n"
        "got = ref.proxy().scale(Point(14)).get(timeout=20)\n"
        "assert type(got) is Point and got == Point(42), got\n"
        "try:\n    ref.proxy().fail().get(timeout=20)\n"
        "except Oops as error:\n    assert error.args == (5,)\n"
        "else:\n    raise SystemExit('no Oops')\n"
        "fn = piactors.spawn(lambda p: times(p)).proxy()\n"
        "assert fn.call(Point(2)).get(timeout=20) == Point(6)\n"
        "print('ok')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr


def test_the_main_module_is_the_isolates_own() -> None:
    def main_file() -> Any:
        import __main__

        return getattr(__main__, "__file__", None)

    ref = piactors.spawn(main_file, options=IsolationOptions(start_method="launcher"))
    assert ref.proxy().call().get(timeout=20) is None
    ref.stop()
