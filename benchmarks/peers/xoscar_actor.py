"""The actor that xoscar runs; apart, because its base class is there only where xoscar is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import xoscar

from benchmarks import subjects, victims
from benchmarks.peers.clock import awaited_p50


class Echo(victims.Plain, subjects.PlainEcho, xoscar.Actor):
    """Returns what it is given, and dies when told to."""


class Talker(subjects.PlainEcho, xoscar.Actor):
    """Is asked, asks another one, and yields."""

    async def ask(self, other: Any, calls: int) -> float:
        """Return the p50 of calls of another actor."""
        return await awaited_p50(lambda: other.echo(1), calls)

    @xoscar.generator
    def items(self, number: int) -> Iterator[int]:
        """Yield numbers."""
        yield from range(number)
