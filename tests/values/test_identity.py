"""One namespace for each of the host's modules in an isolate: one identity for each class, one set of globals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.values.support import HEAD, STARTS, TAIL, run_command, run_script, write

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=STARTS)
def start(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def right(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, True)


def test_a_class_is_one_in_all_messages_of_an_isolate(start: str, tmp_path: Path) -> None:
    code = """
        class Shape: pass
        class Circle(Shape): pass
        @dataclasses.dataclass
        class Point:
            x: int
        class Missing(KeyError): pass
        class Colour(enum.Enum): RED = 1
        class Canvas(Worker):
            first = Point(0)
            def __init__(self, shape):
                super().__init__()
                self.started_with = shape
            def is_shape(self, shape): return isinstance(shape, Shape) and type(self.started_with) is type(shape)
            def equal(self, point): return self.first == Point(0) and self.kept == point
            def caught(self, function):
                try: function()
                except Missing as error: return error.args == (1,)
            def colours(self, colour): return colour is Colour.RED and self.kept[colour] == 1
            def made(self): return isinstance(Circle(), Shape)
        def fail(): raise Missing(1)
        ref = Canvas.with_options(start_method=sys.argv[1]).start(Circle())
        proxy = ref.proxy()
        answer["isinstance"] = proxy.is_shape(Circle()).get(timeout=20)
        answer["made there"] = proxy.made().get(timeout=20)
        proxy.keep(Point(3)).get(timeout=20)
        answer["equal"] = proxy.equal(Point(3)).get(timeout=20)
        answer["kept and returned"] = proxy.kept.get(timeout=20) == Point(3)
        answer["caught there"] = proxy.caught(fail).get(timeout=20)
        try: proxy.run(fail).get(timeout=20)
        except Missing as error: answer["caught here"] = type(error) is Missing
        proxy.keep({Colour.RED: 1}).get(timeout=20)
        answer["member"] = proxy.colours(Colour.RED).get(timeout=20)
        answer["member back"] = proxy.run(lambda: Colour.RED).get(timeout=20) is Colour.RED
        answer["subclass"] = proxy.run(lambda: issubclass(Circle, Shape) and Circle.__mro__[1] is Shape).get(timeout=20)
    """
    names = ("isinstance", "made there", "equal", "kept and returned", "caught there", "caught here", "member")
    assert run_script(tmp_path, code, start) == right(*names, "member back", "subclass")


def test_what_changes_in_the_host_arrives_with_the_next_call(start: str, tmp_path: Path) -> None:
    """In the isolate that has had it before, and in one that is new."""
    code = """
        LIMIT, TABLE = 5, {"k": [1]}
        def helper(): return "old"
        def look(): return [LIMIT, helper(), TABLE["k"], Thing().name(), Thing.size]
        class Thing:
            size = 1
            def name(self): return "thing"
        def gone(): return told(lambda: LIMIT)
        old = start().proxy()
        answer["before"] = old.run(look).get(timeout=20)
        LIMIT = 10
        TABLE["k"].append(2)
        def helper(): return "new"
        Thing.name = lambda self: "patched"
        Thing.size = 2
        answer["after"] = old.run(look).get(timeout=20)
        answer["in a new one"] = start().proxy().run(look).get(timeout=20)
        del LIMIT
        answer["deleted"] = old.run(gone).get(timeout=20)
    """
    new = [10, "new", [1, 2], "patched", 2]
    assert run_script(tmp_path, code, start) == {
        "before": [5, "old", [1], "thing", 1],
        "after": new,
        "in a new one": new,
        "deleted": ["NameError", "name 'LIMIT' is not defined"],
    }


def test_globals_are_shared_by_all_that_stands_in_a_module(start: str, tmp_path: Path) -> None:
    """And what isolated code has set stays, whatever else the host changes."""
    code = """
        COUNT, OTHER, SEEN = 0, 1, []
        class Counter:
            total = 0
            def add(self):
                global COUNT
                COUNT += 1
                Counter.total += 1
                SEEN.append(COUNT)
        def both():
            Counter().add()
            return [COUNT, OTHER, Counter.total, len(SEEN)]
        proxy = start().proxy()
        answer["first"] = proxy.run(both).get(timeout=20)
        answer["second"] = proxy.run(both).get(timeout=20)
        OTHER = 2
        answer["another has changed"] = proxy.run(both).get(timeout=20)
        def both():
            Counter().add()
            return ["redefined", COUNT, OTHER, Counter.total, len(SEEN)]
        answer["redefined"] = proxy.run(both).get(timeout=20)
        COUNT = 100
        answer["the host's wins"] = proxy.run(both).get(timeout=20)
        answer["in a lambda"] = proxy.run(lambda: [COUNT, Counter.total]).get(timeout=20)
        answer["here"] = [COUNT, Counter.total, SEEN]
    """
    assert run_script(tmp_path, code, start) == {
        "first": [1, 1, 1, 1],
        "second": [2, 1, 2, 2],
        "another has changed": [3, 2, 3, 3],
        "redefined": ["redefined", 4, 2, 4, 4],
        "the host's wins": ["redefined", 101, 2, 5, 5],
        "in a lambda": [101, 5],
        "here": [100, 0, []],
    }


def test_a_module_that_cannot_be_imported_is_one_namespace_too(start: str, tmp_path: Path) -> None:
    """As of a program that makes modules, or that loads plugins by path."""
    code = """
        import types
        for name in ("made_one", "made_two"):
            module = types.ModuleType(name)
            sys.modules[name] = module
            exec("class Item: pass\\nN = 0\\ndef add(step):\\n    global N\\n    N += step\\n    return N\\n"
                 "def is_item(x): return isinstance(x, Item)", module.__dict__)
        import made_one, made_two
        proxy = start().proxy()
        run = lambda *call: proxy.run(*call).get(timeout=20)
        answer["one"] = [run(made_one.add, 1), run(made_one.add, 1)]
        answer["two"] = run(made_two.add, 10)
        answer["classes"] = [run(made_one.is_item, made_one.Item()), run(made_one.is_item, made_two.Item())]
        answer["back"] = type(run(made_one.Item)) is made_one.Item
        answer["names"] = run(lambda: [made_one.Item.__module__, made_two.add.__module__])
        made_one.N = 50
        answer["changed"] = [run(made_one.add, 1), run(made_two.add, 1)]
    """
    assert run_script(tmp_path, code, start) == {
        "one": [1, 2],
        "two": 10,
        "classes": [True, False],
        "back": True,
        "names": ["made_one", "made_two"],
        "changed": [51, 11],
    }


def test_closures_of_a_module_use_the_real_module(start: str, tmp_path: Path) -> None:
    """The one that the isolate imports, not a copy of its globals."""
    lib = """
        STATE = []
        class Base: pass
        def adder():
            class Local(Base): pass
            return lambda x: (STATE.append(x), len(STATE), isinstance(Local(), Base))[1:]
        def size(): return len(STATE)
    """
    code = """
        import lib
        lib.STATE.append("the host's")
        proxy = start().proxy()
        run = lambda *call: proxy.run(*call).get(timeout=20)
        answer["closure"] = [run(lib.adder(), 1), run(lib.adder(), 2)]
        answer["by name"] = run(lib.size)
        answer["from the script"] = run(lambda: lib.STATE)
        answer["here"] = lib.STATE
    """
    assert run_script(tmp_path, code, start, files={"lib.py": lib}) == {
        "closure": [[1, True], [2, True]],
        "by name": 2,
        "from the script": [1, 2],
        "here": ["the host's"],
    }


def test_a_result_outlives_its_class(start: str, tmp_path: Path) -> None:
    """The host has let go of the class of a closure when the result comes."""
    code = """
        def task(fails):
            @dataclasses.dataclass
            class Result: n: int
            class Failed(Exception): pass
            def run(wait):
                while not os.path.exists(wait): time.sleep(0.01)
                if fails: raise Failed(Result(2))
                return [Result(1), Result]
            return run
        proxy = start().proxy()
        futures = [proxy.run(task(fails), "go") for fails in (False, True)]
        gc.collect()
        open("go", "w").close()
        made, cls = futures[0].get(timeout=20)
        answer["result"] = [repr(made).rpartition(".")[2], type(made) is cls]
        error = told(futures[1].get, timeout=20)
        answer["exception"] = error[0]
        answer["next"] = [item.n for item in proxy.run(task(False), "go").get(timeout=20)[:1]]
    """
    found = run_script(tmp_path, code, start)
    assert found.pop("exception") in ("Failed", "RemoteError")
    assert found == {"result": ["Result(n=1)", True], "next": [1]}


def test_what_is_the_hosts_comes_back_as_the_hosts(start: str, tmp_path: Path) -> None:
    code = """
        def function(): pass
        class Klass:
            def method(self): return 1
        class Sub(Klass): pass
        def local():
            class Local: pass
            def inner(): return Local()
            return inner, Local, Local()
        inner, Local, instance = local()
        identity = lambda x: x
        proxy = start().proxy()
        run = lambda *call: proxy.run(*call).get(timeout=20)
        back = lambda x: run(identity, x)
        answer["function"] = back(function) is function
        answer["lambda"] = back(identity) is identity
        answer["class"] = back(Klass) is Klass
        answer["in containers"] = back({"k": (function, [Klass])})["k"] == (function, [Klass])
        answer["instance"] = type(back(Klass())) is Klass
        answer["bound method"] = back(Klass().method).__func__ is Klass.method
        answer["local class"] = back(Local) is Local
        answer["local instance"] = type(back(instance)) is Local
        answer["made by a local function"] = type(run(inner)) is Local
        answer["made there"] = isinstance(run(lambda: Sub()), Klass)
        answer["returned by a function of globals"] = run(lambda: [function, Klass]) == [function, Klass]
    """
    found = run_script(tmp_path, code, start)
    assert len(found) == 11
    assert found == right(*found)


def test_a_local_class_is_one_while_an_isolate_has_it(start: str, tmp_path: Path) -> None:
    code = """
        def build():
            class Local:
                kind = 1
            return Local, lambda x: isinstance(x, Local)
        Local, is_local = build()
        proxy = start().proxy()
        proxy.keep(Local()).get(timeout=20)
        answer["kept"] = proxy.with_kept(is_local).get(timeout=20)
        answer["of two messages"] = proxy.with_kept(lambda kept, cls=Local: type(kept) is cls).get(timeout=20)
        Other, is_other = build()
        answer["another of that name"] = proxy.with_kept(is_other).get(timeout=20)
    """
    assert run_script(tmp_path, code, start) == {"kept": True, "of two messages": True, "another of that name": False}


NOTEBOOK = """\
import sys, types, linecache
def run_cells(cells):
    notebook = types.ModuleType("__main__")
    sys.modules["__main__"] = notebook
    for number, cell in enumerate(cells):
        name = f"<ipython-input-{number}>"
        linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)
        exec(compile(cell, name, "exec"), notebook.__dict__)
