"""What was found by those who tried to break plugins of applications that know nothing of isolates: each once more."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import gc
import io
import os
import re
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pluggy
import pytest

from piactors.errors import Released
from piactors.plugins import PluginPolicy, isolate
from tests.plugins.conftest import QUICK
from tests.plugins.test_applications import App, Load, Moved, Specs, kill
from tests.plugins.test_applications import load as load  # the fixtures
from tests.plugins.test_applications import moved as moved

EVALUATING = """
    import functools, sqlite3, sys, re, collections, enum
    RL = threading.RLock()
    class Stack: pass
    @hookimpl
    def take(value): return eval(value, globals())
    @hookimpl
    def give(app): return eval(app.setting("code"), {**globals(), "app": app})
"""


class Code(App):
    """Hands code to the plugin, and what that is to work with."""

    def __init__(self, code: str, obj: Any = None) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"code": code}
        self.obj = obj


class Asked:
    """Evaluates in the plugin."""

    def __init__(self, hook: Any) -> None:
        self.hook = hook

    def get(self, code: str) -> Any:
        (found,) = self.hook.take(value=code) or [None]
        return found

    def check(self, obj: Any, code: str) -> Any:
        (found,) = self.hook.give(app=Code(code.replace("obj", "app.obj"), obj)) or [None]
        return found


@pytest.fixture
def asked(moved: Moved) -> Asked:
    hook, _ = moved(EVALUATING)
    return Asked(hook)


# What leads everywhere


@pytest.mark.parametrize(
    "code",
    ["obj.gi_frame.f_builtins['exec']('1')", "obj.gi_frame", "obj.gi_code", "obj.__dict__"],
)
def test_frames_of_the_application_are_out_of_reach(asked: Asked, code: str) -> None:
    generator = (one for one in [1])
    with pytest.raises(AttributeError):
        asked.check(generator, f"[{code}]")


def test_what_runs_code_is_not_lent(asked: Asked) -> None:
    with pytest.raises(ValueError, match="it leads to everything"):
        asked.check({"run": exec}, "obj['run'].__name__")


def test_private_attributes_are_lent_to_whom_is_trusted(moved: Moved) -> None:
    hook, _ = moved(EVALUATING, policy=PluginPolicy(trust="code", concurrency=4, backoff=QUICK, quarantine=None))
    app = Code("[app._secret]")
    app._secret = 7  # type: ignore[attr-defined]
    assert hook.give(app=app) == [[7]]


# What pluggy looks at


@pytest.mark.parametrize("kind", ["object", "class"])
def test_plugins_that_are_objects_or_classes(load: Load, kind: str) -> None:
    module = load(
        """
        class Plug:
            @hookimpl
            def take(self, value): return ["took", value]
        class Static:
            @staticmethod
            @hookimpl
            def take(value): return ["took", value]
        plug = Plug()
        """
    )
    manager = pluggy.PluginManager("app")
    manager.add_hookspecs(Specs)
    manager.register(module.plug if kind == "object" else module.Static, "one")
    with isolate(manager, policy=PluginPolicy(backoff=QUICK)) as host:
        assert len(manager.hook.take.get_hookimpls()) == 1
        assert manager.hook.take(value=1) == [["took", 1]]
        assert host.plugins()[0].hooks == ("take",)
        with pytest.raises(ValueError, match="runs in an isolate already"):
            isolate(manager)


def test_what_a_module_holds_besides_keeps_nothing_from_starting(moved: Moved) -> None:
    hook, _ = moved(
        """
        import abc, functools
        def tested(): pass
        tested.__test__ = False
        tested.__dict__["a-b"] = 1
        tested.plain = {"a": [1]}
        @functools.lru_cache(None)
        def cached(): pass
        class Abstract(abc.ABC):
            @abc.abstractmethod
            def run(self): ...
        def many(_use, args, kwargs, _given): pass
        def generator(n):
            yield n
            yield n + 1
        @hookimpl
        def take(value): return [tested, many, generator, Abstract]
        """
    )
    ((tested, many, generator, abstract),) = hook.take(value=1)
    assert tested.plain == {"a": [1]}
    assert many(1, 2, 3, 4) is None
    assert list(generator(1)) == [1, 2]
    assert abstract.__name__ == "Abstract"


def test_a_hook_that_is_a_plain_generator_function(moved: Moved) -> None:
    hook, _ = moved("@hookimpl\ndef take(value):\n    yield value\n    yield value + 1\n")
    (found,) = hook.take(value=1)
    assert list(found) == [1, 2]


# Values


def test_a_function_that_wraps_a_stand_in_is_itself(asked: Asked) -> None:
    def host(*args: Any) -> str:
        return "host"

    decorate = asked.get("lambda f: functools.wraps(f)(lambda *a: ('wrapped', f(*a)))")
    assert decorate(host)() == ("wrapped", "host")
    theirs = asked.get("lambda: 'theirs'")

    @functools.wraps(theirs)
    def ours() -> list[str]:
        return ["ours", theirs()]

    assert asked.check(ours, "obj()") == ["ours", "theirs"]


def test_constants_and_comparisons(asked: Asked) -> None:
    thing = asked.get(
        "type('NI', (), {'__eq__': lambda s, o: NotImplemented, '__lt__': lambda s, o: NotImplemented})()"
    )
    assert (thing == 5) is False
    assert 5 not in [thing]
    with pytest.raises(TypeError):
        thing < 5  # noqa: B015
    assert asked.get("...") is ...
    assert asked.get("NotImplemented") is NotImplemented
    assert "abc"[asked.get("slice(1, 2)")] == "b"
    assert asked.get("range(1, 9, 2)") == range(1, 9, 2)
    assert asked.get("type(None)") is not None
    assert asked.get("re.I | re.M") == re.I | re.M
    assert asked.get("int") is int


def test_names_are_one_thing_each(asked: Asked) -> None:
    assert asked.get("Stack") is asked.get("Stack")
    assert asked.get("re.compile") is asked.get("re.compile")
    stack = asked.get("Stack")
    assert isinstance(stack(), stack)
    with pytest.raises(TypeError, match="derives from a class of another process"):
        type("Own", (stack,), {})


def test_copies_of_stand_ins(asked: Asked) -> None:
    thing = asked.get("collections.deque([1])")
    other = copy.copy(thing)
    other.append(2)
    assert (len(thing), len(other), len(copy.deepcopy(other))) == (1, 2, 2)


@pytest.mark.parametrize(
    ("code", "kind", "attributes"),
    [
        ("open('/nowhere/at/all')", FileNotFoundError, {"filename": "/nowhere/at/all", "errno": 2}),
        ("sys.exit(3)", SystemExit, {"code": 3}),
        ("b'\\xff'.decode()", UnicodeDecodeError, {"start": 0, "encoding": "utf-8"}),
        ("eval('1 +')", SyntaxError, {"lineno": 1}),
        ("next(iter(()))", StopIteration, {"value": None}),
    ],
)
def test_exceptions_of_pythons_own(asked: Asked, code: str, kind: type, attributes: dict[str, Any]) -> None:
    with pytest.raises(kind) as caught:
        asked.get(f"(lambda: {code})")()
    assert {name: getattr(caught.value, name) for name in attributes} == attributes


def test_an_exit_in_a_hook_is_the_applications(asked: Asked) -> None:
    with pytest.raises(SystemExit) as caught:
        asked.get("sys.exit(4)")
    assert caught.value.code == 4
    assert asked.get("1") == 1


# Lists, dictionaries, output


def test_what_a_plugin_does_to_containers_is_done_to_those_of_the_application(moved: Moved) -> None:
    hook, _ = moved(
        """
        @hookimpl
        def take(value):
            value["new"] = lambda: 5
            value["list"].append(2)
        @hookimpl
        def first(value):
            value.reverse()
            raise ValueError("after that")
        """
    )
    given: dict[str, Any] = {"list": [1]}
    hook.take(value=given)
    assert given["list"] == [1, 2]
    assert given["new"]() == 5
    things = [App(), App()]
    before = list(things)
    with pytest.raises(ValueError, match="after that"):
        hook.first(value=things)
    assert things == before[::-1]


def test_what_a_plugin_prints_is_printed_here(moved: Moved, capsys: pytest.CaptureFixture[str]) -> None:
    hook, _ = moved(
        """
        import sys
        @hookimpl
        def give(app):
            print("before")
            app.call(app.parent)
            sys.stdout.write("half ")
            sys.stdout.buffer.write(b"and half\\n")
            print("error", file=sys.stderr)
            sys.stdout.write("no end")
        """
    )
    app = App()
    app.parent = lambda: print("between")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        hook.give(app=app)
    assert out.getvalue() == "before\nbetween\nhalf and half\nno end"
    assert "error\n" in capsys.readouterr().err


# Threads


def test_what_comes_back_while_a_plugin_waits_runs_in_the_thread_that_waits(asked: Asked) -> None:
    conn = asked.get("sqlite3.connect(':memory:')")
    select = asked.get("lambda ask: ask()")
    assert select(lambda: conn.execute("select 1").fetchone()) == (1,)
    inner = asked.get("lambda ask: ([RL.acquire(), ask(), RL.release()])[1]")
    assert inner(lambda: asked.get("[RL.acquire(), RL.release()][0]")) is True

    def down(depth: int) -> int:
        return depth if depth == 0 else select(lambda: down(depth - 1)) + 1

    assert down(12) == 12


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_callback_may_call_the_plugin(moved: Moved, concurrency: int) -> None:
    policy = PluginPolicy(concurrency=concurrency, backoff=QUICK, quarantine=None)
    hook, _ = moved(EVALUATING, policy=policy)
    asked = Asked(hook)
    run = asked.get("lambda ask: ask()")
    assert run(lambda: run(lambda: asked.get("7"))) == 7


def test_an_exit_in_a_callback_goes_by_way_of_the_plugin(moved: Moved) -> None:
    hook, host = moved(
        """
        seen = []
        @hookimpl
        def give(app):
            try: app.call(app.parent)
            finally: seen.append(1)
        @hookimpl
        def take(value): return len(seen)
        """
    )

    def leave() -> None:
        raise SystemExit(4)

    app = App()
    app.parent = leave
    for _ in range(20):
        with pytest.raises(SystemExit):
            hook.give(app=app)
    assert hook.take(value=1) == [20]
    assert host.tree.child("one").generation == 1


def test_from_many_threads_at_once(asked: Asked) -> None:
    failed: list[BaseException] = []
    double = asked.get("lambda ask, n: ask(n) * 2")

    def ask(number: int) -> None:
        try:
            for _ in range(20):
                assert double(lambda n: n + 1, number) == 2 * (number + 1)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


# After a crash


def test_what_is_half_read_is_not_begun_anew(moved: Moved) -> None:
    hook, host = moved(EVALUATING)
    asked = Asked(hook)
    numbers, generator = asked.get("iter([1, 2, 3])"), asked.get("(n for n in (1, 2))")
    assert (next(numbers), next(generator)) == (1, 1)
    kill(host)
    for one in (numbers, generator):
        with pytest.raises(Released, match="has ended, and is not found again"):
            next(one)


def test_a_wrapper_whose_process_dies_in_the_middle(moved: Moved) -> None:
    class Other:
        @pluggy.HookimplMarker("app")
        def take(self, value: Any) -> Any:
            kill(hosts[0])
            return "inner"

    hook, host = moved("@hookimpl(wrapper=True)\ndef take(value): return ['around', (yield)]\n", Other())
    hosts = [host]
    assert hook.take(value=1) == ["inner"]


def test_arguments_that_are_the_plugins_own_are_found_again(moved: Moved) -> None:
    hook, host = moved(EVALUATING)
    asked = Asked(hook)
    local = asked.get("lambda: 41")
    call = asked.get("lambda f: (lambda: f() + 1)")
    bound = call(local)
    for _ in range(2):
        kill(host)
        assert asked.check(local, "obj() + 1") == 42
        assert bound() == 42
    kill(host)
    assert call(local)() == 42


def test_found_again_by_many_at_once(moved: Moved) -> None:
    hook, host = moved(EVALUATING)
    local = Asked(hook).get("lambda n: n + 1")
    kill(host)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(local(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2] * 8


def test_awaited_and_killed(moved: Moved) -> None:
    hook, host = moved(EVALUATING)
    asked = Asked(hook)

    async def main() -> Any:
        run = asked.get("lambda ask: ask()")
        kill(host)
        return run(lambda: 5)

    assert asyncio.run(main()) == 5


# What stays


def test_what_cannot_be_lent_leaves_nothing_behind(moved: Moved) -> None:
    hook, host = moved(EVALUATING)
    asked = Asked(hook)
    side = host._living._borders["one"].side  # type: ignore[attr-defined]
    run = asked.get("lambda ask: ask()")
    for _ in range(5):
        with pytest.raises(Exception, match="module os is not lent"):
            run(lambda: [App(), os])
        with pytest.raises(ValueError, match="module os is not lent"):
            asked.check([App(), os], "len(obj)")
    del run
    for _ in range(10):
        asked.get("1")
        gc.collect()
    assert (len(side.packer.lent), len(side.packer.held)) == (0, 0)
    assert side._epochs._lent == {}


def test_a_refusal_to_lend_more_ends_with_what_is_given_back(moved: Moved) -> None:
    hook, _ = moved(EVALUATING)
    asked = Asked(hook)
    with pytest.raises(Exception, match="things are lent already"):
        asked.get("(lambda: [object() for _ in range(70_000)])")()
    assert asked.get("[object()]") is not None


def test_connections_with_functions_are_freed(asked: Asked, tmp_path: Path) -> None:
    prepare = asked.get("lambda conn: conn.create_function('one', 0, lambda: 1)")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        conn = sqlite3.connect(tmp_path / str(number))
        prepare(conn)
        assert conn.execute("select one()").fetchone() == (1,)
        conn.close()
        del conn
    for _ in range(10):
        asked.get("1")
        gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 2
