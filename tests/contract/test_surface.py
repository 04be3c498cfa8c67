"""What programs of others rely on: each public name, with its signature, as it was recorded; new ones are listed."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.contract import surface

RECORDED = Path(__file__).with_name("surface.txt").read_text().splitlines()
ADDED = [
    "detached() -> 'Iterator[None]'",
    "Topic(name: 'str', *, buffer: 'int' = 1000, overflow: \"Literal['drop_oldest', 'latest', 'block', 'fail']\" = "
    "'drop_oldest') -> 'None'",
    "Topic.publish(self, value: 'T') -> 'None'",
    "Topic.stream(self) -> 'Publications[T]'",
    "Topic.subscribe(self, ref: 'IsolateRef[Any]', method: 'str') -> 'None'",
    "Topic.subscribers(self) -> 'dict[str, int]'",
    "Topic.unsubscribe(self, ref: 'IsolateRef[Any]', method: 'str') -> 'bool'",
    "Moved",
    "Stream(reach: 'StreamReach | None' = None, origin: 'Any' = None, timeout: 'float | None' = None, "
    "window: 'tuple[int, int]' = (16, 4194304)) -> 'None'",
    "Stream.aclose(self) -> 'None'",
    "Stream.close(self) -> 'None'",
    "Stream.get_next(self, timeout: 'float | None' = None) -> 'T'",
    "stream(items: 'Iterable[Any] | AsyncIterable[Any]', *, window: 'int' = 16, window_bytes: 'int | str' = '4 MiB', "
    "run: \"Literal['caller'] | Executor | None\" = None) -> 'LentItems'",
    "stream_options(*, window: 'int' = 16, window_bytes: 'int | str' = '4 MiB', exclusive: 'bool' = False, "
    "batch: \"int | Literal['auto']\" = 'auto') -> 'Callable[[F], F]'",
    "Timer(clock: 'SetsTimers', number: 'int', method: 'str') -> 'None'",
    "Timer.cancel(self) -> 'bool'",
    "ProcessActor.after(self, seconds: 'float', method: 'str | Callable[..., Any]', *args: 'Any') -> 'Timer'",
    "ProcessActor.every(self, seconds: 'float', method: 'str | Callable[..., Any]', *args: 'Any', "
    "coalesce: 'bool' = True, persistent: 'bool' = False) -> 'Timer'",
    "CurrentCall(id: 'int', deadline: 'float') -> None",
    "CurrentCall.cancelled: property",
    "CurrentCall.remaining(self) -> 'float'",
    "cancelled() -> 'bool'",
    "current_call() -> 'CurrentCall | None'",
    "deadline(seconds: 'float') -> 'Iterator[None]'",
    "DeadlockError(message: 'str', **fields: 'Any') -> 'None'",
    "Handle",
    "Handle.holders(self) -> 'tuple[str, ...]'",
    "Handle.release(self) -> 'None'",
    "IsolateRef.restrict(self, methods: 'Iterable[str] | None' = None, *, stop: 'bool' = False, "
    "call_timeout: 'float | None' = None, calls_per_second: 'float | None' = None, expires: 'float | None' = None) "
    "-> 'IsolateRef[A_co]'",
    "IsolateRef.revoke(self) -> 'None'",
    "NameTaken",
    "NoCaller",
    "NotPermitted",
    "Promise() -> 'None'",
    "Promise.writer: property",
    "Released",
    "Revoked",
    "TooManyLoans",
    "by_ref(obj: 'Any' = ..., *, methods: 'Iterable[str] | None' = None, run: 'Where | Executor' = ...) "
    "-> 'Handle | ByRef'",
    "CallProxy.amap(self, items: 'Iterable[Any]', *, window: 'int' = 256, return_exceptions: 'bool' = False) "
    "-> 'AsyncIterator[T_co]'",
    "CallProxy.map(self, items: 'Iterable[Any]', *, window: 'int' = 256, ordered: 'bool' = True, "
    "return_exceptions: 'bool' = False) -> 'Iterator[T_co]'",
    "Future.call(self, name: 'str', /, *args: 'Any', **kwargs: 'Any') -> 'Future[Any]'",
    "named(name: 'str') -> 'NamedRef'",
    "reentrant(method: 'F') -> 'F'",
    "register(name: 'str', ref: 'pykka.ActorRef[Any]') -> 'None'",
    "unregister(name: 'str') -> 'None'",
    "whereis(name: 'str') -> 'pykka.ActorRef[Any] | None'",
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
    "CallProxy.with_options(self, *, call_timeout: 'float | None' = None, retries: 'int' = 0) "
    "-> 'CallProxy[P, T_co]'": (
        "CallProxy.with_options(self, *, call_timeout: 'float | None' = None, retries: 'int' = 0, "
        "timeout: 'float | None' = None, direct: 'bool | None' = None) -> 'CallProxy[P, T_co]'"
    ),
    "Future.cancel(self) -> 'bool'": "Future.cancel(self, kill_after: 'float | None' = None) -> 'bool'",
    "Future.result(self, timeout: 'float | None' = None) -> 'Any'": (
        "Future.result(self, timeout: 'float | None' = None) -> 'T'"
    ),
    "testing.Lab.runner(self, spec: 'ChildSpec', link: 'Link') -> 'Runner'": (
        "testing.Lab.runner(self, spec: 'ChildSpec', link: 'ChildLink') -> 'Runner'"
    ),
}
"""Recorded, and now: annotations alone, of which programs that run see nothing; and options that are new."""
for line in RECORDED:
    if line.startswith("IsolationOptions("):
        OTHERWISE[line] = line.replace(
            "overflow:", "channels: 'ChannelKind' = 'auto', on_cycle: 'OnCycle' = 'fail', overflow:"
        ).replace("sys_path:", "environment: 'EnvironmentSpec | PreparedEnvironment | None' = None, sys_path:")
OF_PROMISES = [
    OTHERWISE.get(line, line).replace("Future", "Promise", 1)
    for line in [*RECORDED, *ADDED]
    if line.startswith("Future.")
]
"""What a promise has of a future."""


def test_nothing_is_missing_or_otherwise() -> None:
    """Parameters, their kinds, defaults and types, and what is returned."""
    assert [line for line in RECORDED if OTHERWISE.get(line, line) not in surface.lines()] == []


def test_what_is_new_is_listed() -> None:
    """So that nothing becomes public by accident."""
    new = [line for line in surface.lines() if line not in RECORDED]
    assert new == sorted([*ADDED, *OTHERWISE.values(), *OF_PROMISES])


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
