"""Functions that an isolate is asked to run, and that then speak the protocol wrongly on purpose.

Each takes over the descriptors of the isolate that it runs in and writes raw bytes.  The host never
imports this file: it names it.  Nothing here needs piactors, only what the process it runs in holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

HEADER = struct.Struct("<IBBHQ")
HELLO, INIT, READY, START_FAILED, CALL, TELL, REPLY, ERROR, SKIPPED, STOP = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
STOPPING, PROCEED, REQUEST, RESPONSE, FAILURE, LOG, DONE = 11, 12, 13, 14, 15, 16, 17
SETUP, LAUNCH, LAUNCHED, REFUSED, EXITED, WARM = 32, 33, 34, 35, 36, 37
TO_ISOLATE = {"INIT": INIT, "CALL": CALL, "TELL": TELL, "STOP": STOP, "PROCEED": PROCEED}
OF_LAUNCHERS = {"SETUP": SETUP, "LAUNCH": LAUNCH, "LAUNCHED": LAUNCHED, "REFUSED": REFUSED, "EXITED": EXITED}
BEGUN, SLOTS, PAGE_SIZE = 1, 8, 65536
F_GET_SEALS, SEALED = 1034, 7


class Pipe:
    """The way to the host of the data channel, with what is asked of a socket here."""

    def __init__(self, end: Any) -> None:
        self._end = end

    def sendall(self, data: bytes) -> None:
        """Write all of it."""
        view = memoryview(data)
        while view:
            view = view[self._end.write(view) :]

    def shutdown(self, _: int) -> None:
        """Have the host see the end."""
        os.close(self._end.write_fd())


class Grip:
    """What this process holds of its isolate, found on the stack that leads here."""

    def __init__(self) -> None:
        isolate, frame = None, sys._getframe()
        self.seq = 0
        while frame is not None:  # type: ignore[redundant-expr]
            me = frame.f_locals.get("self")
            if type(me).__name__ == "CallLoop" and "seq" in frame.f_locals and not self.seq:
                self.seq = frame.f_locals["seq"]
            if type(me).__name__ == "IsolateProcess":
                isolate = me
            frame = frame.f_back  # type: ignore[assignment]
        assert isolate is not None, "not in an isolate"
        self.isolate: Any = isolate
        self.data = Pipe(isolate._data.end)
        self.control: socket.socket = isolate._control_stream.end.sock
        self.page: int = isolate._fds.page
        self.generation: int = isolate._data.generation
        self.package: str = type(isolate).__module__.rpartition(".serve.")[0]

    def frame(
        self,
        kind: int,
        payload: bytes = b"",
        seq: int = 0,
        flags: int = 0,
        length: int | None = None,
        generation: int | None = None,
    ) -> bytes:
        """Return a frame of this generation, or one that lies."""
        number = self.generation if generation is None else generation
        return HEADER.pack(len(payload) if length is None else length, kind, flags, number & 0xFFFF, seq) + payload

    def plain(self, value: Any) -> bytes:
        """Return the plain encoding of a value."""
        coded: bytes = sys.modules[self.package + ".plain.encode"].encode(value)
        return coded

    def channel(self, name: str) -> Any:
        """Return one of the two channels by its name."""
        return self.data if name == "data" else self.control

    def instead_of(self, kind: int, make: Callable[[int], bytes]) -> None:
        """Have the honest code go on, but send other bytes where it would send the next frame of `kind`."""
        stream = self.isolate._data
        honest = stream.send

        def send(wanted: int, flags: int = 0, seq: int = 0, payload: bytes = b"") -> None:
            if wanted == kind:
                stream.send = honest
                self.data.sendall(make(seq))
            else:
                honest(wanted, flags, seq, payload)

        stream.send = send


def wait_for_the_end() -> NoReturn:
    """Do nothing more: the host is to end this process."""
    while True:
        threading.Event().wait(3600)


def keep_sending(sock: socket.socket, block: bytes, total: int) -> None:
    """Send a block again and again, until so many bytes are out or nobody takes them."""
    try:
        for _ in range(max(1, total // len(block))):
            sock.sendall(block)
    except OSError:
        return


def marker_pickle(path: str, how: str) -> bytes:
    """Return a pickle that runs code where it is loaded."""
    import pickle

    class Bomb:
        def __reduce__(self) -> Any:
            if how == "exit":
                return os._exit, (86,)
            if how == "import":
                return __import__, ("hostile_import_target",)
            return os.mkdir, (path,)

    return pickle.dumps(Bomb())


# --- bytes that are no frames ------------------------------------------------------------------------


def forged_length(length: int, channel: str = "data") -> None:
    """Announce a payload that is never sent."""
    grip = Grip()
    grip.channel(channel).sendall(grip.frame(REPLY if channel == "data" else LOG, b"x" * 64, grip.seq, length=length))
    wait_for_the_end()


def send_kind(kind: int, channel: str = "data", seq: int = 0, payload: bytes = b"", times: int = 1) -> None:
    """Send a frame of some kind."""
    grip = Grip()
    for _ in range(times):
        grip.channel(channel).sendall(grip.frame(kind, payload, seq))
    wait_for_the_end()


def garbage(seed: int, channel: str = "data") -> None:
    """Send random bytes."""
    source = random.Random(seed)
    grip = Grip()
    try:
        for _ in range(64):
            grip.channel(channel).sendall(bytes(source.getrandbits(8) for _ in range(1000)))
    except OSError:
        pass
    wait_for_the_end()


def truncated(size: int) -> None:
    """Send the beginning of a frame, and exit."""
    grip = Grip()
    whole = grip.frame(REPLY, grip.plain("x" * 100_000), grip.seq)
    grip.data.sendall(whole[:size])
    os._exit(9)


def endless_frame(size: int, seconds_between: float = 0.0) -> None:
    """Send a frame of the largest allowed size but for its last byte."""
    grip = Grip()
    grip.data.sendall(grip.frame(REPLY, b"", grip.seq, length=size))
    keep_sending(grip.data, b"x" * 65536, size - 65536)
    wait_for_the_end()


def close_channel(name: str) -> None:
    """Shut one channel and go on living."""
    grip = Grip()
    grip.channel(name).shutdown(socket.SHUT_WR)
    wait_for_the_end()


# --- numbers, generations, answers that do not fit -------------------------------------------------------


def answer(kind: int, seq_offset: int = 0, times: int = 1, flags: int = 0, channel: str = "data") -> None:
    """Answer a call that is `seq_offset` after this one, in a plain way, so many times."""
    grip = Grip()
    for _ in range(times):
        grip.channel(channel).sendall(grip.frame(kind, grip.plain("hi"), grip.seq + seq_offset, flags))
    wait_for_the_end()


def answer_and_return(kind: int, times: int = 1) -> None:
    """Answer this message, and let the honest code answer it again."""
    grip = Grip()
    grip.data.sendall(grip.frame(kind, grip.plain("hi"), grip.seq) * times)


def answer_huge_seq() -> None:
    """Answer the last call that there could be."""
    grip = Grip()
    grip.data.sendall(grip.frame(REPLY, grip.plain("hi"), 2**64 - 1))
    wait_for_the_end()


def wrong_generation(offset: int) -> None:
    """Answer in the name of another generation."""
    grip = Grip()
    grip.data.sendall(grip.frame(REPLY, grip.plain("hi"), grip.seq, generation=grip.generation + offset))
    wait_for_the_end()


def answer_own_and_then(kind: int, payload: bytes = b"", channel: str = "data") -> None:
    """Answer this call in order, and then send what must not come."""
    grip = Grip()
    grip.data.sendall(grip.frame(REPLY, grip.plain("hi"), grip.seq))
    grip.channel(channel).sendall(grip.frame(kind, payload))
    wait_for_the_end()


def stopping(payload: Any, times: int = 1, channel: str = "control") -> None:
    """Report a stop, with anything as the report."""
    grip = Grip()
    for _ in range(times):
        grip.channel(channel).sendall(grip.frame(STOPPING, grip.plain(payload)))
    wait_for_the_end()


def hello(payload: Any, raw: bytes | None = None) -> None:
    """Greet again."""
    grip = Grip()
    grip.control.sendall(grip.frame(HELLO, grip.plain(payload) if raw is None else raw, generation=0))
    wait_for_the_end()


def ready_again(payload: Any) -> None:
    """Become ready a second time."""
    grip = Grip()
    grip.data.sendall(grip.frame(READY, grip.plain(payload)))
    wait_for_the_end()


def start_failed(payload: Any) -> None:
    """Say that the start has failed, after it has not."""
    grip = Grip()
    grip.data.sendall(grip.frame(START_FAILED, grip.plain(payload)))
    wait_for_the_end()


def request(payload: Any, raw: bytes | None = None, channel: str = "data") -> None:
    """Ask something of the host."""
    grip = Grip()
    grip.channel(channel).sendall(grip.frame(REQUEST, grip.plain(payload) if raw is None else raw, 1))
    wait_for_the_end()


def frames(raw: list[tuple[int, int, int, bytes]], channel: str = "data") -> None:
    """Send frames as they are: kind, flags, number, payload."""
    grip = Grip()
    grip.channel(channel).sendall(b"".join(grip.frame(kind, data, seq, flags) for kind, flags, seq, data in raw))
    wait_for_the_end()


def frames_unread(kind: int, flags: int, raw: bytes, total: int) -> None:
    """Send a frame again and again, under other numbers, and read nothing."""
    grip = Grip()
    number, sent = 1, 0
    try:
        while sent < total:
            block = b"".join(grip.frame(kind, raw, number + n, flags) for n in range(1000))
            grip.data.sendall(block)
            number, sent = number + 1000, sent + len(block)
    except OSError:
        pass
    wait_for_the_end()


def frames_in_turn(kind: int, flags: int, raw: bytes, total: int) -> None:
    """Send a frame so many times, under other numbers, with pauses in which the host does what was asked."""
    grip = Grip()
    for number in range(1, total):
        grip.data.sendall(grip.frame(kind, raw, number, flags))
        if not number % 50:
            threading.Event().wait(0.01)
    wait_for_the_end()


# --- floods ---------------------------------------------------------------------------------------------


def flood(kind: int, payload: Any, total: int, channel: str = "control", raw: bytes | None = None) -> str:
    """Send the same small frame until so many bytes are out."""
    grip = Grip()
    one = grip.frame(kind, grip.plain(payload) if raw is None else raw, grip.seq)
    keep_sending(grip.channel(channel), one * max(1, 131_072 // len(one)), total)
    return "sent"


def flood_logs_of_many_levels(count: int) -> str:
    """Log records, each of another level."""
    grip = Grip()
    for start in range(0, count, 100):
        frames = [grip.frame(LOG, grip.plain(record(level=1000 + start + n))) for n in range(100)]
        grip.control.sendall(b"".join(frames))
    return "sent"


def stop_under_flood(total: int, kind: int = LOG, payload: bytes = b"") -> None:
    """Flood one channel from one thread, and report a stop on the other one meanwhile."""
    grip = Grip()
    one = grip.frame(kind, payload, grip.seq)
    block = one * max(1, 131_072 // len(one))
    thread = threading.Thread(target=keep_sending, args=(grip.data, block, total), daemon=True)
    thread.start()
    grip.control.sendall(grip.frame(STOPPING, grip.plain({"error": None, "code": None})))
    thread.join()
    wait_for_the_end()


def requests_unread(request_value: Any, total: int) -> None:
    """As an actor: ask things of the host without ever reading an answer."""
    grip = Grip()
    number, sent = 0, 0
    payload = grip.plain(request_value)
    try:
        while sent < total:
            block = b"".join(grip.frame(REQUEST, payload, number + n) for n in range(1000))
            grip.data.sendall(block)
            number, sent = number + 1000, sent + len(block)
    except OSError:
        pass
    wait_for_the_end()


def timers(size: int, total: int) -> None:
    """As an actor: set timers for tomorrow, each with arguments of so many bytes."""
    grip = Grip()
    number, sent, payload = 0, 0, b"x" * size
    try:
        while sent < total:
            asked = (("timer", number + n, 86400.0, 0, payload, b"") for n in range(100))
            block = b"".join(grip.frame(REQUEST, grip.plain(one), number + n) for n, one in enumerate(asked))
            grip.data.sendall(block)
            number, sent = number + 100, sent + len(block)
    except OSError:
        pass
    wait_for_the_end()


def stop_reading_control() -> None:
    """Have the control thread of this process read no more, so that only raw bytes are exchanged."""
    grip = Grip()
    own = sys.modules[grip.package + ".serve.control"]
    own.HostLink._read = lambda self: threading.Event().wait()


def output(stream: int, block: bytes, total: int) -> str:
    """Write to stdout or stderr until so many bytes are out."""
    block = block * max(1, 65_536 // len(block))
    left = total
    while left > 0:
        left -= os.write(stream, block)
    return "written"


def lend_stdout(name: str) -> str:
    """Pass the stdout of this isolate on to whoever listens at the abstract socket `name`, then exit."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + name)
        socket.send_fds(sock, [b"x"], [1])  # type: ignore[attr-defined,unused-ignore]
        sock.recv(1)
    os._exit(0)


