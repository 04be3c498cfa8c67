"""Builders that die, whenever they do: each environment is absent or complete afterwards, and nobody has its lock."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from piactors.environments import BuildFailed, EnvironmentSpec, EnvironmentStore, claims
from piactors.environments.environment import COMPLETE
from tests import support
from tests.environments.conftest import SECONDS
from tests.support import HostScripts, wait_until

Spec = Callable[..., EnvironmentSpec]

BUILDER = """
    import json, os, signal, sys
    from piactors.environments import EnvironmentSpec, EnvironmentStore

    root, fields, dies_at = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    count, WRITES = 0, os.O_WRONLY | os.O_RDWR | os.O_CREAT
    CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.utime", "os.chmod", "subprocess.Popen"}

    def watched(event, args):
        global count
        if event == "open":
            path, _, flags = args
            changes = flags & WRITES and str(path).startswith(root)
        else:
            changes = event in CHANGES
        if changes:
            count += 1
            if count == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)

    store, spec = EnvironmentStore(root), EnvironmentSpec(**fields)
    sys.addaudithook(watched)
    store.prepare(spec).get(timeout=50)
"""

SLOW_UV = """\
#!/bin/sh
case "$*" in
    *"pip install"*) echo $$ > {pid}; exec sleep 600;;
esac
exec {uv} "$@"
"""


def fields_of(spec: EnvironmentSpec) -> str:
    return json.dumps({"requirements": spec.requirements, "find_links": spec.find_links, "offline": True})


def check(store: EnvironmentStore, spec: EnvironmentSpec) -> None:
    """See that all is absent or complete, that no lock is held, and that it can be made."""
    place = store.root / "v1" / "env"
    for folder in [path for path in place.glob("*") if path.is_dir()]:
        claim = claims.try_claim(place / f"{folder.name}.lock", alone=True, create=True)
        assert claim is not None, "its lock is held"
        claim.release()
        if (folder / COMPLETE).exists():
            found = next(store.environments())
            assert store.verify(found) == []
    found = store.prepare(spec).get(timeout=SECONDS)
    assert store.verify(found) == []
    store.remove(found)
    assert list(place.iterdir()) == []


def test_at_every_change_of_the_disk(host_script: HostScripts, tmp_path: Path, spec: Spec) -> None:
    wanted = spec("blue")
    for number in itertools.count(1):
        store = EnvironmentStore(tmp_path / str(number))
        host = host_script(BUILDER, args=[str(store.root), fields_of(wanted), str(number)])
        _, err = host.communicate(timeout=SECONDS)
        check(store, wanted)
        if host.returncode == 0:  # there were no more changes than that
            break
        assert host.returncode == -signal.SIGKILL, err
    assert number > 20


@pytest.fixture
def slow_uv(tmp_path: Path) -> Path:
    """A folder with a uv that takes for ever to install anything, and says there which process it is."""
    from uv import find_uv_bin

    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "uv"
    program.write_text(SLOW_UV.format(pid=folder / "pid", uv=find_uv_bin()))
    program.chmod(0o755)
    return folder


def pid_in(folder: Path) -> int:
    return int(wait_until(lambda: (folder / "pid").exists() and (folder / "pid").read_text(), SECONDS) or 0)


WITH_SLOW_UV = """
    import json, sys
    from piactors.environments import EnvironmentSpec, EnvironmentStore, builders

    root, fields, uv = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
    builders._uv = lambda: uv
    EnvironmentStore(root).prepare(EnvironmentSpec(**fields)).get()
