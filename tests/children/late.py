"""An actor that does not become ready; it imports little, so that it is soon where it hangs."""

import os
import signal
import time

import piactors


class Waits(piactors.ProcessActor):
    """Hangs where it is told to."""

    def __init__(self, where):
        super().__init__()
        self.where = where
        if where == "__init__":
            self.hangs_in_its_constructor()

    def hangs_in_its_constructor(self):
        time.sleep(600)

    def on_start(self):
        if self.where == "on_start":
            self.hangs_in_on_start()
        if self.where == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        sum(range(10**12))  # in C, where nobody else gets Python's lock

    def hangs_in_on_start(self):
        time.sleep(600)
