"""What processes have, before and after: nothing may grow.

Less than before is no fault: what an earlier test of this process had may be let go of only now (the descriptors of an
isolate that has just ended, the folder of its control group while the host lists it). So descriptors are compared with
"no more than before", and looked at again for a while; those of spares, which launchers make when they like, do not
count.
"""

from __future__ import annotations

import gc
from typing import Self

import attrs
import psutil

from tests import inside
from tests.support import wait_until

_GROWN = 4 << 20
"""Bytes of resident memory that an allocator may take without that something was kept."""


@attrs.frozen
class Kept:
    """The descriptors and the resident memory of this process and another one."""

    there: psutil.Process
    descriptors: tuple[int, int]
    memory: tuple[int, int]

    @classmethod
    def now(cls, pid: int) -> Self:
        """Return what this process and the process `pid` have."""
        gc.collect()
        there = psutil.Process(pid)
        return cls(there, _descriptors(there), _memory(there))

    def no_more(self) -> None:
        """Wait until neither process has more descriptors than then; fail if memory has grown."""

        def settled() -> bool:
            gc.collect()
            return all(now <= then for now, then in zip(_descriptors(self.there), self.descriptors, strict=True))

        wait_until(settled)
        grown = [now - then for now, then in zip(_memory(self.there), self.memory, strict=True)]
        assert max(grown) < _GROWN, grown


def _descriptors(there: psutil.Process) -> tuple[int, int]:
    return len(inside.descriptors()), there.num_fds()


def _memory(there: psutil.Process) -> tuple[int, int]:
    return psutil.Process().memory_info().rss, there.memory_info().rss