_listeners: list[socket.socket] = []


def listen(name: str) -> None:
    """Listen at the abstract socket `name`."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind("\0" + name)
    sock.listen(1)
    _listeners.append(sock)


def borrow_stdout(total: int) -> str:
    """Write to a stdout that another isolate lent, also when that isolate is gone."""
    connection, _ = _listeners.pop().accept()
    _, fds, _, _ = socket.recv_fds(connection, 1, 1)  # type: ignore[attr-defined,unused-ignore]
    os.set_blocking(fds[0], True)
    block, left = b"line\n" * 13_000, total
    os.write(fds[0], block)
    connection.sendall(b"x")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        while left > 0:
            left -= os.write(fds[0], block)
    except OSError:
        return "cut off"
    return "written"


# --- replies -----------------------------------------------------------------------------------------------


def reply(payload: bytes, flags: int = 0, kind: int = REPLY) -> None:
    """Have this call answered with the given bytes; all else goes on honestly."""
    grip = Grip()
    grip.instead_of(REPLY, lambda seq: grip.frame(kind, payload, seq, flags))


def reply_plain(value: Any, kind: int = REPLY) -> None:
    """The same with a plain value."""
    reply(Grip().plain(value), kind=kind)


def reply_pickle(path: str, how: str, kind: int = REPLY) -> None:
    """Answer with a pickle that runs code where it is loaded."""
    reply(marker_pickle(path, how), 1, kind)


def error(fields: dict[str, Any]) -> None:
    """Fail this call with a description whose fields are given; `args` are encoded here."""
    grip = Grip()
    whole: dict[str, Any] = {
        "module": "builtins",
        "qualname": "ValueError",
        "text": "no",
        "traceback": "Traceback (remote)",
        "notes": [],
        "args": None,
        "pickle": None,
        "accepted": None,
    }
    whole.update(fields)
    if type(whole["args"]) is tuple:
        whole["args"] = grip.plain(whole["args"])
    reply(grip.plain(whole), kind=ERROR)


def error_with_pickle(path: str, how: str) -> None:
    """Fail this call with a description that holds a pickle."""
    error({"pickle": marker_pickle(path, how)})


def skipped_and_more(kind: int) -> None:
    """Answer this call with DONE or SKIPPED."""
    grip = Grip()
    grip.data.sendall(grip.frame(kind, b"", grip.seq))
    wait_for_the_end()


# --- log records -------------------------------------------------------------------------------------------


def record(**fields: Any) -> dict[str, Any]:
    """Return the fields of a record, as the isolate's handler sends them."""
    whole: dict[str, Any] = {
        "name": "hostile.name",
        "level": 40,
        "message": "hello",
        "created": 1.5e9,
        "pathname": "f.py",
        "lineno": 3,
        "function": "f",
        "thread": 7,
        "thread_name": "MainThread",
        "exception": None,
        "stack": "",
        "extra": {},
    }
    whole.update(fields)
    return whole


