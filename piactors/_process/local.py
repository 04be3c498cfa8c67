"""Processes of this machine: each is made by a backend, and its wires are descriptors that are opened here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from piactors._io.loop import Share
from piactors._platform import own_python
from piactors._process import pihost_files
from piactors._process.backend import Backend, Order
from piactors._process.placement import ProcessOrder, ProcessOwner
from piactors._process.process import LocalProcess


class Backends(Protocol):
    """What makes processes on this machine, found or begun when it is needed (see `Runtime.backend`)."""

    def __call__(self, order: Order, preload: Sequence[str], *, own: bool) -> Backend:
        """Return what makes a process of this order; on the I/O thread."""


class LocalPlacement:
    """Makes processes on this machine."""

    name = "local"

    def __init__(self, loop: Share, backends: Backends) -> None:
        self._loop, self._backends = loop, backends

    def why_not(self, order: ProcessOrder) -> str | None:
        """Return why no process can be made of this order; None if one can."""
        if not order.how.interpreter:
            return own_python.why_none()
        return None if pihost_files.COMMAND else pihost_files.why_missing()

    def launch(self, order: ProcessOrder, owner: ProcessOwner) -> LocalProcess:
        """Have a process made and open the wires to it; news of it comes to its owner, on the I/O thread."""
        backend = self._backends(order.how, order.preload, own=order.own_interpreter)
        return LocalProcess(self._loop, backend, owner, order)
