"""One isolate, from its first breath to its last: set up, serve, end."""

from __future__ import annotations

import atexit
import faulthandler
import json
import logging
import os
import pickle
import socket
import sys
import threading
import time
import types
import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, NoReturn, Optional, Tuple

if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

from . import (
    PROTOCOL,
    adopted,
    byvalue,
    confine,
    copies,
    forks,
    hosted,
    linux,
    plain_encode,
    spin,
    targets,
    wire,
)  # fmt: skip
from . import control as control_module
from .calls import CallLoop, Ending
from .control import Control, end_with_host
from .page import DUMP_SIGNAL, FAULT_OFFSET, SequencePage
from .records import HostHandler
from .replies import Replies
from .sharing import Sharing
from .store import store
from .streams import FrameStream


class Descriptors(NamedTuple):
    """What an isolate is born with: two channels, the sequence page, and the host's pidfd (or -1)."""

    data: int
    control: int
    page: int
    host_pidfd: int


def main(arguments: List[str]) -> None:
    """Run an isolate in a fresh interpreter: its parent's pid, the numbers of its descriptors, and its orders."""
    parent, *numbers = map(int, arguments[:-1])
    fds = Descriptors(*numbers)
    for fd in fds:
        if fd >= 0:
            os.set_inheritable(fd, False)
    _guard(parent)
    adopted.install()
    adopted.prepare()
    Isolate(fds, json.loads(arguments[-1]), fresh=True).run()


def prepare_fork(parent: int) -> None:
    """In a process that the launcher has just forked: do what does not depend on what it will be."""
    _guard(parent)
    _forget_parents_exit()
    _reseed()
    adopted.prepare()
    linux.name_process("pi-isolate")


def run_forked(fds: List[int], host_pidfd: int, orders: Dict[str, Any]) -> None:
    """Run an isolate in a prepared fork, with descriptors for data, control, stdout, stderr, page and maybe stdin."""
    data, control_fd, out, err, page, *given = fds
    stdin = given[0] if given else os.open(os.devnull, os.O_RDONLY)
    for fd, target in ((stdin, 0), (out, 1), (err, 2)):
        os.dup2(fd, target)
        os.close(fd)
    for fd in (data, control_fd, page):
        os.set_inheritable(fd, False)
    Isolate(Descriptors(data, control_fd, page, host_pidfd), orders, fresh=False).run()


