"""Event loops, shells, servers and surroundings that `docs/where_it_runs.md` names, tried.

What needs a package that is not installed is skipped: ``pip install -e '.[where]'`` has them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pykka
import pytest

import piactors
from piactors import ChildSpec, ProcessIsolator, Supervisor
from tests.support import HostScripts, pid_gone, wait_until

REPO = Path(__file__).resolve().parents[2]
PATIENCE = 20


class Echo(piactors.ProcessActor):
    def say(self, x: Any) -> Any:
        return x


def need(package: str) -> Any:
    """Return an installed package; skip the test where it is not there."""
    return pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[where]'")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPO), **more}


# Event loops


async def use_all() -> None:
    """What is awaited, awaited."""
    async with ProcessIsolator() as isolator:
        calls = [isolator.invoke_method("math:factorial", n) for n in range(5)]
        assert await asyncio.gather(*calls) == [1, 1, 2, 6, 24]
    ref = await Echo.start_async()
    told: asyncio.Queue[Any] = asyncio.Queue()
    ref.proxy().say(2).add_done_callback(told.put_nowait)
    assert (await asyncio.wait_for(told.get(), PATIENCE)).result() == 2
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(isolator_sleeps(), 0.1)
    assert await ref.stop_async()
    async with await Supervisor.start_async(children=[ChildSpec("echo", Echo)]) as tree:
        assert await tree.child("echo").proxy().say(3) == 3


async def isolator_sleeps() -> None:
    async with ProcessIsolator() as isolator:
        await isolator.invoke_method("time:sleep", 100)


def test_uvloop() -> None:
    uvloop = need("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(use_all())


def test_anyio_on_asyncio() -> None:
    need("anyio").run(use_all, backend="asyncio")


REFUSED: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
    "a call": lambda ref, tree: ref.proxy().say(1),
    "start_async": lambda ref, tree: Echo.start_async(),
    "spawn_async": lambda ref, tree: piactors.spawn_async("math:floor"),
    "async with": lambda ref, tree: ProcessIsolator().__aenter__(),
    "Supervisor.start_async": lambda ref, tree: Supervisor.start_async(children=[]),
    "start_child_async": lambda ref, tree: tree.start_child_async(ChildSpec("echo", Echo)),
    "terminate_child_async": lambda ref, tree: tree.terminate_child_async("first"),
    "restart_child_async": lambda ref, tree: tree.restart_child_async("first"),
    "run_async": lambda ref, tree: piactors.run_async(tree),
    "stop_async": lambda ref, tree: ref.stop_async(),
}


@pytest.mark.parametrize("library", ["trio", "anyio", "curio"])
def test_another_event_loop_than_asyncios_is_refused_with_the_way(library: str) -> None:
    """Of whatever is awaited, whether it is done already or not; and nothing has been started then."""
    package = need(library)
    if library == "anyio":
        need("trio")
    in_thread = {"trio": "to_thread.run_sync", "anyio": "to_thread.run_sync", "curio": "run_in_thread"}[library]
    ref, done = Echo.start(), Echo.start().proxy().say(1)
    assert done.get(timeout=PATIENCE) == 1
    tree = Supervisor.start(children=[ChildSpec("first", Echo)])
    before = pykka.ActorRegistry.get_all()

    async def main() -> None:
        for name, make in {"what is done": lambda ref, tree: done, **REFUSED}.items():
            with pytest.raises(RuntimeError, match=r"trio runs here|curio runs here") as caught:
                await make(ref, tree)
            assert {"anyio": "trio.to_thread.run_sync"}.get(library, f"{library}.{in_thread}") in str(caught.value), (
                name
            )
        assert [other for other in pykka.ActorRegistry.get_all() if other not in before] == []
        run = package.run_in_thread if library == "curio" else package.to_thread.run_sync
        another = await run(Echo.start)
        assert await run(another.proxy().say(5).get) == 5

    package.run(main, **({"backend": "trio"} if library == "anyio" else {}))
    tree.stop()


def test_trio_on_top_of_asyncio() -> None:
    """In guest mode both run in one thread; who awaits decides."""
    trio = need("trio")
    ref = Echo.start()

    async def guest() -> str:
        with pytest.raises(RuntimeError, match="trio runs here"):
            await ref.proxy().say(1)
        return "refused"

    async def host() -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda outcome: ended.set_result(outcome.unwrap()),
        )
        assert await ref.proxy().say(2) == 2
        assert await asyncio.wait_for(ended, PATIENCE) == "refused"

    asyncio.run(host())


# Ways of running a program

CODE = """\
import os, piactors

