"""Calls that run in the middle of a call which waits, as they come from that very call: in the thread that waits."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..wire import wire
from ..wire.page import SequencePage

Prepared = Tuple[Optional[wire.Raw], Sequence[Any]]


class Nesting:
    """What one thread has begun and not ended, the innermost last.

    Args:
        page: where it says what it runs.
        following: reads the next message; None: no more come.
        run: runs a message, if it is wanted.
        give_back: gives back what was lent to a message.
    """

    def __init__(
        self,
        page: SequencePage,
        following: Callable[[], Prepared],
        run: Callable[[int, wire.Raw], None],
        give_back: Callable[[Sequence[Any]], None],
    ) -> None:
        self._page, self._following, self._run, self._give_back = page, following, run, give_back
        self._entered: List[int] = []
        """The calls in whose middle others run."""
        self.untils: Dict[int, float] = {}
        """When calls are not wanted any more in whose middle others run, or have run."""

    def run(self, slot: int, last: int, until: float) -> None:
        """Run a message, which is here already; those before it were taken back, and so may itself have been.

        Args:
            last: its number.
            until: when the call that waits is not wanted any more: others may take its place in the page.
        """
        before = self._page.nested(slot)
        self.untils = {seq: self.untils[seq] for seq in self._entered}
        self.untils[before[0]] = until
        self._entered.append(before[0])
        try:
            seq = 0
            while seq < last:
                frame, lent = self._following()
                if frame is None:
                    return
                seq = frame[3]
                self._run(slot, frame)
                if lent:
                    self._give_back(lent)
        finally:
            self._entered.pop()
            self._page.unnest(slot, before)
