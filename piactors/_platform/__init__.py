"""What piactors needs of the operating system, one file per mechanism.

- `memory_file`: the small shared file behind the sequence page (memfd, or a temporary file);
- `poller`: waiting for many descriptors, which callers may take out for a while (epoll, or selectors);
- `wake`: waiting for a descriptor and for another thread at once (eventfd, or a pipe);
- `pidfd`: descriptors of processes, to wait for them and to signal them without mistaking one for another;
- `identity`: processes as pid and creation time, for systems without pidfds;
- `quelling`: ending processes that fork faster than they could be killed one by one;
- `process_stats`: what processes use, and who their descendants are;
- `markers`: finding what escaped a launcher, by a mark in the environment that it inherited;
- `confinement`: the port of whatever confines a process, and the choice of what does;
- `limits`: what enforces limits, a package of its own;
- `reentry`: locks that a signal handler finds out to be its own thread's, instead of waiting forever;
- `main_thread`, `late_threads`: what Python allows to threads when the main thread ends;
- `own_python`: the interpreter that runs this program, if there is one that could run another program;
- `host_end`: the end of the main thread, before Python waits for other threads.

Each says in its first lines what it falls back to.  `PIACTORS_PORTABLE`, a comma-separated list of ``pidfd``,
``memfd``, ``segments``, ``epoll``, ``eventfd``, ``launcher``, ``procfs``, ``pen``, ``mapped_page`` and the names in
`limits`, takes a mechanism away, so that the fallbacks can be tested where they are not needed.
"""

from __future__ import annotations

import os


def taken_away(mechanism: str) -> bool:
    """Whether `PIACTORS_PORTABLE` asks to do without a mechanism."""
    return mechanism in os.environ.get("PIACTORS_PORTABLE", "").split(",")
