"""Large arguments and results of real isolates, through shared memory."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import piactors
from piactors import IsolateCrashed, IsolationLimits, IsolationOptions, ProcessIsolator
from piactors._codec import shared_memory
from piactors._isolate.policies import idle_memory
from piactors.pihost.memory import segments
from tests.children.arrays import Arrays, mapped_bytes
from tests.support import HostScripts, in_shared_memory, left_in_shared_memory, pid_gone, wait_until
from tests.test_interpreters import python

__all__ = ["python"]

pytestmark = pytest.mark.skipif(not segments.available(), reason="no sealed files in memory here")

MIB = 1 << 20
REPO = Path(__file__).resolve().parent.parent.parent


def segment_fds() -> int:
    """How many descriptors of segments this process has."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += "piactors-segment" in os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
    return count


def nothing_mapped() -> bool:
    gc.collect()
    return mapped_bytes() == 0 and segment_fds() == 0


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 100_000, MIB, 8 * MIB])
def test_arrays_come_back_equal_and_writeable(size: int) -> None:
    """From nothing to 64 MiB."""
    value = np.arange(size, dtype="f8")
    found = Arrays.start().proxy().echo(value).get(timeout=30)
    assert np.array_equal(found, value)
    found += 1
    assert found.flags.writeable


BIG = np.arange(300_000).reshape(300, 1000)


@pytest.mark.parametrize(
    "value",
    [
        {"a": BIG, "b": [BIG, BIG + 1]},
        [BIG[::2, ::3]],
        np.asfortranarray(BIG),
        BIG.T,
        BIG[:, :0],
        BIG[::-1],
        np.array([1, "x", None, b"y" * 100_000], dtype=object),
        BIG.astype("U5"),
        BIG.view([("a", "i4"), ("b", "i4")]),
        b"b" * 100_000,
        bytearray(b"c" * 5 * MIB),
        "\u00e9" * 100_000,
        ["s" * 70_000, b"t" * 70_000, 5],
        {"k": bytearray(70_000)},
        (BIG, b"x" * 65_536, "y" * 65_535),
    ],
    ids=[
        "nested",
        "strides",
        "F",
        "transposed",
        "empty",
        "reversed",
        "object",
        "text",
        "records",
        "bytes",
        "bytearray",
        "str",
        "list",
        "dict",
        "tuple",
    ],
)
@pytest.mark.parametrize("trust", ["code", "data"])
def test_values_come_back_as_they_were(value: Any, trust: Any) -> None:
    isolator = ProcessIsolator(IsolationOptions(trust=trust)).start()
    if trust == "data" and isinstance(value, np.ndarray) and value.dtype.kind in "OV":
        pytest.skip("not plain data")
    found = isolator.invoke_method("copy:copy", value).get(timeout=30)
    np.testing.assert_equal(found, value)
    assert type(found) is type(value)