def log(fields: dict[str, Any], missing: str = "", raw: bytes | None = None) -> str:
    """Send one record, some of whose fields are given, one of them left out."""
    grip = Grip()
    whole = record(**fields)
    whole.pop(missing, None)
    grip.control.sendall(grip.frame(LOG, grip.plain(whole) if raw is None else raw))
    return "sent"


def log_value(value: Any) -> str:
    """Send a value that is no record."""
    return log({}, raw=Grip().plain(value))


def log_deep_name(dots: int) -> str:
    """Log under a name of so many parts."""
    return log({"name": "." * dots})


def log_many_names(count: int) -> str:
    """Log under so many names."""
    grip = Grip()
    for start in range(0, count, 50):
        frames = [grip.frame(LOG, grip.plain(record(name=f"hostile.n{start + n}"))) for n in range(50)]
        grip.control.sendall(b"".join(frames))
    return "sent"


def log_with_pickle(path: str, how: str) -> str:
    """Log a record whose exception holds a pickle."""
    grip = Grip()
    described = {
        "module": "builtins",
        "qualname": "ValueError",
        "text": "no",
        "traceback": "",
        "notes": [],
        "args": None,
        "pickle": marker_pickle(path, how),
        "accepted": None,
    }
    return log({"exception": grip.plain(described)})


