"""A start of an isolate that is played through before there is one to start.

A process that has just been forked shares its memory with the launcher, page by page, until it writes;
and Python writes wherever it looks, because objects count their references.  So the first start in a
fork is four times as slow as the second would be.  A spare has time: it plays a start through, on
descriptors that lead nowhere, and has its own copies of these pages when it is taken.

Nothing of it stays but copied pages and filled caches.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import pickle
import socket
import sys
import threading
from typing import Any, Dict, Tuple

from .. import PROTOCOL
from ..memory.segments import available
from ..pickles import lending
from ..serve import control as control_module
from ..serve.isolate import Descriptors, IsolateProcess
from ..wire import wire
from ..wire.page import DUMP_SIGNAL, SIZE


def rehearse(threads: bool) -> None:
    """Play a start, a call and a stop; with `threads`, start a thread as well."""
    if not available():
        return
    requests, our_requests = os.pipe()
    our_replies, replies = os.pipe()
    control, our_control = socket.socketpair()
    our_control.setblocking(True)
    page = os.memfd_create("piactors-rehearsal")
    root, level = logging.getLogger(), logging.getLogger().level
    main, argv = sys.modules["__main__"], list(sys.argv)
    try:
        os.ftruncate(page, SIZE)
        os.write(our_requests, _frames())
        isolate = IsolateProcess(Descriptors(requests, replies, control.detach(), page, -1), {}, fresh=False)
        isolate.rehearse()
        if threads:
            thread = threading.Thread(target=int, name="rehearsal", daemon=True)  # a name leaves the count of threads
            thread.start()
            thread.join()
    finally:
        faulthandler.disable()
        if DUMP_SIGNAL and hasattr(faulthandler, "unregister"):
            faulthandler.unregister(DUMP_SIGNAL)
        root.parent = None  # what sends records to the host
        root.setLevel(level)
        sys.modules.pop("pihost_data", None)
        control_module.use(None)
        lending.ways.clear()
        sys.modules["__main__"], sys.argv[:] = main, argv
        for fd in (page, our_requests, our_replies):
            os.close(fd)
        control.close()
        our_control.close()
    del isolate
    gc.collect()  # its parts know each other; what logs to nowhere would be there in every isolate


def _frames() -> bytes:
    call = pickle.dumps(("get", ("__doc__",), (), {}), 4)
    return b"".join(
        wire.encode(kind, 0, 0, seq, payload)
        for kind, seq, payload in ((wire.INIT, 0, pickle.dumps(_init(), 4)), (wire.CALL, 1, call), (wire.STOP, 2, b""))
    )


def _init() -> Dict[str, Any]:
    return {
        "protocol": PROTOCOL,
        "name": "rehearsal",
        "env": dict(os.environ),
        "argv": list(sys.argv),
        "own_interpreter": True,
        "sys_path": list(sys.path),
        "concurrency": 1,
        "channels_after": -1,
        "log_level": logging.INFO,
        "own_level": logging.WARNING,
        "code": True,
        "accept": (),
        "debug": False,
        "max_frame": 1 << 20,
        "shared": 0,
        "asks": False,
        "target": _target(),
        "urn": "urn:uuid:rehearsal",
        "generation": 0,
        "data": {},
        "owner": 0,
        "lends": [],
    }


def _target() -> Tuple[str, bytes]:
    """Return what is hosted: an actor without anything in it, if this launcher has actors."""
    actors = sys.modules.get("piactors.actor")
    if actors is None:
        return "object", pickle.dumps((object, (), {}), 4)
    return "actor", pickle.dumps((actors.ProcessActor, (), {}), 4)
