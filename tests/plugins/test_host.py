"""Plugin hosts: what their hooks return, and what becomes of plugins that crash, hang, or are of the wrong version."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import attrs
import pluggy
import pytest

from piactors import IsolateCrashed, IsolationLimits, events
from piactors.errors import CallTimeout, PiactorsError, UntrustedReply
from piactors.plugins import (
    BlockingInLoop,
    EntryPoints,
    Folder,
    HookFailed,
    Listed,
    PluginCrashed,
    PluginHost,
    PluginNotFound,
    PluginPolicy,
    PluginQuarantined,
    PluginRefused,
    PluginReleased,
    PluginReloaded,
    PluginRolledBack,
    PluginSpec,
    PluginStarted,
    Quarantine,
)
from tests.plugins.conftest import QUICK, SECONDS, Specs, Start, Write
from tests.support import HostScripts, wait_until

hookimpl = pluggy.HookimplMarker("app")

RENDER = """
    def render(text):
        return "{}:" + text
"""
MARKED = """
    import pluggy
    hookimpl = pluggy.HookimplMarker("app")
"""


def by_name(host: PluginHost) -> dict[str, Any]:
    return {info.name: info for info in host.plugins()}


# What a call returns


def test_results_stand_in_the_order_of_pluggy(write: Write, start: Start) -> None:
    for name in ("a", "b", "c"):
        write(name, RENDER.format(name))
    host = start()
    assert host.hook.render(text="x") == ["c:x", "b:x", "a:x"]
    assert [info.name for info in host.plugins()] == ["a", "b", "c"]
    assert by_name(host)["a"].hooks == ("render",)


def test_markers_order_and_wrap(write: Write, start: Start) -> None:
    write("a", MARKED + '\n    @hookimpl(tryfirst=True)\n    def render(text): return "a"\n')
    write("b", MARKED + '\n    @hookimpl(trylast=True)\n    def render(text): return "b"\n')
    write("c", MARKED + '\n    @hookimpl(specname="render")\n    def other(text): return "c"\n')
    write("d", MARKED + '\n    @hookimpl(wrapper=True)\n    def render(text): return ["d", (yield)]\n')
    assert start().hook.render(text="x") == ["d", ["a", "c", "b"]]


def test_none_is_left_out_and_a_first_result_ends_it(write: Write, start: Start, tmp_path: Path) -> None:
    write("a", f"def choose(text): open({str(tmp_path / 'asked')!r}, 'w')\ndef render(text): return None")
    write("b", 'def choose(text): return "b"')
    write("c", "def choose(text): return None")
    host = start()
    assert host.hook.choose(text="x") == "b"
    assert not (tmp_path / "asked").exists()
    assert host.hook.render(text="x") == []


def test_they_run_at_once(write: Write, start: Start) -> None:
    """Two meet at a barrier, which only who runs at the same time can."""
    meeting = """
        import os, time
        def render(text):
            folder, me = text.split("|")
            open(os.path.join(folder, me_too := os.path.basename(__file__)), "w").close()
            deadline = time.monotonic() + 20
            while len([n for n in os.listdir(folder) if n.endswith(".py")]) < int(me):
                assert time.monotonic() < deadline
                time.sleep(0.001)
            return me_too
    """
    for name in ("a", "b", "c"):
        write(name, meeting)
    host = start()
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        assert host.hook.render(text=f"{folder}|3") == ["c.py", "b.py", "a.py"]


def test_what_a_plugin_raises_is_the_applications(write: Write, start: Start) -> None:
    write("a", RENDER.format("a"))
    write("b", 'def render(text): raise LookupError("of b")')
    with pytest.raises(LookupError, match="of b"):
        start().hook.render(text="x")


def test_coroutine_functions_are_hooks(write: Write, start: Start) -> None:
    write("a", 'import asyncio\nasync def render(text):\n    await asyncio.sleep(0)\n    return "a" + text\n')
    assert start().hook.render(text="x") == ["ax"]


def test_a_plugin_of_the_host_is_among_them(write: Write, start: Start) -> None:
    class Own:
        @hookimpl
        def render(self, text: str) -> str:
            return f"own:{text}:{threading.current_thread().name}"

    write("a", RENDER.format("a"))
    spec = PluginSpec(name="own", target=Own, policy=PluginPolicy(isolate=False))
    host = start(policy=PluginPolicy(isolate=False), sources=[Listed([spec])])
    assert host.hook.render(text="x") == [f"own:x:{threading.current_thread().name}"]
    assert not by_name(host)["own"].isolated


def test_a_plugin_that_is_an_object_is_sent(start: Start) -> None:
    class Mine:
        def render(self, text: str) -> list[Any]:
            return [text, os.getpid()]

    policy = PluginPolicy(trust="auto")
    host = start(sources=[Listed([PluginSpec(name="mine", target=Mine())])], policy=policy)
    ((text, pid),) = host.hook.render(text="x")
    assert text == "x"
    assert pid != os.getpid()


def test_what_comes_later_hears_what_was(write: Write, start: Start) -> None:
    code = 'def begun(what): return "{0}:" + what\n'
    write("a", code.format("a"))
    host = start()
    heard: list[str] = []
    host.hook.begun.call_historic(heard.append, {"what": "x"})
    assert heard == ["a:x"]
    place = write("b", code.format("b"))
    host.install(PluginSpec(name="b", target=f"{place / 'b.py'}")).get(timeout=SECONDS)
    assert heard == ["a:x", "b:x"]


def test_an_argument_that_is_missing_is_told(write: Write, start: Start) -> None:
    write("a", RENDER.format("a"))
    with pytest.warns(UserWarning, match="'text'"), pytest.raises(pluggy.HookCallError, match="text"):
        start().hook.render()


def test_a_hook_that_there_is_not(start: Start) -> None:
    with pytest.raises(AttributeError, match="there is no hook 'paint'; there are: begun, choose, render"):
        _ = start().hook.paint


def test_some_of_them_alone(write: Write, start: Start) -> None:
    for name in ("a", "b", "c"):
        write(name, RENDER.format(name))
    host = start()
    assert host.hook.render.call(text="x", only={"a", "c"}).results == ["c:x", "a:x"]
    outcome = host.hook.render.call(text="x", without={"a"})
    assert outcome.by_plugin == {"b": "b:x", "c": "c:x"}
    assert host.hook.render(text="x") == ["c:x", "b:x", "a:x"]


# Awaited


def test_awaited_the_loop_runs_meanwhile(write: Write, start: Start) -> None:
    write("a", "import time\ndef render(text):\n    time.sleep(0.2)\n    return 'a'\n")
    write("b", MARKED + '\n    @hookimpl(wrapper=True)\n    def render(text): return ["b", (yield)]\n')
    host = start()

    async def main() -> tuple[Any, int, Any]:
        ticks = 0
        asked = asyncio.ensure_future(host.hook.render.aio(text="x"))
        while not asked.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return asked.result(), ticks, await host.hook.render.call_aio(text="x", without={"b"})

    found, ticks, outcome = asyncio.run(main())
    assert found == ["b", ["a"]]
    assert ticks > 20
    assert outcome.by_plugin == {"a": "a"}


def test_a_blocking_call_on_a_loop_is_refused(write: Write, start: Start) -> None:
    write("a", RENDER.format("a"))
    host = start()

    async def main() -> None:
        host.hook.render(text="x")

    with pytest.raises(BlockingInLoop, match=r"await host\.hook\.render\.aio"):
        asyncio.run(main())


# Crashes, time-outs, refusals


CRASHES = """
    import os, signal
    def render(text):
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        return "a:" + text
"""


def test_a_crash_costs_its_own_result_alone(write: Write, start: Start) -> None:
    write("a", CRASHES)
    write("b", RENDER.format("b"))
    host = start()
    told: list[events.Event] = []
    unsubscribe = events.subscribe(told.append, PluginCrashed, HookFailed)
    outcome = host.hook.render.call(text="die")
    assert outcome.results == ["b:die"]
    assert isinstance(outcome.errors["a"], IsolateCrashed)
    assert host.hook.render(text="x") == ["b:x", "a:x"]
    wait_until(lambda: {type(one) for one in told} == {PluginCrashed, HookFailed})
    unsubscribe()
    health = host.health()["a"]
    assert (health.crashes, health.state) == (1, "running")
    assert health.last_exit is not None
    assert health.last_exit.signal == signal.SIGKILL


def test_a_crash_is_raised_if_the_policy_says_so(write: Write, start: Start) -> None:
    write("a", CRASHES)
    host = start(policy=PluginPolicy(on_error="raise", backoff=QUICK))
    with pytest.raises(IsolateCrashed):
        host.hook.render(text="die")


def test_one_that_hangs_costs_no_more_than_its_time(write: Write, start: Start) -> None:
    write("a", "import time\ndef render(text):\n    while text == 'hang': time.sleep(1)\n    return 'a'\n")
    write("b", RENDER.format("b"))
    host = start(policy=PluginPolicy(hook_timeout=0.5, backoff=QUICK))
    began = time.monotonic()
    outcome = host.hook.render.call(text="hang")
    assert outcome.results == ["b:hang"]
    assert isinstance(outcome.errors["a"], CallTimeout)
    assert time.monotonic() - began < 10
    outcome = host.hook.render.call(text="hang", timeout=0.1)
    assert isinstance(outcome.errors["a"], CallTimeout)
    assert host.hook.render(text="x") == ["b:x", "a"]


def test_a_result_that_is_not_plain_data_is_refused(write: Write, start: Start) -> None:
    write("a", "class Odd: pass\ndef render(text): return Odd()\n")
    write("b", RENDER.format("b"))
    outcome = start().hook.render.call(text="x")
    assert outcome.results == ["b:x"]
    assert isinstance(outcome.errors["a"], UntrustedReply)


def test_an_argument_that_cannot_be_sent_leaves_it_out_and_is_told_once(
    write: Write, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    write("a", RENDER.format("a"))
    host = start()
    for _ in range(3):
        assert host.hook.render(text=threading.Lock()) == []
    assert [record.levelname for record in caplog.records if "is left out" in record.message] == ["WARNING"]
    assert host.hook.render(text="x") == ["a:x"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_wrapper_that_dies_is_as_if_it_had_not_been(write: Write, start: Start, when: str) -> None:
    code = """
        @hookimpl(wrapper=True)
        def render(text):
            if text == "before": os._exit(1)
            result = yield
            if text == "after": os._exit(1)
            return ["wrapped", result]
    """
    write("w", MARKED + "\n    import os\n" + code.replace("\n    ", "\n"))
    write("a", RENDER.format("a"))
    host = start()
    assert host.hook.render(text="x") == ["wrapped", ["a:x"]]
    assert host.hook.render(text=when) == [f"a:{when}"]
    assert asyncio.run(host.hook.render.aio(text=when)) == [f"a:{when}"]
    assert host.health()["w"].crashes == 2


def test_what_crashes_too_often_is_left_out(write: Write, start: Start) -> None:
    write("a", CRASHES + "\n    def choose(text): return 'a'\n")
    told: list[Any] = []
    unsubscribe = events.subscribe(told.append, PluginQuarantined, PluginReleased)
    host = start(policy=PluginPolicy(backoff=QUICK, quarantine=Quarantine(crashes=2)))
    for _ in range(2):
        assert "a" in host.hook.render.call(text="die").errors
    pid = host.tree.child("a").pid
    outcome = host.hook.render.call(text="die")
    assert "quarantine" in outcome.skipped["a"]
    assert not outcome.errors
    assert host.tree.child("a").pid == pid
    assert host.health()["a"].quarantined == ("render",)
    assert host.hook.choose(text="x") == "a"
    host.release("a")
    assert host.hook.render(text="x") == ["a:x"]
    wait_until(lambda: len(told) == 2)
    unsubscribe()
    assert [(type(one), one.name) for one in told] == [(PluginQuarantined, "a"), (PluginReleased, "a")]
    assert told[0].hook == "render"


def test_a_trial_ends_it(write: Write, start: Start) -> None:
    write("a", CRASHES)
    host = start(policy=PluginPolicy(backoff=QUICK, quarantine=Quarantine(crashes=1, retry_after=0.2)))
    host.hook.render(text="die")
    assert host.hook.render.call(text="x").skipped
    wait_until(lambda: host.hook.render(text="x") == ["a:x"])
    assert host.health()["a"].quarantined == ()


def test_quarantine_outlasts_the_host_but_not_the_version(write: Write, start: Start, tmp_path: Path) -> None:
    write("a", CRASHES, 'version = "1"')
    options: dict[str, Any] = {
        "state": tmp_path / "state.json",
        "policy": PluginPolicy(backoff=QUICK, quarantine=Quarantine(crashes=1)),
    }
    host = start(**options)
    host.hook.render(text="die")
    host.stop()
    assert json.loads((tmp_path / "state.json").read_text())["quarantine"]["a"]["1"] == ["render"]
    host = start(**options)
    assert host.hook.render.call(text="x").skipped
    host.stop()
    write("a", CRASHES, 'version = "2"')
    assert start(**options).hook.render(text="x") == ["a:x"]


def test_one_that_dies_while_it_is_idle_comes_again(write: Write, start: Start) -> None:
    write("a", RENDER.format("a"))
    host = start()
    os.kill(host.tree.child("a").pid, signal.SIGKILL)
    assert host.hook.render(text="x") == ["a:x"]
    wait_until(lambda: host.health()["a"].generation == 2)
    assert host.health()["a"].crashes == 1


# Starting, and being refused


def test_what_does_not_start_is_told_and_the_rest_runs(write: Write, start: Start) -> None:
    write("a", "import nothing_that_there_is")
    write("b", "import time\ntime.sleep(60)")
    write("c", "def render(text, colour): return 1")
    write("d", RENDER.format("d"))
    told: list[Any] = []
    unsubscribe = events.subscribe(told.append, PluginRefused, PluginStarted)
    host = start(policy=PluginPolicy(start_timeout=2, backoff=QUICK))
    assert host.hook.render(text="x") == ["d:x"]
    found = by_name(host)
    assert {name: info.state for name, info in found.items()} == {
        **dict.fromkeys("abc", "failed"),
        "d": "running",
    }
    assert "nothing_that_there_is" in found["a"].why
    assert "colour" in found["c"].why
    wait_until(lambda: len(told) == 4)
    unsubscribe()
    assert {one.name for one in told if isinstance(one, PluginRefused)} == {"a", "b", "c"}


def test_versions_are_agreed_on_before_any_code_runs(write: Write, start: Start, tmp_path: Path) -> None:
    mark = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    write("a", mark, 'api = ">=3"')
    write("b", mark, 'api = "<2"')
    write("c", RENDER.format("c"), 'api = ">=2.1,<3"')
    host = start(api="2.3")
    found = by_name(host)
    assert found["a"].state == found["b"].state == "incompatible"
    assert found["a"].why == "plugin a works with API >=3, and the application has 2.3; upgrade the application"
    assert found["b"].why == "plugin b works with API <2, and the application has 2.3; upgrade plugin b"
    assert host.hook.render(text="x") == ["c:x"]
    assert not (tmp_path / "ran").exists()
    with pytest.raises(PiactorsError, match="upgrade the application"):
        host.enable("a").get(timeout=SECONDS)


def test_safe_mode(write: Write, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a", RENDER.format("a"))
    monkeypatch.setenv("APP_PLUGINS", "off")
    host = start()
    assert host.is_safe_mode
    assert host.hook.render(text="x") == []
    assert by_name(host)["a"].state == "disabled"
    host.enable("a").get(timeout=SECONDS)
    assert host.hook.render(text="x") == ["a:x"]


def test_limits_hold(write: Write, start: Start) -> None:
    write("a", "def render(text):\n    return len(bytearray(300 << 20))\n")
    policy = PluginPolicy(limits=IsolationLimits(max_memory="150 MiB"), backoff=QUICK)
    outcome = start(policy=policy).hook.render.call(text="x")
    assert outcome.results == []
    assert "a" in outcome.errors or outcome.skipped == {}


# Change at run time


def test_disable_enable_remove(write: Write, start: Start) -> None:
    write("a", RENDER.format("a"))
    write("b", RENDER.format("b"))
    host = start()
    pid = host.tree.child("a").pid
    assert host.disable("a").get(timeout=SECONDS).state == "disabled"
    assert host.hook.render(text="x") == ["b:x"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert host.enable("a").get(timeout=SECONDS).state == "running"
    assert host.hook.render(text="x") == ["a:x", "b:x"]
    host.remove("b").get(timeout=SECONDS)
    assert [info.name for info in host.plugins()] == ["a"]
    with pytest.raises(PluginNotFound, match="there is no plugin 'b'; there are: a"):
        host.disable("b").get(timeout=SECONDS)


def test_a_new_version_takes_over_and_keeps_its_place(write: Write, start: Start) -> None:
    place = write("a", RENDER.format("a1"))
    write("b", RENDER.format("b"))
    host = start()
    told: list[Any] = []
    unsubscribe = events.subscribe(told.append, PluginReloaded)
    (place / "a.py").write_text('def render(text): return "a2:" + text\n')
    host.reload("a").get(timeout=SECONDS)
    assert host.hook.render(text="x") == ["b:x", "a2:x"]
    wait_until(lambda: told)
    unsubscribe()


@pytest.mark.parametrize(
    "code",
    [
        "import nothing_that_there_is",
        "def render(text, colour): return 1",
        "def render(text): return 2\ndef self_test(): raise ValueError('not well')\n",
    ],
)
def test_a_version_that_does_not_start_changes_nothing(write: Write, start: Start, code: str) -> None:
    place = write("a", RENDER.format("a1"))
    host = start()
    pid = host.tree.child("a").pid
    (place / "a.py").write_text(code)
    with pytest.raises(PiactorsError):
        host.reload("a").get(timeout=SECONDS)
    assert host.hook.render(text="x") == ["a1:x"]
    assert host.tree.child("a").pid == pid


def test_no_call_is_lost_in_swaps(write: Write, start: Start) -> None:
    """Each answer is of one version, and versions do not come back."""
    place = write("a", "VERSION = 0\ndef render(text): return [VERSION, text]\n")
    host = start()
    over, answers = threading.Event(), []

    def ask() -> None:
        number = 0
        while not over.is_set():
            (answer,) = host.hook.render(text=number)
            answers.append(answer)
            number += 1

    thread = threading.Thread(target=ask)
    thread.start()
    for version in range(1, 6):
        (place / "a.py").write_text(f"VERSION = {version}\ndef render(text): return [VERSION, text]\n")
        host.reload("a").get(timeout=SECONDS)
    wait_until(lambda: answers[-1][0] == 5)
    over.set()
    thread.join()
    assert [number for _, number in answers] == list(range(len(answers)))
    versions = [version for version, _ in answers]
    assert versions == sorted(versions)
    assert set(versions) == set(range(6))


def test_jobs_of_one_plugin_come_one_after_the_other(write: Write, start: Start) -> None:
    write("a", RENDER.format("a"))
    host = start()
    jobs = [host.disable("a"), host.enable("a"), host.reload("a"), host.disable("a"), host.enable("a")]
    assert [job.get(timeout=SECONDS).state for job in jobs] == [
        *("disabled", "running", "running", "disabled", "running"),
    ]
    assert host.hook.render(text="x") == ["a:x"]


def test_a_host_that_has_stopped_takes_no_jobs(write: Write, start: Start) -> None:
    write("a", RENDER.format("a"))
    host = start()
    pid = host.tree.child("a").pid
    host.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(PiactorsError, match="has stopped"):
        host.enable("a").get(timeout=SECONDS)


def test_entry_points_are_found_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "thing-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text("[app]\none = thing_module\ntwo = thing_module:Other [extra]\nb@d = x\n")
    (tmp_path / "thing_module.py").write_text("def render(text): return 'thing:' + text\nclass Other: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {one.name: one for one in EntryPoints("app").find()}
    assert found["one"].target == "thing_module"
    assert (found["two"].target, found["two"].version) == ("thing_module:Other", "1.5")
    with PluginHost.start(Specs, project="app", sources=[EntryPoints("app", names=["one"])]) as host:
        assert host.hook.render(text="x") == ["thing:x"]
    import sys

    assert "thing_module" not in sys.modules


def test_a_policy_of_a_plugin_is_bounded_by_that_of_the_host() -> None:
    from piactors.plugins.specs import bounded

    host = PluginPolicy(hook_timeout=5, limits=IsolationLimits(max_memory="200 MiB"))
    own = PluginPolicy(
        hook_timeout=60, limits=IsolationLimits(max_memory="100 MiB", nice=5), trust="code", isolate=False
    )
    found = bounded(host, own)
    assert (found.hook_timeout, found.trust, found.isolate) == (5, "data", True)
    assert found.limits is not None
    assert found.limits.max_memory == 100 << 20
    assert bounded(host, None) is host
    assert attrs.evolve(found, on_error="raise").on_error == "raise"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": "../a", "target": "x"}, "letters, digits"),
        ({"name": "a", "target": ""}, "PluginSpec.target"),
        ({"name": "a", "target": "x", "api": ""}, "api"),
        ({"name": "a", "target": "x", "environment": "numpy"}, "EnvironmentSpec"),
    ],
)
def test_a_spec_that_is_wrong_is_refused_at_once(fields: dict[str, Any], why: str) -> None:
    with pytest.raises((TypeError, ValueError), match=why):
        PluginSpec(**fields)


def test_a_host_with_a_version_that_is_none(folder: Path) -> None:
    with pytest.raises(ValueError, match="api='new' is not allowed"):
        PluginHost.start(Specs, project="app", api="new", sources=[Folder(folder)])


# Probation, and programs that die early


CRASHING = "import os\ndef render(text):\n    if text == 'die': os._exit(1)\n    return '{}:' + text\n"


def version(place: Path, number: str, code: str) -> PluginSpec:
    path = place / f"v{number}.py"
    path.write_text(code)
    return PluginSpec(name="a", target=str(path), version=number)


def test_a_version_that_crashes_in_its_probation_gives_way_to_the_one_before(tmp_path: Path, start: Start) -> None:
    policy = PluginPolicy(backoff=QUICK, quarantine=Quarantine(crashes=2))
    host = start(sources=[Listed([version(tmp_path, "1", CRASHING.format("one"))])], policy=policy)
    told: list[Any] = []
    unsubscribe = events.subscribe(told.append, PluginRolledBack)
    host.install(version(tmp_path, "2", CRASHING.format("two"))).get(timeout=SECONDS)
    assert host.hook.render(text="x") == ["two:x"]
    for _ in range(2):
        assert host.hook.render(text="die") == []
    wait_until(lambda: told, SECONDS)
    unsubscribe()
    assert (told[0].version, told[0].given_up) == ("1", "2")
    assert host.hook.render(text="x") == ["one:x"]
    (info,) = host.plugins()
    assert (info.version, info.state) == ("1", "running")
    assert "version 2 has crashed too often in its probation" in host.health()["a"].why
    assert host.health()["a"].quarantined == ()
    for _ in range(2):  # it has no other one to give way to
        host.hook.render(text="die")
    wait_until(lambda: host.health()["a"].quarantined, SECONDS)


def test_after_its_probation_it_is_left_out_as_any_other(tmp_path: Path, start: Start) -> None:
    policy = PluginPolicy(backoff=QUICK, quarantine=Quarantine(crashes=1), probation=0)
    host = start(sources=[Listed([version(tmp_path, "1", CRASHING.format("one"))])], policy=policy)
    host.install(version(tmp_path, "2", CRASHING.format("two"))).get(timeout=SECONDS)
    host.hook.render(text="die")
    wait_until(lambda: host.health()["a"].quarantined, SECONDS)
    assert host.plugins()[0].version == "2"


DIES_EARLY = """
    import os, sys
    import pluggy
    from piactors.plugins import Listed, PluginHost, PluginSpec

    class Specs:
        @pluggy.HookspecMarker("early")
        def render(self, text): ...

    class Own:
        def render(self, text): return text

    plugins = Listed([PluginSpec(name="a", target=Own())])
    host = PluginHost.start(Specs, project="early", sources=[plugins], state=sys.argv[1])
    print(host.is_safe_mode, host.plugins()[0].state, flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), 9)
    host.stop()
