"""What is larger than `max_frame` fails its call, or arrives shortened; the process lives."""

from __future__ import annotations

from typing import Any

import pytest

from piactors import Future, NotSendable, RemoteError, StartError
from tests.children.oversize import BIG, Ends, FailsToStart, Kept, Own, Talker

FRAMES = (4096, 65_536)
REFUSED = ("result", "awaited", "tells_itself", "asks_itself", "calls_itself", "sets")
SHORTENED = {"builtin": "ValueError", "own": "tests.children.oversize.Own", "kept": "tests.children.oversize.Kept"}
ARRIVES = ("noted", "caused", "group", "named")
QUIET = ("record", "record_of_error", "record_of_name", "prints", "grows", "in_threads", "sets_error")


def _error_of(future: Any) -> BaseException | None:
    try:
        future.get(timeout=30)
    except Exception as error:
        return error
    return None


def _check(name: str, error: BaseException | None) -> None:
    if name in REFUSED:
        assert isinstance(error, NotSendable), (name, error)
        assert "max_frame is" in str(error)
    elif name in SHORTENED:
        assert isinstance(error, RemoteError), (name, error)
        assert error.type_name == SHORTENED[name]
        assert name == "kept" or "characters left out" in str(error)
    elif name in ARRIVES:
        assert error is not None, name
    else:
        assert error is None, (name, error)


@pytest.mark.parametrize("max_frame", FRAMES)
def test_whatever_an_isolate_sends_over_the_bound_its_process_lives(
    max_frame: int, caplog: pytest.LogCaptureFixture
) -> None:
    ref = Talker.with_options(max_frame=max_frame, output="discard").start()
    proxy = ref.proxy()
    pid = proxy.pid().get(timeout=30)
    future: Future[Any] = Future()
    for name in (*REFUSED, *SHORTENED, *ARRIVES, *QUIET):
        error = _error_of(getattr(proxy, name)(*([future] if name.startswith("sets") else [])))
        _check(name, error)
        assert len(str(error)) < max_frame, name
        assert (name, proxy.pid().get(timeout=30)) == (name, pid)
    refused = _error_of(future)
    assert isinstance(refused, RemoteError)
    assert "characters left out" in str(refused)
    ref.stop(timeout=30)
    cut = [record for record in caplog.records if record.name == "big" and "characters left out" in record.message]
    assert cut


@pytest.mark.parametrize("max_frame", FRAMES)
def test_what_its_control_thread_answers_over_the_bound_fails_or_is_cut(max_frame: int) -> None:
    ref = Talker.with_options(max_frame=max_frame).start()
    ref.set_data("large", "x" * BIG)
    assert isinstance(_error_of(ref._isolate.control("get_data", "large")), NotSendable)
    assert ref.proxy().in_threads().get(timeout=30) > 20
    assert len(ref._isolate.control("stacks").get(timeout=30)) <= max_frame
    assert ref._isolate.control("usage").get(timeout=30)["threads"] > 20
    ref.proxy().grows().get(timeout=30)
    described = ref._isolate.control("describe").get(timeout=30)
    assert "pid" in described
    assert ("attribute_999" in described) == (max_frame > BIG // 4)
    ref.stop(timeout=30)


def test_the_cause_of_a_failed_start_is_shortened() -> None:
    for max_frame in FRAMES:
        with pytest.raises(StartError) as caught:
            FailsToStart.with_options(max_frame=max_frame).start()
        cause = caught.value.__cause__
        assert isinstance(cause, RemoteError)
        assert cause.type_name == "tests.children.oversize.Own"
        assert "on_start" in cause.remote_traceback


def test_an_error_that_ends_an_isolate_is_reported_shortened() -> None:
    for max_frame in (*FRAMES, 1 << 30):
        ref = Ends.with_options(max_frame=max_frame).start()
        ref.tell("end")
        reason = ref.wait_for_exit(30)
        assert reason is not None
        assert (reason.kind, "ValueError" in (reason.error or "")) == ("error", True)


def test_an_error_that_fits_arrives_as_it_was() -> None:
    proxy = Talker.with_options(max_frame="1 MiB").start().proxy()
    for name, cls in {"own": Own, "kept": Kept}.items():
        error = _error_of(getattr(proxy, name)())
        assert type(error) is cls
    assert len(str(_error_of(proxy.own()))) == BIG


def test_a_message_over_the_bound_fails_in_the_host() -> None:
    ref = Talker.with_options(max_frame=65_536).start()
    pid = ref.proxy().pid().get(timeout=30)
    for send in (
        lambda: ref.ask(bytes(BIG), timeout=30),
        lambda: ref.tell(bytes(BIG)),
        lambda: ref.proxy().on_receive(bytes(BIG)).get(timeout=30),
    ):
        with pytest.raises(ValueError, match="max_frame is 65,536"):
            send()
    assert ref.proxy().pid().get(timeout=30) == pid


def test_an_environment_that_no_process_may_have_is_refused_and_others_go_on() -> None:
    other = Talker.start()
    pid = other.proxy().pid().get(timeout=30)
    for count in (100, 400):  # more than the kernel takes, and more than the launcher
        env = {f"BIG_{number}": "x" * 100_000 for number in range(count)}
        with pytest.raises(StartError):
            Talker.with_options(start_method="spawn", env=env).start()
    assert other.proxy().pid().get(timeout=30) == pid


def test_a_module_of_preload_whose_error_is_long_is_refused_and_others_go_on(tmp_path: Any) -> None:
    (tmp_path / "raises_at_length.py").write_text("raise ValueError('x' * 3_000_000)")
    other = Talker.start()
    pid = other.proxy().pid().get(timeout=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        with pytest.raises(StartError, match="preload cannot be imported") as caught:
            Talker.with_options(preload=["raises_at_length"]).start()
    assert len(str(caught.value)) < BIG
    assert other.proxy().pid().get(timeout=30) == pid
