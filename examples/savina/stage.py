"""What the programs of this folder share: which kind of actor they run on, and what each is told and prints."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pykka

import piactors

SECONDS = 300
"""How long a program may take."""
THREADS = "threads" in sys.argv or "--actors=threads" in sys.argv

if TYPE_CHECKING:
    Actor = piactors.ProcessActor
else:
    Actor = pykka.ThreadingActor if THREADS else piactors.ProcessActor
    """What the actors of a program are: in processes of their own, or pykka's, in threads."""


def future() -> Any:
    """Return a future that an actor can set."""
    return pykka.ThreadingFuture() if THREADS else piactors.Future()


def main(text: str | None, run: Callable[[int], int], size: int) -> None:
    """Run a program and print how long it took.

    Args:
        text: what it is about, for its help.
        run: runs it in a size, checks its result, and returns how many messages were sent.
        size: the size unless another one is asked for.
    """
    name = (text or "").partition(":")[0].lower()
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", choices=["processes", "threads"], default="processes")
    parser.add_argument("--size", type=int, default=size, help=f"how much there is to do; default {size:,}")
    given = parser.parse_args()
    began = time.perf_counter()
    try:
        messages = run(given.size)
    finally:
        pykka.ActorRegistry.stop_all()
    took = time.perf_counter() - began
    each = took / messages * 1e6
    print(f"{name}, {given.actors}: {messages:,} messages in {took:.2f} s, {each:.1f} us each: result checked")


def check(found: object, wanted: object) -> None:
    """See that a result is right.

    Raises:
        AssertionError: if it is not.
    """
    if found != wanted:
        raise AssertionError(f"the result is {found!r}, and should be {wanted!r}")