# --- the page ------------------------------------------------------------------------------------------------


def _word(page: int, index: int, value: int) -> None:
    os.pwrite(page, struct.pack("=Q", value), index * 8)


def lie_about_begun(begun: int, slot: int = -1, note: str = "") -> None:
    """Write to the page what is not so, leave a note that this call did run, and die."""
    grip = Grip()
    if note:
        with open(note, "a") as file:
            file.write("ran\n")
    value = grip.seq + begun if -(2**32) < begun < 2**32 else begun
    _word(grip.page, BEGUN, max(0, value))
    if slot >= 0:
        _word(grip.page, SLOTS, slot)
    os.kill(os.getpid(), signal.SIGKILL)


def random_page(seed: int) -> None:
    """Fill the whole page with random bytes, and die."""
    source = random.Random(seed)
    os.pwrite(Grip().page, bytes(source.getrandbits(8) for _ in range(PAGE_SIZE)), 0)
    os.kill(os.getpid(), signal.SIGKILL)


def resize_page(size: int) -> str:
    """Try to cut or grow the page file; say what came of it."""
    page = Grip().page
    try:
        os.ftruncate(page, size)
    except OSError as refused:
        return type(refused).__name__
    return "resized"


def write_behind_page() -> str:
    """Try to write beyond the page's end."""
    try:
        os.pwrite(Grip().page, b"x" * 4096, PAGE_SIZE)
    except OSError as refused:
        return type(refused).__name__
    return "written"


