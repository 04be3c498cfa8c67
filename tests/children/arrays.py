"""Actors for the tests of shared memory."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

import piactors
from piactors import ProcessActor


class Arrays(ProcessActor):
    """Takes and returns what is large."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: Any = None
        self.files: list[int] = []

    def echo(self, value: Any) -> Any:
        return value

    def made(self, size: int, value: float) -> Any:
        return np.full(size, value)

    def total(self, value: Any) -> float:
        return float(np.asarray(value).sum())

    def keep(self, value: Any) -> None:
        self.kept = value

    def kept_value(self) -> Any:
        return self.kept

    def write_to(self, value: Any) -> float:
        value += 1
        return float(value.sum())

    def log(self, records: int, size: int) -> Any:
        for _ in range(records):
            logging.getLogger("arrays").warning("x" * size)
        return np.ones(50_000)

    def die(self, value: Any = None) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def mapped(self) -> int:
        return mapped_bytes()

    def ask_myself(self, size: int) -> Any:
        return self.actor_ref.proxy().made(size, 3.0)

    def use_up_files(self) -> None:
        try:
            while True:
                self.files.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            return

    def free_files(self) -> None:
        while self.files:
            os.close(self.files.pop())

    @piactors.idempotent(retries=1)
    def once(self, marker: str, value: Any) -> float:
        value[:] = value + 1
        if not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(value.sum())


def mapped_bytes() -> int:
    """Return how many bytes of segments this process has mapped."""
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "memfd:piactors-segment" in line:
            start, _, end = line.split()[0].partition("-")
            total += int(end, 16) - int(start, 16)
    return total
