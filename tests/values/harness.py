"""What the programs of the matrix do when they run: try each kind in each way, and tell what came of it.

Programs made by `tests.values.matrix` import this; isolates import it too, for `Runner`.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pykka

import piactors
from tests.values.kinds import OTHER_VERSION, REFUSED, REMOTE, WORKS

_ENOUGH = 10.0
_HANGS = 12.0
_SHOWN = 300
_MISSING: type[BaseException] = type("NoSuchClassYet", (Exception,), {})
NOT_SENDABLE: type[BaseException] = getattr(piactors, "NotSendable", _MISSING)
"""Looked up by name: a program that runs against a version without it tells what happens there."""

Run = Callable[..., Any]
Attempt = Callable[[], tuple[Any, bool]]


class Carrier(Exception):
    """Carries a value out of a function that raises."""


class Runner(piactors.ProcessActor):
    """Runs in an isolate what it is given."""

    def run(self, function: Run, *args: Any) -> Any:
        """Call a function here."""
        return function(*args)


@contextlib.contextmanager
def isolated() -> Any:
    """Give what runs a function in an isolate, which is one for all calls, and started anew if it dies."""
    ref = Runner.with_options(restart="permanent", max_restarts=None, call_timeout=_ENOUGH).start()
    proxy = ref.proxy()
    try:
        yield lambda function, *args: proxy.run(function, *args).get(timeout=_ENOUGH)
    finally:
        ref.terminate()


@contextlib.contextmanager
def direct() -> Any:
    """Give what runs a function here: the oracle."""
    yield lambda function, *args: function(*args)


def outcome(attempt: Attempt, sees: str) -> str:
    """Return the one outcome of an attempt, in the words of the matrix, or what went wrong; it always returns."""
    found = [f"hangs for more than {_HANGS} seconds"]

    def try_it() -> None:
        found[0] = _outcome(attempt, sees)

    # A thread of its own, as a value that locks for ever would otherwise take the rest of the matrix with it.
    thread = threading.Thread(target=try_it, daemon=True)
    thread.start()
    thread.join(_HANGS)
    return found[0]


def _outcome(attempt: Attempt, sees: str) -> str:
    try:
        seen, own = attempt()
    except BaseException as error:
        return _of_error(error)
    if repr(seen) != sees:
        return f"saw {seen!r} instead of {sees}"[:_SHOWN]
    return WORKS if own is True else f"another class or object: {own!r}"[:_SHOWN]


def _of_error(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, NOT_SENDABLE):
        return OTHER_VERSION if "version" in text else REFUSED
    if isinstance(error, piactors.RemoteError):
        return REMOTE if Carrier.__name__ in error.type_name else f"RemoteError of {error.type_name}: {text}"[:_SHOWN]
    return f"{type(error).__name__}: {text}"[:_SHOWN]


def attempts(names: Mapping[str, Any], number: int, run: Run) -> dict[str, Attempt]:
    """Return how to try one kind in each way; `names` are those of the place that it is defined in."""

    def looked(value: Any) -> tuple[Any, bool]:
        return names[f"look_{number}"](value), names[f"own_{number}"](value)

    def exception() -> tuple[Any, bool]:
        try:
            run(names[f"in_exception_{number}"])
        except Carrier as error:
            return looked(error.args[0])
        return "nothing was raised", False

    return {
        "argument": lambda: run(names[f"from_argument_{number}"], names[f"VALUE_{number}"]),
        "result": lambda: looked(run(names[f"as_result_{number}"])),
        "exception": exception,
        "global": lambda: run(names[f"from_global_{number}"]),
        "default": lambda: run(names[f"from_default_{number}"]),
    }


def tell(names: Mapping[str, Any], plan: str, mode: str) -> None:
    """Try what the plan says, and write the outcomes as JSON beside it.

    Args:
        names: where the definitions stand, by name.
        plan: a file of JSON: number, ways and what is seen of each kind.
        mode: ``"isolated"``, ``"direct"``, or the path of another interpreter.
    """
    rows = json.loads(Path(plan).read_text())
    if mode in ("isolated", "direct"):
        with isolated() if mode == "isolated" else direct() as run:
            found = {
                f"{number} {way}": outcome(attempts(names, number, run)[way], sees)
                for number, ways, sees in rows
                for way in ways
            }
    else:
        found = _elsewhere(names, rows, mode, str(Path(plan).with_name("looks.py")))
    pykka.ActorRegistry.stop_all(timeout=_ENOUGH)
    Path(plan).with_suffix(".found").write_text(json.dumps(found))  # not to stdout, which is itself sent around
    if threading.active_count() > 20:
        os._exit(0)  # what hangs may hold a lock that the end of the interpreter wants


def _elsewhere(names: Mapping[str, Any], rows: Any, python: str, file: str) -> dict[str, str]:
    options = piactors.IsolationOptions(
        python=python, restart="permanent", max_restarts=None, call_timeout=_ENOUGH, start_timeout=50
    )
    ref = piactors.spawn(f"{file}:Looks", options=options)
    proxy = ref.proxy()

    def attempt(number: int) -> tuple[Any, bool]:
        return proxy.look(number, names[f"VALUE_{number}"]).get(timeout=_ENOUGH), True

    found = {f"{number} argument": outcome(lambda n=number: attempt(n), sees) for number, _, sees in rows}
    ref.terminate()
    return found
