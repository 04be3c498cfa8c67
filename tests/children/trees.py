"""Children for the tests of supervision trees."""

from __future__ import annotations

import os
import time

from piactors import ProcessActor


class Moody(ProcessActor):
    """Starts only while there is a file, and waits for it; without a name it refuses."""

    def __init__(self, gate: str | None) -> None:
        super().__init__()
        if gate is None:
            raise ValueError("there is no gate")
        self._gate = gate

    def on_start(self) -> None:
        while not os.path.exists(self._gate):
            time.sleep(0.01)
