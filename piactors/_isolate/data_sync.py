"""What is set with `set_data` for all processes of an isolate, and what one of them has of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from piactors.pihost.wire import wire

if TYPE_CHECKING:
    from piactors._codec.encode import Whole
    from piactors._io.loop import LoopTimer
    from piactors._isolate.view import IncarnationView

_MOST_TIMES_TOLD = 3
"""How many times in a row what was set is waited for."""


class DataSync:
    """What one process knows of it.

    Attributes:
        known: what it has, serialised, as it was when it was started and as it was told since.
    """

    def __init__(self, data: dict[str, Whole]) -> None:
        self.known = dict(data)
        self._data = data
        self._times_told = 0

    def sync(self, body: IncarnationView, then: Callable[[], None]) -> None:
        """Tell it what it does not have, and call `then()` once it has that; end it if that takes too long.

        If somebody sets values without a pause, the last ones are sent and not waited for.
        """
        unknown = self._unknown()
        if not unknown or self._times_told >= _MOST_TIMES_TOLD:
            self._tell(body, unknown, _nothing)
            then()
            return
        self._times_told += 1
        late, left = self._bound(body), len(unknown)

        def taken(frame: wire.Frame | None) -> None:
            nonlocal left
            left -= frame is not None  # None: it has ended
            if not left:
                if late is not None:
                    late.cancel()
                self.sync(body, then)

        self._tell(body, unknown, taken)

    def tell_rest(self, body: IncarnationView) -> None:
        """Tell it what was set since the last look, once it runs the calls.

        Whoever sets a value tells the process that runs the calls at that moment, which may be the one before.
        """
        self._tell(body, self._unknown(), _nothing)

    def note(self, key: str, value: Whole) -> None:
        """Somebody else tells it of this value."""
        self.known[key] = value

    def _unknown(self) -> list[tuple[str, Whole]]:
        return [(key, value) for key, value in list(self._data.items()) if self.known.get(key) is not value]

    def _tell(
        self, body: IncarnationView, values: list[tuple[str, Whole]], taken: Callable[[wire.Frame | None], None]
    ) -> None:
        for key, value in values:
            self.known[key] = value
            if body.process is not None:
                body.process.set_data(key, value, taken)

    @staticmethod
    def _bound(body: IncarnationView) -> LoopTimer | None:
        options = body.spec.options
        if options.debug:
            return None
        text = "it does not take what was set with set_data"
        return body.after(options.start_timeout, partial(body.kill, "start_failed", text))


def _nothing(_: wire.Frame | None) -> None:
    """Nobody waits for what follows."""
