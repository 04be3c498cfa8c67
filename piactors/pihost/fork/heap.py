"""Fills the holes in this process's memory, so that what a fork allocates lies together.

Imports leave memory full of holes.  A fork that puts its objects into them gets a copy of a page for
each hole, which costs more than anything else that it does at its start.
"""

from __future__ import annotations

import gc
import sys
from typing import List

_POOL = 16384 if sys.version_info >= (3, 10) else 4096
"""The size of the pools of small blocks."""
_LARGEST_SMALL = 512
_MOST_BLOCKS = 10_000
_HEAP_SIZES = (65536, 32768, 16384, 8192, 4096, 3072, 2048, 1536, 1024, 768, 640, 544)
_HEADER = sys.getsizeof(b"", 0)  # PyPy knows none, and needs none
_kept: List[List[bytes]] = []


def settle() -> None:
    """Leave memory as a fork likes it best: no garbage, no holes, and nothing that its collector looks at."""
    gc.collect()
    _fill_holes()
    if hasattr(gc, "freeze"):
        gc.freeze()  # keeps the collector of a fork from copying every page it inherits


def _fill_holes() -> None:
    if sys.implementation.name != "cpython":
        return
    for size in _HEAP_SIZES:
        _fill_heap(size)
    for size in range(48, _LARGEST_SMALL + 1, 16):
        _fill_pools(size)


def _fill_pools(size: int) -> None:
    """Allocate blocks of a size until a whole pool of them lies in one piece, and give that one back."""
    blocks: List[bytes] = []
    row, last, wanted = 0, 0, (_POOL - 64) // size - 2
    while row < wanted and len(blocks) < _MOST_BLOCKS:
        block = bytes(size - _HEADER)
        row = row + 1 if id(block) == last + size else 0
        last = id(block)
        blocks.append(block)
    del blocks[len(blocks) - row - 1 :]
    _kept.append(blocks)


def _fill_heap(size: int) -> None:
    """Allocate blocks of a size until one comes from above all others, and give that one back."""
    blocks: List[bytes] = []
    highest = id(bytes(100_000))
    while len(blocks) < _MOST_BLOCKS:
        block = bytes(size - _HEADER - 8)
        if id(block) >= highest:
            break
        blocks.append(block)
    _kept.append(blocks)
