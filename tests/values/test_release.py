"""What a finished call brought along is let go of, on both sides; definitions live while something needs them.

Growth is measured in the middle of many calls, after memory has been used once: what grows then grows for ever.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.values.support import STARTS, run_script

pytestmark = pytest.mark.timeout(300)

HELPERS = """
        def counts():
            gc.collect()
            trim = getattr(ctypes.CDLL(None), "malloc_trim", int)  # what was freed is not what has grown
            trim(0)
            objects = gc.get_objects()
            functions = sum(type(o) is type(counts) for o in objects)
            classes = sum(isinstance(o, type) for o in objects)
            return functions, classes, len(objects), psutil.Process().memory_info().rss >> 10
        def grown(calls, every):
            "Run half of the calls, count on both sides, run the rest, and return by how much each figure has grown."
            for n in range(calls // 5): every(n)
            before = counts(), call(counts)
            for n in range(calls // 5, calls): every(n)
            after = counts(), call(counts)
            return [[new - old for old, new in zip(*side)] for side in zip(before, after)]
        ref = start()
        proxy = ref.proxy()
        call = lambda *args: proxy.run(*args).get(timeout=20)
"""
FEW_FUNCTIONS, FEW_CLASSES, FEW_OBJECTS = 40, 20, 1500
"""What may come and go of itself: caches of the library, of re, of logging."""
SMALL_GROWTH = 6_000
"""KiB: what an allocator may take for itself; a tenth of what is brought along in any of these tests."""


@pytest.fixture(params=STARTS)
def start(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def assert_nothing_grew(found: dict[str, Any]) -> None:
    for side, grown in zip(("host", "isolate"), found["grown"], strict=True):
        functions, classes, objects, kibibytes = grown
        assert functions < FEW_FUNCTIONS, (side, grown)
        assert classes < FEW_CLASSES, (side, grown)
        assert objects < FEW_OBJECTS, (side, grown)
        assert kibibytes < SMALL_GROWTH, (side, grown)


EVERY = {
    "lambdas": "call(lambda: n)",
    "closures": "call((lambda block: lambda: len(block))(bytes(2000)), ) == 2000 or 1 / 0",
    "lambdas as arguments": "call(lambda f, g: f(1) + g(n), lambda x: x + n, lambda x: x)",
    "lambdas that come back": "call(lambda: lambda: n)",
    "exceptions of local classes": "told(call, raiser(n))",
    "refused ones": "told(call, lambda lock: n, [threading.Lock(), lambda: n])",
}


@pytest.mark.parametrize("calls", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", EVERY)
def test_10000_calls_with_fresh_lambdas_leave_nothing(kind: str, calls: int, tmp_path: Path) -> None:
    """What stays of each call shows after a thousand; what stays of one in a thousand, in the long run."""
    code = f"""
        def raiser(n):
            class Oops(Exception): pass
            def fail(): raise Oops(n)
            return fail
        {HELPERS.strip()}
        answer["grown"] = grown({calls}, lambda n: {EVERY[kind]})
    """
    assert_nothing_grew(run_script(tmp_path, code, "launcher"))


def test_local_classes_and_their_instances_are_let_go_of(start: str, tmp_path: Path) -> None:
    """As arguments, as results, with methods, registries and references to themselves."""
    code = f"""
        def build(n):
            class Base:
                registry = {{}}
                def __init_subclass__(cls): Base.registry[cls.__name__] = cls
            @dataclasses.dataclass
            class Local(Base):
                n: int
                block: bytes = bytes(5000)
                def itself(self): return Local(self.n)
            return Local, lambda item: (item.itself(), Local(n), isinstance(item, Base))
        def every(n):
            Local, use = build(n)
            one, two, whether = call(use, Local(n))
            if (type(one), type(two), whether) != (Local, Local, True): raise AssertionError(n)
        {HELPERS.strip()}
        answer["grown"] = grown(600, every)
    """
    assert_nothing_grew(run_script(tmp_path, code, start))


def test_definitions_that_are_redefined_again_and_again_are_let_go_of(start: str, tmp_path: Path) -> None:
    """As of a cell of a notebook that runs a hundred times, with a large global that changes each time."""
    code = f"""
        def every(number):
            lines = (f"BLOCK = bytes([{{number}} % 256]) * 200_000", "class Model:",
                     "    def go(self): return (BLOCK[0], helper())", f"def helper(): return {{number}}")
            exec("\\n".join(lines), globals())
            if call(Model().go) != (number % 256, number): raise AssertionError(number)
        {HELPERS.strip()}
        answer["grown"] = grown(400, every)
    """
    assert_nothing_grew(run_script(tmp_path, code.replace("{{n}}", "{n}"), start))


def test_modules_that_are_dropped_are_let_go_of(start: str, tmp_path: Path) -> None:
    """As of a program that makes a module for each of its plugins, and drops them."""
    code = f"""
        import types
        def every(n):
            name = "plugin_%d" % n
            module = sys.modules[name] = types.ModuleType(name)
            exec("BLOCK = bytes(100_000)\\nclass Plugin:\\n    def go(self): return len(BLOCK)\\n", module.__dict__)
            if call(module.Plugin().go) != 100_000: raise AssertionError(n)
            del sys.modules[name]
        {HELPERS.strip()}
        answer["grown"] = grown(400, every)
        answer["modules"] = call(lambda: sum(name.startswith("plugin_") for name in sys.modules))
    """
    found = run_script(tmp_path, code, start)
    assert found["modules"] <= 5
    assert_nothing_grew(found)


def test_200_closures_of_1_mb_leave_no_megabytes(start: str, tmp_path: Path) -> None:
    """Neither in the isolate nor in the host, whether the call returns, raises, or is given up."""
    code = f"""
        def made(n):
            block = bytes([n % 256]) * 1_000_000
            def use():
                if n % 3 == 1: raise ValueError(len(block))
                return len(block)
            return use
        {HELPERS.strip()}
        def every(n):
            future = proxy.run(made(n))
            if n % 3 == 2: future.cancel()
            told(future.get, timeout=20)
        answer["grown"] = grown(250, every)
    """
    found = run_script(tmp_path, code, start)
    for functions, _, _, kibibytes in found["grown"]:
        assert functions < FEW_FUNCTIONS, found
        assert kibibytes < 12_000, found  # 200 MB have passed


def test_what_isolated_code_keeps_stays_alive(start: str, tmp_path: Path) -> None:
    """Release is of what nobody needs: a lambda that an actor keeps works after thousands of other calls."""
    code = """
        N = 5
        def build(n):
            class Local:
                def value(self): return [n, N, helper()]
            return Local
        def helper(): return "h"
        ref = start()
        proxy = ref.proxy()
        here = 7
        def first():
            kept = build(3)
            proxy.keep([lambda: [here, N, helper()], kept(), kept]).get(timeout=20)
        first()
        gc.collect()
        for n in range(500): proxy.run(lambda: n).get(timeout=20)
        proxy.run(gc.collect).get(timeout=20)
        answer["lambda"] = proxy.with_kept(lambda kept: kept[0]()).get(timeout=20)
        answer["instance"] = proxy.with_kept(lambda kept: [kept[1].value(), type(kept[1]) is kept[2]]).get(timeout=20)
        back = proxy.kept.get(timeout=20)
        answer["back"] = [back[0](), back[1].value(), type(back[1]) is back[2]]
        again = proxy.run(lambda kept: kept[1].value(), back).get(timeout=20)
        answer["sent again"] = again
    """
    assert run_script(tmp_path, code, start) == {
        "lambda": [7, 5, "h"],
        "instance": [[3, 5, "h"], True],
        "back": [[7, 5, "h"], [3, 5, "h"], True],
        "sent again": [3, 5, "h"],
    }


def test_the_host_lets_go_of_what_it_has_sent(start: str, tmp_path: Path) -> None:
    """Weak references to a class, a function and a large argument die once nothing of the program holds them."""
    code = """
        import weakref
        def alive(watched):
            "Look until none is: the I/O thread may be in the middle of what has brought the answer."
            end = time.monotonic() + 10
            while (found := [thing() is not None for thing in watched]) != [False] * len(watched):
                if time.monotonic() > end: break
                gc.collect()
            return found
        proxy = start().proxy()
        class Block: pass
        def build():
            class Local: pass
            block = Block()
            def use(x): return (Local, block, x)[0]()
            return Local, use, block
        Local, use, block = build()
        result = proxy.run(use, block).get(timeout=20)
        answer["type"] = type(result) is Local
        watched = [weakref.ref(thing) for thing in (Local, use, block)]
        del Local, use, block, result
        gc.collect()
        answer["alive"] = alive(watched)
        def by_name(): return 1
        class OfMain: pass
        proxy.run(lambda: (by_name(), OfMain())).get(timeout=20)
        watched = [weakref.ref(by_name), weakref.ref(OfMain)]
        del by_name, OfMain
        proxy.run(lambda: 1).get(timeout=20)
        gc.collect()
        answer["of the script"] = alive(watched)
    """
    assert run_script(tmp_path, code, start) == {
        "type": True,
        "alive": [False, False, False],
        "of the script": [False, False],
    }