class Pair(tuple):
    pass

class Doubler(piactors.ProcessActor):
    def twice(self, x):
        return Pair((add(x, x), os.getpid()))

def add(a, b):
    return a + b

ref = Doubler.start()
found = ref.proxy().twice(21).get(timeout=20)
helper = piactors.spawn(add).proxy()
print("@", found[0], found[1] != os.getpid(), type(found) is Pair, helper.call("a", "b").get(timeout=20))
"""
EXPECTED = "@ 42 True True ab"

DOCTEST = '''"""
>>> import piactors
>>> class Doubler(piactors.ProcessActor):
...     def twice(self, x):
...         return add(x, x)
>>> def add(a, b):
...     return a + b
>>> ref = Doubler.start()
>>> ref.proxy().twice(21).get(timeout=20)
42
>>> piactors.spawn(add).proxy().call("a", "b").get(timeout=20)
'ab'
>>> ref.stop()
True
"""
import doctest
print("@ 42 True True ab" if doctest.testmod(verbose=False).failed == 0 else "failed")
'''
INTERACT = """
import code, sys
lines = iter(open(sys.argv[1]).read().replace("\\n\\n", "\\n\\n\\n").splitlines())
def readline(prompt=""):
    try:
        return next(lines)
    except StopIteration:
        raise EOFError
code.interact(readfunc=readline, local={"__name__": "__main__"})
"""
WAYS: dict[str, list[str]] = {
    "-c": ["-c", CODE],
    "stdin": ["-"],
    "-i": ["-i", "{code}"],
    "typed": ["-i"],
    "-m package": ["-m", "package"],
    "a folder": ["package"],
    "code.interact": ["{interact}", "{code}"],
    "doctest": ["{doctest}"],
    "IPython file": ["-m", "IPython", "{code}"],
    "IPython -i": ["-m", "IPython", "--simple-prompt", "--no-banner", "--quick"],
    "-S": ["-S", "-c", "import sys; sys.path[:0] = {path}\n" + CODE],
    "-I": ["-I", "-c", "import sys; sys.path.insert(0, {repo})\n" + CODE],
    "-OO": ["-OO", "-X", "dev", "-W", "ignore", "{code}"],
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_of_running_a_program(way: str, tmp_path: Path) -> None:
    if way.startswith("IPython"):
        need("IPython")
    files = {"code": CODE, "interact": INTERACT, "doctest": DOCTEST}
    for name, text in files.items():
        (tmp_path / f"{name}_file.py").write_text(text)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(CODE)
    given = {f"{{{name}}}": str(tmp_path / f"{name}_file.py") for name in files}
    given |= {"{path}": repr([str(REPO), *filter(None, sys.path)]), "{repo}": repr(str(REPO))}
    arguments = []
    for text in WAYS[way]:
        for name, value in given.items():
            text = text.replace(name, value)
        arguments.append(text)
    typed = {
        "stdin": CODE,
        "typed": CODE.replace("\n\n", "\n\n\n"),
        "IPython -i": CODE.replace("\n\n", "\n\n\n") + "exit\n",
    }
    done = subprocess.run(
        [sys.executable, *arguments],
        input=typed.get(way, ""),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        env=environment(IPYTHONDIR=str(tmp_path / "ipython"), PYTHONSTARTUP=""),
        check=False,
    )
    assert EXPECTED in done.stdout, done.stdout + done.stderr
    assert "Error" not in done.stderr, done.stderr
    assert done.returncode == 0


# Servers that fork, or start, their workers

HOOKS = """
def when_ready(server):  # before it forks its workers
    import piactors
    server.isolate = piactors.spawn("os:getpid")
    assert server.isolate.proxy().call().get(timeout=20) == server.isolate.pid
