"""What a host accepts from an isolate, by its trust: plain data, accepted classes, or any code."""

from __future__ import annotations

import datetime
import decimal
import pathlib
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import piactors
from piactors import IsolationOptions, ProcessIsolator, RemoteError, StartError, UntrustedReply
from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.plain import tags as t

pytestmark = pytest.mark.timeout(120)

TARGETS = str(pathlib.Path(__file__).resolve().parent.parent / "children" / "hostile_targets.py")
MIB = 1 << 20
SECONDS = 20.0
MODULE = '''
import os, sys, threading
class Custom(Exception):
    """An exception that only the isolate knows."""
class Needy(Exception):
    def __init__(self, first, *, second):
        super().__init__("needy")
        self.first, self.second = first, second
class Unpicklable(ValueError):
    def __init__(self):
        super().__init__("unpicklable")
        self.lock = threading.Lock()
class Textless(Exception):
    def __str__(self):
        raise RuntimeError("no text")
    __repr__ = __str__
class Reducing(Exception):
    def __init__(self, path):
        super().__init__("reducing")
        self.path = path
    def __reduce__(self):
        return os.mkdir, (self.path,)
class Base(BaseException):
    pass
class LikeBuiltin(Exception):
    pass
LikeBuiltin.__module__, LikeBuiltin.__qualname__ = "builtins", "SystemExit"
class Liar(Exception):
    pass
Liar.__module__, Liar.__qualname__ = "builtins", "ValueError"
class Value:
    def __init__(self, number=1):
        self.number = number
    def get(self):
        return self.number
    def itself(self):
        return self
    def fail(self, name, *args, **kwargs):
        fail(name, *args, **kwargs)
class Bomb:
    def __init__(self, path):
        self.path = path
    def __reduce__(self):
        return os.mkdir, (self.path,)
class Number(int):
    pass
def give(name, *args):
    return globals()[name](*args)
def inside(name, *args):
    return {"deep": [(give(name, *args),)]}
def function():
    return function
def module():
    return sys
def plain(value):
    return value
def fail(name, *args, **kwargs):
    import builtins
    raise (globals().get(name) or getattr(builtins, name))(*args, **kwargs)
def fail_with(args, notes=()):
    error = ValueError(*args)
    for note in notes:
        error.add_note(note)
    raise error
def fail_from():
    try:
        1 / 0
    except ZeroDivisionError as error:
        raise KeyError("outer") from error
def fail_in_group():
    raise ExceptionGroup("several", [ValueError("one"), Custom("two")])
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a module that only isolates import."""
    made = tmp_path_factory.mktemp("foreign")
    (made / "foreign_to_the_host.py").write_text(MODULE)
    return made


@pytest.fixture(autouse=True)
def the_host_never_imports_it() -> Iterator[None]:
    """Nothing of the isolates' modules gets into the host."""
    yield
    assert not [name for name in sys.modules if "foreign_to_the_host" in name or "hostile_targets" in name]


@pytest.fixture
def isolator(folder: pathlib.Path) -> Iterator[ProcessIsolator]:
    """An isolate that is called by names, with the trust that it has by default."""
    with ProcessIsolator(IsolationOptions(sys_path=[folder], max_frame="8 MiB", shutdown_timeout=2.0)) as made:
        yield made


def call(isolator: ProcessIsolator, name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a function of the module and return its result."""
    return isolator.invoke_method(f"foreign_to_the_host:{name}", *args, **kwargs).get(timeout=SECONDS)


def trusting(folder: pathlib.Path, trust: str, **more: Any) -> ProcessIsolator:
    """Return a started isolator of some trust."""
    return ProcessIsolator(IsolationOptions(sys_path=[folder], trust=trust, max_frame="8 MiB", **more)).start()  # type: ignore[arg-type]


# --- what is accepted --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -5,
        2**200,
        1.5,
        "text",
        b"raw",
        bytearray(b"x"),
        [1, ["a"]],
        (1, (2,)),
        {"a": {1: None}},
        {1, 2},
        frozenset({"x"}),
        range(5),
        decimal.Decimal("1.50"),
        datetime.date(2020, 1, 2),
        pathlib.Path("/a/b"),
        1 + 2j,
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_data_arrives_as_it_was(isolator: ProcessIsolator, value: Any) -> None:
    found = call(isolator, "plain", value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("name", ["Value", "Custom", "function", "module", "Number", "object"])
@pytest.mark.parametrize("way", ["give", "inside"])
def test_what_is_no_plain_data_is_refused_by_name_and_the_isolate_lives_on(
    isolator: ProcessIsolator, name: str, way: str
) -> None:
    if name == "object":
        with pytest.raises(UntrustedReply, match=r"builtins\.object"):
            isolator.invoke_method("builtins:object").get(timeout=SECONDS)
    else:
        with pytest.raises(UntrustedReply, match=r"return plain data|trust allows only plain data"):
            call(isolator, way, name)
    assert call(isolator, "plain", 5) == 5


def test_the_refusal_names_the_class_and_what_to_do(isolator: ProcessIsolator) -> None:
    with pytest.raises(UntrustedReply, match=r"foreign_to_the_host\.Value.*accept=.*trust='code'"):
        call(isolator, "give", "Value")


def test_an_object_whose_pickle_runs_code_is_not_pickled(isolator: ProcessIsolator, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "made"
    with pytest.raises(UntrustedReply):
        call(isolator, "give", "Bomb", str(path))
    assert not path.exists()


@pytest.mark.parametrize("trust", ["auto", "data"])
def test_a_spawn_by_name_trusts_data_alone(folder: pathlib.Path, trust: Any) -> None:
    options = IsolationOptions(sys_path=[folder], trust=trust)
    ref = piactors.spawn("foreign_to_the_host:Value", 7, options=options)
    try:
        assert ref.proxy().get().get(timeout=SECONDS) == 7
        with pytest.raises(UntrustedReply):
            ref.proxy().itself().get(timeout=SECONDS)
    finally:
        ref.terminate()


class Known:
    """A class that host and isolate share."""

    def __init__(self, number: int = 3) -> None:
        self.number = number

    def itself(self) -> Known:
        """Return an object of the class."""
        return self

    def fail(self) -> None:
        """Raise an exception of a class of the host's."""
        raise KnownError(1, two=2)


class KnownError(Exception):
    """An exception with arguments that its text does not show."""

    def __init__(self, one: int, *, two: int) -> None:
        super().__init__("known")
        self.one, self.two = one, two

    def __reduce__(self) -> Any:
        return _known_error, (self.one, self.two)


def _known_error(one: int, two: int) -> KnownError:
    return KnownError(one, two=two)


def test_a_spawn_of_a_class_itself_trusts_its_code() -> None:
    ref = piactors.spawn(Known, 4)
    try:
        found = ref.proxy().itself().get(timeout=SECONDS)
        assert type(found) is Known
        assert found.number == 4
        with pytest.raises(KnownError) as caught:
            ref.proxy().fail().get(timeout=SECONDS)
        assert (caught.value.one, caught.value.two) == (1, 2)
    finally:
        ref.terminate()


def test_a_spawn_of_a_class_can_be_made_to_trust_data_alone() -> None:
    ref = piactors.spawn(Known, 4, options=IsolationOptions(trust="data"))
    try:
        with pytest.raises(UntrustedReply):
            ref.proxy().itself().get(timeout=SECONDS)
        with pytest.raises(RemoteError, match="known"):
            ref.proxy().fail().get(timeout=SECONDS)
    finally:
        ref.terminate()


def test_code_is_trusted_where_the_options_say_so() -> None:
    with ProcessIsolator(IsolationOptions(trust="code")) as isolator:
        assert isolator.invoke_method("builtins:slice", 1, 2).get(timeout=SECONDS) == slice(1, 2)
        assert isolator.invoke_method("operator:attrgetter", "real").get(timeout=SECONDS)(5) == 5
        assert isolator.invoke_method("fractions:Fraction").get(timeout=SECONDS) == 0


def test_classes_that_the_host_names_are_accepted_and_no_others(folder: pathlib.Path) -> None:
    options = IsolationOptions(accept=[Known], trust="data")
    ref = piactors.spawn(Known, 4, options=options)
    try:
        found = ref.proxy().itself().get(timeout=SECONDS)
        assert type(found) is Known
        assert found.number == 4
    finally:
        ref.terminate()
    options = IsolationOptions(sys_path=[folder], accept=[Known])
    with ProcessIsolator(options) as isolator, pytest.raises(UntrustedReply):
        call(isolator, "give", "Value")


def test_the_host_rebuilds_its_own_class_and_not_one_of_the_same_name(isolator: ProcessIsolator) -> None:
    claim = bytes((t.HEADER, t.OBJECT)) + b"".join(
        plain_encode.encode(part)[1:] for part in (f"{Known.__module__}:Known", (), {"number": 9})
    )
    with pytest.raises(UntrustedReply, match="not accepted"):
        reply_with(isolator, claim)
    with ProcessIsolator(IsolationOptions(accept=[Known])) as accepting:
        found = reply_with(accepting, claim)
        assert type(found) is Known
        assert found.number == 9


# --- exceptions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("ValueError", ("no",)),
        ("KeyError", ("k",)),
        ("OSError", (2, "gone")),
        ("ZeroDivisionError", ()),
        ("UnicodeDecodeError", ("utf-8", b"\xff", 0, 1, "bad")),
        ("StopIteration", (5,)),
        ("TypeError", ("a", "b")),
        ("MemoryError", ()),
        ("AssertionError", ("x",)),
        ("RuntimeWarning", ("w",)),
        ("SyntaxError", ("odd",)),
    ],
)
def test_builtin_exceptions_arrive_as_themselves(isolator: ProcessIsolator, name: str, args: tuple[Any, ...]) -> None:
    error = isolator.invoke_method("foreign_to_the_host:fail", name, *args).exception(SECONDS)
    assert type(error).__name__ in (name, "FileNotFoundError")
    assert isinstance(error, Exception)
    assert error.args == (args if name != "OSError" else (2, "gone"))
    assert isinstance(error.__cause__, piactors.RemoteTraceback)
    assert "foreign_to_the_host" in str(error.__cause__)


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("Custom", ("custom",), "custom"),
        ("Needy", (1,), "needy"),
        ("Textless", (), "is not available"),
        ("LikeBuiltin", ("x",), "x"),
    ],
)
def test_exceptions_of_the_isolates_own_classes_become_remote_errors(
    isolator: ProcessIsolator, name: str, args: tuple[Any, ...], text: str
) -> None:
    kwargs = {"second": 2} if name == "Needy" else {}
    with pytest.raises(RemoteError) as caught:
        call(isolator, "fail", name, *args, **kwargs)
    assert text in caught.value.message
    assert caught.value.type_name in (f"foreign_to_the_host.{name}", "SystemExit")
    assert "foreign_to_the_host" in caught.value.remote_traceback or name == "Textless"


def test_an_unpicklable_exception_arrives_as_an_error_all_the_same(isolator: ProcessIsolator) -> None:
    with pytest.raises(RemoteError, match="unpicklable"):
        call(isolator, "fail", "Unpicklable")


def test_an_exception_whose_reduce_runs_code_runs_none(isolator: ProcessIsolator, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "made"
    with pytest.raises(RemoteError, match="reducing"):
        call(isolator, "fail", "Reducing", str(path))
    assert not path.exists()


def test_a_class_that_calls_itself_a_builtin_is_not_taken_for_it(isolator: ProcessIsolator) -> None:
    with pytest.raises(RemoteError):
        call(isolator, "fail", "Liar", "x")


@pytest.mark.parametrize("name", ["Base", "KeyboardInterrupt", "SystemExit", "GeneratorExit"])
def test_a_base_exception_ends_the_isolate_and_not_the_host(isolator: ProcessIsolator, name: str) -> None:
    with pytest.raises((piactors.IsolateCrashed, piactors.PiactorsError)) as caught:
        call(isolator, "fail", name)
    assert isinstance(caught.value, Exception)
    assert isolator.wait_for_exit(SECONDS) is not None


def test_the_notes_and_the_cause_of_an_exception_arrive_as_text(isolator: ProcessIsolator) -> None:
    with pytest.raises(ValueError, match="no") as caught:
        call(isolator, "fail_with", ["no"], notes=["first", "second"])
    assert caught.value.__notes__ == ["first", "second"]
    with pytest.raises(KeyError) as outer:
        call(isolator, "fail_from")
    assert "ZeroDivisionError" in str(outer.value.__cause__)


def test_a_group_of_exceptions_arrives_as_an_error(isolator: ProcessIsolator) -> None:
    with pytest.raises(RemoteError, match="several") as caught:
        call(isolator, "fail_in_group")
    assert "two" in caught.value.remote_traceback


def test_arguments_that_are_no_plain_data_stay_in_the_isolate(isolator: ProcessIsolator) -> None:
    with pytest.raises(RemoteError):
        isolator.invoke_method(f"{TARGETS}:raise_with_lock").get(timeout=SECONDS)


def test_an_exception_whose_text_cannot_be_had_still_arrives(isolator: ProcessIsolator) -> None:
    error = isolator.invoke_method(f"{TARGETS}:raise_big_int").exception(SECONDS)
    assert isinstance(error, ValueError)


def test_a_start_that_fails_with_such_an_exception_is_a_start_error() -> None:
    with pytest.raises(StartError):
        piactors.spawn(f"{TARGETS}:Starter", "raise_big_int")


class Noted(Exception):
    """An exception that the host accepts, whose state an isolate may choose."""


def test_an_accepted_exception_with_an_odd_state_is_an_error_and_not_a_failure_of_the_host() -> None:
    described = describe(accepted=encoded_object(Noted, ("x",), {"__notes__": 5}), notes=["a note"])
    with ProcessIsolator(IsolationOptions(accept=[Noted])) as isolator:
        with pytest.raises((Noted, RemoteError)):
            isolator.invoke_method(f"{TARGETS}:reply", described, 0, 8).get(timeout=SECONDS)
        assert isolator.invoke_method("os:getpid").get(timeout=SECONDS) == isolator.pid


def test_an_accepted_exception_with_an_odd_state_at_the_start_harms_nobody() -> None:
    accepted = encoded_object(Noted, ("x",), {"__notes__": 5})
    with ProcessIsolator() as sibling:
        for _ in range(2):
            with pytest.raises(StartError):
                piactors.spawn(
                    f"{TARGETS}:Starter",
                    "fail_start_as",
                    {"accepted": accepted, "notes": ["a note"]},
                    options=IsolationOptions(accept=[Noted]),
                )
        assert sibling.invoke_method("os:getpid").get(timeout=SECONDS) == sibling.pid


def encoded_object(cls: type, args: tuple[Any, ...], state: Any) -> bytes:
    """Return the plain encoding of an object, made by hand."""
    parts = (f"{cls.__module__}:{cls.__qualname__}", args, state)
    return bytes((t.HEADER, t.OBJECT)) + b"".join(plain_encode.encode(part)[1:] for part in parts)


def describe(**fields: Any) -> bytes:
    """Return the description of an exception, some of whose fields are given."""
    whole = {"module": "m", "qualname": "Q", "text": "x", "traceback": "", "notes": [], "args": None, "pickle": None}
    return plain_encode.encode({**whole, "accepted": None, **fields})


# --- bombs ---------------------------------------------------------------------------------------------


def reply_with(isolator: ProcessIsolator, payload: bytes) -> Any:
    """Have a call answered with these bytes and return what the host makes of them."""
    return isolator.invoke_method(f"{TARGETS}:reply", payload).get(timeout=SECONDS)


def shared(levels: int) -> list[Any]:
    """Return a list of two times the same list of two times the same list."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value, value]
    return value


def deep_key(depth: int) -> bytes:
    """Return a dict whose key is a tuple in a tuple in a tuple."""
    return bytes((t.HEADER, t.DICT8, 1)) + bytes((t.TUPLE8, 1)) * depth + bytes((t.NONE, t.NONE))


def colliding(count: int) -> bytes:
    """Return a set of ints that all have the same hash."""
    prime = 2**61 - 1
    items = b"".join(plain_encode.encode(number * prime)[1:] for number in range(1, count + 1))
    return bytes((t.HEADER,)) + struct.pack("<BQ", t.SET, count) + items


def empty_lists(count: int) -> bytes:
    """Return a list of so many empty lists, each of them two bytes."""
    return bytes((t.HEADER,)) + struct.pack("<BQ", t.LIST, count) + bytes((t.LIST8, 0)) * count


def announced(tag: int) -> bytes:
    """Return nine bytes that announce as much as there can be."""
    return bytes((t.HEADER,)) + struct.pack("<BQ", tag, 2**62)


BOMBS: dict[str, Callable[[], bytes]] = {
    "exponential-sharing": lambda: plain_encode.encode(shared(20)),
    "deep-key": lambda: deep_key(1_000_000),
    "deep-key-within-the-limit-of-python": lambda: deep_key(900),
    "colliding-ints": lambda: colliding(200_000),
    "empty-lists": lambda: empty_lists(4_000_000),
    "announced-bytes": lambda: announced(t.BYTES),
    "announced-list": lambda: announced(t.LIST),
    "announced-floats": lambda: announced(t.FLOATS),
    "announced-int": lambda: announced(t.BIGINT),
    "announced-dict": lambda: announced(t.DICT),
    "announced-text": lambda: announced(t.STR),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_in_a_reply_is_refused_in_little_time_and_memory(isolator: ProcessIsolator, name: str) -> None:
    payload = BOMBS[name]()
    assert len(payload) <= 8 * MIB
    future = isolator.invoke_method(f"{TARGETS}:reply", payload)
    arrived = threading.Event()
    future.add_done_callback(lambda _: arrived.set())
    assert arrived.wait(SECONDS)
    tracemalloc.start()
    started = time.thread_time()
    try:
        with pytest.raises(UntrustedReply):
            future.get(timeout=SECONDS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.thread_time() - started < 5.0
    assert peak < 40 * MIB
    assert isolator.invoke_method("os:getpid").get(timeout=SECONDS) == isolator.pid


def test_an_honest_reply_that_shares_little_arrives_unshared(isolator: ProcessIsolator) -> None:
    assert reply_with(isolator, plain_encode.encode(shared(8))) == shared(8)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_in_the_arguments_of_an_exception_costs_as_little(isolator: ProcessIsolator, name: str) -> None:
    described = describe(module="builtins", qualname="ValueError", args=BOMBS[name]()[: 7 * MIB])
    with pytest.raises((RemoteError, piactors.ProtocolError)):
        isolator.invoke_method(f"{TARGETS}:reply", described, 0, 8).get(timeout=SECONDS)
    assert isolator.invoke_method("os:getpid").get(timeout=SECONDS) == isolator.pid


def test_a_pickle_bomb_is_not_looked_at(isolator: ProcessIsolator) -> None:
    bomb = b"\x80\x04]\x94" + b"(h\x00h\x00l\x94" * 1000 + b"."
    with pytest.raises(UntrustedReply, match="sent a pickle"):
        isolator.invoke_method(f"{TARGETS}:reply", bomb, 1).get(timeout=SECONDS)


def test_a_result_over_max_frame_fails_its_call_and_the_isolate_lives_on(isolator: ProcessIsolator) -> None:
    """An honest pihost does not send it; one that does is ended (see test_hostile)."""
    with pytest.raises(TypeError, match="max_frame"):
        isolator.invoke_method("builtins:bytes", 8 * MIB + 1).get(timeout=SECONDS)
    assert call(isolator, "plain", 1) == 1


# --- a program as a whole ----------------------------------------------------------------------------------

HOST = """
import sys
import piactors
before = set(sys.modules)
with piactors.ProcessIsolator(piactors.IsolationOptions(sys_path=[sys.argv[1]])) as isolator:
    for name in ("give", "inside", "fail"):
        for what in ("Value", "Custom", "Textless", "Number"):
            isolator.invoke_method("foreign_to_the_host:" + name, what).exception(20)
print(sorted(name for name in set(sys.modules) - before if name.startswith("foreign")))
"""


def test_no_reply_imports_a_module_into_the_host(folder: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOST, str(folder)], capture_output=True, text=True, timeout=90, check=True
    )
    assert done.stdout.strip() == "[]"
