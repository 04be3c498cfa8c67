"""What a program has none of for a while: the calls that need it say so, nothing else ends, and all works again after.

Each lack is made in a host program of its own, under load: isolates that are called all the time, killed, and made to
return what is large.  Restarts wait meanwhile, at no cost, and all answer within seconds of the lack's end.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from piactors import ActorDeadError, ProcessActor, events
from tests import inside, support
from tests.support import HostScripts, wait_until

RECOVERY_SECONDS = 5.0

PROGRAM = """
import os, resource, signal, sys, threading, time, logging
import piactors
from piactors import ChildSpec, ProcessActor, Supervisor

logging.basicConfig(stream=sys.stderr, level=logging.WARNING)

class Worker(ProcessActor):
    def echo(self, value): return value
    def large(self): return bytes(600_000)
    def pid(self): return os.getpid()

{lack}

def calls(ref, stop, counts):
    number = 0
    while not stop.is_set():
        number += 1
        try:
            future = ref.proxy().large() if number % 3 == 0 else ref.proxy().echo(number)
            future.get(timeout=30)
            counts["ok"] = counts.get("ok", 0) + 1
        except Exception as error:
            if isinstance(error, piactors.Timeout) : counts["unset"] = counts.get("unset", 0) + 1
            counts[type(error).__name__] = counts.get(type(error).__name__, 0) + 1
            time.sleep(0.01)

if __name__ == "__main__":
    settled = Worker.start()  # is left alone: it has to be the same process at the end
    refs = [Worker.with_options(restart="permanent", max_restarts=8, within=60).start() for _ in range(2)]
    tree = Supervisor.start(children=[ChildSpec("one", Worker), ChildSpec("two", Worker)], max_restarts=8, within=60)
    refs += [tree.child("one"), tree.child("two")]
    pid, counts, stop = settled.pid, {{}}, threading.Event()
    threads = [threading.Thread(target=calls, args=(ref, stop, counts)) for ref in refs]
    for thread in threads: thread.start()
    for ref in refs: ref.proxy().large().get(timeout=20)
    lack = Lack()
    lack.begin()
    try:
        for round in range({rounds}):
            for ref in refs:
                try:
                    if ref.pid: os.kill(ref.pid, signal.SIGKILL)
                except ProcessLookupError: pass
            time.sleep(0.3)  # the time that the lack lasts, under load
    finally:
        lack.end()
    began = time.monotonic()
    for ref in [settled, *refs]:
        while True:
            try: ref.proxy().large().get(timeout=10); break
            except piactors.IsolateCrashed: pass
            except OSError: pass
    seconds = time.monotonic() - began
    stop.set()
    for thread in threads: thread.join(20)
    print("same", settled.pid == pid, "alive", all(ref.is_alive() for ref in refs), "unset", counts.get("unset", 0))
    print("io", any(thread.name == "piactors-io" for thread in threading.enumerate()), counts, file=sys.stderr)
    print("seconds", seconds)
    tree.stop()
    for ref in [settled, *refs]: ref.stop()
"""

DESCRIPTORS = """
class Lack:
    def begin(self):
        self.before, self.held = resource.getrlimit(resource.RLIMIT_NOFILE), []
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, self.before[1]))
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.hold)
        self.thread.start()
        time.sleep(0.1)
    def hold(self):  # also what others close meanwhile
        while not self.stop.is_set():
            try: self.held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError: time.sleep(0.0005)
    def end(self):
        self.stop.set()
        self.thread.join()
        for fd in self.held: os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, self.before)
"""

MEMORY = """
class Lack:
    def begin(self):
        self.before = resource.getrlimit(resource.RLIMIT_AS)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 10), self.before[1]))
    def end(self):
        resource.setrlimit(resource.RLIMIT_AS, self.before)
"""

TASKS = """
class Lack:
    def begin(self):
        group = os.environ["TASKS_GROUP"]
        self.most = os.path.join(group, "pids.max")
        open(self.most, "w").write("1")
    def end(self):
        open(self.most, "w").write("max")
