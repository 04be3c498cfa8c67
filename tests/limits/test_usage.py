"""What `resource_usage`, `snapshot` and `usage_history` tell of real processes."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest

from piactors import ChildSpec, IsolationOptions, ProcessIsolator, Supervisor, usage
from piactors._host import sampling
from piactors._platform import process_stats
from piactors.usage import GcStats, Inside, ResourceUsage, UsageSample, check_inside, snapshot
from tests.children.actors import Worker
from tests.limits import using
from tests.support import wait_until

MIB = 1 << 20
WITHIN = 5.0
"""Seconds for what is promised within 0.2, on a machine that is busy; who waits for an answer waits for ever."""


@pytest.fixture
def isolator() -> Iterator[ProcessIsolator]:
    one = ProcessIsolator().start()
    yield one
    one.terminate()


def call(isolator: ProcessIsolator, name: str, *args: Any) -> Any:
    return isolator.invoke_method(f"tests.limits.using:{name}", *args).get(timeout=30)


def used(isolator: ProcessIsolator) -> ResourceUsage:
    found = isolator.resource_usage()
    assert found is not None
    return found


def answered(isolator: ProcessIsolator) -> ResourceUsage:
    """Return what it uses once it has answered in time, which it may not on a machine that is very busy."""
    return wait_until(lambda: found if (found := used(isolator)).gc is not None else None)  # type: ignore[return-value]


def hold_the_gil(isolator: ProcessIsolator, folder: Path) -> None:
    mark = folder / "held"
    isolator.invoke_method("tests.limits.using:hold_the_gil", str(mark))
    wait_until(mark.exists)
    wait_until(lambda: used(isolator).gc is None)


# One process


def test_the_numbers_of_a_fresh_isolate_are_those_of_its_process(isolator: ProcessIsolator) -> None:
    call(isolator, "spin", 0.0)
    found, process = used(isolator), psutil.Process(isolator.pid)
    assert found.pid == isolator.pid
    assert found.started == pytest.approx(process.create_time(), abs=0.05)
    assert time.time() - 60 < found.started <= time.time() + 1
    assert found.rss == pytest.approx(process.memory_info().rss, rel=0.1)
    assert found.vms == pytest.approx(process.memory_info().vms, rel=0.1)
    assert found.threads == process.num_threads()
    assert found.descriptors == process.num_fds()
    assert found.children == 0
    assert found.tree.processes == 1
    assert (found.tree.rss, found.tree.pss) == (found.rss, found.pss)


def test_memory_that_is_taken_shows(isolator: ProcessIsolator) -> None:
    before = used(isolator)
    call(isolator, "take_memory", 50 * MIB)
    after = used(isolator)
    assert 45 * MIB < after.rss - before.rss < 60 * MIB
    assert after.vms - before.vms > 45 * MIB
    if before.pss is not None and after.pss is not None:
        assert 45 * MIB < after.pss - before.pss < 60 * MIB
    if before.uss is not None and after.uss is not None and after.pss is not None:
        assert 45 * MIB < after.uss - before.uss < 60 * MIB
        assert after.uss <= after.pss <= after.rss


def test_linux_tells_all_of_it(isolator: ProcessIsolator) -> None:
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("this kernel has no smaps_rollup")
    found = used(isolator)
    assert None not in (found.pss, found.uss, found.tree.pss, found.descriptors)


def test_descriptors_threads_and_cpu_time_show(isolator: ProcessIsolator) -> None:
    call(isolator, "spin", 0.0)  # what a start has open for a moment is closed by then
    before = used(isolator)
    call(isolator, "open_files", 20)
    call(isolator, "start_threads", 3)
    call(isolator, "spin", 0.2)
    after = used(isolator)
    assert (before.descriptors, after.descriptors) != (None, None)
    assert after.descriptors == (before.descriptors or 0) + 20
    assert after.threads == before.threads + 3
    assert after.user + after.system >= before.user + before.system + 0.15


def test_descendants_count_in_the_tree_alone(isolator: ProcessIsolator) -> None:
    call(isolator, "take_memory", 20 * MIB)
    own = (before := used(isolator)).user + before.system
    pid = call(isolator, "fork", 0.3)
    wait_until(lambda: (tree := used(isolator).tree).user + tree.system >= 0.15 + own)
    found = used(isolator)
    assert (found.children, found.tree.processes) == (1, 2)
    assert found.tree.rss > found.rss + 15 * MIB
    assert found.user + found.system < found.tree.user + found.tree.system
    if found.pss is not None and found.tree.pss is not None:
        assert found.tree.pss < found.tree.rss - 15 * MIB, "the 20 MiB are shared"
        assert found.pss < found.tree.pss
    os.kill(pid, 9)


def test_the_time_of_descendants_that_have_ended_is_kept(isolator: ProcessIsolator) -> None:
    before = used(isolator)
    call(isolator, "fork_and_wait", 0.3)
    after = used(isolator)
    assert after.tree.user + after.tree.system >= before.tree.user + before.tree.system + 0.25
    assert after.user + after.system < before.user + before.system + 0.25
    assert after.tree.processes == 1


def test_what_is_written_shows(isolator: ProcessIsolator, tmp_path: Path) -> None:
    first = process_stats.transferred(os.getpid())
    using.write(tmp_path / "ours", 4 * MIB)
    second = process_stats.transferred(os.getpid())
    if first is None or second is None or second.written - first.written < 4 * MIB:
        pytest.skip("this machine does not tell what is written here")
    before = used(isolator)
    call(isolator, "write", str(tmp_path / "theirs"), 8 * MIB)
    after = used(isolator)
    assert before.written_bytes is not None
    assert after.written_bytes is not None
    assert 8 * MIB <= after.written_bytes - before.written_bytes < 16 * MIB


def test_an_isolate_tells_of_its_collector_and_heap(isolator: ProcessIsolator) -> None:
    before = answered(isolator)
    assert before.gc is not None
    assert before.heap_blocks is not None
    assert before.heap_blocks > 1000
    assert before.heap_traced is None
    call(isolator, "collect")
    call(isolator, "trace")
    after = answered(isolator)
    assert after.gc is not None
    assert after.gc.collections[-1] == before.gc.collections[-1] + 1
    assert len(after.gc.collections) == len(after.gc.collected) == len(after.gc.uncollectable)
    assert after.heap_traced is not None
    assert after.heap_traced >= 3 * MIB


def test_without_a_process_there_is_nothing_to_tell() -> None:
    isolator = ProcessIsolator().start()
    isolator.terminate()
    assert isolator.resource_usage() is None


def test_who_makes_one_in_the_old_way_gets_a_tree_of_one() -> None:
    found = ResourceUsage(
        pid=1, started=2.0, user=3.0, system=4.0, rss=5, vms=6, threads=7, descriptors=None, children=0
    )
    assert (found.tree.processes, found.tree.user, found.tree.rss, found.gc) == (1, 3.0, 5, None)


# An isolate that does not answer, or not what it should


def test_an_isolate_that_holds_the_gil_is_seen_from_outside(isolator: ProcessIsolator, tmp_path: Path) -> None:
    hold_the_gil(isolator, tmp_path)
    began = time.monotonic()
    found = used(isolator)
    assert time.monotonic() - began < WITHIN
    assert (found.gc, found.heap_blocks, found.heap_traced) == (None, None, None)
    assert found.rss > MIB
    assert found.threads >= 2


def test_questions_that_nobody_answers_do_not_pile_up(isolator: ProcessIsolator, tmp_path: Path) -> None:
    hold_the_gil(isolator, tmp_path)
    generation = isolator.ref._isolate.process
    assert generation is not None
    waiting = len(generation._control._requests)
    for _ in range(4):
        isolator.resource_usage()
    assert len(generation._control._requests) == waiting == 1


@pytest.mark.parametrize("kind", ["number", "nested", "long", "none", "raises"])
@pytest.mark.parametrize("trust", ["data", "code"])
def test_an_isolate_that_lies_tells_nothing(kind: str, trust: Any) -> None:
    with ProcessIsolator(IsolationOptions(trust=trust)) as isolator:
        assert answered(isolator).gc is not None
        call(isolator, "answer", kind)
        began = time.monotonic()
        found = used(isolator)
        assert time.monotonic() - began < WITHIN
        assert (found.gc, found.heap_blocks, found.heap_traced) == (None, None, None)
        assert found.rss > MIB
        assert call(isolator, "spin", 0) is None


ONE = {"collections": 1, "collected": 2, "uncollectable": 3}


def test_what_an_isolate_says_is_taken_where_it_is_right() -> None:
    found = check_inside({"gc_stats": [ONE, ONE], "gc_counts": [4, 5, 6], "heap_blocks": 7, "heap_traced": 8, "x": "y"})
    assert found == Inside(GcStats(collections=(1, 1), collected=(2, 2), uncollectable=(3, 3), counts=(4, 5, 6)), 7, 8)


@pytest.mark.parametrize(
    "found",
    [
        None,
        7,
        [],
        "text",
        {},
        {1: 2},
        {"gc_stats": [], "gc_counts": [1]},
        {"gc_stats": [ONE], "gc_counts": []},
        {"gc_stats": [ONE], "gc_counts": [True]},
        {"gc_stats": [ONE], "gc_counts": [-1]},
        {"gc_stats": [ONE], "gc_counts": [1 << 63]},
        {"gc_stats": [ONE], "gc_counts": [1.0]},
        {"gc_stats": [ONE] * 9, "gc_counts": [1]},
        {"gc_stats": [ONE], "gc_counts": [1] * 9},
        {"gc_stats": ONE, "gc_counts": [1]},
        {"gc_stats": [{}], "gc_counts": [1]},
        {"gc_stats": [{**ONE, "collected": None}], "gc_counts": [1]},
        {"gc_stats": ["abc"], "gc_counts": [1]},
        {"heap_blocks": "7", "heap_traced": 1.5},
        {"heap_blocks": 1 << 70, "heap_traced": False},
    ],
)
def test_garbage_is_none(found: Any) -> None:
    assert check_inside(found) == Inside(None, None, None)


# Without /proc


def test_psutil_tells_about_the_same(isolator: ProcessIsolator, monkeypatch: pytest.MonkeyPatch) -> None:
    call(isolator, "fork")
    call(isolator, "take_memory", 40 * MIB)
    by_proc = used(isolator)
    monkeypatch.setenv("PIACTORS_PORTABLE", "procfs")
    assert not process_stats.reads_procfs()
    by_psutil = used(isolator)
    for name in ("pid", "threads", "descriptors", "children"):
        assert getattr(by_psutil, name) == getattr(by_proc, name), name
    assert by_psutil.tree.processes == by_proc.tree.processes == 2
    for name in ("started", "rss", "vms", "pss", "uss"):
        assert getattr(by_psutil, name) == pytest.approx(getattr(by_proc, name), rel=0.1), name
    assert by_psutil.user == pytest.approx(by_proc.user, abs=0.1)
    assert by_psutil.tree.rss == pytest.approx(by_proc.tree.rss, rel=0.1)
    assert answered(isolator).gc is not None


def test_single_readings_by_psutil_are_about_the_same(
    isolator: ProcessIsolator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = isolator.pid
    assert pid is not None
    child = call(isolator, "fork")

    def readings() -> dict[str, Any]:
        found = process_stats.stat(pid)
        assert found is not None
        return {
            "ppid": found.ppid,
            "ticks": found.start_ticks // 10,
            "children": process_stats.children(pid),
            "trees": process_stats.trees([pid, child]),
            "tree": process_stats.tree(pid),
            "command": process_stats.command(pid),
            "fds": process_stats.descriptors(pid),
            "io": process_stats.transferred(pid),
        }

    wait_until(lambda: _state(pid) == "S" and readings() == readings())  # it may have something to do after its answer
    by_proc, resident = readings(), process_stats.resident(pid)
    assert by_proc["trees"] == {pid: [pid, child], child: [child]}
    clock = process_stats.cpu_clock(pid)
    assert clock is None or 0 < clock < 60
    monkeypatch.setenv("PIACTORS_PORTABLE", "procfs")
    by_psutil = process_stats.cpu_clock(pid)
    assert clock is not None
    assert by_psutil == pytest.approx(clock, abs=0.2)
    by_psutil = readings()
    assert abs(by_psutil.pop("ticks") - by_proc.pop("ticks")) <= 10
    assert by_psutil == by_proc
    assert process_stats.resident(pid) == pytest.approx(resident, rel=0.1)
    wait_until(lambda: _state(pid) == "S")


def _state(pid: int) -> str:
    found = process_stats.stat(pid)
    assert found is not None
    return found.state


# All isolates


def test_a_snapshot_has_each_isolate_by_its_name(tmp_path: Path) -> None:
    isolators = [ProcessIsolator(name=f"snap-{number}").start() for number in range(3)]
    call(isolators[1], "fork")
    found = snapshot()
    assert {name: entry.pid for name, entry in found.items()} == {one.name: one.pid for one in isolators}
    assert [found[f"snap-{number}"].children for number in range(3)] == [0, 1, 0]
    wait_until(lambda: all(entry.gc is not None for entry in snapshot().values()))
    isolators[0].terminate()
    assert set(snapshot()) == {"snap-1", "snap-2"}


def test_a_snapshot_waits_once_for_all_that_do_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_ANSWER_SECONDS", 1.0)
    isolators = [ProcessIsolator(name=f"deaf-{number}").start() for number in range(4)]
    for number, one in enumerate(isolators[:3]):
        folder = tmp_path / str(number)
        folder.mkdir()
        hold_the_gil(one, folder)
    began = time.monotonic()
    found = snapshot()
    assert time.monotonic() - began < 2.8
    assert [found[f"deaf-{number}"].gc for number in range(3)] == [None] * 3
    monkeypatch.undo()
    wait_until(lambda: snapshot()["deaf-3"].gc is not None)
    for one in isolators:
        one.terminate()


def test_isolates_of_one_name_are_all_there() -> None:
    isolators = [ProcessIsolator(name="twin").start() for _ in range(2)]
    found = snapshot()
    assert {entry.pid for entry in found.values()} == {one.pid for one in isolators}
    assert len([name for name in found if name.startswith("twin#")]) == 1


def test_a_snapshot_by_psutil(isolator: ProcessIsolator, monkeypatch: pytest.MonkeyPatch) -> None:
    call(isolator, "fork")
    monkeypatch.setenv("PIACTORS_PORTABLE", "procfs")
    (found,) = snapshot().values()
    assert (found.pid, found.children) == (isolator.pid, 1)


# Over time


def test_the_first_question_for_a_history_takes_one_sample(isolator: ProcessIsolator) -> None:
    assert not isolator.ref._history._samples
    before = time.time()
    (sample,) = isolator.usage_history()
    assert isinstance(sample, UsageSample)
    assert before <= sample.time <= time.time()
    assert (sample.pid, sample.generation, sample.processes) == (isolator.pid, 1, 1)
    assert sample.rss == sample.tree_rss > MIB


def test_a_history_goes_on_by_the_second(isolator: ProcessIsolator) -> None:
    isolator.usage_history()
    call(isolator, "fork")
    found = wait_until(lambda: found if len(found := isolator.usage_history()) >= 3 else None)
    assert found is not None
    gaps = [later.time - earlier.time for earlier, later in itertools.pairwise(found)]
    assert all(0.5 < gap < 1.5 for gap in gaps), gaps
    assert found[-1].processes == 2
    assert found[-1].tree_rss > found[-1].rss


def test_a_history_outlives_a_restart() -> None:
    with ProcessIsolator(IsolationOptions(restart="permanent")) as isolator:
        (first,) = isolator.usage_history()
        isolator.invoke_method("tests.limits.using:crash")
        wait_until(lambda: isolator.usage_history()[-1].generation == 2)
        last = isolator.usage_history()[-1]
        assert (first.generation, last.generation) == (1, 2)
        assert last.pid == isolator.pid != first.pid
        assert isolator.usage_history()[0] == first


def test_a_history_outlives_the_end_of_a_child_that_its_supervisor_starts_again() -> None:
    """Such a child is another isolate behind the same ref."""
    with Supervisor.start(children=[ChildSpec("worker", Worker)]) as tree:
        ref = tree.child("worker")
        (first,) = ref.usage_history()
        isolate = ref._isolate
        tree.terminate_child("worker")
        tree.restart_child("worker")
        assert ref._isolate is not isolate
        wait_until(lambda: len(ref.usage_history()) >= 2)
        found = ref.usage_history()
        assert (found[0], found[-1].generation) == (first, 2)


def test_nothing_is_sampled_for_those_who_were_not_asked(isolator: ProcessIsolator) -> None:
    with ProcessIsolator() as other:
        isolator.usage_history()
        wait_until(lambda: len(isolator.usage_history()) >= 2)
        assert not other.ref._history._samples


def test_the_sampler_stops_with_the_last_isolate_that_has_a_history() -> None:
    with ProcessIsolator() as isolator:
        isolator.usage_history()
        wait_until(lambda: sampling._sampler is not None and sampling._sampler._due is not None)
    assert sampling._sampler is not None
    kept = isolator.usage_history()
    assert kept
    wait_until(lambda: sampling._sampler is not None and sampling._sampler._due is None)
    assert isolator.usage_history() == kept
    assert sampling._sampler._due is None


def test_a_history_has_an_end(isolator: ProcessIsolator) -> None:
    (sample,) = isolator.usage_history()
    for number in range(400):
        isolator.ref._history.add(attrs.evolve(sample, time=float(number)))
    found = isolator.usage_history()
    assert len(found) == sampling.SAMPLES == 300
    assert [entry.time for entry in found][-1] == 399.0


def test_usage_offers_what_it_says() -> None:
    assert all(hasattr(usage, name) for name in usage.__all__)
