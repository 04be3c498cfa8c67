"""What cannot be shared and must not be copied is refused at once, by its place; nothing of the host's is touched."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

import piactors
from tests.values.support import STARTS, run_script

pytestmark = pytest.mark.timeout(120)

CASES = """
import asyncio, attrs, collections, functools
from piactors import ProcessIsolator, spawn
LOCK = threading.Lock()
log = open(os.devnull, "w")
class Session:
    def __init__(self): self.lock = threading.Lock()
class Slotted:
    __slots__ = ("guard",)
    def __init__(self): self.guard = threading.Lock()
@dataclasses.dataclass
class Outer:
    session: Session
class Hashed(Session):
    def __hash__(self): return 1
class Carrier(Exception): pass
class HostActor(pykka.ThreadingActor):
    def poke(self): return 1
    def own_ref(self): return self.actor_ref
def worker_function(): return log.name
def through(): return worker_function()
class Logs:
    shared = threading.Event()
class Logging:
    def use(self): return log.name
def with_default(x, handle=threading.Lock()): return x
def with_keyword_default(*, handle=threading.Lock()): return 1
def closure():
    condition = threading.Condition()
    return lambda: condition
def outer_closure():
    inner = closure()
    return lambda: inner()
def decorated(f):
    lock = threading.RLock()
    @functools.wraps(f)
    def wrapper(*args):
        with lock: return f(*args)
    return wrapper
@decorated
def locked(x): return x
def make_lock(): return {"answer": [threading.Lock()]}
def make_session(): return Session()
def raise_lock(): raise Carrier("the text", threading.Lock())
class LoggingWorker(Worker):
    def work(self): log.write("x")
class StartedWith(Worker):
    def __init__(self, handle): super().__init__()
async def waiting(): await asyncio.sleep(100)
ref = start()
work = ref.proxy()
host_actor = HostActor.start()
get = lambda future: future.get(timeout=20)
def in_a_loop(make):
    async def run():
        made = make()
        try: return get(work.take(made))
        finally:
            if isinstance(made, asyncio.Future): made.cancel()
    return asyncio.run(run())
cases = {
    "argument": lambda: get(work.take(LOCK)),
    "second argument": lambda: get(work.take(1, LOCK)),
    "keyword argument": lambda: get(work.take(1, handle=LOCK)),
    "nested container": lambda: get(work.take([1, {"deep": (2, LOCK)}])),
    "attribute": lambda: get(work.take(Session())),
    "attribute of an attribute": lambda: get(work.take(Outer(Session()))),
    "slot": lambda: get(work.take(Slotted())),
    "dict key": lambda: get(work.take({Hashed(): 1})),
    "key that is one": lambda: get(work.take({LOCK: 1})),
    "set": lambda: get(work.take({Hashed()})),
    "deque": lambda: get(work.take(collections.deque([LOCK]))),
    "partial": lambda: get(work.take(functools.partial(print, LOCK))),
    "closure variable": lambda: get(work.run(closure())),
    "closure of a closure": lambda: get(work.run(outer_closure())),
    "default argument": lambda: get(work.run(with_default, 1)),
    "keyword-only default": lambda: get(work.run(with_keyword_default)),
    "global of a function": lambda: get(work.run(worker_function)),
    "global of a function that it calls": lambda: get(work.run(through)),
    "global of a method": lambda: get(work.run(Logging().use)),
    "class attribute": lambda: get(work.take(Logs)),
    "decorator": lambda: get(work.run(locked, 1)),
    "global of a lambda": lambda: get(work.run(lambda: LOCK)),
    "result": lambda: get(work.run(make_lock)),
    "object in a result": lambda: get(work.run(make_session)),
    "exception": lambda: get(work.run(raise_lock)),
    "set_data": lambda: ref.set_data("greeting", [LOCK]),
    "ask": lambda: ref.ask({"handle": LOCK}, timeout=20),
    "ask without waiting": lambda: get(ref.ask({"handle": LOCK}, block=False)),
    "tell": lambda: ref.tell({"handle": LOCK}),
    "start": lambda: StartedWith.start(LOCK),
    "start of an actor with a global": lambda: LoggingWorker.start(),
    "spawn": lambda: spawn(worker_function),
    "spawn with an argument": lambda: spawn("os:getcwd", LOCK),
    "invoke_method": lambda: isolator.invoke_method(worker_function).get(timeout=20),
    "setting an attribute": lambda: setattr(work, "attribute", LOCK),
    "proxy of a thread actor": lambda: get(work.take(host_actor.proxy())),
    "method of such a proxy": lambda: get(work.take(host_actor.proxy().poke)),
    "pykka future": lambda: get(work.take(pykka.ThreadingFuture())),
    "isolate proxy": lambda: get(work.take([work])),
    "task": lambda: in_a_loop(lambda: asyncio.ensure_future(waiting())),
    "asyncio future": lambda: in_a_loop(lambda: asyncio.get_running_loop().create_future()),
    "running loop": lambda: in_a_loop(asyncio.get_running_loop),
    "async generator": lambda: get(work.take((x async for x in aiter_()))),
    "frame": lambda: get(work.take(sys._getframe())),
    "process": lambda: get(work.take(psutil.Popen([sys.executable, "-c", ""]))),
    "bound method of an object with a lock": lambda: get(work.take(Session().__init__)),
}
async def aiter_():
    yield 1