"""

DISK = """
class Lack:
    def begin(self):
        self.path = os.path.join(os.environ["SMALL_DISK"], "full")
        self.file = open(self.path, "wb", buffering=0)
        try:
            while True: self.file.write(bytes(4096))
        except OSError: pass
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.hold)
        self.thread.start()
    def hold(self):  # also what others give back meanwhile
        while not self.stop.is_set():
            try: self.file.write(bytes(4096))
            except OSError: time.sleep(0.0005)
    def end(self):
        self.stop.set()
        self.thread.join()
        self.file.close()
        os.unlink(self.path)
"""


def run(host_script: HostScripts, lack: str, rounds: int = 4, **env: str) -> None:
    """Have a program lack something and get it back, and see what came of it."""
    program = PROGRAM.format(lack=lack, rounds=rounds)
    host = host_script(program, env={**os.environ, **env})
    out, err = host.communicate(timeout=50)
    assert host.returncode == 0, err
    words = out.split()
    assert words[:6] == ["same", "True", "alive", "True", "unset", "0"], (out, err)
    assert float(words[7]) < RECOVERY_SECONDS, (out, err)


def test_descriptors(host_script: HostScripts) -> None:
    """Of the host: large results fail, restarts wait."""
    run(host_script, DESCRIPTORS)


def test_memory(host_script: HostScripts) -> None:
    """Address space, in which nothing more can be mapped."""
    run(host_script, MEMORY)


@pytest.fixture
def tasks_group() -> Iterator[Path]:
    """A group for a host, in which tasks can be limited."""
    parent = Path("/sys/fs/cgroup/pids")
    if not os.access(parent, os.W_OK) or not (parent / "cgroup.procs").exists():
        pytest.skip("no control group of tasks (cgroup v1, as root) can be made here")
    group = parent / f"lacks-{uuid.uuid4().hex}"
    group.mkdir()
    yield group
    for _ in range(100):
        if not (group / "cgroup.procs").read_text():
            break
    for below in sorted((path.parent for path in group.rglob("cgroup.procs")), reverse=True):
        below.rmdir()


def test_tasks(host_script: HostScripts, tasks_group: Path) -> None:
    """Processes and threads, as a container has too few of."""
    enter = f"import os; open({str(tasks_group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    run(host_script, enter + TASKS, TASKS_GROUP=str(tasks_group))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few pages."""
    with support.small_disk(tmp_path / "disk", "336k") as folder:
        yield folder


def test_disk(host_script: HostScripts, small_disk: Path) -> None:
    """Without memory files each process has a page in the temporary folder, which is full."""
    run(host_script, DISK, SMALL_DISK=str(small_disk), TMPDIR=str(small_disk), PIACTORS_PORTABLE="memfd")


def test_who_waits_in_a_thread_needs_no_descriptor(host_script: HostScripts) -> None:
    """The I/O thread reads the answer then."""
    host = host_script("""
        import concurrent.futures
        from tests.children.arrays import Arrays
        from tests.core.test_shared_memory import WithoutDescriptors

        if __name__ == "__main__":
            proxy = Arrays.start().proxy()
            with concurrent.futures.ThreadPoolExecutor(2) as threads, WithoutDescriptors():
                for _ in range(3):
                    print(threads.submit(lambda: proxy.total(5).get(timeout=20)).result(timeout=30))
            print(proxy.total(6).get(timeout=20))
        """)
    out, err = host.communicate(timeout=50)
    assert out.split() == ["5.0", "5.0", "5.0", "6.0"], (out, err)


ALONE = """
import os, signal, sys, threading, time
import piactors

class Worker(piactors.ProcessActor):
    def pid(self): return os.getpid()

if __name__ == "__main__":
    started = []
    ref = Worker.with_options(restart="permanent", max_restarts=1, within=60, output="discard").start()
    ref.proxy().pid().get(timeout=20)
    group = os.environ["TASKS_GROUP"]
    tasks = lambda: int(open(os.path.join(group, "pids.current")).read())
    before = tasks()
    os.kill(ref.pid, signal.SIGSTOP)  # nobody may be quicker than the limit
    open(os.path.join(group, "pids.max"), "w").write(str(before - 1))
    pid = ref.pid
    os.kill(pid, signal.SIGKILL)  # it had two threads: there is room for the first one of its successor
    deadline = time.monotonic() + 20
    while ref._isolate.life.machine.lacks < 3 and time.monotonic() < deadline: time.sleep(0.01)
    print("waits", ref._isolate.life.machine.lacks >= 3, ref.state, ref.is_alive())
    open(os.path.join(group, "pids.max"), "w").write("max")
    began = time.monotonic()
    print("again", ref.proxy().pid().get(timeout=20) != pid, ref.generation, time.monotonic() - began < 5)
    ref.stop()
"""


