"""Thread ring: a token goes round a ring of actors until it has been passed on so often.

python examples/savina/thread_ring.py [--actors threads] [--size N]
"""

from __future__ import annotations

from typing import Any

import stage
from stage import Actor

ACTORS = 8


class Node(Actor):
    """One place in the ring."""

    def __init__(self, number: int, done: Any) -> None:
        super().__init__()
        self.number, self.done = number, done

    def link(self, following: Any) -> None:
        """Pass the token on to this one."""
        self._following = following.proxy()

    def token(self, left: int) -> None:
        """Pass it on, or say who has it at last."""
        if left:
            self._following.token.defer(left - 1)
        else:
            self.done.set(self.number)


def run(size: int) -> int:
    """Pass the token on `size` times."""
    done = stage.future()
    nodes = [Node.start(number, done) for number in range(ACTORS)]
    for node, following in zip(nodes, nodes[1:] + nodes[:1], strict=True):
        node.proxy().link(following).get()
    nodes[0].proxy().token.defer(size)
    stage.check(done.get(timeout=stage.SECONDS), size % ACTORS)
    return size


if __name__ == "__main__":
    stage.main(__doc__, run, 4000)
