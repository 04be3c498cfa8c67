"""Plugins of applications that know nothing of isolates, as these see them: each is tried in the host first."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import os
import signal
import sqlite3
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
import pytest

from piactors import by_ref
from piactors.errors import IsolateCrashed, NotPermitted, Released
from piactors.plugins import ApplicationHost, PluginPolicy, isolate, snapshot
from tests.plugins.conftest import QUICK
from tests.support import wait_until

SECONDS = 30
hookspec = pluggy.HookspecMarker("app")
HEAD = """
    import asyncio, os, signal, threading, pluggy
    hookimpl = pluggy.HookimplMarker("app")
"""


class Specs:
    """The hooks of an application."""

    @hookspec
    def prepare(self, conn: Any) -> Any: ...

    @hookspec
    def give(self, app: Any) -> Any: ...

    @hookspec
    def take(self, value: Any) -> Any: ...

    @hookspec(firstresult=True)
    def first(self, value: Any) -> Any: ...


class App:
    """What an application hands to its plugins."""

    def __init__(self) -> None:
        self.settings = {"factor": 3}
        self.log: list[Any] = []
        self.parent: Any = None

    def setting(self, name: str) -> Any:
        return self.settings[name]

    def note(self, *what: Any) -> int:
        self.log.append((threading.get_ident(), *what))
        return len(self.log)

    async def twice(self, number: int) -> int:
        await asyncio.sleep(0)
        self.note("twice", number)
        return number * 2

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


Load = Callable[..., ModuleType]
Moved = Callable[..., tuple[Any, ApplicationHost]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import a plugin of this code, by a name of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names: list[str] = []

    def make(code: str, name: str = "") -> ModuleType:
        name = name or f"plugin_{os.getpid()}_{len(names)}_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(HEAD) + textwrap.dedent(code))
        importlib.invalidate_caches()
        names.append(name)
        return importlib.import_module(name)

    yield make
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def moved(load: Load) -> Iterator[Moved]:
    """Move a plugin of this code into an isolate; return the hooks of its manager, and its host."""
    hosts: list[ApplicationHost] = []

    def move(code: str, *others: Any, **options: Any) -> tuple[Any, ApplicationHost]:
        manager = pluggy.PluginManager("app")
        manager.add_hookspecs(Specs)
        manager.register(load(code), "one")
        for number, other in enumerate(others):
            manager.register(other, f"other{number}")
        policy = options.pop("policy", PluginPolicy(concurrency=16, backoff=QUICK, quarantine=None))
        host = isolate(manager, ["one"], policy=policy, **options)
        hosts.append(host)
        assert host.health()["one"].state == "running", host.health()["one"].why
        return manager.hook, host

    yield move
    for host in hosts:
        host.stop()


def kill(host: ApplicationHost, name: str = "one") -> None:
    """End the process of a plugin, and wait until the next one runs."""
    ref = host.tree.child(name)
    before = ref.pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: ref.pid not in (before, None), SECONDS)


# Calls


def test_arguments_and_results_are_copied_or_lent(moved: Moved) -> None:
    hook, host = moved(
        """
        @hookimpl
        def give(app):
            return [app.setting("factor"), app.settings["factor"], len(app.settings), "factor" in app.settings,
                    sorted(app.settings), app.log, {"app": app}]
        """
    )
    app = App()
    ((first, second, size, is_in, names, log, back),) = hook.give(app=app)
    assert (first, second, size, is_in, names, log) == (3, 3, 1, True, ["factor"], [])
    assert back["app"] is app, "what comes back is the object itself"
    assert host.tree.child("one").pid != os.getpid()


def test_what_is_done_to_a_lent_object_is_done_to_it(moved: Moved) -> None:
    hook, _ = moved(
        """
        @hookimpl
        def give(app):
            app.parent = "set"
            app.note("a", 1)
            del app.settings
            return isinstance(app, object), bool(app), app == app, str(app)[:1], hasattr(app, "settings")
        """
    )
    app = App()
    ((_, is_true, is_equal, text, has),) = hook.give(app=app)
    assert (is_true, is_equal, text, has) == (True, True, "<", False)
    assert app.parent == "set"
    assert [one[1:] for one in app.log] == [("a", 1)]


def test_callbacks_run_in_the_thread_that_calls_the_hook(moved: Moved) -> None:
    hook, _ = moved("@hookimpl\ndef give(app): return app.note('x')\n")
    app, failed = App(), []

    def ask() -> None:
        try:
            idents.add(threading.get_ident())
            for _ in range(20):
                hook.give(app=app)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    idents: set[int] = set()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert {one[0] for one in app.log} == idents
    assert len(app.log) == 80


def test_what_runs_alone_in_a_plugin_runs_in_one_thread(moved: Moved) -> None:
    hook, _ = moved(
        """
        import sqlite3
        conn = sqlite3.connect(":memory:")
        @hookimpl
        def take(value): return conn.execute("select ? + 1", [value]).fetchone()[0]
        """
    )
    assert [hook.take(value=number) for number in range(30)] == [[number + 1] for number in range(30)]


def test_functions_of_a_plugin_are_called_as_they_are_declared(moved: Moved) -> None:
    hook, _ = moved(
        """
        import functools
        def plain(a, b=2, *rest, c, d=None, **more): "It adds."; return a, b, rest, c, d, more
        default = object()
        def hidden(a, b=default, c=3): return b is default, c
        async def later(a): return a
        class Tool:
            def __init__(self, name): self.name = name
            def run(self, times=1): return self.name * times
            @property
            def upper(self): return self.name.upper()
            def __call__(self, x): return x + 1
            def __len__(self): return 5
            def __getitem__(self, key): return (key.start, key.stop) if isinstance(key, slice) else key
            def __eq__(self, other): return isinstance(other, Tool) and other.name == self.name
            def __hash__(self): return hash(self.name)
            def __iter__(self): return iter([1, 2, 3])
            def __enter__(self): return "entered"
            def __exit__(self, *error): return error[0] is KeyError
        @hookimpl
        def give(app):
            return {"plain": plain, "hidden": hidden, "later": later, "class": Tool, "tool": Tool("x"),
                    "partial": functools.partial(plain, 1, c=4), "builtin": max, "local": lambda x, /: x}
        """
    )
    (given,) = hook.give(app=App())
    plain = given["plain"]
    assert str(inspect.signature(plain)) == "(a, b=2, *rest, c, d=None, **more)"
    assert plain.__name__ == "plain"
    assert plain.__doc__ == "It adds."
    assert plain(1, c=3) == (1, 2, (), 3, None, {})
    assert plain(1, 5, 6, c=3, e=9) == (1, 5, (6,), 3, None, {"e": 9})
    with pytest.raises(TypeError, match="c"):
        plain(1)
    assert given["hidden"](1) == (True, 3)
    assert given["hidden"](1, c=4) == (True, 4)
    assert given["hidden"](1, 2, 4) == (False, 4)
    assert inspect.iscoroutinefunction(given["later"])
    assert asyncio.run(given["later"](7)) == 7
    assert given["partial"]() == (1, 2, (), 4, None, {})
    assert given["builtin"](3, 8) == 8
    assert given["local"](4) == 4
    with pytest.raises(TypeError):
        given["local"](x=4)
    tool, cls = given["tool"], given["class"]
    assert inspect.isclass(cls)
    assert cls.__name__ == "Tool"
    assert tool.run(times=2) == "xx"
    assert tool.upper == "X"
    assert tool.name == "x"
    assert tool(1) == 2
    assert len(tool) == 5
    assert tool["k"] == "k"
    assert tool[1:2] == (1, 2)
    assert list(tool) == [1, 2, 3]
    assert cls("x") == tool
    assert hash(cls("x")) == hash(cls("x"))
    assert isinstance(cls("x"), cls)
    with tool as entered:
        assert entered == "entered"
        raise KeyError("it suppresses that")


def test_coroutines_of_both_sides_await_each_other(moved: Moved) -> None:
    hook, _ = moved(
        """
        @hookimpl
        def give(app):
            async def work(number):
                done = await asyncio.gather(*[app.twice(one) for one in range(number)])
                return sum(done) + app.setting("factor")
            return work
        """
    )

    async def main() -> Any:
        app = App()
        (work,) = hook.give(app=app)  # a thread with a running loop may call hooks, as in the application itself
        found = await asyncio.gather(*[work(4) for _ in range(40)])
        return found, {one[0] for one in app.log}

    found, idents = asyncio.run(main())
    assert found == [15] * 40
    assert idents == {threading.get_ident()}, "coroutines of the application run on its own loop"


def test_the_loop_may_wait_for_a_plugin_that_waits_for_the_loop(moved: Moved) -> None:
    hook, _ = moved(
        """
        @hookimpl
        def give(app):
            async def work(): return await app.twice(21)
            return work
        @hookimpl
        def take(value): return value
        """
    )

    async def main() -> Any:
        (work,) = hook.give(app=App())
        tasks = [asyncio.ensure_future(work()) for _ in range(8)]
        for number in range(50):
            assert hook.take(value=number) == [number]
            await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    assert asyncio.run(asyncio.wait_for(main(), SECONDS)) == [42] * 8


def test_generators_and_contexts(moved: Moved) -> None:
    hook, _ = moved(
        """
        import contextlib
        def count(n):
            got = []
            for i in range(n): got.append((yield i))
            return got
        @contextlib.contextmanager
        def opened(app):
            app.note("open")
            try: yield "inside"
            finally: app.note("close")
        async def acount(n):
            for i in range(n): yield i
        @contextlib.asynccontextmanager
        async def aopened(): yield "async inside"
        @hookimpl
        def give(app): return count, opened, acount, aopened
        """
    )
    app = App()
    ((count, opened, acount, aopened),) = hook.give(app=app)
    assert list(count(3)) == [0, 1, 2]
    running = count(2)
    assert next(running) == 0
    assert running.send("a") == 1
    with pytest.raises(StopIteration) as stopped:
        running.send("b")
    assert stopped.value.value == ["a", "b"]
    inside = []
    with pytest.raises(KeyError), opened(app) as found:
        raise KeyError(inside.append(found))
    assert inside == ["inside"]
    assert [one[1] for one in app.log] == ["open", "close"]

    async def main() -> Any:
        async with aopened() as inside:
            return inside, [one async for one in acount(3)]

    assert asyncio.run(main()) == ("async inside", [0, 1, 2])


class AppError(ValueError):
    """An exception of the application, which holds more than a text."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


