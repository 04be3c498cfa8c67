"""The answer to what an actor asked itself: a future here and, if the actor returns it, the host's of the same."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from typing import Any, NoReturn

from piactors._future import waiting
from piactors.errors import PiactorsError, Timeout
from piactors.future import Future


def requested(number: int) -> NoReturn:
    """Stand in for the host's future of a request; the host's decoder puts it in place."""
    raise PiactorsError(f"the future of request {number} is known only to the host")


def _asking() -> Any:
    """Return what waits for answers of the host: a module that only those isolates load which do."""
    return importlib.import_module("_pihost.values.asking")


class RequestedFuture(Future[Any]):
    """In an isolate: the answer to what an actor asked itself."""

    number = 0

    def __init__(self, control: Any) -> None:
        super().__init__()
        self._control = control

    def is_of(self, number: int) -> None:
        """It is the answer to the request of this number."""
        self.number = number

    def _wait(self, timeout: float | None) -> None:
        seconds = waiting.seconds_of(timeout)
        try:
            _asking().await_answer(self._control, self.number, seconds, super()._wait)
        except Timeout:
            raise self._late(timeout) from None

    def _await_on(self, loop: Any) -> Generator[Any, None, None]:
        with self._control.threads.awaited(self.number):
            yield from super()._await_on(loop)

    def take(self, _: int, frame: Any) -> None:
        """Settle with the frame that the host answered."""
        control = self._control
        self.settle_with(lambda: control.result_of(frame))

    def __reduce__(self) -> tuple[Any, ...]:
        return requested, (self.number,)