"""


def test_a_cell_of_a_notebook_that_runs_again(start: str, tmp_path: Path) -> None:
    """Its classes and functions are new ones; what was made before keeps the old."""
    cell = (
        "class Model:\n    version = {n}\n    def predict(self): return [{n}, helper()]\n"
        "def helper(): return {n} * 10\n"
    )
    cells = [
        HEAD,
        cell.format(n=1),
        "proxy = start().proxy()\nold = Model()\n"
        "run = lambda *call: proxy.run(*call).get(timeout=20)\n"
        "answer['first'] = run(old.predict)\nfuture = proxy.run(lambda: (time.sleep(0.2), Model())[1])\n",
        cell.format(n=2),
        "answer['a result on its way'] = [future.get(timeout=20).version, type(future.get()) is type(old)]\n"
        "answer['new'] = run(Model().predict)\nanswer['old'] = run(old.predict)\n"
        "answer['is'] = run(lambda a, b: [isinstance(a, Model), isinstance(b, Model)], old, Model())\n"
        "answer['back'] = [type(run(Model)) is Model, type(run(lambda x: x, old)) is type(old)]\n",
        "del old, future\ngc.collect()\n" + cell.format(n=3),
        "answer['third'] = run(lambda: Model().predict())\n" + TAIL,
    ]
    write(tmp_path, {"notebook.py": NOTEBOOK})
    (tmp_path / "cells.py").write_text(f"import notebook\nnotebook.run_cells({cells!r})\n")
    assert run_command([sys.executable, str(tmp_path / "cells.py"), start], tmp_path) == {
        "first": [1, 10],
        "a result on its way": [1, True],
        "new": [2, 20],
        "old": [1, 20],
        "is": [False, True],
        "back": [True, True],
        "third": [3, 30],
    }


def test_relative_imports_in_a_package_that_runs_as_a_program(start: str, tmp_path: Path) -> None:
    main = (
        HEAD
        + """
