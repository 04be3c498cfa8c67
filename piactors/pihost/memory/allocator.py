"""What glibc's allocator is taught: to keep the memory of messages of middling size for the next ones.

It gives back what is free above twice the largest block that was mapped for itself alone and let go of, which is
128 KiB until there is such a block.  A message of 100 KiB takes several buffers of that size for a moment; to give
them back each time, and to have the kernel make fresh pages for the next one, takes longer than all the rest.
"""

from __future__ import annotations

_BLOCK = 320 << 10


def expect_messages() -> None:
    """Let such a block go, which was never touched."""
    bytes(_BLOCK)
