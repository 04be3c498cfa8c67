"""Definitions that refer to each other in odd ways, and types with pickling of their own: real scripts, both starts."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.values.support import STARTS, run_script


@pytest.fixture(params=STARTS)
def start(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answers(folder: Path, start: str, code: str) -> dict[str, Any]:
    head = "\nproxy = start().proxy()\ncall = lambda *args: proxy.run(*args).get(timeout=20)\n"
    return run_script(folder, textwrap.dedent(code).replace("CALLS", head), start)


def test_what_is_one_thing_in_the_host_is_one_thing_there(start: str, tmp_path: Path) -> None:
    code = """
        SHARED = [1]; ALIAS = SHARED
        class Held: items = SHARED
        class Thing: pass
        THING = Thing(); THING.n = 1
        HOLD = {"thing": THING}
        UNSET = object()
        def same(value=UNSET): return [ALIAS is SHARED, Held.items is SHARED, HOLD["thing"] is THING, value is UNSET]
        def look(): return [list(ALIAS), list(Held.items), HOLD["thing"].n]
        CALLS
        answer["first"] = [call(same), call(look)]
        SHARED.append(2); THING.n = 2
        answer["changed"] = [call(same), call(look)]
        SHARED = [9]
        answer["bound anew"] = [call(same)[:2], call(look)[:2], SHARED]
    """
    assert answers(tmp_path, start, code) == {
        "first": [[True] * 4, [[1], [1], 1]],
        "changed": [[True] * 4, [[1, 2], [1, 2], 2]],
        "bound anew": [[False, False], [[1, 2], [1, 2]], [9]],
    }


def test_what_isolated_code_keeps_is_not_changed_by_a_variable_that_is_bound_anew(start: str, tmp_path: Path) -> None:
    code = """
        SET = [1]
        def current(): return SET
        class Keeper(Worker):
            def keep_current(self, function): self.kept = function()
            def told(self): return self.kept
        proxy = Keeper.with_options(start_method=sys.argv[1]).start().proxy()
        proxy.keep_current(current).get(timeout=20)
        SET = [2]
        answer["now"] = proxy.run(current).get(timeout=20)
        answer["kept"] = proxy.told().get(timeout=20)
    """
    assert answers(tmp_path, start, code) == {"now": [2], "kept": [1]}


def test_registries_of_special_names_arrive_when_they_change(start: str, tmp_path: Path) -> None:
    code = """
        FIELDS = {"a": 1}
        class Model: __fields__ = FIELDS; __registry__ = {}
        def look(): return [Model.__fields__, Model.__registry__]
        CALLS
        answer["first"] = call(look)
        Model.__registry__["x"] = 1; FIELDS = {"b": 2}
        answer["then"] = call(look)
    """
    assert answers(tmp_path, start, code) == {"first": [{"a": 1}, {}], "then": [{"a": 1}, {"x": 1}]}


def test_instances_are_made_after_what_their_making_uses(start: str, tmp_path: Path) -> None:
    code = """
        SCALE = 10
        class Value:
            def __init__(self, x): self.x = x
            def __setstate__(self, state): self.x = state["x"] * SCALE // SCALE
        class Key:
            def __init__(self, name): self.name = name
            def __hash__(self): return hashed(self.name)
            def __eq__(self, other): return self.name == other.name
        def hashed(name): return hash(name)
        class Single: instance = None
        Single.instance = SINGLE = Single()
        ORIGIN, TABLE = Value(1), {Key("a"): 1}
        def use(): return [ORIGIN.x, TABLE[Key("a")], Single.instance is SINGLE]
        CALLS
        answer["use"] = call(use)
    """
    assert answers(tmp_path, start, code) == {"use": [1, 1, True]}


def test_state_stays_whoever_holds_parts_of_the_code(start: str, tmp_path: Path) -> None:
    """The bytes of a code object depend on reference counts; that is no change of it."""
    code = """
        def counter():
            n = 0
            def increment():
                nonlocal n
                n += 1
                return n, (1.5, 2.5)
            return increment
        increment = counter()
        def use(): return increment()[0]
        CALLS
        answer["counts"] = [call(use), call(use)]
        kept = list(increment.__code__.co_consts), increment.__code__.co_consts
        answer["counts"].append(call(use))
    """
    assert answers(tmp_path, start, code) == {"counts": [1, 2, 3]}


def test_enumerations_with_constructors_of_their_own(start: str, tmp_path: Path) -> None:
    code = """
        class Coordinate(bytes, enum.Enum):
            def __new__(cls, value, label):
                made = bytes.__new__(cls, [value])
                made._value_ = value
                made.label = label
                return made
            PX = (1, "P.X")
        class Planet(enum.Enum):
            EARTH = (1, 2)
            def __init__(self, mass, radius): self.mass = mass
        def look(value): return [value.label, list(value), value.value, Coordinate(1) is value, Planet.EARTH.mass]
        CALLS
        answer["there"] = call(look, Coordinate.PX)
        answer["back"] = call(lambda value: value, Coordinate.PX) is Coordinate.PX
    """
    assert answers(tmp_path, start, code) == {"there": ["P.X", [1], 1, True, 1], "back": True}


def test_exceptions_whose_constructor_wants_what_they_have_not_kept(start: str, tmp_path: Path) -> None:
    code = """
        class Missing(Exception):
            def __init__(self, key, where):
                super().__init__(key)
                self.where = where
        def missing(): raise Missing("k", "here")
        def with_a_lock():
            error = ValueError("x")
            error.lock = threading.Lock()
            raise error
        CALLS
        try: call(missing)
        except Missing as error: answer["missing"] = [error.args, error.where]
        answer["with a lock"] = told(call, with_a_lock)[0]
    """
    assert answers(tmp_path, start, code) == {"missing": [["k"], "here"], "with a lock": "RemoteError"}


def test_types_that_say_how_they_are_sent_are_sent(start: str, tmp_path: Path) -> None:
    code = """
        import multiprocessing, weakref
        class Queue(queue.Queue):
            def __getstate__(self): return {"most": self.maxsize}
            def __setstate__(self, state): self.__init__(state["most"])
        class Patched:
            def first(self): return 1
        Patched.second = lambda self: 2
        context = multiprocessing.get_context("spawn")
        def made(): return type(context.Lock()).__name__
        CALLS
        answer["queue"] = call(lambda q: q.maxsize, Queue(3))
        answer["weak set"] = call(lambda found: len(found), weakref.WeakSet([Patched]))
        answer["method"] = call(Patched().second)
        answer["lookup"] = call(lambda get: get("a"), {"a": 1}.get)
        answer["context"] = call(made)
        answer["changing"] = [told(call, print, change)[0] for change in ([].append, {}.__setitem__, set().add)]
    """
    assert answers(tmp_path, start, code) == {
        "queue": 3,
        "weak set": 1,
        "method": 2,
        "lookup": 1,
        "context": "Lock",
        "changing": ["NotSendable"] * 3,
    }


def test_many_definitions_among_many_variables_take_moments(start: str, tmp_path: Path) -> None:
    """What a module holds is listed once for a message, not once for each definition."""
    code = """
        exec("\\n".join(f"v{i} = [{i}]" for i in range(2000)))
        pair = "class K{0}:\\n    def m(self): return v{0}[0] + h{0}()\\ndef h{0}(x=[]): return {0}"
        exec("\\n".join(pair.format(i) for i in range(200)))
        exec("def total(): return sum(k().m() for k in [" + ",".join(f"K{i}" for i in range(200)) + "])")
        CALLS
        call(len, "")
        began = time.process_time()
        answer["total"] = call(total)
        answer["seconds"] = time.process_time() - began
    """
    found = answers(tmp_path, start, code)
    assert found["total"] == 2 * sum(range(200))
    assert found["seconds"] < 5, "of this process's own time; it took 20 and more when each definition listed all"