class Isolate:
    """The process's own view of itself."""

    def __init__(self, fds: Descriptors, orders: Dict[str, Any], fresh: bool) -> None:
        self._fds = fds
        self._orders = orders
        self._fresh = fresh
        self._data = FrameStream(socket.socket(fileno=fds.data), waits_when_gone=True)
        self._control_stream = FrameStream(socket.socket(fileno=fds.control), takes_fds=True)

    def run(self) -> NoReturn:
        """Set up, serve until told to stop, and end the process."""
        init, replies = self._greet()
        try:
            os.chdir(init["cwd"])
        except OSError as error:
            self._start_failed(error, replies)
        self._set_up(init)
        loop, control = self._make_loop(init, replies)
        control.start()
        forked = self._forks
        forked.watch([fd for fd in (self._fds.page, self._fds.host_pidfd) if fd >= 0])
        try:
            self._start(init, loop, control)
        except BaseException as error:
            forked.end_if_fork(error)
            self._start_failed(error, replies)
        forked.end_if_fork()
        self._tell_ready(loop)
        self._finish(loop, control, replies, loop.run())

    def rehearse(self) -> None:
        """Do what `run` does, but for its end and its thread (see `rehearsal`)."""
        init, replies = self._greet()
        self._set_up(init)
        loop, control = self._make_loop(init, replies)
        self._start(init, loop, control)
        self._tell_ready(loop)
        loop.run()
        loop.hosted.on_stop()
        loop.page.close()
        self._data.sock.close()
        self._control_stream.sock.close()

    def _greet(self) -> Tuple[Dict[str, Any], Replies]:
        """Tell the host who this is, and read what to be."""
        greeting = {**_greeting(), "unconfined": confine.confine(self._orders)}
        self._control_stream.send(wire.HELLO, wire.PLAIN, 0, plain_encode.encode(greeting))
        frame = self._data.next()
        if frame is None:
            end_with_host()
            os._exit(0)
        init = pickle.loads(frame.payload)
        self._data.generation = self._control_stream.generation = frame.generation
        replies = Replies(init.get("code", False), frozenset(init.get("accept", ())))
        if init["protocol"] != PROTOCOL:
            self._refuse_protocol(replies, init["protocol"])
        return init, replies

    def _refuse_protocol(self, replies: Replies, theirs: int) -> NoReturn:
        text = (
            "the host speaks protocol {} and this pihost ({}) speaks {}: the host's piactors was changed while it ran, "
            "or pihost is a copy of another version; restart the host, and let it find its own pihost".format(
                theirs, os.path.dirname(os.path.abspath(__file__)), PROTOCOL
            )
        )
        self._data.send(wire.START_FAILED, wire.PLAIN, 0, replies.error(RuntimeError(text)))
        os._exit(1)

    def _set_up(self, init: Dict[str, Any]) -> None:
        main_module = types.ModuleType("__main__")
        main_module.__dict__["__builtins__"] = __builtins__
        sys.modules["__main__"] = main_module
        sys.argv[:] = init["argv"]
        if not self._fresh:
            _set_environment(init["env"])
        if init["own_interpreter"]:
            sys.path[:] = init["sys_path"]
        else:
            sys.path[:0] = [path for path in init["sys_path"] if path not in sys.path]
        _line_buffered()
        os.lseek(self._fds.page, FAULT_OFFSET, os.SEEK_SET)
        faulthandler.enable(self._fds.page, all_threads=True)
        if DUMP_SIGNAL and hasattr(faulthandler, "register"):
            faulthandler.register(DUMP_SIGNAL, self._fds.page, all_threads=True)

    def _make_loop(self, init: Dict[str, Any], replies: Replies) -> Tuple[CallLoop, Control]:
        sharing = Sharing(self._control_stream, init["shared"])
        page = SequencePage(self._fds.page)
        loop = CallLoop(self._data, page, replies, init["concurrency"], init["max_frame"], sharing)
        control = Control(
            self._control_stream, self._data, self._fds.host_pidfd, replies, lambda: loop.hosted.describe(), sharing
        )
        control.number_from(init["generation"] << 32)
        if init["asks"]:
            control_module.serving = control
        _share_data(control, init["data"])
        if init.get("spin") and init["concurrency"] == 1 and spin.possible():
            self._data.spin = spin.Spin(self._data.fileno())
        handler = HostHandler(control.send_log, replies.error)
        self._forks = forks.Forks(loop, control, handler, init["own_level"])
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(init["log_level"])
        threading.current_thread().name = "MainThread"
        return loop, control

    def _tell_ready(self, loop: CallLoop) -> None:
        self._data.send(wire.READY, wire.PLAIN, 0, plain_encode.encode(loop.hosted.describe()))

    def _start(self, init: Dict[str, Any], loop: CallLoop, control: Control) -> None:
        if init["debug"]:
            _wait_for_debugger(init["name"])
        copies.use(init.get("cloudpickle", ""))
        store.host = init.get("host_version", "")
        store.add((), init.get("definitions", ()))
        kind, payload = init["target"]
        if kind == "none":
            return
        target, args, kwargs = _loaded(payload)
        if kind == "actor":
            adapter: Any = target._pihost_adapter(control, init["urn"], loop)
            adapter.obj = adapter.create(args, kwargs)
            loop.hosted = adapter
            adapter.on_start()
        else:
            loop.hosted = hosted.host(target, args, kwargs)

    def _start_failed(self, error: BaseException, replies: Replies) -> NoReturn:
        self._data.send(wire.START_FAILED, wire.PLAIN, 0, replies.error(error))
        forks.leave(1)

    def _finish(self, loop: CallLoop, control: Control, replies: Replies, ending: Ending) -> NoReturn:
        error = ending.error
        report: Dict[str, Any] = {"error": None if error is None else replies.traceback(error), "code": None}
        code = 0 if error is None else 1
        if isinstance(error, SystemExit):
            code = forks.exit_code(error)
            report["code"] = code
        control.announce_stop(plain_encode.encode(report))
        try:
            self._last_hook(loop, error)
        except BaseException as raised:
            self._forks.end_if_fork(raised)
            raise
        finally:
            try:
                loop.coroutines.close()
            finally:
                forks.leave(code)

    @staticmethod
    def _last_hook(loop: CallLoop, error: Optional[BaseException]) -> None:
        if isinstance(error, Exception):
            loop.hosted.on_failure(error)
        else:
            loop.hosted.on_stop()