def seals() -> int:
    """Return the seals of the page."""
    return fcntl.fcntl(Grip().page, F_GET_SEALS)


def append_only_page() -> str:
    """Make the page's open file one that is only appended to, as far as this end goes."""
    page = Grip().page
    fcntl.fcntl(page, fcntl.F_SETFL, fcntl.fcntl(page, fcntl.F_GETFL) | os.O_APPEND)
    return "set"


# --- at the start ----------------------------------------------------------------------------------------------


class Starter:
    """A hosted class whose constructor attacks."""

    def __init__(self, attack: str, *args: Any, **kwargs: Any) -> None:
        globals()[attack](*args, **kwargs)

    def method(self) -> str:
        """Be there, for the description."""
        return "answered"


def raise_big_int() -> None:
    """Raise an exception whose text cannot be had."""
    raise ValueError(10**5000)


def raise_with_lock() -> None:
    """Raise an exception whose arguments cannot leave this process."""
    raise ValueError(threading.Lock())


def early(kind: int, payload: Any, channel: str = "data", times: int = 1, raw: bytes | None = None) -> None:
    """Send frames before this isolate is ready, and wait."""
    grip = Grip()
    for _ in range(times):
        grip.channel(channel).sendall(grip.frame(kind, grip.plain(payload) if raw is None else raw))
    wait_for_the_end()


def describe_as(payload: Any, raw: bytes | None = None) -> None:
    """Become ready with another description than the honest one."""
    grip = Grip()
    coded = grip.plain(payload) if raw is None else raw
    grip.instead_of(READY, lambda seq: grip.frame(READY, coded))


