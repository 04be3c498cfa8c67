"""A default time-out that a program sets for its sockets concerns no socket of piactors."""

from __future__ import annotations

import ast
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import piactors
from piactors import IsolationOptions
from piactors._host import runtime
from tests.children.impatient import Impatient
from tests.support import wait_until

socket.setdefaulttimeout(None)  # what the import of Impatient has set is not for all the tests of this process

SECONDS = 0.05
"""Of the default; what happens here takes longer."""
LARGE = b"x" * (4 << 20)


@pytest.fixture
def in_host(who: str) -> Iterator[bool]:
    runtime.end_current()  # so that the launcher starts under it, too
    socket.setdefaulttimeout(SECONDS if who == "the host" else None)
    yield who == "the host"
    socket.setdefaulttimeout(None)
    runtime.end_current()


@pytest.mark.parametrize("who", ["the host", "a module of preload", "isolated code"])
def test_all_goes_on_whoever_has_set_one(way: IsolationOptions, in_host: bool, who: str) -> None:
    """Isolated code sets one in each case."""
    preload = ("tests.children.impatient",) if who == "a module of preload" else ()
    options = attrs.evolve(way, preload=preload, restart="permanent")
    ref = Impatient.with_options(options).start()
    actor = ref.proxy()
    assert actor.default().get(timeout=20) == SECONDS  # the isolated code has its own all the same
    for _ in range(2):
        time.sleep(2 * SECONDS)  # nobody says anything for longer than the time-out
        assert actor.give(1).get(timeout=20) == 1
        assert actor.give(2, 3 * SECONDS).get(timeout=20) == 2
        assert actor.give(LARGE).get(timeout=20) == LARGE
        assert actor.give_later(3).get(timeout=20) == 3
        assert actor.ask_itself().get(timeout=20).get(timeout=20) == "itself"
        assert ref._isolate.control("ping").get(timeout=20) == ref.pid
        generation = ref.generation
        ref._isolate.process.kill()  # type: ignore[union-attr]
        wait_until(lambda generation=generation: ref.generation > generation)  # type: ignore[misc]
    second = piactors.spawn("tests.children.plain:give", options=options)
    assert second.proxy().call(LARGE).get(timeout=20) == LARGE
    ref.stop()
    second.stop()


def test_every_socket_is_told_how_to_wait() -> None:
    """What makes or wraps a socket says how it waits, in the same function or in the class that it goes to."""
    package = Path(piactors.__file__).parent
    silent = []
    for path in package.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef) and "socket" in made_in(function) - told_in(function):
                silent.append(f"{path.relative_to(package)}:{function.name}")
    # That of `handed` is the user's own, and waits as in the host; a FrameStream and a Launcher tell the others, and
    # `direct.prepare` those of direct channels, at either end.
    expected = [
        "_isolate/direct.py:open",
        "pihost/fork/launcher.py:main",
        "pihost/memory/handed.py:rebuilt_socket",
        "pihost/serve/direct.py:open",
        "pihost/serve/isolate.py:__init__",
        "pihost/values/ways.py:_socket",
    ]
    assert sorted(silent) == expected


def made_in(function: ast.FunctionDef) -> set[str]:
    """Return ``socket`` where a function makes a socket."""
    makers = {"socket", "socketpair", "fromfd", "create_connection", "create_server", "accept"}
    calls = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
    return {"socket" for call in calls if isinstance(call, ast.Attribute) and call.attr in makers}


def told_in(function: ast.FunctionDef) -> set[str]:
    """Return ``socket`` where a function tells a socket how to wait."""
    return {"socket" for node in ast.walk(function) if isinstance(node, ast.Attribute) and node.attr == "setblocking"}