from .helper import ONE
from . import helper as module
class Local(Worker):
    def here(self):
        from .helper import TWO
        from .sub.deep import THREE
        from . import helper
        return [ONE, TWO, THREE, helper.__name__, module is helper]
def function():
    from .helper import TWO
    return [TWO, __package__, __name__]
proxy = Local.with_options(start_method=sys.argv[1]).start().proxy()
answer["method"] = proxy.here().get(timeout=20)
answer["function"] = proxy.run(function).get(timeout=20)
"""
        + TAIL
    )
    write(tmp_path, {"package/__init__.py": "", "package/helper.py": "ONE, TWO = 1, 2", "package/sub/__init__.py": ""})
    write(tmp_path, {"package/sub/deep.py": "from ..helper import TWO\nTHREE = TWO + 1"})
    (tmp_path / "package" / "main.py").write_text(main)
    found = run_command([sys.executable, "-m", "package.main", start], tmp_path)
    assert found == {"method": [1, 2, 3, "package.helper", True], "function": [2, "package", "__main__"]}


def test_isolated_code_pickles_and_copies_what_is_of_the_script(start: str, tmp_path: Path) -> None:
    """As caches, databases and process pools within an isolate do."""
    code = """
        @dataclasses.dataclass
        class Point:
            x: int
        class Colour(enum.Enum): RED = 1
        class Oops(Exception): pass
        def function(): return 1
        def there():
            import copy
            value = [Point(1), Colour.RED, Point, function, Oops(2)]
            found = pickle.loads(pickle.dumps(value))
            return [found[0] == value[0], found[1] is Colour.RED, found[2] is Point, found[3] is function,
                    type(found[4]) is Oops, type(copy.deepcopy(Point(2))) is Point,
                    sys.modules[Point.__module__].Point is Point]
        answer["all"] = start().proxy().run(there).get(timeout=20)
    """
    assert run_script(tmp_path, code, start) == {"all": [True] * 7}


def test_the_next_generation_has_everything_again(start: str, tmp_path: Path) -> None:
    """After a crash with calls that wait, and over recycling."""
    code = """
        N = 1
        class Thing:
            def value(self): return [N, helper()]
        def helper(): return "h"
        ref = start(restart="permanent", max_restarts=20)
        proxy = ref.proxy()
        answer["first"] = proxy.run(Thing().value).get(timeout=20)
        crash = proxy.run(os._exit, 3)
        waiting = [proxy.run(Thing().value), proxy.run(lambda: Thing().value())]
        told(crash.get, timeout=20)
        answer["waited"] = [future.get(timeout=20) for future in waiting]
        N = 2
        answer["changed"] = proxy.run(Thing().value).get(timeout=20)
        recycled = start(recycle=piactors.Recycle(after_calls=3)).proxy()
        right = 0
        for N in range(40):
            right += recycled.run(Thing().value).get(timeout=20) == [N, "h"]
        answer["recycled"] = right
        futures = []
        for N in range(40):
            futures.append(recycled.run(lambda: Thing().value()))
        answer["without waiting"] = sum(f.get(timeout=20) == [n, "h"] for n, f in enumerate(futures))
    """
    found = run_script(tmp_path, code, start)
    assert found["first"] == [1, "h"]
    assert found["waited"] == [[1, "h"], [1, "h"]]
    assert (found["changed"], found["recycled"], found["without waiting"]) == ([2, "h"], 40, 40)


def test_definitions_arrive_whatever_became_of_the_first_message_that_used_them(start: str, tmp_path: Path) -> None:
    """It was given up while it waited, refused when half of it was made, or pushed out of a full mailbox."""
    code = """
        def busy(file):
            while not os.path.exists(file): time.sleep(0.005)
        def make(n):
            exec(f"class K{n}:\\n    def go(self): return helper{n}()\\ndef helper{n}(): return {n}", globals())
            return globals()[f"K{n}"]
        def blocked(name, **options):
            ref = start(**options)
            running = ref.proxy().run(busy, name)
            return ref.proxy(), running
        proxy, running = blocked("one")
        first = proxy.run(make(1)().go)
        answer["cancelled"] = first.cancel()
        second = proxy.run(globals()["K1"]().go)
        open("one", "w").close()
        answer["after a cancelled one"] = second.get(timeout=20)
        K2 = make(2)
        answer["refused"] = told(proxy.run(lambda *a: 1, K2(), threading.Lock()).get, timeout=20)[0]
        answer["after a refused one"] = proxy.run(K2().go).get(timeout=20)
        proxy, running = blocked("two", mailbox_capacity=1, overflow="drop_oldest")
        time.sleep(0.3)
        K3 = make(3)
        dropped, kept = proxy.run(K3().go), proxy.run(K3().go)
        open("two", "w").close()
        answer["after one that was pushed out"] = kept.get(timeout=20)
        proxy, running = blocked("three")
        K4 = make(4)
        answer["given up"] = told(proxy.run(K4().go).get, timeout=0.05)[0]
        open("three", "w").close()
        answer["after one that was given up"] = proxy.run(K4().go).get(timeout=20)
        K5 = make(5)
        answer["failed"] = told(proxy.run(lambda cls: 1 / 0, K5).get, timeout=20)[0]
        answer["after one that failed"] = proxy.run(K5().go).get(timeout=20)
    """
    assert run_script(tmp_path, code, start) == {
        "cancelled": True,
        "after a cancelled one": 1,
        "refused": "NotSendable",
        "after a refused one": 2,
        "after one that was pushed out": 3,
        "given up": "Timeout",
        "after one that was given up": 4,
        "failed": "ZeroDivisionError",
        "after one that failed": 5,
    }


def test_many_threads_and_isolates_at_once(start: str, tmp_path: Path) -> None:
    """Each sees its own results and the definitions whole, while another thread changes a global."""
    code = """
        VERSION = (0, 0)
        class Item:
            def __init__(self, n): self.n = n
        def helper(n): return Item(n * 2)
        def work(n):
            version = VERSION
            return [helper(n), version[0] == version[1], isinstance(helper(n), Item)]
        proxies = [start().proxy() for _ in range(2)]
        wrong, done = [], threading.Event()
        def use(number):
            for n in range(150):
                item, whole, same = proxies[(number + n) % 2].run(work, n).get(timeout=25)
                if (item.n, type(item) is Item, whole, same) != (n * 2, True, True, True):
                    wrong.append([n, item.n, whole, same])
                here = n * number
                if proxies[n % 2].run(lambda: helper(here).n).get(timeout=25) != here * 2: wrong.append([number, n])
        def change():
            global VERSION
            n = 0
            while not done.wait(0.001):
                n += 1
                VERSION = (n, n)
        threads = [threading.Thread(target=use, args=(n,)) for n in range(4)]
        changer = threading.Thread(target=change)
        for thread in [*threads, changer]: thread.start()
        for thread in threads: thread.join()
        done.set()
        changer.join()
        answer["wrong"] = wrong
        for n in range(50):
            VERSION = (n, -n)
            if proxies[n % 2].run(lambda: VERSION).get(timeout=20) != (n, -n): answer["wrong"].append(n)
    """
    assert run_script(tmp_path, code, start) == {"wrong": []}
