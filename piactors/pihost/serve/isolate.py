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
import traceback
import types
import weakref
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, NoReturn, Optional, Tuple

if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

from .. import PROTOCOL
from ..pickles import byvalue, copies
from ..pickles.store import store
from ..plain import encode as plain_encode
from ..process import adopted, confine, environment, lacks, linux
from ..wire import spin, wire
from ..wire.ends import PipeEnd, SocketEnd
from ..wire.page import DUMP_SIGNAL, FAULT_OFFSET, SequencePage
from ..wire.streams import FrameStream
from . import control as control_module
from . import forks, hosted, targets
from .calls import CallLoop, CallsEnding
from .control import HostLink, end_with_host
from .records import HostHandler
from .replies import Replies
from .sharing import Sharing

_LEAST_FRAME = 4096
"""What every host takes; until it is known what this one does."""
_MOST_TEXT, _MOST_UNCONFINED = 250, 3
"""Characters of each text in a greeting, and how many of them: it fits into what every host takes."""
_MOST_REPORT = (1 << 18) - 64
"""Bytes that the host takes of the report of an end."""


class Descriptors(NamedTuple):
    """What an isolate is born with: the pipes of its data channel, the control channel, the sequence page, and the
    host's pidfd (or -1)."""

    requests: int
    replies: int
    control: int
    page: int
    host_pidfd: int


def main(arguments: List[str]) -> None:
    """Run an isolate in a fresh interpreter: given its parent's pid, the numbers of its descriptors, and its orders."""
    linux.keep_freed_memory()
    parent, *numbers = map(int, arguments[:-1])
    fds = Descriptors(*numbers)
    try:
        for fd in fds:
            if fd >= 0:
                os.set_inheritable(fd, False)
        _guard(parent)
        adopted.install()
        adopted.prepare()
        isolate = IsolateProcess(fds, json.loads(arguments[-1]), fresh=True)
    except BaseException as error:
        tell_failure(fds.replies, error)
    isolate.run()


def prepare_fork(parent: int) -> None:
    """In a process that the launcher has just forked: do what does not depend on what it will be."""
    _guard(parent)
    _forget_parents_exit()
    _reseed()
    adopted.prepare()
    linux.name_process("pi-isolate")


def run_forked(fds: List[int], host_pidfd: int, orders: Dict[str, Any]) -> None:
    """Run an isolate in a prepared fork, with descriptors for requests, replies, control, stdout, stderr, page and
    maybe stdin."""
    try:
        requests, replies, control_fd, out, err, page, *given = fds
        stdin = given[0] if given else os.open(os.devnull, os.O_RDONLY)
        for fd, target in ((stdin, 0), (out, 1), (err, 2)):
            os.dup2(fd, target)
            os.close(fd)
        for fd in (requests, replies, control_fd, page):
            os.set_inheritable(fd, False)
        given_fds = Descriptors(requests, replies, control_fd, page, host_pidfd)
        isolate = IsolateProcess(given_fds, orders, fresh=False)
    except BaseException as error:
        tell_failure(fds[1] if fds else -1, error)
    isolate.run()


def tell_failure(
    replies: int, error: BaseException, encoder: Optional[Replies] = None, generation: int = 0, ours: bool = True
) -> NoReturn:
    """Tell the host why this process does not become ready, however far it has got, and end it.

    Args:
        replies: the descriptor that answers go to; -1 if it has none yet.
        error: what went wrong.
        encoder: how the host wants it described, once that is known.
        generation: which one this process is, once that is known.
        ours: whether it went wrong in what pihost does, and not in isolated code.
    """
    try:
        described = (encoder or Replies(False, frozenset(), _LEAST_FRAME)).error(error)
        flags = wire.PLAIN | (wire.LACK if ours and lacks.is_lack(error) else 0)
        frame = wire.encode(wire.START_FAILED, flags, generation, 0, described)
        while frame:
            frame = frame[os.write(replies, frame) :]
    except BaseException:
        traceback.print_exception(type(error), error, error.__traceback__)
    finally:
        forks.leave(1)


