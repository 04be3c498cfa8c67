"""Isolated code that is odd to look at: objects, exceptions, streams.  The outcome is exact, and the process lives."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from piactors import IsolateCrashed, spawn
from piactors.pihost.serve import hosted
from tests.children import odd

MODULE = "tests.children.odd"


@pytest.mark.parametrize("name", odd.HOSTED)
def test_an_object_that_is_odd_to_look_at_can_be_hosted(name: str) -> None:
    by_name, by_class = spawn(f"{MODULE}:{name}"), spawn(getattr(odd, name)) if name != "OfMeta" else None
    for ref in filter(None, (by_name, by_class)):
        proxy = ref.proxy()
        assert proxy.ok().get(timeout=30) == "ok"
        ref.stop(timeout=30)


def test_an_actor_that_is_odd_to_look_at_runs_and_answers() -> None:
    proxy = odd.OddActor.start().proxy()
    assert proxy.ok().get(timeout=30) == "ok"
    with pytest.raises(ValueError, match="as any"):
        proxy.raises().get(timeout=30)
    assert proxy.ok().get(timeout=30) == "ok"


def test_what_can_be_looked_at_is_described_and_nothing_is_run() -> None:
    found = hosted.Hosted(odd.Holder()).describe()
    assert {"ok", "loops", "callable", "retries"} <= {name for name, entry in found.items() if entry[0]}
    assert {"row", "with space", "ä", "slot", "nested", "module"} <= set(found)
    assert not {"", "a.b", "a..b"} & set(found)
    assert found["retries"] == (True, False, 0, 0.0, 0, 0, False)
    assert max(map(len, found)) <= 4096
    assert set(hosted.Hosted(odd.OddDir()).describe()) == {"ok"}
    tree = hosted.Hosted(odd.Tree()).describe()
    assert set(tree) == {"ok", "branch", "branch.ok", "branch.me"}


def test_describing_takes_time_in_proportion() -> None:
    def seconds(count: int) -> float:
        one = hosted.Hosted(odd.Many(count))
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            assert len(one.describe()) == count + 1
            taken.append(time.perf_counter() - start)
        return min(taken)

    assert seconds(20_000) < 130 * seconds(1_000)  # not 400 times, with much room for a machine that is busy


def test_a_proxy_of_an_object_with_20000_attributes_is_soon_there() -> None:
    ref = spawn(f"{MODULE}:Many")
    start = time.perf_counter()
    assert ref.proxy().attribute_19999.get(timeout=30) == 19_999
    assert time.perf_counter() - start < 20


def test_an_exception_that_is_odd_to_look_at_arrives_and_the_process_lives() -> None:
    proxy = odd.Raiser.start().proxy()
    pid = proxy.pid().get(timeout=30)
    for name in odd.EXCEPTIONS:
        shown = text_of(proxy.throws(name))
        assert name in shown, shown[:500]
        assert (name, proxy.pid().get(timeout=30)) == (name, pid)


def test_code_called_by_name_may_raise_what_is_odd_as_well() -> None:
    ref = spawn(f"{MODULE}:throw")
    for name in odd.EXCEPTIONS:
        assert name in text_of(ref.proxy().call(name))


def text_of(future: Any) -> str:
    try:
        future.get(timeout=60)
    except Exception as error:
        cause = getattr(error, "remote_traceback", "") or str(error.__cause__)
        texts = [type(error).__name__, cause, *map(repr, getattr(error, "__notes__", ()))]
        try:
            return "\n".join([str(error), *texts])
        except BaseException:
            return "\n".join(texts)
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize("how", ["none", "closed", "odd", "deleted", "descriptors"])
def test_streams_that_are_gone_or_odd_change_no_exit_code(how: str) -> None:
    found = {}
    for code in ("a text", 7, None, odd.BadText):
        ref = odd.Raiser.start()
        with pytest.raises(IsolateCrashed) as caught:
            ref.proxy().loses_stderr(how, code).get(timeout=30)
        found[code] = caught.value.reason.exitcode
    assert found == {"a text": 1, 7: 7, None: 0, odd.BadText: 1}


def test_logging_goes_on_where_streams_are_gone_or_odd(caplog: pytest.LogCaptureFixture) -> None:
    for how in ("none", "closed", "descriptors"):
        ref = odd.Raiser.start()
        ref.proxy().logs(how).get(timeout=30)
        ref.stop(timeout=30)
    caplog.set_level(logging.WARNING)