def test_exceptions_keep_their_class_and_what_they_hold(moved: Moved) -> None:
    hook, _ = moved(
        """
        class Own(Exception): pass
        @hookimpl
        def give(app):
            try:
                app.call(app.parent, 7)
            except Exception as error:
                app.note(type(error).__mro__[1].__name__, error.code, str(error))
                raise
        @hookimpl
        def take(value): raise Own("own")
        """
    )
    app = App()

    def fail(code: int) -> None:
        raise AppError(code)

    app.parent = fail
    with pytest.raises(AppError, match="code 7") as caught:
        hook.give(app=app)
    assert caught.value.code == 7
    assert [one[1:] for one in app.log] == [("Exception", 7, "code 7")]
    with pytest.raises(Exception, match="own") as other:
        hook.take(value=1)
    assert "raise Own" in str(other.value.__cause__), "with the traceback that it has there"


def test_wrappers_of_both_kinds(moved: Moved) -> None:
    class Inner:
        @pluggy.HookimplMarker("app")
        def take(self, value: Any) -> Any:
            if value == "raise":
                raise AppError(1)
            return value

    hook, _ = moved(
        """
        @hookimpl(wrapper=True)
        def take(value):
            try:
                result = yield
            except ValueError as error:
                return ["caught", error.code]
            return ["around", *result]
        @hookimpl(hookwrapper=True)
        def first(value):
            outcome = yield
            outcome.force_result(["forced", outcome.get_result()])
        """,
        Inner(),
    )
    assert hook.take(value=3) == ["around", 3]
    assert hook.take(value="raise") == ["caught", 1]
    assert hook.first(value=1) == ["forced", None]