class IsolateProcess:
    """The process's own view of itself."""

    def __init__(self, fds: Descriptors, orders: Dict[str, Any], fresh: bool) -> None:
        self._fds = fds
        self._orders = orders
        self._fresh = fresh
        self._data = FrameStream(PipeEnd(fds.requests, fds.replies), waits_when_gone=True)
        self._control_stream = FrameStream(SocketEnd(socket.socket(fileno=fds.control)), takes_fds=True)
        self._replies = Replies(False, frozenset(), _LEAST_FRAME)
        self._forks: Optional[forks.Forks] = None
        self._in_isolated_code = False
        self._lent: Any = None
        """What was lent with the orders, until that has been read."""

    def run(self) -> NoReturn:
        """Set up, serve until told to stop, and end the process."""
        try:
            loop, control = self._begin()
            ready = self._description(loop)
            self._end_if_fork()
            loop.start_threads()
            self._data.send(wire.READY, wire.PLAIN, 0, ready)
        except BaseException as error:
            self._end_if_fork(error)
            ours = not self._in_isolated_code
            tell_failure(self._fds.replies, error, self._replies, self._data.generation, ours)
        self._finish(loop, control, loop.run())

    def _begin(self) -> Tuple[CallLoop, HostLink]:
        """Become what the host wants, up to the first message; whatever is raised, the host is told."""
        init = self._greet()
        os.chdir(init["cwd"])
        self._set_up(init)
        loop, control = self._make_loop(init)
        control.start()
        assert self._forks is not None
        self._forks.watch([fd for fd in (self._fds.page, self._fds.host_pidfd) if fd >= 0])
        self._in_isolated_code = True
        self._start(init, loop, control)
        self._in_isolated_code = False
        return loop, control

    def _end_if_fork(self, error: Optional[BaseException] = None) -> None:
        if self._forks is not None:
            self._forks.end_if_fork(error)

    def rehearse(self) -> None:
        """Do what `run` does, except its end and its thread (see `rehearsal`)."""
        init = self._greet()
        self._set_up(init)
        loop, control = self._make_loop(init)
        self._start(init, loop, control)
        self._data.send(wire.READY, wire.PLAIN, 0, self._description(loop))
        loop.run()
        loop.hosted.on_stop()
        loop.page.close()
        self._data.end.close()
        self._control_stream.end.close()

    def _greet(self) -> Dict[str, Any]:
        """Tell the host who this is, and read what to be."""
        unconfined = [text[:_MOST_TEXT] for text in confine.confine(self._orders)]
        greeting = {**_greeting(), "unconfined": unconfined[:_MOST_UNCONFINED]}
        self._control_stream.send(wire.HELLO, wire.PLAIN, 0, plain_encode.encode(greeting))
        frame = self._data.next()
        if frame is None:
            end_with_host()
            os._exit(0)
        self._data.belong_to(frame.generation)
        self._control_stream.belong_to(frame.generation)
        init: Dict[str, Any] = pickle.loads(frame.payload)
        most = init.get("max_frame", _LEAST_FRAME)
        self._replies = Replies(init.get("code", False), frozenset(init.get("accept", ())), most)
        if init["protocol"] != PROTOCOL:
            raise RuntimeError(_other_protocol(init["protocol"]))
        return init

    def _set_up(self, init: Dict[str, Any]) -> None:
        main_module = types.ModuleType("__main__")
        main_module.__dict__["__builtins__"] = __builtins__
        sys.modules["__main__"] = main_module
        sys.argv[:] = init["argv"]
        if not self._fresh:
            environment.take(init["env"])
        if init["own_interpreter"]:
            sys.path[:] = init["sys_path"]
        else:
            sys.path[:0] = [path for path in init["sys_path"] if path not in sys.path]
        _line_buffered()
        os.lseek(self._fds.page, FAULT_OFFSET, os.SEEK_SET)
        faulthandler.enable(self._fds.page, all_threads=True)
        if DUMP_SIGNAL and hasattr(faulthandler, "register"):
            faulthandler.register(DUMP_SIGNAL, self._fds.page, all_threads=True)

    def _make_loop(self, init: Dict[str, Any]) -> Tuple[CallLoop, HostLink]:
        replies = self._replies
        sharing = Sharing(self._control_stream, init["shared"])
        page = SequencePage(self._fds.page)
        loop = CallLoop(self._data, page, replies, init["concurrency"], sharing, init["own_interpreter"])
        describe, host = lambda: self._described(loop), self._fds.host_pidfd
        control = HostLink(self._control_stream, self._data, host, replies, describe, sharing, loop)
        control.number_from(init["generation"] << 32, init["owner"], init["channels_after"], init["shared"])
        control_module.use(control)
        loop.connect(control)
        if init["lends"]:
            self._lent = control.border.take(init["lends"])
        _share_data(control, init["data"])
        if init.get("spin") and init["concurrency"] == 1 and spin.possible():
            self._data.wait_with(spin.Spinner(self._data.fileno()))
        handler = HostHandler(control.send_log, replies)
        self._forks = forks.Forks(loop, control, handler, init["own_level"])
        handler.attach()
        logging.getLogger().setLevel(init["log_level"])
        threading.current_thread().name = "MainThread"
        return loop, control

    def _described(self, loop: CallLoop) -> hosted.Described:
        return loop.hosted.describe(min(self._replies.most, hosted.MOST_DESCRIBED_BYTES))

    def _description(self, loop: CallLoop) -> bytes:
        return plain_encode.encode(self._described(loop))

    def _start(self, init: Dict[str, Any], loop: CallLoop, control: HostLink) -> None:
        if init["debug"]:
            _wait_for_debugger(init["name"])
        copies.use(init.get("cloudpickle", ""))
        store.host = init.get("host_version", "")
        store.add((), init.get("definitions", ()))
        kind, payload = init["target"]
        if kind == "none":
            return
        target, args, kwargs = _loaded(payload)
        self._lent = None  # what is needed of it is held by what was loaded
        if kind == "actor":
            adapter: Any = target._pihost_adapter(control, init["urn"], loop)
            adapter.make(args, kwargs)
            loop.host(adapter)
            adapter.on_start()
        else:
            loop.host(hosted.host(target, args, kwargs))

    def _finish(self, loop: CallLoop, control: HostLink, ending: CallsEnding) -> NoReturn:
        error = ending.error
        code = 0 if error is None else 1
        told = None
        if isinstance(error, SystemExit):
            code = told = forks.exit_code(error)
        control.announce_stop(self._replies.report(error, told, _MOST_REPORT))
        try:
            control.close_streams()
            self._last_hook(loop, error)
        except BaseException as raised:
            self._end_if_fork(raised)
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


def _other_protocol(theirs: int) -> str:
    return (
        "the host speaks protocol {} and this pihost ({}) speaks {}: the host's piactors was changed while it ran, "
        "or pihost is a copy of another version; restart the host, and let it find its own pihost".format(
            theirs, os.path.dirname(os.path.dirname(os.path.abspath(__file__))), PROTOCOL
        )
    )


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
        "executable": (sys.executable or "")[:_MOST_TEXT],
    }


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


def _share_data(control: HostLink, data: Dict[str, bytes]) -> None:
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
