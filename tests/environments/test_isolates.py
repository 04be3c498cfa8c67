"""Isolates in environments: started, restarted, replaced, in trees, awaited."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

import piactors
from piactors import ChildSpec, IsolationOptions, ProcessIsolator, Supervisor
from piactors.environments import BuildFailed, EnvironmentSpec, EnvironmentStore
from tests.environments.conftest import SECONDS
from tests.support import wait_until

Spec = Callable[..., EnvironmentSpec]
VERSION = "importlib.metadata:version"


@pytest.fixture(autouse=True)
def usual_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnvironmentStore:
    monkeypatch.setenv("PIACTORS_ENVIRONMENTS", str(tmp_path / "usual"))
    return EnvironmentStore()


def options(environment: object, **fields: object) -> IsolationOptions:
    return IsolationOptions(environment=environment, **fields)  # type: ignore[arg-type]


def test_two_versions_at_once(spec: Spec) -> None:
    with ProcessIsolator(options(spec("blue==1.0"))) as old, ProcessIsolator(options(spec("blue==2.0"))) as new:
        assert [one.invoke_method(VERSION, "blue").get(timeout=SECONDS) for one in (old, new)] == ["1.0", "2.0"]


def test_one_that_was_prepared_before(spec: Spec) -> None:
    found = EnvironmentStore().prepare(spec("blue", python="3.9")).get(timeout=SECONDS)
    with ProcessIsolator(options(found)) as isolator:
        assert isolator.invoke_method("platform:python_version").get(timeout=SECONDS).startswith("3.9.")
        assert isolator.invoke_method(VERSION, "blue").get(timeout=SECONDS) == "2.0"


def test_a_restart_has_the_same_environment(spec: Spec) -> None:
    ref = piactors.spawn(VERSION, options=options(spec("blue==1.1"), restart="permanent"))
    assert ref.proxy().call("blue").get(timeout=SECONDS) == "1.1"
    ref.terminate()
    ref = piactors.spawn(VERSION, options=options(spec("blue==1.1"), restart="permanent"))
    assert ref.proxy().call("blue").get(timeout=SECONDS) == "1.1"


def test_a_version_takes_over_between_two_calls(spec: Spec) -> None:
    ref = piactors.spawn(VERSION, options=options(spec("blue==1.0")))
    assert ref.proxy().call("blue").get(timeout=SECONDS) == "1.0"
    ref.replace(VERSION, options=options(spec("blue==2.0"))).get(timeout=SECONDS)
    assert ref.proxy().call("blue").get(timeout=SECONDS) == "2.0"


def test_in_a_tree(spec: Spec) -> None:
    children = [
        ChildSpec(f"v{version}", VERSION, options=options(spec(f"blue=={version}"))) for version in ("1.0", "2.0")
    ]
    tree = Supervisor.start(children=children)
    found = [tree.child(child.id).proxy().call("blue").get(timeout=SECONDS) for child in children]
    assert found == ["1.0", "2.0"]
    more = tree.start_child(ChildSpec("v1.1", VERSION, options=options(spec("blue==1.1"))))
    assert more.proxy().call("blue").get(timeout=SECONDS) == "1.1"
    tree.stop()


def test_a_tree_whose_environment_cannot_be_made(spec: Spec) -> None:
    with pytest.raises(BuildFailed, match="purple"):
        Supervisor.start(children=[ChildSpec("odd", VERSION, options=options(spec("purple")))])


def test_an_environment_that_cannot_be_made(spec: Spec) -> None:
    with pytest.raises(BuildFailed, match="purple"):
        piactors.spawn(VERSION, options=options(spec("purple")))


def test_the_loop_runs_while_it_is_built(spec: Spec) -> None:
    async def main() -> tuple[int, list[str]]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        ticking = asyncio.ensure_future(tick())
        ref = await piactors.spawn_async(VERSION, options=options(spec("blue==1.0")))
        tree = await Supervisor.start_async(children=[])
        child = await tree.start_child_async(ChildSpec("a", VERSION, options=options(spec("blue==1.1"))))
        async with ProcessIsolator(options(spec("blue==2.0"))) as isolator:
            third = await isolator.invoke_method(VERSION, "blue")
        found = [await ref.proxy().call("blue"), await child.proxy().call("blue"), third]
        ticking.cancel()
        tree.stop(block=False)
        return ticks, found

    ticks, found = asyncio.run(main())
    assert found == ["1.0", "1.1", "2.0"]
    assert ticks > 50


def test_it_is_in_use_as_long_as_isolates_are_in_it(spec: Spec, usual_store: EnvironmentStore) -> None:
    isolators = [ProcessIsolator(options(spec("blue"))).start() for _ in range(3)]
    eager = EnvironmentStore(usual_store.root, max_unused=0)
    assert eager.collect() == 0
    for isolator in isolators:
        isolator.terminate()
    del isolator, isolators
    wait_until(lambda: gc.collect() >= 0 and eager.collect())


def test_an_interpreter_besides_is_refused(spec: Spec) -> None:
    with pytest.raises(ValueError, match="an environment has an interpreter of its own"):
        options(spec("blue"), python="/usr/bin/python3")
    found = EnvironmentStore().prepare(spec("blue")).get(timeout=SECONDS)
    assert attrs.evolve(options(found), python=found.python).python == found.python
    with pytest.raises(TypeError, match="an EnvironmentSpec or an Environment"):
        options("blue==1.0")