is_loading = False
"""Whether this process is an isolate that loads what it is to host, and so imports its modules."""


def _loaded(payload: bytes) -> Tuple[Any, Any, Any]:
    """Return what is to be hosted, and its arguments, with their modules imported."""
    global is_loading
    is_loading = True
    try:
        target, args, kwargs = byvalue.loads(payload)
        return targets.resolve(target) if isinstance(target, str) else target, args, kwargs
    finally:
        is_loading = False


def usual_signals() -> None:
    """Undo what the launcher has set, with the functions of C: those of `signal` make enums of what they return."""
    _signal.set_wakeup_fd(-1)
    for number in (_signal.SIGHUP, _signal.SIGTERM, _signal.SIGCHLD):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def _guard(parent: int) -> None:
    """Arm what ends this process, and its descendants, with the host."""
    control_module.parent_pid = parent
    linux.die_with_parent()
    linux.become_subreaper()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])  # started by a host, it has what that thread blocked
    if os.getppid() != parent:
        os._exit(71)  # the parent died before the kernel could be told


def _forget_parents_exit() -> None:
    """Drop the launcher's exit handlers and finalisers; this process runs its own, and only those."""
    atexit._clear()
    atexit.register(logging.shutdown)
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]
    for name in ("multiprocessing.util", "multiprocess.util"):
        util = sys.modules.get(name)
        if util is not None:
            util._finalizer_registry.clear()
            atexit.register(util._exit_function)


def _greeting() -> Dict[str, Any]:
    return {
        "protocol": PROTOCOL,
        "pid": os.getpid(),
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "implementation": sys.implementation.name,
        "executable": sys.executable or "",
    }


def _set_environment(wanted: Dict[str, str]) -> None:
    """Change what is different: most of it is not, and each change of a variable is a copy of the whole list."""
    before = {name: os.environ.get(name) for name in _READ_ONCE}
    for name in list(os.environ):
        # The launcher's mark stays: it is how the host finds what outlives a lost launcher.
        if name not in wanted and not name.startswith("PIACTORS_"):
            del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    for name, old in before.items():
        if os.environ.get(name) != old:
            _READ_ONCE[name]()


def _zone_changed() -> None:
    if hasattr(time, "tzset"):
        time.tzset()


def _temporary_folder_changed() -> None:
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None


_READ_ONCE: Dict[str, Callable[[], None]] = {
    "TZ": _zone_changed,
    "TMPDIR": _temporary_folder_changed,
    "TEMP": _temporary_folder_changed,
    "TMP": _temporary_folder_changed,
}
"""Variables that a process reads once, which a fork has done already, and what makes it read them again."""


def _reseed() -> None:
    """A fork has its parent's random numbers before it; `random` sees to its own, numpy does not."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _line_buffered() -> None:
    """Send lines as they are printed, so that a crash loses at most the line it cut off.

    New objects on the same descriptors: those of a launcher remember what its descriptors were.
    """
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = open(number, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, "__{}__".format(name), stream)


def _share_data(control: Control, data: Dict[str, bytes]) -> None:
    """Let isolated code read what the host set, as ``import pihost_data; pihost_data.data[key]``."""
    control.data.update({key: byvalue.loads(value) for key, value in data.items()})
    module = types.ModuleType("pihost_data", "What the host has set with set_data, in `data`.")
    module.__dict__["data"] = control.data
    sys.modules["pihost_data"] = module


def _wait_for_debugger(name: str) -> None:
    try:
        import debugpy
    except ImportError:
        raise RuntimeError(
            "debug=True needs debugpy in the isolate's interpreter ({}): pip install debugpy".format(sys.executable)
        ) from None
    host, port = debugpy.listen(("127.0.0.1", 0))
    sys.stderr.write("isolate {} waits for a debugger at {}:{}\n".format(name, host, port))
    sys.stderr.flush()
    debugpy.wait_for_client()