def test_arguments_are_what_they_were_at_the_call() -> None:
    actor = Arrays.start().proxy()
    value = np.zeros(200_000)
    futures = []
    for number in range(20):
        value[:] = number
        futures.append(actor.total(value))
        value[:] = -1
    assert [future.get(timeout=30) for future in futures] == [200_000.0 * number for number in range(20)]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give back what is idle after a tenth of the usual time."""
    monkeypatch.setattr(idle_memory, "IDLE_SECONDS", 0.1)


def mapped_in(actor: Any) -> int:
    """How many bytes of segments the isolate has mapped."""
    return actor.mapped().get(timeout=30)  # type: ignore[no-any-return]


def test_what_large_calls_leave_is_given_back(soon: None) -> None:
    keeps_none = Arrays.with_options(keep_shared=0).start().proxy()
    for size in (100_000, 2 * MIB):
        keeps_none.echo(np.zeros(size)).get(timeout=30)
    wait_until(lambda: nothing_mapped() and mapped_in(keeps_none) == 0, 20)
    keeps_some = Arrays.with_options(keep_shared="8 MiB").start().proxy()
    for size in (2 * MIB, 500_000):
        keeps_some.echo(np.zeros(size)).get(timeout=30)
    wait_until(lambda: 0 < mapped_bytes() <= 16 * MIB and 0 < mapped_in(keeps_some) <= 16 * MIB, 20)
    assert keeps_some.echo(np.ones(2 * MIB)).get(timeout=30).sum() == 2 * MIB


def test_what_is_held_is_given_back_when_it_is_let_go_of(soon: None) -> None:
    actor = Arrays.with_options(keep_shared=0).start().proxy()
    held = actor.echo(np.ones(MIB)).get(timeout=30)
    actor.keep(np.ones(MIB)).get(timeout=30)
    assert actor.total(np.ones(2 * MIB)).get(timeout=30) == 2 * MIB
    wait_until(lambda: mapped_bytes() < 24 * MIB, 20)  # of two that are held, and one of 16 MiB that is not
    assert min(mapped_bytes(), mapped_in(actor)) >= 16 * MIB
    assert (held.sum(), actor.kept_value().get(timeout=30).sum()) == (MIB, MIB)
    del held
    actor.keep(None).get(timeout=30)
    wait_until(lambda: nothing_mapped() and mapped_in(actor) == 0, 30)


def test_a_kept_result_stays_what_it_was() -> None:
    actor = Arrays.start().proxy()
    kept = [actor.made(100_000, float(number)).get(timeout=30) for number in range(5)]
    for number in range(50):
        actor.echo(np.full(100_000, -1.0 - number)).get(timeout=30)
    for number, array in enumerate(kept):
        assert (array == number).all()


def test_an_argument_that_the_actor_keeps_stays_what_it_was() -> None:
    actor = Arrays.start().proxy()
    actor.keep(np.full(100_000, 7.0)).get(timeout=30)
    for number in range(50):
        assert actor.total(np.full(100_000, float(number))).get(timeout=30) == 100_000.0 * number
    assert (actor.kept_value().get(timeout=30) == 7.0).all()


def test_large_and_small_calls_keep_their_order() -> None:
    actor = Arrays.start().proxy()
    kept = []
    for number in range(40):
        actor.keep(np.full(20_000, float(number)) if number % 2 else number)
        kept.append(actor.kept_value())
    for number, future in enumerate(kept):
        assert np.all(future.get(timeout=30) == number)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_many_large_calls_at_once(concurrency: int) -> None:
    """More than there are segments: the others go through the socket."""
    options = IsolationOptions(concurrency=concurrency)
    actor = Arrays.with_options(options).start().proxy()
    futures = [actor.echo(np.full(50_000, float(number))) for number in range(150)]
    for number, future in enumerate(futures):
        assert (future.get(timeout=30) == number).all()


def test_segments_are_bounded_and_used_again() -> None:
    actor = Arrays.start().proxy()
    gc.collect()
    before = mapped_bytes()
    for number in range(200):
        value = np.ones(10_000 + (number * 7919) % 200_000)
        assert actor.echo(value).get(timeout=30).shape == value.shape
    assert mapped_bytes() - before < 64 * MIB
    assert actor.mapped().get(timeout=30) < 64 * MIB


def test_a_small_limit_of_memory_gives_small_segments() -> None:
    options = IsolationOptions(limits=IsolationLimits(max_memory=256 * MIB))
    assert shared_memory.bound(options) == 32 * MIB
    before = mapped_bytes()
    actor = Arrays.with_options(options).start().proxy()
    for size in (10_000, 500_000, 4 * MIB, 6 * MIB):
        assert actor.total(np.ones(size)).get(timeout=30) == size
    assert mapped_bytes() - before <= 64 * MIB


def test_calls_not_begun_reach_the_next_generations_intact() -> None:
    """Killed again and again while 200 large calls wait: whatever had not begun is run, and nothing is lost."""
    ref = Arrays.with_options(restart="permanent", max_restarts=50).start()
    actor = ref.proxy()
    futures = [actor.total(np.full(30_000, float(number))) for number in range(200)]
    for number in (20, 60, 100, 140):
        futures[number].exception(timeout=30)
        pid = ref.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it is the last one, which has just been killed
                os.kill(pid, signal.SIGKILL)
    crashed = 0
    for number, future in enumerate(futures):
        try:
            assert future.get(timeout=30) == 30_000.0 * number
        except IsolateCrashed:
            crashed += 1
    assert crashed <= 4


def crash_often(times: int) -> None:
    ref = Arrays.with_options(restart="permanent", max_restarts=None, spin=False).start()
    actor = ref.proxy()
    for number in range(times):
        found = actor.echo(np.full(20_000, float(number)))
        crash = actor.die(np.ones(20_000))
        assert (found.get(timeout=30) == number).all()
        assert isinstance(crash.exception(timeout=30), IsolateCrashed)
        del crash, found
        assert segment_fds() <= 40
    ref.stop()
    wait_until(nothing_mapped)


def test_crashes_leave_no_segments_behind() -> None:
    crash_often(30)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_thousand_crashes_leave_no_segments_behind() -> None:
    crash_often(1000)


def test_an_ended_isolate_holds_no_segments_though_its_ref_lives() -> None:
    ref = Arrays.start()
    future = ref.proxy().die(np.ones(100_000))
    assert isinstance(future.exception(timeout=30), IsolateCrashed)
    assert ref.wait_for_exit(timeout=30) is not None
    wait_until(nothing_mapped)
    assert not ref.is_alive()


def test_a_result_outlives_its_isolate() -> None:
    ref = Arrays.start()
    found = ref.proxy().made(100_000, 5.0).get(timeout=30)
    ref.stop()
    assert (found == 5.0).all()
    del found
    wait_until(nothing_mapped)


def test_a_recycled_isolate_loses_no_arrays() -> None:
    ref = Arrays.with_options(recycle=piactors.Recycle(after_calls=5)).start()
    actor = ref.proxy()
    futures = [actor.echo(np.full(20_000, float(number))) for number in range(60)]
    for number, future in enumerate(futures[:60]):
        assert (future.get(timeout=30) == number).all()
        if number % 5 == 4:
            futures.append(actor.echo(np.full(20_000, float(60 + number))))
    wait_until(lambda: ref.generation > 1)


def test_an_actor_asks_itself_for_what_is_large() -> None:
    assert (Arrays.start().proxy().ask_myself(100_000).get(timeout=30).get(timeout=30) == 3.0).all()


def test_a_call_that_is_tried_again_gets_its_original_argument(tmp_path: Path) -> None:
    actor = Arrays.with_options(restart="permanent").start().proxy()
    assert actor.once(str(tmp_path / "marker"), np.ones(100_000)).get(timeout=30) == 200_000.0


def test_logs_before_a_large_result_do_not_end_the_isolate() -> None:
    ref = Arrays.start()
    actor = ref.proxy()
    futures = [actor.log(60, 2000) for _ in range(20)]
    for future in futures:
        assert (future.get(timeout=30) == 1).all()
    assert ref.generation == 1


def test_results_of_ever_other_sizes_do_not_end_the_isolate() -> None:
    """Old segments are let go of while new ones are announced."""
    ref = Arrays.start()
    actor = ref.proxy()
    sizes = [9_000 + 3_000 * (number % 97) * (1 + number % 5) for number in range(300)]
    futures = [actor.made(size, float(size)) for size in sizes]
    for size, future in zip(sizes, futures, strict=True):
        found = future.get(timeout=30)
        assert found.shape == (size,)
        assert found[0] == found[-1] == size
    assert ref.generation == 1


def test_an_isolate_without_descriptors_fails_the_call_and_goes_on() -> None:
    """What it cannot receive is an error of that call, and once it has descriptors again all is well."""
    ref = Arrays.with_options(limits=IsolationLimits(max_open_files=64)).start()
    actor = ref.proxy()
    actor.use_up_files().get(timeout=30)
    for _ in range(3):
        with pytest.raises(OSError, match="did not arrive"):
            actor.echo(np.ones(100_000)).get(timeout=30)
    actor.free_files().get(timeout=30)
    for number in range(5):
        assert (actor.echo(np.full(100_000, number)).get(timeout=30) == number).all()
    assert ref.generation == 1


def test_after_a_lack_of_descriptors_what_is_large_is_shared_again(host_script: HostScripts) -> None:
    """Neither side uses a segment again that the other one could not take; the call alone has failed."""
    host = host_script("""
        import os, resource
        from piactors import spawn
        from tests.children.arrays import Arrays, mapped_bytes
        from tests.core.test_shared_memory import WithoutDescriptors

        if __name__ == "__main__":
            actor = Arrays.start()
            proxy, pid = actor.proxy(), actor.pid
            for size in (100_000, 500_000, 2_500_000):  # each has a segment of its own
                with WithoutDescriptors():
                    try: print(len(proxy.made(size, 1.0).get(timeout=20)))
                    except OSError as error: print("no descriptor" in str(error))
                found = proxy.made(size, 1.0).get(timeout=20)
                print(len(found) == size, mapped_bytes() > 0, actor.pid == pid)
                del found
        """)
    out, err = host.communicate(timeout=50)
    assert out.split() == ["True"] * 12, (out, err)


class WithoutDescriptors:
    """Meanwhile this process can open nothing more."""

    def __enter__(self) -> None:
        self._before, self._held = resource.getrlimit(resource.RLIMIT_NOFILE), list[int]()
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, self._before[1]))
        with contextlib.suppress(OSError):
            while True:
                self._held.append(os.open(os.devnull, os.O_RDONLY))

    def __exit__(self, *_: object) -> None:
        for fd in self._held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, self._before)


def test_an_isolate_whose_files_must_be_small_returns_what_is_large() -> None:
    actor = Arrays.with_options(limits=IsolationLimits(max_file_size=4096)).start().proxy()
    assert (actor.made(100_000, 2.0).get(timeout=30) == 2.0).all()
    assert actor.total(np.ones(100_000)).get(timeout=30) == 100_000


def test_other_interpreters_have_shared_memory_too(python: str, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text("def echo(value):\n    return value\n")
    with ProcessIsolator(IsolationOptions(python=python)) as isolator:
        for size in (65_000, 65_536, 300_000, 5 * MIB):
            for value in (b"x" * size, bytearray(b"y" * size), "z" * size, {"a": [b"w" * size, 1]}):
                assert isolator.invoke_method(f"{tmp_path}/plugin.py:echo", value).get(timeout=30) == value


HOST = """
    import sys
    import numpy as np
    from tests.children.arrays import Arrays, mapped_bytes

    if __name__ == "__main__":
        ref = Arrays.start()
        actor = ref.proxy()
        kept = actor.echo({"a": np.ones(100_000)}).get(timeout=30)
        assert kept["a"].sum() == 100_000
        print(ref.pid, mapped_bytes() > 0, flush=True)
        if "wait" in sys.argv:
            futures = [actor.echo(np.ones(1_000_000)) for _ in range(50)]
            sys.stdin.read()
        ref.stop()
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPO), **more}


@pytest.mark.parametrize("without", ["", "segments", "memfd", "launcher,pidfd,memfd"])
def test_a_host_that_lacks_a_mechanism_gets_right_results(host_script: HostScripts, without: str) -> None:
    """And one that ends with results in its hands says nothing on its stderr."""
    host = host_script(HOST, env=environment(PIACTORS_PORTABLE=without))
    out, err = host.communicate(timeout=50)
    assert (host.returncode, err) == (0, "")
    assert out.split()[1] == str(not without)


def test_a_killed_host_leaves_nothing(host_script: HostScripts) -> None:
    before = in_shared_memory()
    host = host_script(HOST, args=["wait"], env=environment())
    assert host.stdout is not None
    pid = int(host.stdout.readline().split()[0])
    children = psutil.Process(host.pid).children(recursive=True)
    host.kill()
    host.wait()
    wait_until(lambda: pid_gone(pid) and all(pid_gone(child.pid) for child in children))
    assert not left_in_shared_memory(before)
