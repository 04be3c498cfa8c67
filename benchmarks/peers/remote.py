"""Libraries for calls to other machines, used on this one: execnet, RPyC and Pyro5.

None of them sends arrays as such, so they send and return the bytes of one, and make an array of what comes back.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

from benchmarks.peers import CRASH_SECONDS

WINDOW = 64

ECHO_OF_EXECNET = """
import os, signal
for item in channel:
    if item == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    channel.send(os.getpid() if item == "pid" else item)
"""

ECHO_OF_PYRO5 = """
import os, signal
import Pyro5.api
Pyro5.api.config.SERIALIZER = "msgpack"

@Pyro5.api.expose
class Echo:
    def echo(self, value):
        return value
    def pid(self):
        return os.getpid()
    def crash(self):
        os.kill(os.getpid(), signal.SIGKILL)

daemon = Pyro5.api.Daemon(host="127.0.0.1")
print(daemon.register(Echo()), flush=True)
daemon.requestLoop()
"""

ECHO_OF_RPYC = """
import os, signal, socket, sys
import rpyc
rpyc.core.channel.Channel.COMPRESSION_THRESHOLD = sys.maxsize

class Echo(rpyc.Service):
    def exposed_echo(self, value):
        return value
    def exposed_pid(self):
        return os.getpid()
    def exposed_crash(self):
        os.kill(os.getpid(), signal.SIGKILL)

stream = rpyc.core.stream.SocketStream(socket.socket(fileno=int(sys.argv[1])))
print("ready", flush=True)
rpyc.connect_stream(stream, Echo).serve_all()
"""


class Program:
    """A server of ours in a process of its own, which says in its first line that it is there, or where."""

    def __init__(self, code: str, *inherited: int, arguments: Sequence[str] = ()) -> None:
        command = [sys.executable, "-c", code, *map(str, inherited), *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=inherited)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def array_of(found: Any) -> Any:
    """Make an array of the bytes of one."""
    import numpy as np

    return np.frombuffer(found)


class Execnet:
    """A gateway to another interpreter, with a channel to a loop there."""

    @staticmethod
    def check() -> None:
        """Import it."""
        import execnet  # noqa: F401

    def __init__(self) -> None:
        import execnet

        self._group = execnet.Group()
        gateway = self._group.makegateway(f"popen//python={sys.executable}")
        self._channel: Any = gateway.remote_exec(ECHO_OF_EXECNET)

    def call(self, value: Any) -> Any:
        """See `Peer`."""
        return self.call_with_timeout(value, 60)

    def call_with_timeout(self, value: Any, timeout: float) -> Any:
        """See `Peer`."""
        self._channel.send(value)
        return self._channel.receive(timeout)

    def pipelined(self, value: Any, calls: int) -> None:
        """See `Peer`: a thread of execnet's reads meanwhile, so that both sides can go on."""
        for _ in range(calls):
            self._channel.send(value)
        for _ in range(calls):
            self._channel.receive(60)

    def array(self, value: Any) -> Any:
        """See `Peer`."""
        return array_of(self.call(value.tobytes()))

    def worker_pid(self) -> int:
        """See `Peer`."""
        pid: int = self.call("pid")
        return pid

    def crash(self) -> bool:
        """See `Peer`."""
        self._channel.send("crash")
        try:
            self._channel.receive(CRASH_SECONDS)
        except EOFError:
            return True
        except self._channel.TimeoutError:
            return False
        return False

    def close(self) -> None:
        """See `Peer`."""
        self._group.terminate(timeout=1.0)


class Rpyc:
    """A connection to a service, without what is for networks: compression, and TCP, which waits for more to send."""

    @staticmethod
    def check() -> None:
        """Import it."""
        import rpyc  # noqa: F401

    def __init__(self) -> None:
        import rpyc

        rpyc.core.channel.Channel.COMPRESSION_THRESHOLD = sys.maxsize
        ours, theirs = socket.socketpair()
        with theirs:
            self._program = Program(ECHO_OF_RPYC, theirs.fileno())
        stream, config = rpyc.core.stream.SocketStream(ours), {"sync_request_timeout": 60}
        self._connection: Any = rpyc.connect_stream(stream, config=config)
        self._echo = self._connection.root.echo
        self._later = rpyc.async_(self._echo)

    def call(self, value: Any) -> Any:
        """See `Peer`."""
        return self._echo(value)

    def call_with_timeout(self, value: Any, timeout: float) -> Any:
        """See `Peer`."""
        result = self._later(value)
        result.set_expiry(timeout)
        return result.value

    def pipelined(self, value: Any, calls: int) -> None:
        """See `Peer`: it reads no answers while it sends, so no more are under way than the socket holds."""
        waiting: deque[Any] = deque()
        for _ in range(calls):
            if len(waiting) == WINDOW:
                waiting.popleft().wait()
            waiting.append(self._later(value))
        for result in waiting:
            result.wait()

    def array(self, value: Any) -> Any:
        """See `Peer`."""
        return array_of(self.call(value.tobytes()))

    def worker_pid(self) -> int:
        """See `Peer`."""
        pid: int = self._connection.root.pid()
        return pid

    def crash(self) -> bool:
        """See `Peer`."""
        try:
            self._connection.root.crash()
        except EOFError:
            return True
        return False

    def close(self) -> None:
        """See `Peer`."""
        with contextlib.suppress(Exception):  # it may be closed already
            self._connection.close()
        self._program.close()


class Pyro5:
    """A proxy of an object that a daemon serves, with msgpack: the serializer that takes bytes as they are."""

    @staticmethod
    def check() -> None:
        """Import it, and its serializer."""
        import msgpack  # noqa: F401
        import Pyro5.api  # noqa: F401

    def __init__(self) -> None:
        import Pyro5.api
        import Pyro5.errors

        Pyro5.api.config.SERIALIZER = "msgpack"
        self._api: Any = Pyro5.api
        self._errors: Any = Pyro5.errors
        self._program = Program(ECHO_OF_PYRO5)
        self._proxy: Any = Pyro5.api.Proxy(self._program.address)

    def call(self, value: Any) -> Any:
        """See `Peer`."""
        return self._proxy.echo(value)

    def call_with_timeout(self, value: Any, timeout: float) -> Any:
        """See `Peer`."""
        self._proxy._pyroTimeout = timeout
        return self.call(value)

    def pipelined(self, value: Any, calls: int) -> None:
        """See `Peer`: a proxy has one call under way at most, so this is a batch, sent as one message."""
        batch = self._api.BatchProxy(self._proxy)
        for _ in range(calls):
            batch.echo(value)
        for _ in batch():
            pass

    def array(self, value: Any) -> Any:
        """See `Peer`."""
        return array_of(self.call(value.tobytes()))

    def worker_pid(self) -> int:
        """See `Peer`."""
        pid: int = self._proxy.pid()
        return pid

    def crash(self) -> bool:
        """See `Peer`."""
        self._proxy._pyroTimeout = CRASH_SECONDS
        try:
            self._proxy.crash()
        except self._errors.TimeoutError:
            return False
        except self._errors.CommunicationError:
            return True
        return False

    def close(self) -> None:
        """See `Peer`."""
        self._proxy._pyroRelease()
        self._program.close()