"""


def test_a_program_that_dies_early_three_times_starts_without_plugins(host_script: HostScripts, tmp_path: Path) -> None:
    def run(how: str) -> str:
        host = host_script(DIES_EARLY, args=[str(tmp_path / "state.json"), how])
        said, _ = host.communicate(timeout=SECONDS)
        return str(said).strip()

    assert [run("die") for _ in range(4)] == ["False running"] * 3 + ["True disabled"]
    assert run("stop") == "True disabled"
    assert run("die") == "False running", "one that has ended well begins the count anew"


# Files that change


WATCHED = PluginPolicy(backoff=QUICK, quarantine=None, watch=True)


def test_a_change_of_its_file_has_a_plugin_reloaded(write: Write, start: Start) -> None:
    place = write("a", RENDER.format("a1"))
    host = start(policy=WATCHED)
    assert host.hook.render(text="x") == ["a1:x"]
    (place / "a.py").write_text("def render(text): return 'a2:' + text\n")
    wait_until(lambda: host.hook.render(text="x") == ["a2:x"], SECONDS)
    (place / "a.py").write_text("def render(text) return\n")
    wait_until(lambda: "its new code does not start" in host.health()["a"].why, SECONDS)
    assert host.hook.render(text="x") == ["a2:x"], "the old one goes on"
    assert host.health()["a"].state == "running"
    (place / "a.py").write_text("def render(text): return 'a3:' + text\n")
    wait_until(lambda: host.hook.render(text="x") == ["a3:x"], SECONDS)
    wait_until(lambda: host.health()["a"].why == "", SECONDS)


def test_one_that_did_not_start_is_mended_by_a_change(write: Write, start: Start) -> None:
    place = write("a", "raise RuntimeError('no')\n")
    host = start(policy=WATCHED)
    assert host.hook.render(text="x") == []
    (place / "a.py").write_text("def render(text): return 'a2:' + text\n")
    wait_until(lambda: host.hook.render(text="x") == ["a2:x"], SECONDS)
    host.disable("a").get(timeout=SECONDS)
    (place / "a.py").write_text("def render(text): return 'a3:' + text\n")
    host.enable("a").get(timeout=SECONDS)
    assert host.hook.render(text="x") == ["a3:x"]


def test_the_thread_that_watches_ends_with_its_host(write: Write, start: Start) -> None:
    write("a", RENDER.format("a1"))
    host = start(policy=WATCHED)
    name = f"{host.name}-files"
    assert any(thread.name == name for thread in threading.enumerate())
    host.stop()
    assert not any(thread.name == name for thread in threading.enumerate())