"""


@pytest.mark.parametrize("without", ["", "setpriv"])
def test_tools_end_with_their_builder_and_another_one_goes_on(
    host_script: HostScripts, tmp_path: Path, spec: Spec, slow_uv: Path, without: str
) -> None:
    store = EnvironmentStore(tmp_path / "store")
    args = [str(store.root), fields_of(spec("blue")), str(slow_uv / "uv")]
    host = host_script(WITH_SLOW_UV, args=args, env={**os.environ, "PIACTORS_PORTABLE": without})
    tool = psutil.Process(pid_in(slow_uv))
    waiting = store.prepare(spec("blue"))
    assert store.find(spec("blue")) is None
    host.kill()
    host.wait()
    assert waiting.get(timeout=SECONDS).packages["blue"] == "2.0"
    wait_until(lambda: not tool.is_running() or tool.status() == psutil.STATUS_ZOMBIE)


def test_a_cancelled_build_ends_its_tools(
    tmp_path: Path, spec: Spec, slow_uv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from piactors.environments import builders

    monkeypatch.setattr(builders, "_uv", lambda: str(slow_uv / "uv"))
    store = EnvironmentStore(tmp_path / "store")
    future = store.prepare(spec("blue"))
    tool = psutil.Process(pid_in(slow_uv))
    future.cancel()
    wait_until(lambda: not tool.is_running())
    wait_until(lambda: list((store.root / "v1" / "env").iterdir()) == [])


def test_one_that_waits_can_give_up(tmp_path: Path, spec: Spec, slow_uv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from piactors.environments import builders

    monkeypatch.setattr(builders, "_uv", lambda: str(slow_uv / "uv"))
    store, told = EnvironmentStore(tmp_path / "store"), []
    first = store.prepare(spec("blue"))
    pid_in(slow_uv)
    second = store.prepare(spec("blue"), progress=told.append)
    wait_until(lambda: [one.phase for one in told][:1] == ["waiting"])
    assert second.cancel()
    assert not first.done()
    first.cancel()
    wait_until(lambda: list((store.root / "v1" / "env").iterdir()) == [])


def test_what_one_builds_the_others_hear_of(
    host_script: HostScripts, tmp_path: Path, spec: Spec, slow_uv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, told = EnvironmentStore(tmp_path / "store"), []
    host = host_script(WITH_SLOW_UV, args=[str(store.root), fields_of(spec("blue")), str(slow_uv / "uv")])
    pid_in(slow_uv)
    waiting = store.prepare(spec("blue"), progress=told.append)
    wait_until(lambda: {"waiting", "creating", "installing"} <= {one.phase for one in told})
    waiting.cancel()
    host.kill()
    host.wait()


EIGHT = """
    import json, sys
    from piactors.environments import EnvironmentSpec, EnvironmentStore

    built = []
    store, spec = EnvironmentStore(sys.argv[1]), EnvironmentSpec(**json.loads(sys.argv[2]))
    sys.stdin.readline()
    found = store.prepare(spec, progress=lambda one: built.append(one.phase)).get(timeout=50)
    print(found.path, "complete" in built and "resolving" in built)
"""


@pytest.mark.parametrize("without", ["", "inotify"])
def test_eight_processes_build_it_once(host_script: HostScripts, tmp_path: Path, spec: Spec, without: str) -> None:
    args = [str(tmp_path / "store"), fields_of(spec("green"))]
    environment = {**os.environ, "PIACTORS_PORTABLE": without}
    hosts = [host_script(EIGHT, args=args, env=environment) for _ in range(8)]
    for host in hosts:
        assert host.stdin is not None
        host.stdin.write("go\n")
        host.stdin.flush()
    said = [host.communicate(timeout=SECONDS)[0].split() for host in hosts]
    assert len({path for path, _ in said}) == 1
    store = EnvironmentStore(tmp_path / "store")
    assert len(list((store.root / "v1" / "env").glob("*.lock"))) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    with support.small_disk(tmp_path / "disk", "512k") as folder:
        yield folder


@pytest.mark.parametrize("builder", ["uv", "pip"])
def test_a_full_disk(small_disk: Path, spec: Spec, tmp_path: Path, builder: str) -> None:
    store = EnvironmentStore(small_disk / "store", builder=builder)  # type: ignore[arg-type]
    with (small_disk / "rest").open("wb") as file:
        usage = os.statvfs(small_disk)
        file.write(b"x" * (usage.f_bavail * usage.f_frsize - 64 * 1024))
    with pytest.raises(BuildFailed, match="(?i)no space left"):
        store.prepare(spec("green")).get(timeout=SECONDS)
    assert [path for path in (store.root / "v1" / "env").glob("*") if path.is_dir()] == []
    (small_disk / "rest").unlink()


def test_a_pickle_of_one_that_is_gone_says_so(tmp_path: Path, spec: Spec) -> None:
    code = """
        import pickle, sys
        pickle.loads(sys.stdin.buffer.read())
    """
    import pickle

    store = EnvironmentStore(tmp_path / "store")
    found = store.prepare(spec("blue")).get(timeout=SECONDS)
    data = pickle.dumps(found)
    store.remove(found)
    command = [sys.executable, "-c", textwrap.dedent(code)]
    said = subprocess.run(command, input=data, capture_output=True, check=False)
    assert b"is not there any more" in said.stderr


def test_many_at_once_in_a_program_that_has_just_begun(host_script: HostScripts, tmp_path: Path, wheels: Path) -> None:
    """CPython's sysconfig, which uv's package and packaging ask, shows half of itself to a second thread."""
    code = """
        import sys
        sys.setswitchinterval(1e-6)
        from piactors.environments import EnvironmentSpec, EnvironmentStore

        store = EnvironmentStore(sys.argv[1])
        specs = [EnvironmentSpec(requirements=[f"blue=={v}"], find_links=[sys.argv[2]], offline=True) for v in
                 ("1.0", "1.1", "2.0", "3.0", "4.0", "5.0", "6.0", "7.0")]
        for future in [store.prepare(spec) for spec in specs]:
            error = future.exception(timeout=50)
            print(type(error).__name__)
    """
    for number in range(5):
        host = host_script(code, args=[str(tmp_path / str(number)), str(wheels)])
        out, err = host.communicate(timeout=SECONDS)
        assert out.split() == ["NoneType"] * 3 + ["BuildFailed"] * 5, err
