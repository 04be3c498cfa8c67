"""An isolator trusts the answers of functions that were handed over, until code is called by name in it."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from piactors import IsolateCrashed, IsolationOptions, ProcessIsolator, RemoteError, UntrustedReply
from piactors.pihost.wire import wire
from tests.children.waits import OwnError, Point, point, point_when_there, raises
from tests.support import wait_until

PATIENCE = 20


class Bomb:
    """Runs code in whoever unpickles it."""

    def __reduce__(self) -> Any:
        return explode, ()


exploded: list[int] = []


def explode() -> None:
    """Leave a trace in the process that unpickles a bomb."""
    exploded.append(os.getpid())


def forge_answers() -> int:
    """Be code that was called by name, and from now on answer whatever is called with a bomb, for trusted or not."""
    for module in list(sys.modules.values()):
        replies = getattr(module, "Replies", None)
        if replies is not None and module.__name__.endswith("replies"):
            replies.value = lambda self, value: (wire.PICKLE, pickle.dumps(Bomb()))
            replies.chunks = replies.value
    frame: Any = sys._getframe()
    while type(frame.f_locals.get("self")).__name__ != "CallLoop":
        frame = frame.f_back
    frame.f_locals["self"]._quick = lambda seq, value: False
    return 0


def test_what_it_returns_and_raises_arrives_as_from_spawn() -> None:
    with ProcessIsolator() as isolator:
        assert isolator.invoke_method(point, 3).get(timeout=PATIENCE) == Point(3)
        assert isinstance(isolator.invoke_method(raises, "own").exception(timeout=PATIENCE), OwnError)
        assert len(isolator.invoke_method(bytes, 5_000_000).get(timeout=PATIENCE)) == 5_000_000


def test_from_the_first_call_by_name_on_all_is_plain_data() -> None:
    """What was sent before it is not affected, also if it is asked for later."""
    with ProcessIsolator() as isolator:
        before = [isolator.invoke_method(point, number) for number in range(20)]
        named = isolator.invoke_method("math:factorial", 3)
        after = [isolator.invoke_method(point, 1), isolator.invoke_method("tests.children.waits:point", 1)]
        assert named.get(timeout=PATIENCE) == 6
        assert [call.get(timeout=PATIENCE) for call in before] == [Point(number) for number in range(20)]
        assert {type(call.exception(timeout=PATIENCE)) for call in after} == {UntrustedReply}
        assert isinstance(isolator.invoke_method(raises, "own").exception(timeout=PATIENCE), RemoteError)
        assert isolator.invoke_method(abs, -1).get(timeout=PATIENCE) == 1


@pytest.mark.parametrize("trust", ["data", "code"])
def test_trust_that_is_stated_holds_for_every_call(trust: Any) -> None:
    with ProcessIsolator(IsolationOptions(trust=trust)) as isolator:
        for _ in range(2):
            calls = [isolator.invoke_method(point, 1), isolator.invoke_method("tests.children.waits:point", 1)]
            errors = {type(call.exception(timeout=PATIENCE)) for call in calls}
            assert errors == ({UntrustedReply} if trust == "data" else {type(None)})


def test_code_called_by_name_cannot_forge_the_answer_of_a_later_call() -> None:
    """Not by a pickle in place of plain data, nor after a restart."""
    with ProcessIsolator(IsolationOptions(restart="permanent")) as isolator:
        assert isolator.invoke_method(point, 3).get(timeout=PATIENCE) == Point(3)
        isolator.invoke_method(f"{__name__}:forge_answers").exception(timeout=PATIENCE)
        for target in (abs, "builtins:abs"):
            error = isolator.invoke_method(target, -1).exception(timeout=PATIENCE)
            assert isinstance(error, UntrustedReply), error
        assert isinstance(isolator.invoke_method(os.abort).exception(timeout=PATIENCE), IsolateCrashed)
        assert isinstance(isolator.invoke_method(point, 3).exception(timeout=PATIENCE), UntrustedReply)
    assert exploded == []


def test_with_several_threads_what_runs_beside_a_call_by_name_is_not_trusted_either(tmp_path: Path) -> None:
    with ProcessIsolator(IsolationOptions(concurrency=3)) as isolator:
        assert isolator.invoke_method(point, 1).get(timeout=PATIENCE) == Point(1)
        beside = isolator.invoke_method(point_when_there, str(tmp_path / "go"), 1)
        wait_until(beside.running)
        assert isolator.invoke_method("math:factorial", 3).get(timeout=PATIENCE) == 6
        (tmp_path / "go").touch()
        assert isinstance(beside.exception(timeout=PATIENCE), UntrustedReply)


def test_threads_that_call_at_once_get_what_the_order_of_sending_allows() -> None:
    """Each answer is the value, or is refused; and once one is refused all that is called after it is."""
    for _ in range(5):
        with ProcessIsolator() as isolator:
            go, calls = threading.Barrier(5), []

            def by_object(go: threading.Barrier = go, isolator: ProcessIsolator = isolator, calls: Any = calls) -> None:
                go.wait()
                calls.extend(isolator.invoke_method(point, number) for number in range(30))

            threads = [threading.Thread(target=by_object) for _ in range(4)]
            for thread in threads:
                thread.start()
            go.wait()
            named = isolator.invoke_method("math:factorial", 3)
            for thread in threads:
                thread.join()
            assert named.get(timeout=PATIENCE) == 6
            assert {type(call.exception(timeout=PATIENCE)) for call in calls} <= {type(None), UntrustedReply}
            assert isinstance(isolator.invoke_method(point, 1).exception(timeout=PATIENCE), UntrustedReply)


def test_the_forger_would_have_its_way_where_all_is_trusted() -> None:
    with ProcessIsolator(IsolationOptions(trust="code")) as isolator:
        isolator.invoke_method(f"{__name__}:forge_answers").exception(timeout=PATIENCE)
        assert isolator.invoke_method(abs, -1).exception(timeout=PATIENCE) is None
    assert exploded == [os.getpid(), os.getpid()]
    exploded.clear()
