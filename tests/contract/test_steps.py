"""How much a blocking call costs, counted and not timed: steps of Python, and what an isolate has imported."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from piactors import IsolationOptions, ProcessActor, ProcessIsolator

MOST_IN_HOST = 22
MOST_IN_ISOLATE = 13
MOST_MODULES, MOST_LINES = 55, 9370


class Counting(ProcessActor):
    """Counts what its process does for one call."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: Counter[str] = Counter()

    def echo(self, value: Any) -> Any:
        """Return the value."""
        return value

    def begin(self) -> None:
        """Count from the end of this call on."""
        sys.setprofile(self._count)

    def _count(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self._seen[frame.f_code.co_qualname] += 1

    def end(self) -> dict[str, int]:
        """Return what was counted, without this call and what begins it."""
        sys.setprofile(None)
        found, self._seen = dict(self._seen), Counter()
        return found


@pytest.mark.alone
def test_steps_in_the_host() -> None:
    """The least of some calls: whether a thread has to be woken is a matter of chance."""
    ref = Counting.start()
    method = ref.proxy().echo
    for number in range(200):
        method(number).get()
    least: Counter[str] = Counter({"": sys.maxsize})
    for number in range(1_000):  # the least of many: on a busy machine there is more to wait for
        seen: Counter[str] = Counter()

        def count(frame: FrameType, event: str, _: object, seen: Counter[str] = seen) -> None:
            if event == "call":
                seen[frame.f_code.co_qualname] += 1

        future = None
        sys.setprofile(count)
        try:
            future = method(number)
            future.get()
        finally:
            sys.setprofile(None)
        least = min(least, seen, key=Counter.total)
        if number >= 60 and least.total() <= MOST_IN_HOST:
            break
    assert least.total() <= MOST_IN_HOST, dict(least)
    ref.stop()


@pytest.mark.alone
def test_steps_in_the_isolate() -> None:
    """What one call more adds to what is counted."""
    ref = Counting.start()
    proxy = ref.proxy()

    def counted(calls: int) -> int:
        proxy.begin().get()
        for number in range(calls):
            proxy.echo(number).get()
        return sum(proxy.end().get().values())

    one, two = min(counted(1) for _ in range(20)), sys.maxsize
    for _ in range(200):  # the least of many: on a busy machine there is more to wait for
        two = min(two, counted(2))
        if two - one <= MOST_IN_ISOLATE:
            break
    assert two - one <= MOST_IN_ISOLATE
    ref.stop()


LOADED = "[getattr(m, '__file__', '') for n, m in __import__('sys').modules.items() if n.split('.')[0] == '_pihost']"


def test_what_an_isolate_imports() -> None:
    """Each module costs each start that does not fork."""
    with ProcessIsolator(IsolationOptions(start_method="spawn")) as isolator:
        files = isolator.invoke_method("builtins:eval", LOADED).get()
    lines = sum(len(Path(file).read_text().splitlines()) for file in files)
    assert len(files) <= MOST_MODULES, files
    assert lines <= MOST_LINES