def test_a_plugin_keeps_its_place_among_the_others(load: Load) -> None:
    manager = pluggy.PluginManager("app")
    manager.add_hookspecs(Specs)
    for name in ("a", "b", "c"):
        manager.register(load(f"@hookimpl\ndef take(value): return {name!r}\n"), name)
    assert manager.hook.take(value=1) == ["c", "b", "a"]
    with isolate(manager, ["b"]) as host:
        assert manager.hook.take(value=1) == ["c", "b", "a"]
        host.disable("b").get(timeout=SECONDS)
        assert manager.hook.take(value=1) == ["c", "a"]
        host.enable("b").get(timeout=SECONDS)
        assert manager.hook.take(value=1) == ["c", "b", "a"]


def test_ways_of_arguments(moved: Moved) -> None:
    code = """
        @hookimpl
        def give(app):
            app.settings["factor"] = 9
            return [app.setting("factor"), type(app).__name__]
        @hookimpl
        def prepare(conn):
            try: conn.close()
            except Exception as error: return str(error)
        @hookimpl
        def take(value): value.append(1)
    """
    ways = {"app": snapshot, "conn": by_ref(methods=["execute"]), "value": by_ref()}
    hook, _ = moved(code, arguments=ways)
    app, listed = App(), [0]
    assert hook.give(app=app) == [[9, "App"]]
    assert app.settings == {"factor": 3}, "it was a copy"
    (said,) = hook.prepare(conn=sqlite3.connect(":memory:"))
    assert "execute" in said
    hook.take(value=listed)
    assert listed == [0, 1], "it was lent"
    with pytest.raises(TypeError, match="use snapshot, or by_ref"):
        moved(code, arguments={"app": 3})
    with pytest.raises(ValueError, match="run='caller'"):
        moved(code, arguments={"app": by_ref(run="dispatcher")})


