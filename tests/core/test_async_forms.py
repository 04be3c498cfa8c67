"""Starts, stops and the calls of supervisors, awaited: the loop runs on, and a cancelled one leaves nothing."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import piactors
from piactors import ChildAlreadyStarted, ChildSpec, ProcessIsolator, StartError, Supervisor
from piactors._future import waiting
from tests.children.waits import BadStart, Bare, SlowToStart, Waiter
from tests.support import pid_gone, wait_until

PATIENCE = 20


async def until(predicate: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not predicate():
            await asyncio.sleep(0.005)


async def while_it_waits(path: Path, start: Awaitable[Any]) -> Any:
    """Return what a start comes to that ends only if the loop goes on, since that makes the file it waits for."""
    task = asyncio.ensure_future(start)
    await until(Path(f"{path}.begun").exists)
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("asyncio_")]
    assert threads == []  # no thread of the loop's executor waits for it
    assert not task.done()
    path.touch()
    return await asyncio.wait_for(task, PATIENCE)


async def cancelled(path: Path, start: Awaitable[Any]) -> None:
    """Cancel a start that waits for a file."""
    task = asyncio.ensure_future(start)
    await until(Path(f"{path}.begun").exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def slow_spec(path: Path, id: str = "slow") -> ChildSpec:
    return ChildSpec(id, SlowToStart, args=(str(path),))


STARTS: dict[str, Callable[[str], Awaitable[Any]]] = {
    "actor": lambda path: SlowToStart.start_async(path),
    "with_options": lambda path: SlowToStart.with_options(name="x").start_async(path),
    "supervisor": lambda path: Supervisor.start_async(children=[slow_spec(Path(path))]),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["actor", "with_options", "supervisor"])
async def test_the_loop_runs_while_it_starts(way: str, tmp_path: Path) -> None:
    path = tmp_path / "go"
    ref = await while_it_waits(path, STARTS[way](str(path)))
    assert ref.state == "running"
    assert await ref.stop_async() is True
    assert await ref.stop_async() is False
    assert ref.state == "stopped"


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["actor", "with_options", "supervisor"])
async def test_a_cancelled_start_leaves_nothing(way: str, tmp_path: Path) -> None:
    path, before = tmp_path / "go", set(pykka.ActorRegistry.get_all())
    await cancelled(path, STARTS[way](str(path)))
    await until(lambda: set(pykka.ActorRegistry.get_all()) == before)


@pytest.mark.asyncio
async def test_a_start_that_fails_raises_what_start_raises() -> None:
    for start in (BadStart.start_async(), Supervisor.start_async(children=[ChildSpec("bad", BadStart)])):
        with pytest.raises(StartError) as caught:
            await start
        assert isinstance(caught.value.__cause__, KeyError)
    for refused in (Bare.start_async(restart="permanent"), piactors.spawn_async("nonsense")):
        with pytest.raises((TypeError, piactors.InvalidTarget)):
            await refused
    with pytest.raises(piactors.InvalidTarget):
        await piactors.spawn_async("tests.children.plain:nothing_of_that_name")


@pytest.mark.asyncio
async def test_spawn_async_hosts_what_spawn_hosts() -> None:
    ref = await piactors.spawn_async("tests.children.plain:Tally", 10)
    assert await ref.proxy().up() == 11
    function = await piactors.spawn_async(len)
    assert await function.proxy().call("abc") == 3


@pytest.mark.asyncio
async def test_an_isolator_starts_and_exits_in_a_loop() -> None:
    isolator = await ProcessIsolator().start_async()
    with pytest.raises(piactors.PiactorsError, match="started before"):
        await isolator.start_async()
    assert await isolator.invoke_method("math:factorial", 4) == 24
    assert (await isolator.exit_async("done")).kind == "shutdown"
    assert (await isolator.exit_async()).kind == "shutdown"
    assert not isolator.is_alive
    async with ProcessIsolator() as other:
        pid = other.pid
    assert pid is not None
    assert pid_gone(pid)


@pytest.mark.asyncio
async def test_a_cancelled_block_ends_its_isolator_at_once() -> None:
    pids: list[int | None] = []

    async def block() -> None:
        async with ProcessIsolator() as isolator:
            pids.append(isolator.pid)
            await isolator.invoke_method("time:sleep", 1000)

    task = asyncio.ensure_future(block())
    await until(lambda: pids)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    assert pids[0] is not None
    assert pid_gone(pids[0])


@pytest.mark.asyncio
async def test_a_cancelled_stop_goes_on(tmp_path: Path) -> None:
    ref = await Waiter.start_async()
    call = ref.proxy().when_there(str(tmp_path / "go"), 1)
    await until(call.running)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ref.stop_async(), 0.05)
    assert ref.state == "stopping"
    (tmp_path / "go").touch()
    assert await call == 1
    await until(lambda: ref.state == "stopped")


@pytest.mark.asyncio
async def test_children_come_and_go_while_the_loop_runs(tmp_path: Path) -> None:
    path = tmp_path / "go"
    async with await Supervisor.start_async(children=[ChildSpec("a", Waiter)]) as tree:
        ref = await while_it_waits(path, tree.start_child_async(slow_spec(path)))
        assert ref.state == "running"
        with pytest.raises(ChildAlreadyStarted):
            await tree.start_child_async(slow_spec(path))
        await tree.terminate_child_async("slow")
        assert ref.state == "stopped"
        path.unlink()
        Path(f"{path}.begun").unlink()
        assert await while_it_waits(path, tree.restart_child_async("slow")) is ref
        assert ref.generation == 2
        await tree.terminate_child_async(ref)
        with pytest.raises(piactors.ChildNotFound):
            await tree.terminate_child_async("nobody")
    assert tree.state == "stopped"


@pytest.mark.asyncio
async def test_a_cancelled_call_of_a_supervisor_leaves_its_child_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "go"
    tree = await Supervisor.start_async(children=[ChildSpec("a", Waiter)])
    await cancelled(path, tree.start_child_async(slow_spec(path)))
    await until(lambda: [child.id for child in tree.which_children()] == ["a"])

    task = asyncio.ensure_future(tree.start_child_async(ChildSpec("a", Waiter)))  # there is one of that id
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises((asyncio.CancelledError, ChildAlreadyStarted)):
        await task
    assert [(child.id, child.state) for child in tree.which_children()] == [("a", "running")]

    path.touch()
    await tree.start_child_async(slow_spec(path))
    await tree.terminate_child_async("slow")
    path.unlink()
    Path(f"{path}.begun").unlink()
    await cancelled(path, tree.restart_child_async("slow"))
    path.touch()
    await until(lambda: {child.id: child.state for child in tree.which_children()}["slow"] == "stopped")
    await tree.stop_async()


def test_a_start_that_blocks_a_loop_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: dict[str, Callable[[], Any]] = {
        "await Waiter.start_async()": Waiter.start,
        "await spawn_async()": lambda: piactors.spawn(len),
        "await isolator.start_async()": lambda: ProcessIsolator().start().ref,
        "await Supervisor.start_async()": lambda: Supervisor.start(children=[]),
    }

    async def main(start: Callable[[], Any]) -> list[warnings.WarningMessage]:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for _ in range(2):
                await start().stop_async()
        return told

    for said, start in starts.items():
        monkeypatch.setattr(waiting, "_warned", False)
        (warning,) = asyncio.run(main(start))
        assert warning.category is RuntimeWarning
        assert said in str(warning.message)
        assert warning.filename == __file__
    monkeypatch.setattr(waiting, "_warned", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wait_until(lambda: Waiter.start().stop())  # in a thread without a loop
