"""What programs of others rely on: each public name, with its signature, as it was recorded; new ones are listed."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.contract import surface

RECORDED = Path(__file__).with_name("surface.txt").read_text().splitlines()
ADDED = [
    "CallProxy.amap(self, items: 'Iterable[Any]', *, window: 'int' = 256, return_exceptions: 'bool' = False) "
    "-> 'AsyncIterator[T_co]'",
    "CallProxy.map(self, items: 'Iterable[Any]', *, window: 'int' = 256, ordered: 'bool' = True, "
    "return_exceptions: 'bool' = False) -> 'Iterator[T_co]'",
    "IsolateRef.recycle(self) -> 'Future[int]'",
    "IsolateRef.replace(self, target: 'object', /, *args: 'Any', options: 'IsolationOptions | None' = None, "
    "**kwargs: 'Any') -> 'Future[int]'",
    "SupervisorRef.replace_child(self, spec: 'ChildSpec') -> 'Future[int]'",
    "events.CallInfo(isolate: 'str', call: 'str') -> None",
    "events.Instrument(*args, **kwargs)",
    "events.Instrument.call_sent(self, call: 'CallInfo') -> 'None'",
    "events.Instrument.call_settled(self, call: 'CallInfo', outcome: 'CallOutcome', seconds: 'float') -> 'None'",
    "events.instrument(new: 'Instrument') -> 'Callable[[], None]'",
]
"""Since then."""
OTHERWISE = {
    "Future.result(self, timeout: 'float | None' = None) -> 'Any'": (
        "Future.result(self, timeout: 'float | None' = None) -> 'T'"
    ),
    "testing.Lab.runner(self, spec: 'ChildSpec', link: 'Link') -> 'Runner'": (
        "testing.Lab.runner(self, spec: 'ChildSpec', link: 'ChildLink') -> 'Runner'"
    ),
}
"""Recorded, and now: annotations alone, of which programs that run see nothing."""


def test_nothing_is_missing_or_otherwise() -> None:
    """Parameters, their kinds, defaults and types, and what is returned."""
    assert [line for line in RECORDED if OTHERWISE.get(line, line) not in surface.lines()] == []


def test_what_is_new_is_listed() -> None:
    """So that nothing becomes public by accident."""
    new = [line for line in surface.lines() if line not in RECORDED]
    assert new == sorted([*ADDED, *OTHERWISE.values()])


def test_this_folder_uses_public_names_alone() -> None:
    """What it holds must stay true of any state of the package, so it may not know the inside of one."""
    assert [use for file in sorted(Path(__file__).parent.glob("*.py")) for use in _private_uses(file)] == []


def _private_uses(file: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "os"):
            names = [node.attr]
        for name in names:
            parts = [part for part in name.split(".") if not part.startswith("__")]
            if any(part.startswith("_") for part in parts):
                found.append(f"{file.name}:{node.lineno}: {name}")
    return found
