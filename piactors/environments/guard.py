"""Becomes another program, which is killed when the process that has started this one ends.

Run by path: ``python -I -S guard.py PID PROGRAM ARGUMENT...``, where PID is that process.  Where the system cannot do
that (it is Linux's), the program runs to its end.
"""

import os
import sys

_SIGKILL = 9
_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, program = int(sys.argv[1]), sys.argv[2]
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass
    if os.getppid() != parent:  # it had ended before
        os._exit(1)
    os.execv(program, sys.argv[2:])
