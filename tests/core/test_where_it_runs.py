"""Event loops, shells, servers and surroundings that `docs/where_it_runs.md` names, tried.

What needs a package that is not installed is skipped: ``pip install -e '.[where]'`` has them.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

import piactors
from piactors import ChildSpec, ProcessIsolator, Supervisor

REPO = Path(__file__).resolve().parents[2]
PATIENCE = 20


class Echo(piactors.ProcessActor):
    def say(self, x: Any) -> Any:
        return x


def need(package: str) -> Any:
    """Return an installed package; skip the test where it is not there."""
    return pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[where]'")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPO), **more}


# Event loops


async def use_all() -> None:
    """What is awaited, awaited."""
    async with ProcessIsolator() as isolator:
        calls = [isolator.invoke_method("math:factorial", n) for n in range(5)]
        assert await asyncio.gather(*calls) == [1, 1, 2, 6, 24]
    ref = await Echo.start_async()
    told: asyncio.Queue[Any] = asyncio.Queue()
    ref.proxy().say(2).add_done_callback(told.put_nowait)
    assert (await asyncio.wait_for(told.get(), PATIENCE)).result() == 2
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(isolator_sleeps(), 0.1)
    assert await ref.stop_async()
    async with await Supervisor.start_async(children=[ChildSpec("echo", Echo)]) as tree:
        assert await tree.child("echo").proxy().say(3) == 3


async def isolator_sleeps() -> None:
    async with ProcessIsolator() as isolator:
        await isolator.invoke_method("time:sleep", 100)


def test_uvloop() -> None:
    uvloop = need("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use_all())


def test_anyio_on_asyncio() -> None:
    need("anyio").run(use_all, backend="asyncio")


REFUSED: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
    "a call": lambda ref, tree: ref.proxy().say(1),
    "start_async": lambda ref, tree: Echo.start_async(),
    "spawn_async": lambda ref, tree: piactors.spawn_async("math:floor"),
    "async with": lambda ref, tree: ProcessIsolator().__aenter__(),
    "Supervisor.start_async": lambda ref, tree: Supervisor.start_async(children=[]),
    "start_child_async": lambda ref, tree: tree.start_child_async(ChildSpec("echo", Echo)),
    "terminate_child_async": lambda ref, tree: tree.terminate_child_async("first"),
    "restart_child_async": lambda ref, tree: tree.restart_child_async("first"),
    "run_async": lambda ref, tree: piactors.run_async(tree),
    "stop_async": lambda ref, tree: ref.stop_async(),
}


@pytest.mark.parametrize("library", ["trio", "anyio", "curio"])
def test_another_event_loop_than_asyncios_is_refused_with_the_way(library: str) -> None:
    """Of whatever is awaited, whether it is done already or not; and nothing has been started then."""
    package = need(library)
    if library == "anyio":
        need("trio")
    in_thread = {"trio": "to_thread.run_sync", "anyio": "to_thread.run_sync", "curio": "run_in_thread"}[library]
    ref, done = Echo.start(), Echo.start().proxy().say(1)
    assert done.get(timeout=PATIENCE) == 1
    tree = Supervisor.start(children=[ChildSpec("first", Echo)])
    before = pykka.ActorRegistry.get_all()

    async def main() -> None:
        for name, make in {"what is done": lambda ref, tree: done, **REFUSED}.items():
            with pytest.raises(RuntimeError, match=r"trio runs here|curio runs here") as caught:
                await make(ref, tree)
            assert {"anyio": "trio.to_thread.run_sync"}.get(library, f"{library}.{in_thread}") in str(caught.value), (
                name
            )
        assert [other for other in pykka.ActorRegistry.get_all() if other not in before] == []
        run = package.run_in_thread if library == "curio" else package.to_thread.run_sync
        another = await run(Echo.start)
        assert await run(another.proxy().say(5).get) == 5

    package.run(main, **({"backend": "trio"} if library == "anyio" else {}))
    tree.stop()


def test_trio_on_top_of_asyncio() -> None:
    """In guest mode both run in one thread; who awaits decides."""
    trio = need("trio")
    ref = Echo.start()

    async def guest() -> str:
        with pytest.raises(RuntimeError, match="trio runs here"):
            await ref.proxy().say(1)
        return "refused"

    async def host() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest, run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda outcome: ended.set_result(outcome.unwrap()),
        )  # fmt: skip
        assert await ref.proxy().say(2) == 2
        assert await asyncio.wait_for(ended, PATIENCE) == "refused"

    asyncio.run(host())


# Ways of running a program

CODE = """\
import os, piactors

