"""Any class or function, by name or as an object, in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import attrs
import pykka
import pytest

import piactors
from piactors import InvalidTarget, IsolateCrashed, IsolationOptions, ProcessIsolator, StartError
from tests.children import plain
from tests.support import wait_until

PLAIN = "tests.children.plain"


def test_a_function_called_by_name_runs_in_another_process(way: IsolationOptions) -> None:
    with ProcessIsolator(way) as isolator:
        assert isolator.invoke_method(f"{PLAIN}:pid").get(timeout=20) == isolator.pid != os.getpid()
        assert isolator.invoke_method(f"{PLAIN}:add", 40, right=2).get(timeout=20) == 42


def test_a_class_called_by_name_keeps_its_state_between_calls(way: IsolationOptions) -> None:
    ref = piactors.spawn(f"{PLAIN}:Tally", 10, options=way)
    tally = ref.proxy()
    assert tally.up().get(timeout=20) == 11
    assert tally.up(by=5).get(timeout=20) == 16
    assert tally.count.get(timeout=20) == 16
    tally.step = 100
    assert tally.up().get(timeout=20) == 116
    assert ref.stop()


def test_a_file_is_a_target_and_resolves_against_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: IsolationOptions
) -> None:
    (tmp_path / "blur.py").write_text("import helper\nclass Blur:\n    def apply(self, x): return helper.twice(x)\n")
    (tmp_path / "helper.py").write_text("def twice(x): return 2 * x\n")
    monkeypatch.chdir(tmp_path)
    ref = piactors.spawn("blur.py:Blur", options=way)
    assert ref.proxy().apply(21).get(timeout=20) == 42
    ref.stop()
    (tmp_path / "sharp.py").write_text("def main(x):\n    import helper\n    return helper.twice(x)\n")
    with ProcessIsolator(way) as isolator:
        assert isolator.invoke_method("sharp.py:main", 4).get(timeout=20) == 8


def test_a_function_is_hosted_under_the_name_call() -> None:
    for target in (f"{PLAIN}:add", plain.add, lambda left, right: left + right):
        ref = piactors.spawn(target)
        assert ref.proxy().call(1, right=2).get(timeout=20) == 3
        ref.stop()


def test_a_call_by_name_never_imports_the_target_into_the_host(tmp_path: Path) -> None:
    (tmp_path / "only_there_xyz.py").write_text("def f(): return 'there'\n")
    options = IsolationOptions(sys_path=[tmp_path])
    with ProcessIsolator(options) as isolator:
        assert isolator.invoke_method("only_there_xyz:f").get(timeout=20) == "there"
    assert "only_there_xyz" not in sys.modules


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no colon", "write 'package.module:name'"),
        ("no_such_module_xyz:f", "no module 'no_such_module_xyz'"),
        (f"{PLAIN}.sub:f", f"no module '{PLAIN}.sub'"),
        (f"{PLAIN}:nothing", "has no 'nothing'"),
        (f"{PLAIN}:Tally.nothing", "has no 'nothing'"),
        ("tests/children/missing.py:f", "there is no file"),
        (f"{PLAIN}:os", "a target is a class or a function"),
        (f"{PLAIN}:1x", "'1x' is not the name"),
    ],
)
def test_a_bad_target_fails_at_once_and_says_which_part_was_not_found(target: str, said: str) -> None:
    with ProcessIsolator() as isolator:
        with pytest.raises(InvalidTarget, match=said):
            isolator.invoke_method(target).get(timeout=20)
        assert isolator.invoke_method(f"{PLAIN}:give", 1).get(timeout=20) == 1
    with pytest.raises(InvalidTarget, match=said):
        piactors.spawn(target)


def test_a_start_that_raises_is_a_start_error_with_the_cause(way: IsolationOptions) -> None:
    with pytest.raises(StartError, match="no good") as caught:
        piactors.spawn(f"{PLAIN}:Broken", options=way)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.reason is not None
    assert caught.value.reason.kind == "start_failed"


def test_a_process_that_ends_in_its_start_is_a_start_error_at_once(way: IsolationOptions) -> None:
    with pytest.raises(StartError, match="about to leave") as caught:
        piactors.spawn(f"{PLAIN}:Exits", options=way)
    assert caught.value.reason is not None
    assert caught.value.reason.exitcode == 9


def test_a_start_that_takes_too_long_is_ended(way: IsolationOptions) -> None:
    with pytest.raises(StartError, match="start_timeout"):
        piactors.spawn(f"{PLAIN}:Hangs", options=attrs.evolve(way, start_timeout=0.7))


def test_an_interpreter_that_is_not_there_is_a_start_error() -> None:
    with pytest.raises(StartError, match="No such file"):
        piactors.spawn(f"{PLAIN}:Tally", options=IsolationOptions(python="/nowhere/python"))


def test_a_crash_fails_the_call_and_names_isolate_code_and_stderr(way: IsolationOptions) -> None:
    isolator = ProcessIsolator(attrs.evolve(way, name="poor")).start()
    isolator.invoke_method(f"{PLAIN}:say", "famous last words\n", "stderr").get(timeout=20)
    with pytest.raises(IsolateCrashed, match="famous last words") as caught:
        isolator.invoke_method(f"{PLAIN}:exit_with", 7).get(timeout=20)
    error = caught.value
    assert (error.name, error.generation, error.reason.kind, error.reason.exitcode) == ("poor", 1, "exited", 7)
    assert "exit code 7" in str(error)
    reason = isolator.wait_for_exit(timeout=20)
    assert reason == error.reason
    assert not isolator.is_alive
    with pytest.raises(pykka.ActorDeadError):
        isolator.invoke_method(f"{PLAIN}:pid").get(timeout=20)


def test_a_segmentation_fault_leaves_its_python_stack(way: IsolationOptions) -> None:
    isolator = ProcessIsolator(way).start()
    with pytest.raises(IsolateCrashed, match="SIGSEGV") as caught:
        isolator.invoke_method(f"{PLAIN}:segfault").get(timeout=20)
    assert "in segfault" in caught.value.reason.fault
    assert caught.value.reason.signal == 11


@pytest.mark.parametrize(("name", "code"), [("leave", 0), ("leave", 5), ("exit_with", 0)])
def test_an_exit_in_a_call_is_abnormal_whatever_its_code(name: str, code: int) -> None:
    isolator = ProcessIsolator().start()
    with pytest.raises(IsolateCrashed) as caught:
        isolator.invoke_method(f"{PLAIN}:{name}", code).get(timeout=20)
    assert (caught.value.reason.kind, caught.value.reason.exitcode) == ("exited", code)
    assert not caught.value.reason.is_normal


def test_a_base_exception_ends_the_generation_and_nothing_else() -> None:
    sibling = ProcessIsolator().start()
    isolator = ProcessIsolator().start()
    with pytest.raises(IsolateCrashed) as caught:
        isolator.invoke_method(f"{PLAIN}:interrupt").get(timeout=20)
    assert caught.value.reason.kind == "error"
    assert "KeyboardInterrupt" in (caught.value.reason.error or "")
    assert sibling.invoke_method(f"{PLAIN}:give", 1).get(timeout=20) == 1
    sibling.terminate()


def test_terminate_ends_at_once_and_says_so(way: IsolationOptions, tmp_path: Path) -> None:
    isolator = ProcessIsolator(way).start()
    call = isolator.invoke_method(f"{PLAIN}:hold", str(tmp_path / "begun"))
    wait_until((tmp_path / "begun").exists)
    reason = isolator.terminate(timeout=20)
    assert reason is not None
    assert reason.kind == "killed"
    with pytest.raises(IsolateCrashed):
        call.get(timeout=20)


def test_exit_lets_what_was_asked_run_first() -> None:
    isolator = ProcessIsolator().start()
    calls = [isolator.invoke_method(f"{PLAIN}:give", number) for number in range(50)]
    isolator.exit(reason="done")
    assert [call.get(timeout=20) for call in calls] == list(range(50))
    reason = isolator.wait_for_exit(timeout=20)
    assert reason is not None
    assert reason.kind == "shutdown"


def test_data_set_by_the_host_is_read_without_importing_piactors(way: IsolationOptions) -> None:
    options = attrs.evolve(way, restart="permanent")
    with ProcessIsolator(options) as isolator:
        isolator.set_data("greeting", {"hello": [1, 2]})
        assert isolator.invoke_method(f"{PLAIN}:shared", "greeting").get(timeout=20) == {"hello": [1, 2]}
        isolator.invoke_method(f"{PLAIN}:share", "answer", 42).get(timeout=20)
        assert isolator.get_data("answer") == 42
        with pytest.raises(KeyError):
            isolator.get_data("nothing")
        with pytest.raises(IsolateCrashed):
            isolator.invoke_method(f"{PLAIN}:exit_with", 1).get(timeout=20)
        assert isolator.invoke_method(f"{PLAIN}:shared", "greeting").get(timeout=20) == {"hello": [1, 2]}


@pytest.mark.asyncio
async def test_an_isolator_works_in_an_event_loop() -> None:
    async with ProcessIsolator() as isolator:
        assert await isolator.invoke_method(f"{PLAIN}:give", 3) == 3
        assert await isolator.invoke_method(f"{PLAIN}:later", 4) == 4
    assert not isolator.is_alive


def test_start_returns_the_isolator_and_a_second_start_is_an_error() -> None:
    isolator = ProcessIsolator(name="once")
    with pytest.raises(piactors.PiactorsError, match="not started"):
        isolator.resource_usage()
    assert isolator.start() is isolator
    assert isolator.name == "once"
    with pytest.raises(piactors.PiactorsError, match="started before"):
        isolator.start()
    usage = isolator.resource_usage()
    assert usage is not None
    assert usage.pid == isolator.pid
    assert usage.rss > 1_000_000
    isolator.terminate()
