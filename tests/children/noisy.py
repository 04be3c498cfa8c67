"""Isolates that make as much noise as they can, each in a way of its own."""

import logging
import os
import threading

import piactors


class Noisy(piactors.ProcessActor):
    """Floods its host until it is ended."""

    def __init__(self, way=""):
        super().__init__()
        self.way = way

    def on_start(self):
        if self.way == "crashes":
            threading.Timer(0.01, os._exit, (1,)).start()

    def on_receive(self, message):
        """Take what it has sent to itself."""

    def output(self):
        while True:
            print("line", "y" * 80)

    def empty_lines(self):
        while True:
            os.write(1, b"\n" * 65536)

    def records(self):
        log = logging.getLogger("noisy")
        while True:
            log.warning("a record of %s", "y" * 40)

    def requests(self):
        while True:
            self.actor_ref.tell("nothing")

    def large(self):
        return bytes(16 << 20)

    def count(self, lines):
        for number in range(lines):
            print(number)