def fail_start_as(fields: dict[str, Any]) -> None:
    """Fail the start with a description whose fields are given."""
    grip = Grip()
    whole: dict[str, Any] = {
        "module": "builtins",
        "qualname": "ValueError",
        "text": "no",
        "traceback": "Traceback (remote)",
        "notes": [],
        "args": None,
        "pickle": None,
        "accepted": None,
    }
    whole.update(fields)
    if type(whole["args"]) is tuple:
        whole["args"] = grip.plain(whole["args"])
    grip.data.sendall(grip.frame(START_FAILED, grip.plain(whole)))
    os._exit(1)


def fail_start_with_pickle(path: str, how: str) -> None:
    """Fail the start with a description that holds a pickle."""
    fail_start_as({"pickle": marker_pickle(path, how)})


# --- honest company ----------------------------------------------------------------------------------------------


def pid() -> int:
    """Answer."""
    return os.getpid()


def block(path: str) -> None:
    """Say by a file that this call runs, and run until the end."""
    with open(path, "w"):
        pass
    wait_for_the_end()


def note_run(path: str) -> None:
    """Leave a note that this call ran."""
    with open(path, "a") as file:
        file.write("ran\n")


# --- shared memory ---------------------------------------------------------------------------------

MAP, UNMAP, SHARED = 18, 19, 2


def _memory(size: int, seals: int = SEALED) -> int:
    fd = os.memfd_create("hostile", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _pipe() -> int:
    return os.pipe()[0]


_DESCRIPTORS: dict[str, Callable[[], int]] = {
    "unsealed": lambda: _memory(100_000, 0),
    "may shrink": lambda: _memory(100_000, 4),
    "empty": lambda: _memory(0),
    "huge": lambda: _memory(1 << 45),
    "pipe": _pipe,
    "folder": lambda: os.open("/", os.O_RDONLY),
}


def _send_with(sock: socket.socket, data: bytes, fds: list[int]) -> None:
    import array

    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def _table(number: int, *places: tuple[int, int]) -> bytes:
    return struct.pack("<II", number, len(places)) + b"".join(struct.pack("<QQ", *place) for place in places)


def map_of(what: str) -> None:
    """Announce a segment whose descriptor is none that may be mapped, or does not come."""
    grip = Grip()
    if what == "nothing":
        grip.control.sendall(grip.frame(MAP, seq=1))
    else:
        _send_with(grip.control, grip.frame(MAP, seq=1), [_DESCRIPTORS[what]()])
    wait_for_the_end()


def many_maps(times: int) -> None:
    """Announce more segments than there may be."""
    grip = Grip()
    fd = _memory(100_000)
    try:
        for number in range(times):
            _send_with(grip.control, grip.frame(MAP, seq=number), [fd])
    except OSError:
        pass
    wait_for_the_end()


def many_descriptors(times: int) -> None:
    """Send descriptors that belong to nothing, with frames that may come."""
    grip = Grip()
    fd = _memory(100_000)
    try:
        for _ in range(times):
            _send_with(grip.control, grip.frame(UNMAP, seq=999), [fd] * 50)
    except OSError:
        pass
    wait_for_the_end()


def shared_reply(number: int, places: list[tuple[int, int]], announce: bool = True, kind: int = REPLY) -> None:
    """Answer with a table."""
    grip = Grip()
    if announce:
        _send_with(grip.control, grip.frame(MAP, seq=1), [_memory(100_000)])
    grip.data.sendall(grip.frame(kind, _table(number, *places), grip.seq, SHARED))
    wait_for_the_end()


def restless_segment() -> None:
    """Answer with plain bytes in a segment, and then try to cut it short and write to it."""
    import mmap

    grip = Grip()
    fd = _memory(1 << 20)
    mapped = mmap.mmap(fd, 1 << 20)
    payload = grip.plain(b"v" * 500_000)
    mapped[64 : 64 + len(payload)] = payload
    _send_with(grip.control, grip.frame(MAP, seq=1), [fd])
    grip.data.sendall(grip.frame(REPLY, _table(1, (64, len(payload))), grip.seq, SHARED))
    source = random.Random(5)
    while True:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
        start = source.randrange(0, 500_000)
        mapped[start : start + 64] = bytes(source.getrandbits(8) for _ in range(64))