# Crashes

CLOSURES = """
    def named(value): return value * 2
    @hookimpl
    def prepare(conn):
        start = conn.execute("select 40 + 2").fetchone()[0]
        conn.create_function("named", 1, named)
        conn.create_function("local", 1, lambda value: value + start)
        class Total:
            def __init__(self): self.total = 0
            def step(self, value): self.total += value
            def finalize(self): return self.total + start
        conn.create_aggregate("total_of", 1, Total)
    @hookimpl
    def give(app):
        factor = app.setting("factor")
        def outer(add):
            def inner(value):
                if value == "die": os.kill(os.getpid(), signal.SIGKILL)
                app.note("inner", value)
                return value * factor + add
            return inner
        async def work(value): return await app.twice(value) + factor
        return {"outer": outer, "work": work}
"""


def test_what_a_plugin_has_lent_is_found_again_when_its_process_has_died(moved: Moved) -> None:
    hook, host = moved(CLOSURES)
    app, conn = App(), sqlite3.connect(":memory:")
    conn.executescript("create table t(x); insert into t values (1), (2);")
    hook.prepare(conn=conn)
    (given,) = hook.give(app=app)
    inner = given["outer"](10)

    def look() -> None:
        assert conn.execute("select named(3), local(1), (select total_of(x) from t)").fetchall() == [(6, 43, 45)]
        assert inner(2) == 16
        assert given["outer"](20)(2) == 26
        assert asyncio.run(given["work"](5)) == 13

    look()
    for _ in range(3):
        kill(host)
        look()
    assert host.tree.child("one").generation == 4
    assert app.setting("factor") == 3


def test_the_call_in_which_it_dies_fails_and_the_next_one_does_not(moved: Moved) -> None:
    hook, _ = moved(CLOSURES)
    (given,) = hook.give(app=App())
    inner = given["outer"](10)
    with pytest.raises(IsolateCrashed):
        inner("die")
    assert inner(2) == 16


def test_a_hook_in_which_it_dies_is_left_out(moved: Moved, caplog: pytest.LogCaptureFixture) -> None:
    class Other:
        @pluggy.HookimplMarker("app")
        def take(self, value: Any) -> Any:
            return "other"

    code = """
        @hookimpl
        def take(value):
            if value == "die": os.kill(os.getpid(), signal.SIGKILL)
            return "one"
        @hookimpl(wrapper=True)
        def first(value):
            result = yield
            if value == "die": os.kill(os.getpid(), signal.SIGKILL)
            return ["around", result]
    """
    hook, host = moved(code, Other())
    assert hook.take(value=1) == ["other", "one"]
    assert hook.take(value="die") == ["other"]
    assert hook.take(value=1) == ["other", "one"]
    assert hook.first(value=1) == ["around", None]
    assert hook.first(value="die") is None
    assert hook.first(value=1) == ["around", None]
    assert host.health()["one"].crashes == 2
    assert "hook take of plugin one is left out" in caplog.text