isolator = ProcessIsolator(piactors.IsolationOptions(start_method=sys.argv[1])).start()
for name, case in cases.items():
    began = time.monotonic()
    found = told(case)
    answer[name] = [*(found if isinstance(found, list) else ["returned", repr(found)])[:2], time.monotonic() - began]
answer["alive"] = get(work.run(lambda: "alive"))
answer["pids"] = ref.generation
host_actor.stop()
pykka.ActorRegistry.stop_all()
"""

PLACES: dict[str, tuple[str, ...]] = {
    "argument": ("argument 1", "lock"),
    "second argument": ("argument 2", "lock"),
    "keyword argument": ("argument", "`handle`", "lock"),
    "nested container": ("argument 1", "'deep'", "lock"),
    "attribute": ("attribute `lock`", "`Session`", "argument 1"),
    "attribute of an attribute": ("attribute `lock`", "`Session`", "`session`", "`Outer`", "argument 1"),
    "slot": ("attribute `guard`", "`Slotted`", "argument 1"),
    "dict key": ("attribute `lock`", "`Hashed`", "key", "argument 1"),
    "key that is one": ("key", "argument 1", "lock"),
    "set": ("attribute `lock`", "`Hashed`", "argument 1"),
    "deque": ("argument 1", "lock"),
    "partial": ("argument 1", "lock"),
    "closure variable": ("variable `condition`", "condition"),
    "closure of a closure": ("variable `condition`",),
    "default argument": ("default", "`handle`", "`with_default`"),
    "keyword-only default": ("default", "`handle`", "`with_keyword_default`"),
    "global of a function": ("global `log`", "`worker_function`", "file"),
    "global of a function that it calls": ("global `log`", "`worker_function`", "file"),
    "global of a method": ("global `log`", "Logging", "file"),
    "class attribute": ("`shared`", "`Logs`", "event"),
    "decorator": ("variable `lock`", "lock"),
    "global of a lambda": ("global `LOCK`", "lock"),
    "result": ("result", "'answer'", "lock"),
    "object in a result": ("result", "attribute `lock`", "`Session`"),
    "set_data": ("greeting", "lock"),
    "ask": ("'handle'", "lock"),
    "ask without waiting": ("'handle'", "lock"),
    "tell": ("'handle'", "lock"),
    "start": ("argument 1", "lock"),
    "start of an actor with a global": ("global `log`", "LoggingWorker", "file"),
    "spawn": ("global `log`", "`worker_function`"),
    "spawn with an argument": ("argument 1", "lock"),
    "invoke_method": ("global `log`", "`worker_function`"),
    "setting an attribute": ("lock",),
    "proxy of a thread actor": ("argument 1", "proxy"),
    "method of such a proxy": ("argument 1", "proxy"),
    "pykka future": ("argument 1", "future"),
    "isolate proxy": (),
    "task": ("argument 1",),
    "asyncio future": ("argument 1", "future"),
    "running loop": ("argument 1", "loop"),
    "async generator": ("argument 1", "generator"),
    "frame": ("argument 1", "frame"),
    "process": ("argument 1",),
    "bound method of an object with a lock": ("argument 1", "attribute `lock`", "`Session`"),
}
"""What the text of each refusal names."""

AT_ONCE = 15.0
"""Seconds that a refusal may take on a machine that is busy: no time-out of the program has passed."""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_script(tmp_path_factory.mktemp("refusals"), CASES, "launcher")


@pytest.mark.parametrize("case", PLACES)
def test_a_refusal_names_the_place_and_what_to_do(case: str, outcomes: dict[str, Any]) -> None:
    kind, text, seconds = outcomes[case]
    assert kind == "NotSendable", text
    missing = [part for part in PLACES[case] if part.lower() not in text.lower()]
    assert not missing, f"{missing} not in: {text}"
    assert len(text) > 30, "what to do"
    assert seconds < AT_ONCE


def test_an_exception_with_such_a_thing_arrives_by_its_name_and_text(outcomes: dict[str, Any]) -> None:
    kind, text, seconds = outcomes["exception"]
    assert kind == "RemoteError", text
    assert "Carrier" in text
    assert "the text" in text
    assert seconds < AT_ONCE


def test_the_isolate_is_the_same_afterwards(outcomes: dict[str, Any]) -> None:
    assert outcomes["alive"] == "alive"
    assert outcomes["pids"] == 1


def test_the_error_is_a_public_type_error_that_pickles() -> None:
    error = piactors.NotSendable("why")
    assert isinstance(error, TypeError)
    assert isinstance(error, piactors.PiactorsError)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (piactors.NotSendable, "why")


@pytest.mark.parametrize("start", STARTS)
def test_no_file_of_the_host_is_touched(start: str, tmp_path: Path) -> None:
    """Neither cut short nor written to nor deleted: not at the call, nor when the isolate ends, nor by a collection."""
    code = """
        log = open("app.log", "w")
        log.write("line 1\\nline 2\\n")
        log.flush()
        class Logger(Worker):
            def work(self): log.write("from the isolate\\n")
        def write(): log.write("from the isolate\\n")
        answer["start"] = told(Logger.with_options(start_method=sys.argv[1]).start)[0]
        ref = start()
        proxy = ref.proxy()
        answer["global"] = told(proxy.run(write).get, timeout=20)[0]
        things = [log, open("app.log", "r+"), open("app.log", "rb"), open("app.log", "a+"), os.fdopen(os.dup(1), "w"),
                  tempfile.NamedTemporaryFile("w+"), tempfile.TemporaryFile(), tempfile.SpooledTemporaryFile(),
                  tempfile.TemporaryDirectory(), sys.stdin, sys.stdout]
        named, folder = things[5], things[8]
        named.write("precious")
        named.flush()
        open(folder.name + "/data", "w").write("precious")
        answer["arguments"] = sorted({told(proxy.take(thing).get, timeout=20)[0] for thing in things})
        answer["in a closure"] = told(proxy.run(lambda: named).get, timeout=20)[0]
        proxy.run(gc.collect).get(timeout=20)
        gc.collect()
        ref.stop()
        answer["log"] = open("app.log").read()
        answer["named"] = open(named.name).read()
        answer["folder"] = open(folder.name + "/data").read()
    """
    found = run_script(tmp_path, code, start)
    assert found.pop("log") == "line 1\nline 2\n"
    assert (found.pop("named"), found.pop("folder")) == ("precious", "precious")
    assert found == dict.fromkeys(("start", "global", "in a closure"), "NotSendable") | {"arguments": ["NotSendable"]}


@pytest.mark.parametrize("start", STARTS)
def test_a_lock_in_a_result_hangs_nobody(start: str, tmp_path: Path) -> None:
    """The error comes to the caller, of any kind of call, and the isolate answers the next one."""
    code = """
        KINDS = {"lock": threading.RLock, "future": pykka.ThreadingFuture, "condition": threading.Condition}
        def give(kind): return kind()
        class Giver(Worker):
            lock = None
            def set_lock(self): self.lock = threading.Lock()
            def give(self): return threading.Lock()
            def on_receive(self, message): return threading.Lock()
        ref = Giver.with_options(start_method=sys.argv[1]).start()
        proxy = ref.proxy()
        for name, kind in KINDS.items():
            answer[name] = told(proxy.run(give, kind).get, timeout=20)[0]
        answer["method"] = told(proxy.give().get, timeout=20)[0]
        proxy.set_lock().get(timeout=20)
        answer["attribute"] = told(proxy.lock.get, timeout=20)[0]
        answer["ask"] = told(ref.ask, "x", timeout=20)[0]
        answer["two at once"] = [told(f.get, timeout=20)[0] for f in [proxy.give(), proxy.give()]]
        ref.tell("x")
        answer["alive"] = proxy.run(lambda: True).get(timeout=20)
        answer["generation"] = ref.generation
    """
    found = run_script(tmp_path, code, start)
    assert found.pop("two at once") == ["NotSendable", "NotSendable"]
    assert (found.pop("alive"), found.pop("generation")) == (True, 1)
    assert found == dict.fromkeys(("lock", "future", "condition", "method", "attribute", "ask"), "NotSendable")


@pytest.mark.parametrize("start", STARTS)
def test_what_may_be_made_anew_in_each_process_is_no_reason_to_refuse(start: str, tmp_path: Path) -> None:
    """A module that can be imported makes its own locks and files; what isolated code makes for itself is its own."""
    lib = """
        import threading
        LOCK, LOCAL = threading.RLock(), threading.local()
        class Safe:
            lock = threading.Lock()
            def __init__(self): self.own = threading.Lock()
            def __getstate__(self): return {}
            def __setstate__(self, state): self.__init__()
            def use(self):
                with LOCK, self.lock, self.own: return "used"
    """
    code = """
        import lib
        from lib import Safe
        UNUSED = threading.Lock()
        class Remade:
            def __init__(self): self.lock = threading.Lock()
            def __reduce__(self): return (Remade, ())
            def use(self):
                with self.lock: return "used"
        class Lazy(Worker):
            def on_start(self): self.lock = threading.RLock()
            def use(self):
                with self.lock: return "used"
        proxy = Lazy.with_options(start_method=sys.argv[1]).start().proxy()
        run = lambda *call: proxy.run(*call).get(timeout=20)
        answer["module"] = run(Safe().use)
        answer["imported"] = run(lambda: lib.LOCK.acquire(timeout=5))
        answer["reduced"] = [run(Remade().use), type(run(Remade)).__name__]
        answer["made there"] = proxy.use().get(timeout=20)
        answer["unused"] = run(lambda: "fine")
    """
    assert run_script(tmp_path, code, start, files={"lib.py": lib}) == {
        "module": "used",
        "imported": True,
        "reduced": ["used", "Remade"],
        "made there": "used",
        "unused": "fine",
    }