"""
APP = """
import os, threading, piactors

class Counter(piactors.ProcessActor):
    def __init__(self):
        super().__init__()
        self.n = 0
    def count(self):
        self.n += 1
        return self.n

lock, ref = threading.Lock(), None

def answer():
    global ref
    with lock:
        ref = ref or Counter.start()
    return f"{os.getpid()} {ref.pid} {ref.proxy().count().get(timeout=20)}".encode()

def wsgi(environ, start_response):
    text = answer()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text]

async def asgi(scope, receive, send):
    global ref
    if scope["type"] != "http":
        return
    ref = ref or await Counter.start_async()
    text = f"{os.getpid()} {ref.pid} {await ref.proxy().count()}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})
"""
SERVERS = {
    "gunicorn gthread": ["gunicorn", "-w", "2", "-k", "gthread", "--threads", "4", "-b", "unix:s", "app:wsgi"],
    "gunicorn preload": ["gunicorn", "-w", "2", "--preload", "--max-requests", "3", "-b", "unix:s", "app:wsgi"],
    "uvicorn": ["uvicorn", "--workers", "2", "--uds", "s", "app:asgi"],
    "hypercorn": ["hypercorn", "-w", "2", "-b", "unix:s", "app:asgi"],
}


def ask(path: Path) -> list[int]:
    """Return the pid of a worker, that of its isolate, and how often that was asked."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(path))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := sock.recv(65536):
            answer += data
    return [int(number) for number in answer.partition(b"\r\n\r\n")[2].split()]


def ask_safely(path: Path) -> list[int]:
    try:
        return ask(path)
    except OSError:
        return []


@pytest.mark.parametrize("server", SERVERS)
def test_servers_with_several_workers(server: str, tmp_path: Path) -> None:
    """Each worker is a host of its own, also where the program was a host before it forked; nothing is left."""
    need(SERVERS[server][0])
    (tmp_path / "app.py").write_text(APP)
    if "preload" in server:
        (tmp_path / "gunicorn.conf.py").write_text(HOOKS)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *SERVERS[server]], cwd=tmp_path, env=environment(), stdout=log, stderr=log
        )
        try:
            wait_until(lambda: ask_safely(tmp_path / "s"), 40)
            found = [wait_until(lambda: ask_safely(tmp_path / "s")) for _ in range(8)]
            family = {p.pid for p in psutil.Process(process.pid).children(recursive=True)}
            process.terminate()
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
    assert {worker: isolate for worker, isolate, _ in found}.items() == {(w, i) for w, i, _ in found}
    wait_until(lambda: all(pid_gone(pid) for pid in family), PATIENCE)
    assert "Traceback" not in (tmp_path / "log").read_text()


# Processes that are hosts although another program has made them

CHILDREN = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
import piactors

class Doubler(piactors.ProcessActor):
    def twice(self, x):
        return 2 * x, os.getpid()

def use(x):
    ref = Doubler.start()
    try:
        twice, pid = ref.proxy().twice(x).get(timeout=20)
        return twice, pid not in (os.getpid(), os.getppid())
    finally:
        ref.stop()

if __name__ == "__main__":
    before = Doubler.start()  # the program itself is a host, too
    for method in sys.argv[1:]:
        context = multiprocessing.get_context(method)
        if method != "forkserver":
            with context.Pool(1) as pool:
                print("@", method, *pool.apply(use, (1,)))
        if method != "spawn":
            with ProcessPoolExecutor(1, mp_context=context) as executor:
                print("@", method, *executor.submit(use, 1).result(40))
    print("@", before.proxy().twice(3).get(timeout=20)[0])