def test_a_process_that_can_start_no_thread_is_tried_again(host_script: HostScripts, tasks_group: Path) -> None:
    """There is room for it, and not for what it needs besides; that costs the restart budget nothing more either."""
    enter = f"import os; open({str(tasks_group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
    env = {**os.environ, "TASKS_GROUP": str(tasks_group), "PIACTORS_PORTABLE": "launcher"}
    host = host_script(enter + ALONE, env=env)
    out, err = host.communicate(timeout=50)
    assert out.split() == ["waits", "True", "restarting", "True", "again", "True", "2", "True"], (out, err)


NO_THREAD = """
import os, threading
start = threading.Thread.start

def refuse(self):
    if self.name == {name!r} and os.path.exists({flag!r}):
        raise RuntimeError("can't start new thread")
    start(self)

threading.Thread.start = refuse
"""


class Pid(ProcessActor):
    """Tells which process it is."""

    def pid(self) -> int:
        """Return the pid."""
        return os.getpid()


@pytest.mark.parametrize("name", ["pihost-control", "pihost-call-1"])
def test_a_process_that_is_made_and_lacks_a_thread_is_tried_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There is a task for the process, and none for its threads: the restart waits, and costs no more than one."""
    flag, module = tmp_path / "lacks", f"lacking_{name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(NO_THREAD.format(name=name, flag=str(flag)))
    monkeypatch.syspath_prepend(str(tmp_path))
    caplog.set_level(logging.WARNING, "piactors")
    seen: list[events.Event] = []
    unsubscribe = events.subscribe(seen.append, events.IsolateStartFailed, events.IsolateStarted)
    ref = Pid.with_options(preload=(module,), concurrency=2, restart="permanent", max_restarts=1).start()
    try:
        pid = ref.proxy().pid().get(timeout=20)
        flag.touch()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: inside.lacks(ref) >= 4)
        assert ref.state == "restarting"
        flag.unlink()
        assert ref.proxy().pid().get(timeout=RECOVERY_SECONDS) != pid
        assert ref.generation == 2
        told = [record.getMessage() for record in caplog.records if "will be retried" in record.getMessage()]
        assert len(told) == 1
        assert told[0].endswith("RuntimeError: can't start new thread")
        wait_until(lambda: seen and seen[-1].generation == 2)
        assert all(type(event) is events.IsolateStarted for event in seen), "what is tried again has not failed"
    finally:
        unsubscribe()
        ref.stop()


class Lacks(Pid):
    """Lacks something itself, after its first start."""

    def __init__(self, flag: str) -> None:
        super().__init__()
        if os.path.exists(flag):
            raise MemoryError
        Path(flag).touch()


def test_what_isolated_code_lacks_in_its_start_is_charged(tmp_path: Path) -> None:
    """It may ask for more than there will ever be."""
    ref = Lacks.with_options(restart="permanent", max_restarts=2).start(str(tmp_path / "flag"))
    os.kill(ref.proxy().pid().get(timeout=20), signal.SIGKILL)
    assert ref.wait_for_exit(20) is not None
    with pytest.raises(ActorDeadError):
        ref.proxy().pid().get(timeout=5)


def test_a_thread_gets_its_answer_without_a_descriptor() -> None:
    """What it would wait with takes one; then the I/O thread reads for it."""
    ref = Pid.start()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    found: list[object] = []

    def ask() -> None:
        for _ in range(2):
            try:
                found.append(ref.call(Pid.pid).get(timeout=20))
            except OSError as error:
                found.append(error)

    thread = threading.Thread(target=ask)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        thread.start()
        thread.join(30)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found == [ref.pid] * 2
    ref.stop()