class Pair(tuple):
    pass

class Doubler(piactors.ProcessActor):
    def twice(self, x):
        return Pair((add(x, x), os.getpid()))

def add(a, b):
    return a + b

ref = Doubler.start()
found = ref.proxy().twice(21).get(timeout=20)
helper = piactors.spawn(add).proxy()
print("@", found[0], found[1] != os.getpid(), type(found) is Pair, helper.call("a", "b").get(timeout=20))
"""
EXPECTED = "@ 42 True True ab"

DOCTEST = '''"""
>>> import piactors
>>> class Doubler(piactors.ProcessActor):
...     def twice(self, x):
...         return add(x, x)
>>> def add(a, b):
...     return a + b
>>> ref = Doubler.start()
>>> ref.proxy().twice(21).get(timeout=20)
42
>>> piactors.spawn(add).proxy().call("a", "b").get(timeout=20)
'ab'
>>> ref.stop()
True
"""
import doctest
print("@ 42 True True ab" if doctest.testmod(verbose=False).failed == 0 else "failed")
'''
INTERACT = """
import code, sys
lines = iter(open(sys.argv[1]).read().replace("\\n\\n", "\\n\\n\\n").splitlines())
def readline(prompt=""):
    try:
        return next(lines)
    except StopIteration:
        raise EOFError
code.interact(readfunc=readline, local={"__name__": "__main__"})
"""
WAYS: dict[str, list[str]] = {
    "-c": ["-c", CODE],
    "stdin": ["-"],
    "-i": ["-i", "{code}"],
    "typed": ["-i"],
    "-m package": ["-m", "package"],
    "a folder": ["package"],
    "code.interact": ["{interact}", "{code}"],
    "doctest": ["{doctest}"],
    "IPython file": ["-m", "IPython", "{code}"],
    "IPython -i": ["-m", "IPython", "--simple-prompt", "--no-banner", "--quick"],
    "-S": ["-S", "-c", "import sys; sys.path[:0] = {path}\n" + CODE],
    "-I": ["-I", "-c", "import sys; sys.path.insert(0, {repo})\n" + CODE],
    "-OO": ["-OO", "-X", "dev", "-W", "ignore", "{code}"],
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_of_running_a_program(way: str, tmp_path: Path) -> None:
    if way.startswith("IPython"):
        need("IPython")
    files = {"code": CODE, "interact": INTERACT, "doctest": DOCTEST}
    for name, text in files.items():
        (tmp_path / f"{name}_file.py").write_text(text)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(CODE)
    given = {f"{{{name}}}": str(tmp_path / f"{name}_file.py") for name in files}
    given |= {"{path}": repr([str(REPO), *filter(None, sys.path)]), "{repo}": repr(str(REPO))}
    arguments = []
    for text in WAYS[way]:
        for name, value in given.items():
            text = text.replace(name, value)
        arguments.append(text)
    typed = {
        "stdin": CODE,
        "typed": CODE.replace("\n\n", "\n\n\n"),
        "IPython -i": CODE.replace("\n\n", "\n\n\n") + "exit\n",
    }
    done = subprocess.run(
        [sys.executable, *arguments], input=typed.get(way, ""), cwd=tmp_path, capture_output=True, text=True,
        timeout=50, env=environment(IPYTHONDIR=str(tmp_path / "ipython"), PYTHONSTARTUP=""), check=False,
    )  # fmt: skip
    assert EXPECTED in done.stdout, done.stdout + done.stderr
    assert "Error" not in done.stderr, done.stderr
    assert done.returncode == 0
