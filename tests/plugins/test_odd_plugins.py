"""What was found by somebody who tried to break plugin hosts: each once more."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pluggy
import pytest

from piactors.errors import CallTimeout, PiactorsError, ProtocolError
from piactors.plugins import Folder, Listed, PluginHost, PluginPolicy, PluginSpec, Quarantine
from tests.plugins.conftest import QUICK, SECONDS, Specs, Start, Write
from tests.support import wait_until

hookimpl = pluggy.HookimplMarker("app")
MARKED = 'import os, signal, time, pluggy\nhookimpl = pluggy.HookimplMarker("app")\n'
DIES = "import os\ndef render(text):\n    if text == 'die': os._exit(1)\n"
WRAPPER = MARKED + "@hookimpl(wrapper=True)\ndef render(text):\n    return ['w', (yield)]\n"


# Wrappers


def test_what_is_inside_runs_once_though_its_wrapper_dies_meanwhile(write: Write, start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    write("w", WRAPPER)
    write(
        "a",
        f"""
        import os, time
        def render(text):
            with open({str(log)!r}, "a") as file: file.write("begin ")
            deadline = time.monotonic() + 20
            while not os.path.exists({str(tmp_path / "go")!r}) and time.monotonic() < deadline: time.sleep(0.005)
            return "a"
        """,
    )
    host = start()
    wrapper = host.tree.child("w").pid

    async def main() -> Any:
        asked = asyncio.ensure_future(host.hook.render.aio(text="x"))
        while not log.exists():
            await asyncio.sleep(0.005)
        os.kill(wrapper, signal.SIGKILL)
        await asyncio.sleep(0.1)
        (tmp_path / "go").touch()
        return await asked

    assert asyncio.run(main()) == ["a"]
    assert log.read_text() == "begin "
    assert host.health()["a"].crashes == 0


def test_a_wrapper_is_not_blamed_for_what_it_waits_for(write: Write, start: Start) -> None:
    write("a", "import time\ndef render(text):\n    time.sleep(60)\n")
    write("b", 'def render(text): return "b"')
    write("w", WRAPPER)
    host = start(policy=PluginPolicy(hook_timeout=0.5, backoff=QUICK))
    pid = host.tree.child("w").pid
    outcome = host.hook.render.call(text="x")
    assert outcome.results == ["w", ["b"]]
    assert set(outcome.errors) == {"a"}
    assert asyncio.run(host.hook.render.call_aio(text="x")).results == ["w", ["b"]]
    assert host.tree.child("w").pid == pid
    assert host.health()["w"].crashes == 0


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("way", ["blocking", "awaited"])
def test_a_wrapper_that_hangs_is_ended(write: Write, start: Start, when: str, way: str) -> None:
    code = "@hookimpl(wrapper=True)\ndef render(text):\n    {}\n    result = yield\n    {}\n    return result\n"
    hang = "time.sleep(60)"
    write("w", MARKED + code.format(*((hang, "pass") if when == "before" else ("pass", hang))))
    write("a", 'def render(text): return "a"')
    host = start(policy=PluginPolicy(hook_timeout=0.5, backoff=QUICK))
    call = host.hook.render.call if way == "blocking" else lambda **kw: asyncio.run(host.hook.render.call_aio(**kw))
    outcome = call(text="x")
    assert outcome.results == ["a"]
    assert isinstance(outcome.errors["w"], CallTimeout)
    assert host.health()["w"].crashes == 1


def test_a_plugin_goes_around_itself(write: Write, start: Start) -> None:
    write(
        "a",
        MARKED
        + "@hookimpl(wrapper=True)\ndef render(text): return ['w', (yield)]\n"
        + "@hookimpl(specname='render')\ndef plain(text): return 'a'\n",
    )
    host = start()
    assert host.hook.render(text="x") == ["w", ["a"]]
    assert asyncio.run(host.hook.render.aio(text="x")) == ["w", ["a"]]


def test_wrappers_in_opposite_orders(write: Write, start: Start) -> None:
    """Two threads, each inside one and about to ask the other: no call fails."""
    write(
        "a",
        MARKED + "@hookimpl(wrapper=True, tryfirst=True)\ndef render(text): return ['a', (yield)]\n"
        "@hookimpl(wrapper=True)\ndef choose(text): return ['a', (yield)]\n",
    )
    write(
        "b",
        MARKED + "@hookimpl(wrapper=True)\ndef render(text): return ['b', (yield)]\n"
        "@hookimpl(wrapper=True, tryfirst=True)\ndef choose(text): return ['b', (yield)]\n",
    )
    write("c", "def render(text): return 'c'\ndef choose(text): return 'c'\n")
    host = start()
    failed: list[BaseException] = []

    def ask(hook: Any) -> None:
        try:
            for _ in range(50):
                hook(text="x")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(hook,)) for hook in (host.hook.render, host.hook.choose)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_what_a_wrapper_goes_around_runs_once_whatever_it_says(write: Write, start: Start) -> None:
    """A plugin that does not keep to the rules, by way of what runs it."""
    ran: list[str] = []

    class Own:
        @hookimpl
        def render(self, text: str) -> str:
            ran.append(text)
            return "own"

    class Evil:
        @hookimpl(wrapper=True)
        def render(self, text: str) -> Any:
            yield

    own = PluginSpec(name="own", target=Own(), policy=PluginPolicy(isolate=False))
    evil = PluginSpec(name="evil", target=Evil())
    host = start(sources=[Listed([own, evil])], policy=PluginPolicy(isolate=False, trust="auto"))
    host.remove("evil").get(timeout=SECONDS)
    assert host.hook.render(text="x") == ["own"]
    from piactors.plugins.wrapping import Inner

    inner = Inner(lambda: host.hook.render(text="again"))
    assert inner.run() == (True, ["own"])
    with pytest.raises(RuntimeError, match="runs once"):
        inner.run()
    assert ran == ["x", "again"]


@pytest.mark.parametrize("said", [5, ("made",), ("other", 1), None, ("same", None)])
def test_an_answer_that_is_not_one_of_a_wrapper(write: Write, start: Start, said: Any) -> None:
    from piactors.plugins.asking import CallSettings, IsolatedPlugin
    from piactors.plugins.stand_in import RemoteHook
    from piactors.plugins.wrapping import Inner

    write("a", 'def render(text): return "a"')
    host = start()
    plugin = IsolatedPlugin("a", host.tree.child("a"), PluginPolicy(), host._crashes, "x")
    hook = RemoteHook(name="render", parameters=(), opts={}, is_coroutine=False, is_generator=True, doc="")
    inner = Inner(lambda: 7)
    with pytest.raises(ProtocolError, match="has not run what it goes around"):
        plugin._made(hook, said, inner, CallSettings())
    inner.run()
    assert plugin._made(hook, said, inner, CallSettings()) == 7


def test_what_runs_in_the_host_has_the_context_of_its_caller(write: Write, start: Start) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[tuple[str, str]] = []

    class Own:
        @hookimpl
        def render(self, text: str) -> None:
            seen.append((text, variable.get()))

    write("w", WRAPPER)
    host = start(
        sources=[Folder(write("w", WRAPPER).parent), Listed([PluginSpec(name="own", target=Own())])],
        policy=PluginPolicy(backoff=QUICK),
    )
    host.remove("own").get(timeout=SECONDS)
    host._manager.register(Own(), "own")

    async def ask(number: int) -> None:
        variable.set(f"of {number}")
        await host.hook.render.aio(text=f"of {number}")

    async def main() -> None:
        await asyncio.gather(*(ask(number) for number in range(6)))

    asyncio.run(main())
    assert len(seen) == 6
    assert all(text == value for text, value in seen)


# New versions


def test_a_version_that_cannot_be_registered_never_takes_over(write: Write, start: Start) -> None:
    place = write("a", 'def render(text): return "a1"')
    host = start()
    pid = host.tree.child("a").pid
    for code in ("@hookimpl(wrapper=True)\ndef render(text): return 1\n",):
        (place / "a.py").write_text(MARKED + code)
        with pytest.raises(PiactorsError, match="not a generator function"):
            host.reload("a").get(timeout=SECONDS)
    assert host.hook.render(text="x") == ["a1"]
    assert host.tree.child("a").pid == pid


def test_failed_reloads_are_no_crashes(write: Write, start: Start) -> None:
    place = write("a", 'def render(text): return "a1"')
    host = start(policy=PluginPolicy(quarantine=Quarantine(crashes=1), backoff=QUICK))
    (place / "a.py").write_text("def render(text: return 1")
    for _ in range(3):
        with pytest.raises(PiactorsError):
            host.reload("a").get(timeout=SECONDS)
    assert host.hook.render(text="x") == ["a1"]
    assert host.health()["a"].crashes == 0


def test_calls_during_a_change_of_hooks_raise_nothing(write: Write, start: Start) -> None:
    place = write("a", 'def render(text): return "a"')
    write("b", 'def render(text): return "b"')
    host = start()
    over, failed = threading.Event(), []

    def ask() -> None:
        while not over.is_set():
            try:
                assert "b" in host.hook.render(text="x")
            except BaseException as error:
                failed.append(error)
                return

    thread = threading.Thread(target=ask)
    thread.start()
    for number in range(6):
        code = 'def render(text): return "a"' if number % 2 else 'def choose(text): return "a"'
        (place / "a.py").write_text(code)
        host.reload("a").get(timeout=SECONDS)
    over.set()
    thread.join()
    assert failed == []
    assert host.hook.render(text="x") == ["a", "b"]


def test_code_that_has_changed_by_the_time_of_a_crash(write: Write, start: Start) -> None:
    place = write("a", 'def render(text): return "a"')
    host = start()
    (place / "a.py").write_text('def choose(text): return "changed"')
    os.kill(host.tree.child("a").pid, signal.SIGKILL)
    wait_until(lambda: host.hook.choose(text="x") == "changed", SECONDS)
    assert host.hook.render(text="x") == []


def test_a_new_process_hears_what_was(write: Write, start: Start, tmp_path: Path) -> None:
    log = tmp_path / "heard"
    write("a", f"def begun(what):\n    with open({str(log)!r}, 'a') as file: file.write(what + ' ')\n")
    host = start()
    host.hook.begun.call_historic(kwargs={"what": "x"})
    assert log.read_text() == "x "
    host.reload("a").get(timeout=SECONDS)
    assert log.read_text() == "x x "
    os.kill(host.tree.child("a").pid, signal.SIGKILL)
    wait_until(lambda: log.read_text() == "x x x ", SECONDS)


def test_one_that_cannot_come_again_does_not_keep_a_call_for_ever(write: Write, start: Start) -> None:
    place = write("a", "import os\ndef render(text):\n    if text == 'die': os._exit(1)\n    return 'a'\n")
    write("b", 'def render(text): return "b"')
    host = start(policy=PluginPolicy(hook_timeout=0.5, start_timeout=1, backoff=QUICK))
    (place / "a.py").write_text("import nothing_that_there_is")
    host.hook.render(text="die")
    began = time.monotonic()
    outcome = host.hook.render.call(text="x")
    assert outcome.results == ["b"]
    assert "a" in outcome.errors
    assert time.monotonic() - began < 10


def test_one_that_is_not_restarted_is_stopped(write: Write, start: Start) -> None:
    write("a", "import os\ndef render(text):\n    if text == 'die': os._exit(1)\n    return 'a'\n")
    host = start(policy=PluginPolicy(restart="temporary"))
    host.hook.render(text="die")
    wait_until(lambda: host.plugins()[0].state == "stopped")
    assert "exit code 1" in host.plugins()[0].why
    wait_until(lambda: not host.hook.render.call(text="x").errors)
    host.enable("a").get(timeout=SECONDS)
    assert host.hook.render(text="x") == ["a"]


def test_an_installation_that_fails_leaves_nothing(start: Start, write: Write) -> None:
    host = start()
    with pytest.raises(PiactorsError, match="nothing_that_there_is"):
        host.install(PluginSpec(name="new", target="nothing_that_there_is")).get(timeout=SECONDS)
    assert host.plugins() == ()


def test_a_new_version_in_the_host_takes_over(start: Start) -> None:
    class Own:
        version = 1

        @hookimpl
        def render(self, text: str) -> int:
            return self.version

    class Newer(Own):
        version = 2

    in_host = PluginPolicy(isolate=False)
    host = start(sources=[Listed([PluginSpec(name="own", target=Own, policy=in_host)])], policy=in_host)
    assert host.hook.render(text="x") == [1]
    host.install(PluginSpec(name="own", target=Newer, version="2", policy=in_host)).get(timeout=SECONDS)
    assert host.hook.render(text="x") == [2]
    with pytest.raises(PiactorsError, match="runs in the host"):
        host.reload("own").get(timeout=SECONDS)


def test_functions_without_markers_are_hooks_in_the_host_too(start: Start, write: Write) -> None:
    place = write("json", 'def render(text): return "own json"')
    in_host = PluginPolicy(isolate=False)
    host = start(
        sources=[Listed([PluginSpec(name="j", target=str(place / "json.py"), policy=in_host)])], policy=in_host
    )
    assert host.hook.render(text="x") == ["own json"]
    import json

    assert json.loads("1") == 1
    assert not sys.dont_write_bytecode


# Crashes


def test_two_hosts_have_crashes_of_their_own(write: Write, start: Start) -> None:
    write("a", 'def render(text): return "a"')
    policy = PluginPolicy(quarantine=Quarantine(crashes=1), backoff=QUICK)
    one, two = start(policy=policy), start(policy=policy)
    os.kill(one.tree.child("a").pid, signal.SIGKILL)
    wait_until(lambda: one.health()["a"].crashes == 1)
    assert one.hook.render.call(text="x").skipped
    assert two.hook.render(text="x") == ["a"]
    assert two.health()["a"].crashes == 0
    assert one.name != two.name


@pytest.mark.parametrize("answer", ["raise LookupError('mine')", "return object()"])
def test_a_trial_that_is_no_success_and_no_crash(write: Write, start: Start, answer: str) -> None:
    """An exception of the plugin is an answer; a refused one gives the trial back."""
    write(
        "a",
        DIES + f"    if text == 'odd': {answer}\n    return 'a'",
    )
    policy = PluginPolicy(quarantine=Quarantine(crashes=1, retry_after=0.01), backoff=QUICK)
    host = start(policy=policy)
    host.hook.render(text="die")
    time.sleep(0.02)
    if "raise" in answer:
        with pytest.raises(LookupError, match="mine"):
            host.hook.render(text="odd")
    else:
        assert host.hook.render.call(text="odd").errors
    assert host.hook.render(text="x") == ["a"]
    assert host.health()["a"].quarantined == ()


def test_with_several_at_once_the_plugin_is_blamed(write: Write, start: Start) -> None:
    write(
        "a",
        """
        import os, threading
        began = threading.Event()
        def render(text):
            began.wait(20)
            os._exit(1)
        def choose(text):
            began.set()
            threading.Event().wait(20)
        """,
    )
    policy = PluginPolicy(concurrency=2, quarantine=Quarantine(crashes=1), backoff=QUICK)
    host = start(policy=policy)
    hooks = (host.hook.choose, host.hook.render)
    threads = [threading.Thread(target=hook, kwargs={"text": "x"}) for hook in hooks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert host.health()["a"].quarantined == ("",)
    assert host.health()["a"].crashes == 1


@pytest.mark.parametrize(
    "content", ["", "[]", '{"quarantine": 3}', '{"quarantine": {"a": 3}}', '{"quarantine": {"a": {"": 3}}}', "[" * 9999]
)
def test_a_state_that_is_damaged_is_none(write: Write, start: Start, tmp_path: Path, content: str) -> None:
    state = tmp_path / "state.json"
    state.write_text(content)
    write("a", "import os\ndef render(text):\n    if text == 'die': os._exit(1)\n    return 'a'\n")
    host = start(state=state, policy=PluginPolicy(quarantine=Quarantine(crashes=1), backoff=QUICK))
    assert host.hook.render(text="x") == ["a"]
    host.hook.render(text="die")
    assert host.health()["a"].quarantined == ("render",)


def test_a_state_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    for path in ("/", str(tmp_path)):
        with pytest.raises(ValueError, match="use the path of a file"):
            PluginHost.start(Specs, project="app", state=path)


def test_hosts_that_share_a_state_keep_what_the_other_has(write: Write, start: Start, tmp_path: Path) -> None:
    code = "import os\ndef render(text):\n    if text == 'die': os._exit(1)\n    return 'x'\n"
    write("a", code)
    write("b", code)
    options: dict[str, Any] = {
        "state": tmp_path / "state.json",
        "policy": PluginPolicy(quarantine=Quarantine(crashes=1), backoff=QUICK),
    }
    one, two = start(**options), start(**options)
    one.hook.render.call(text="die", only={"a"})
    two.hook.render.call(text="die", only={"b"})
    three = start(**options)
    assert {name: health.quarantined for name, health in three.health().items()} == {
        "a": ("render",),
        "b": ("render",),
    }


# Discovery, and signatures


class Failing:
    """A source that fails."""

    def find(self) -> Any:
        yield PluginSpec(name="ok", target="nowhere_to_be_found")
        raise OSError("no more")


def test_a_source_that_fails_keeps_nothing_from_starting(write: Write, folder: Path, start: Start) -> None:
    write("a", 'def render(text): return "a"')
    (folder / "loop").mkdir()
    (folder / "loop" / "x.py").symlink_to(folder / "loop" / "x.py")
    (folder / "loop" / "plugin.toml").write_text('name = "loop"\ntarget = "x.py"')
    host = start(sources=[Failing(), Folder(folder)])
    assert host.hook.render(text="x") == ["a"]
    assert any("no more" in one.why for one in host.refused)


def test_entry_points_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    for name, content in {"odd": b"[app]\nfoo\n", "bad": b"[app]\nx = \xff\n"}.items():
        info = tmp_path / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    from piactors.plugins import EntryPoints

    host = start(sources=[EntryPoints("app")])
    assert host.plugins() == ()
    assert host.refused


def test_one_in_the_host_that_exits_ends_nothing_else(start: Start, tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)")
    in_host = PluginPolicy(isolate=False)
    spec = PluginSpec(name="leaves", target=str(tmp_path / "leaves.py"), policy=in_host)
    host = start(sources=[Listed([spec])], policy=in_host)
    assert host.plugins()[0].state == "failed"


@pytest.mark.parametrize(
    "signature", ["text, **more", "text, *more", "text, /", "text, colour='blue'", "text, *, colour='blue'"]
)
def test_signatures_that_pluggy_takes(write: Write, start: Start, signature: str) -> None:
    write("a", f"def render({signature}): return text")
    assert start().hook.render(text="x") == ["x"]


def test_a_folder_with_a_colon(tmp_path: Path, start: Start) -> None:
    place = tmp_path / "x:y" / "a"
    place.mkdir(parents=True)
    (place / "code.py").write_text("import code as standard\ndef render(text): return text")
    (place / "plugin.toml").write_text('name = "a"\ntarget = "code.py"')
    assert start(sources=[Folder(place.parent)]).hook.render(text="x") == ["x"]


def test_many_are_started_at_once(write: Write, start: Start) -> None:
    for number in range(12):
        write(f"p{number:02}", f"def render(text): return {number}\ndef other{number}(text): return 1\n")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        host = start()
        assert host.hook.render(text="x") == list(range(11, -1, -1))
        jobs = [host.disable(f"p{number:02}") for number in range(12)]
        jobs += [host.enable(f"p{number:02}") for number in range(12)]
        assert {job.get(timeout=SECONDS).state for job in jobs} == {"disabled", "running"}
        assert sorted(host.hook.render(text="x")) == list(range(12))
    finally:
        sys.setswitchinterval(before)
