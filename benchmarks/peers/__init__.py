"""Libraries that run calls elsewhere, each behind the same few methods.

A module here imports its libraries where a class is made, so that one that is not installed is missing alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol

PEERS = {
    "pipe": "plain:RawPipePeer",
    "piactors": "plain:Piactors",
    "executor": "pools:Executor",
    "multiprocess": "pools:MultiprocessPool",
    "loky": "pools:Loky",
    "pebble": "pools:Pebble",
    "execnet": "remote:Execnet",
    "rpyc": "remote:Rpyc",
    "pyro5": "remote:Pyro5",
    "pykka": "actors:Pykka",
    "ray": "actors:Ray",
    "xoscar": "actors:Xoscar",
}
"""The module and class of each library."""

TALKERS = {
    "rpyc": "talk_remote:RpycTalker",
    "pyro5": "talk_remote:Pyro5Talker",
    "ray": "talk_actors:RayTalker",
    "xoscar": "talk_actors:XoscarTalker",
}
"""The module and class of each library whose workers talk: to this program, to each other, or in streams."""

INSTALL = "pip install 'piactors[bench]'"
"""How to have all of them."""

TITLES = {
    "pipe": "multiprocessing.Pipe",
    "executor": "ProcessPoolExecutor",
    "multiprocess": "multiprocess.Pool",
    "rpyc": "RPyC",
    "pyro5": "Pyro5",
    "pykka": "pykka (threads)",
    "ray": "Ray",
}
"""How tables call them, where that is not their key."""

REMARKS = {
    "pipe": "a spawned process; 64 pipelined calls under way",
    "executor": "a spawned worker",
    "multiprocess": "a worker forked from the program",
    "pebble": "a worker forked from the program",
    "execnet": "arrays as bytes",
    "rpyc": "arrays as bytes; no compression; 64 pipelined calls under way",
    "pyro5": "arrays as bytes, by msgpack; pipelined calls in one batch, so in one message",
    "pykka": "threads of the program: what the calls cost without isolation",
    "ray": "the start includes that of its cluster",
    "xoscar": "the start includes that of its pool",
}
"""What one has to know to compare them."""

CRASH_SECONDS = 5.0
"""How long a library has to see that its worker is dead."""


class Cannot(Exception):
    """This library cannot do that, and the text says why."""


class Peer(Protocol):
    """A library with one worker; to make one starts it."""

    def call(self, value: Any) -> Any:
        """Have the worker return a value, and wait for it."""

    def call_with_timeout(self, value: Any, timeout: float) -> Any:
        """The same; raise where it takes longer."""

    def pipelined(self, value: Any, calls: int) -> None:
        """Make many calls, then get all results."""

    def array(self, value: Any) -> Any:
        """Have the worker return an array."""

    def worker_pid(self) -> int:
        """Return the pid of the worker."""

    def crash(self) -> bool:
        """Have the worker kill itself in a call; return whether that call failed within `CRASH_SECONDS`."""

    def close(self) -> None:
        """End the worker."""


class Talker(Protocol):
    """A library whose workers talk; to make one starts them.  Each method returns microseconds."""

    def callback(self, calls: int) -> float:
        """Have a worker call a function of this process so often, one call after the other; return the p50."""

    def ask(self, calls: int) -> float:
        """Have a worker call one in another process; return the p50."""

    def stream(self, items: int) -> float:
        """Read the items of a generator that runs in a worker; return what one takes."""

    def stream_in_chunks(self, items: int) -> float:
        """The same, if the library can fetch several items at once."""

    def close(self) -> None:
        """End the workers."""


def title(name: str) -> str:
    """Return how tables call a library."""
    return TITLES.get(name, name)


def load(name: str) -> Callable[[], Peer]:
    """Return the class of a library that answers calls.

    Raises:
        ImportError: where it is not installed.
    """
    made: Callable[[], Peer] = _load(PEERS[name])
    return made


def load_talker(name: str) -> Callable[[], Talker]:
    """Return the class of a library whose workers talk.

    Raises:
        ImportError: where it is not installed.
    """
    made: Callable[[], Talker] = _load(TALKERS[name])
    return made


def _load(place: str) -> Any:
    module, _, cls = place.partition(":")
    found: Any = getattr(importlib.import_module(f"benchmarks.peers.{module}"), cls)
    found.check()
    return found