@pytest.mark.parametrize("differs", ["[app.setting('factor') for _ in range(number)]", "None"])
def test_what_is_not_the_same_when_it_is_repeated_is_not_found_again(
    moved: Moved, tmp_path: Path, differs: str
) -> None:
    """Each process asks, or lends, one thing more than the one before it."""
    hook, host = moved(
        f"""
        import pathlib
        log = pathlib.Path({str(tmp_path / "log")!r})
        with log.open("a") as file: file.write("x")
        number = len(log.read_text())
        @hookimpl
        def give(app):
            asked = {differs}
            return [(lambda: 7) for _ in range(number)]
        """
    )
    (found,) = hook.give(app=App())
    assert found[0]() == 7
    kill(host)
    with pytest.raises(Released, match="has ended, and is not found again"):
        found[0]()


# What is given back


def tables(host: ApplicationHost) -> tuple[int, int]:
    side = host._living._borders["one"].side  # type: ignore[attr-defined]
    gc.collect()
    return len(side.packer.lent), len(side.packer.held)


def test_nothing_is_kept_of_what_nobody_uses(moved: Moved) -> None:
    hook, host = moved(
        """
        @hookimpl
        def give(app):
            app.note(lambda: 1)
            return [lambda: app, {"app": app}]
        @hookimpl
        def take(value): return None
        """
    )
    for number in range(400):
        app = App()
        (found,) = hook.give(app=app)
        assert found[1]["app"] is app
        if number in (100, 200):
            kill(host)
        del found, app
    for _ in range(10):  # one thing holds the next, on the other side
        hook.take(value=1)
        gc.collect()
    assert tables(host) == (0, 0)


def test_a_connection_that_is_dropped_is_freed(moved: Moved) -> None:
    import weakref

    class Connection(sqlite3.Connection):
        pass

    hook, host = moved(CLOSURES + "\n    @hookimpl\n    def take(value): pass\n")
    conn: Any = sqlite3.connect(":memory:", factory=Connection)
    hook.prepare(conn=conn)
    assert conn.execute("select local(1)").fetchone() == (43,)
    kill(host)
    assert conn.execute("select local(1)").fetchone() == (43,)
    gone = weakref.ref(conn)
    del conn
    for _ in range(10):
        hook.take(value=1)
        gc.collect()
    assert gone() is None


# What is refused


def test_private_attributes_of_the_application_are_not_lent(moved: Moved) -> None:
    hook, _ = moved(
        """
        def tried(look):
            try: return look()
            except Exception as error: return type(error).__name__
        @hookimpl
        def give(app):
            return [tried(lambda: app.note.__globals__), tried(lambda: app.__dict__), tried(lambda: app._secret),
                    tried(lambda: app.note.__func__.__code__)]
        """
    )
    app: Any = App()
    app._secret = "secret"
    (found,) = hook.give(app=app)
    assert "secret" not in str(found)
    assert "AttributeError" in found


def test_a_module_of_the_application_is_not_lent(moved: Moved) -> None:
    hook, _ = moved(
        """
        @hookimpl
        def give(app):
            try: return app.parent.system("true")
            except Exception as error: return str(error)
        """
    )
    app = App()
    app.parent = os
    assert "module os is not lent" in hook.give(app=app)[0]


def test_what_makes_no_sense_is_refused_at_once(load: Load) -> None:
    manager = pluggy.PluginManager("app")
    manager.add_hookspecs(Specs)
    manager.register(load("@hookimpl\ndef take(value): return 1\n"), "a")
    with pytest.raises(ValueError, match="there is no plugin 'b'; there are: a"):
        isolate(manager, ["b"])
    with pytest.raises(TypeError, match="use a list of names"):
        isolate(manager, "a")
    assert manager.hook.take(value=1) == [1], "nothing has happened to it"


def test_one_that_does_not_start_is_left_out(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    manager = pluggy.PluginManager("app")
    manager.add_hookspecs(Specs)
    pid = os.getpid()
    module = load(f"if os.getpid() != {pid}: os._exit(3)\n@hookimpl\ndef take(value): return 1\n")
    manager.register(module, "a")
    with isolate(manager, ["a"]) as host:
        assert host.health()["a"].state == "failed"
        assert manager.hook.take(value=1) == []
    assert "plugin a of app is left out" in caplog.text


def test_narrowed_objects_say_what_is_lent() -> None:
    from piactors.plugins.application.ways import Narrowed

    with pytest.raises(NotPermitted, match="lent with the methods a, b"):
        Narrowed(3, frozenset({"a", "b"})).c  # noqa: B018