"""


def test_children_of_multiprocessing_are_hosts_of_their_own(host_script: HostScripts) -> None:
    """Also daemonic ones, as those of a pool, which multiprocessing itself lets have no children."""
    methods = ["fork", "spawn", "forkserver"]
    warnings = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}  # of fork() in a program with threads, from 3.12 on
    out, err = host_script(CHILDREN, args=methods, env=environment(**warnings)).communicate(timeout=50)
    found = [f"@ {method} 2 True" for method in ("fork", "fork", "spawn", "forkserver")]
    assert out.splitlines() == [*found, "@ 6"], err


# Surroundings

SECCOMP = """
import ctypes, errno, os, platform, struct, sys
numbers = {"pidfd_open": 434, "pidfd_send_signal": 424, "close_range": 436}
numbers |= {"x86_64": {"memfd_create": 319}, "aarch64": {"memfd_create": 279}}[platform.machine()]
forbidden = [numbers[name] for name in sys.argv[2].split(",")]
answer = 0x00050000 | getattr(errno, sys.argv[1])
program = [(0x20, 0, 0, 0)]  # the number of the call
for left, number in zip(range(len(forbidden) - 1, -1, -1), forbidden):
    program.append((0x15, left + 1, 0, number))
program += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, answer)]
code = b"".join(struct.pack("HBBI", *line) for line in program)
buffer = ctypes.create_string_buffer(code)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(program), ctypes.addressof(buffer))), 0, 0) == 0
try:
    os.pidfd_open(os.getpid())
    print("not forbidden")
except OSError as error:
    print("forbidden")
"""
USE = """
import os, piactors

class Worker(piactors.ProcessActor):
    def give(self, x):
        return x
    def end(self):
        os._exit(3)

ref = Worker.with_options(restart="permanent").start()
print(len(ref.proxy().give(bytes(3_000_000)).get(timeout=20)))
try:
    ref.proxy().end().get(timeout=20)
except piactors.IsolateCrashed as error:
    print(error.reason.exitcode)
print(ref.proxy().give("again").get(timeout=20), ref.stop(timeout=20))
"""
USED = ["3000000", "3", "again True"]


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux has pidfds")
@pytest.mark.parametrize("number", ["EPERM", "ENOSYS"])
def test_a_filter_of_system_calls_takes_means_away(number: str, host_script: HostScripts) -> None:
    """As containers do: with EPERM an older Docker, with ENOSYS an old kernel or gVisor."""
    calls = "pidfd_open,pidfd_send_signal,memfd_create,close_range"
    host = host_script(SECCOMP + USE, args=[number, calls], env=environment())
    out, err = host.communicate(timeout=50)
    assert out.splitlines() == ["forbidden", *USED], err


def test_a_subinterpreter_is_no_host(host_script: HostScripts) -> None:
    """Python itself refuses: threads before 3.12, and since then modules in C that are not made for it."""
    out, err = host_script(SUBINTERPRETER, env=environment()).communicate(timeout=50)
    assert out.startswith(("@ RuntimeError thread is not supported", "@ ImportError module ")), out + err


def mounts(script: str) -> list[str]:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("needs mount namespaces")
    return ["unshare", "-m", "sh", "-c", script + ' && exec "$@"', "sh"]


SURROUNDINGS = {
    "a small /dev/shm": "mount -t tmpfs -o size=64k none /dev/shm",
    "read-only files": "mount --bind / / && mount -o remount,ro,bind /",
    "nobody's": "true",
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_containers(name: str, tmp_path: Path) -> None:
    """A container's small /dev/shm, read-only files, a user without rights and without a home."""
    before: list[str] = []
    if name == "nobody's":
        if (
            os.geteuid() != 0
            or shutil.which("setpriv") is None
            or os.path.realpath(sys.executable).startswith("/root/")
        ):
            pytest.skip("needs root, setpriv, and an interpreter that others may run")
        before = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run(
        [*mounts(SURROUNDINGS[name]), *before, sys.executable, "-B", "-c", USE],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=50,
        env=environment(HOME="/nonexistent"),
        check=False,
    )
    assert done.stdout.splitlines() == USED, done.stderr


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import sys
code = '''
try:
    import piactors
    print("@", piactors.spawn("math:floor").proxy().call(4.5).get(timeout=20))
except BaseException as error:
    print("@", type(error).__name__, error)
'''
interpreter = interpreters.create()
interpreters.run_string(interpreter, "import sys; sys.path[:] = " + repr(sys.path))
interpreters.run_string(interpreter, code)
interpreters.destroy(interpreter)
"""
