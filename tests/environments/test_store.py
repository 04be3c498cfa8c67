"""Environments by what they are made of: resolved once, built once, found without a process, never changed."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import piactors
from piactors import events
from piactors.environments import (
    BuildFailed,
    BuildProgress,
    Environment,
    EnvironmentBuilt,
    EnvironmentInUse,
    EnvironmentSpec,
    EnvironmentStore,
    NoInterpreter,
)
from tests.environments.conftest import SECONDS
from tests.environments.wheels import Index, sdist, serving, sha256, wheel
from tests.support import wait_until

Spec = Callable[..., EnvironmentSpec]


def made(store: EnvironmentStore, spec: EnvironmentSpec, **options: Any) -> Environment:
    return store.prepare(spec, **options).get(timeout=SECONDS)


def version_in(environment: Environment, module: str) -> str:
    command = [environment.python, "-c", f"import {module}; print({module}.VERSION)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def left_in(store: EnvironmentStore) -> list[str]:
    """Return the names of folders of environments and of their locks."""
    place = store.root / "v1" / "env"
    return sorted(os.listdir(place)) if place.is_dir() else []


# What is made


def test_it_has_what_was_asked_for(each_store: EnvironmentStore, spec: Spec) -> None:
    found = made(each_store, spec("green"))
    assert dict(found.packages) == {"blue": "1.1", "green": "0.5"}
    assert version_in(found, "blue") == "1.1"
    assert found.size > 0
    assert each_store.verify(found) == []


def test_uv_and_pip_make_the_same(tmp_path: Path, spec: Spec) -> None:
    found = []
    for builder in ("uv", "pip"):
        environment = made(EnvironmentStore(tmp_path / builder, builder=builder), spec("green", "blue>=1"))
        files = sorted(
            str(path.relative_to(environment.path))
            for path in Path(environment.path).rglob("site-packages/*/*")
            if path.parent.suffix == ".dist-info" and path.name not in ("INSTALLER", "RECORD", "uv_cache.json")
        )
        found.append((environment.key, dict(environment.packages), files))
    assert found[0] == found[1]


def test_nothing_asked_for_is_an_interpreter_alone(each_store: EnvironmentStore) -> None:
    found = made(each_store, EnvironmentSpec(offline=True))
    assert dict(found.packages) == {}
    said = subprocess.run([found.python, "-c", "print(6 * 7)"], capture_output=True, text=True, check=True)
    assert said.stdout == "42\n"


def test_one_that_is_there_starts_no_process_and_asks_nobody(
    store: EnvironmentStore, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = EnvironmentSpec(requirements=["red"], index_urls=[index.url])
    first = made(store, spec)
    index.asked.clear()

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("it starts something")

    monkeypatch.setattr(subprocess, "Popen", refused)
    monkeypatch.setattr(threading.Thread, "start", refused)
    for one in (store, EnvironmentStore(store.root)):
        assert made(one, spec) == first
    assert index.asked == []


def test_equal_locks_have_one_environment(store: EnvironmentStore, spec: Spec, tmp_path: Path) -> None:
    script = tmp_path / "tool.py"
    script.write_text('# /// script\n# dependencies = ["blue==1.1"]\n# ///\nprint(1)\n')
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "x"\nversion = "1"\ndependencies = ["blue<2"]\n')
    specs = [spec("blue<1.9"), spec(script=str(script)), spec(project=str(tmp_path)), spec(project=str(project))]
    assert len({made(store, one).path for one in specs}) == 1


def test_another_interpreter_is_another_environment(store: EnvironmentStore, spec: Spec) -> None:
    pythons = ["3.8", "3.9", f"{sys.version_info[0]}.{sys.version_info[1]}"]
    found = [made(store, spec("blue", python=python)) for python in pythons]
    assert len({one.key for one in found}) == 3
    assert [one.lock.interpreter.minor for one in found] == [(3, 8), (3, 9), sys.version_info[:2]]
    assert {version_in(one, "blue") for one in found} == {"2.0"}


def test_the_host_has_the_interpreter_if_it_will_do(store: EnvironmentStore, spec: Spec) -> None:
    own = made(store, spec("blue"))
    assert made(store, spec("blue", python=">=3.8")).key == own.key
    assert made(store, spec("blue", python=sys.executable)).key == own.key


def test_a_wheel_that_the_interpreter_does_not_take_is_not_chosen(each_store: EnvironmentStore, tmp_path: Path) -> None:
    wheel(tmp_path / "w", "stone", "2.0", tag="cp37-cp37m-win_amd64")
    wheel(tmp_path / "w", "stone", "1.0", requires_python=">=3.8")
    spec = EnvironmentSpec(requirements=["stone"], find_links=[str(tmp_path / "w")], offline=True)
    assert made(each_store, spec).packages["stone"] == "1.0"


def test_entry_points_are_read_and_nothing_is_imported(store: EnvironmentStore, spec: Spec) -> None:
    found = made(store, spec("green"))
    (point,) = found.entry_points("colours")
    assert (point.name, point.value, point.distribution, point.version) == ("green", "green:paint", "green", "0.5")
    assert found.entry_points("none") == ()


def test_why_says_what_the_key_is_made_of(store: EnvironmentStore, spec: Spec, wheels: Path) -> None:
    found = made(store, spec("blue==1.0"))
    text = store.why(found)
    digest = sha256((wheels / "blue-1.0-py3-none-any.whl").read_bytes())
    assert f"key: {found.key}" in text
    assert f"blue 1.0  blue-1.0-py3-none-any.whl  sha256:{digest}" in text
    assert found.lock.interpreter.base in text


def test_it_pickles_and_compares_by_value(store: EnvironmentStore, spec: Spec) -> None:
    found = made(store, spec("blue"))
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert hash(again) == hash(found)
    assert repr(found).startswith("Environment(key=")


# Locks


def test_the_last_answer_is_kept_until_something_is_upgraded(each_store: EnvironmentStore, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    for name in ("one", "two"):
        wheel(folder, name, "1.0")
    spec = EnvironmentSpec(requirements=["one", "two"], find_links=[str(folder)], offline=True)

    def versions(lock: Any) -> list[str]:
        return [one.version for one in lock.packages]

    assert versions(each_store.lock(spec)) == ["1.0", "1.0"]
    for name in ("one", "two"):
        wheel(folder, name, "2.0")
    assert versions(each_store.lock(spec)) == ["1.0", "1.0"]
    assert versions(each_store.lock(spec, upgrade=["two"])) == ["1.0", "2.0"]
    assert dict(made(each_store, spec).packages) == {"one": "1.0", "two": "2.0"}
    assert versions(each_store.lock(spec, upgrade="*")) == ["2.0", "2.0"]
    with pytest.raises(ValueError, match="three is not among the packages"):
        each_store.lock(spec, upgrade=["three"])


def test_a_lock_as_text_is_a_source(each_store: EnvironmentStore, spec: Spec, tmp_path: Path) -> None:
    lock = each_store.lock(spec("green"))
    file = tmp_path / "requirements.lock"
    file.write_text("# made by a test\n" + lock.requirements.replace(" --hash", " \\\n    --hash"))
    assert each_store.lock(spec(lock=str(file), require_hashes=True)).key == lock.key


def test_a_pylock_is_a_source(each_store: EnvironmentStore, wheels: Path, tmp_path: Path) -> None:
    file = wheels / "blue-1.0-py3-none-any.whl"
    lock = tmp_path / "pylock.toml"
    lock.write_text(
        'lock-version = "1.0"\ncreated-by = "a test"\n[[packages]]\nname = "blue"\nversion = "1.0"\n'
        f'wheels = [{{ url = "{file.as_uri()}", hashes = {{ sha256 = "{sha256(file.read_bytes())}" }} }}]\n'
    )
    found = made(each_store, EnvironmentSpec(lock=str(lock), offline=True))
    assert version_in(found, "blue") == "1.0"
    assert found.key == made(each_store, EnvironmentSpec(lock=str(lock), require_hashes=True, offline=True)).key


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("blue>=1", "not a locked requirement"),
        ("blue==1.0", "has no hash"),
        ("-r other.txt", "not a locked requirement"),
    ],
)
def test_a_lock_that_is_none_is_refused(store: EnvironmentStore, tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "requirements.lock"
    file.write_text(text)
    with pytest.raises(BuildFailed, match=why):
        made(store, EnvironmentSpec(lock=str(file)))


# What is refused


def test_what_is_missing_is_named(each_store: EnvironmentStore, spec: Spec) -> None:
    with pytest.raises(BuildFailed, match="purple") as caught:
        made(each_store, spec("blue", "purple"))
    assert caught.value.package == "purple"
    assert any("purple" in line for line in caught.value.lines)
    assert left_in(each_store) == []


def test_what_conflicts_is_named(each_store: EnvironmentStore, spec: Spec) -> None:
    with pytest.raises(BuildFailed, match="blue"):
        made(each_store, spec("green", "blue>=2"))


def test_offline_asks_nobody(each_store: EnvironmentStore, index: Index) -> None:
    with pytest.raises(BuildFailed, match="red"):
        made(each_store, EnvironmentSpec(requirements=["red"], index_urls=[index.url], offline=True))
    assert index.asked == []


def test_another_hash_is_not_installed(each_store: EnvironmentStore, index: Index) -> None:
    index.hashes["red-2.0-py3-none-any.whl"] = "0" * 64
    with pytest.raises(BuildFailed, match="(?i)hash"):
        made(each_store, EnvironmentSpec(requirements=["red"], index_urls=[index.url]))
    assert left_in(each_store) == []


def test_a_file_that_was_exchanged_is_not_installed(each_store: EnvironmentStore, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    wheel(folder, "one", "1.0")
    spec = EnvironmentSpec(requirements=["one"], find_links=[str(folder)], offline=True)
    each_store.lock(spec)
    wheel(folder, "one", "1.0", files={"one.py": "VERSION = 'evil'\n"})
    try:
        found = made(each_store, spec)
    except BuildFailed as error:
        assert "hash" in str(error).lower()
        assert left_in(each_store) == []
    else:  # uv has the right one in its cache
        assert version_in(found, "one") == "1.0"


def test_yanked_files_are_left_out(each_store: EnvironmentStore, index: Index) -> None:
    index.yanked.add("red-2.0-py3-none-any.whl")
    assert made(each_store, EnvironmentSpec(requirements=["red"], index_urls=[index.url])).packages["red"] == "1.0"


def test_hashes_are_required_if_that_is_said(each_store: EnvironmentStore, spec: Spec, wheels: Path) -> None:
    with pytest.raises(BuildFailed, match="has no hash"):
        made(each_store, spec("blue==1.0", require_hashes=True))
    digest = sha256((wheels / "blue-1.0-py3-none-any.whl").read_bytes())
    found = made(each_store, spec(f"blue==1.0 --hash=sha256:{digest}", require_hashes=True))
    assert found.packages["blue"] == "1.0"
    with pytest.raises(BuildFailed, match="(?i)hash"):
        made(each_store, spec(f"blue==1.0 --hash=sha256:{'1' * 64}", require_hashes=True))


BACKEND = """
import os, pathlib, zipfile
pathlib.Path({mark!r}).write_text("ran")
{then}
def get_requires_for_build_wheel(config_settings=None):
    return []
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "rock-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as file:
        file.writestr("rock.py", "VERSION = 'built'")
        file.writestr("rock-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: rock\\nVersion: 1.0\\n")
        file.writestr("rock-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr("rock-1.0.dist-info/RECORD", "")
    return name
"""


def test_nothing_is_built_unless_that_is_said(each_store: EnvironmentStore, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    sdist(tmp_path / "w", "rock", "1.0", BACKEND.format(mark=str(mark), then=""))
    fields: dict[str, Any] = {"requirements": ["rock"], "find_links": [str(tmp_path / "w")], "offline": True}
    with pytest.raises(BuildFailed, match="rock"):
        made(each_store, EnvironmentSpec(**fields))
    assert not mark.exists()
    found = made(each_store, EnvironmentSpec(**fields, only_binary=False))
    assert mark.exists()
    assert version_in(found, "rock") == "built"


def test_a_build_that_exits_fails(each_store: EnvironmentStore, tmp_path: Path) -> None:
    sdist(tmp_path / "w", "rock", "1.0", BACKEND.format(mark=str(tmp_path / "mark"), then="os._exit(3)"))
    with pytest.raises(BuildFailed, match="rock"):
        made(
            each_store,
            EnvironmentSpec(requirements=["rock"], find_links=[str(tmp_path / "w")], offline=True, only_binary=False),
        )
    assert left_in(each_store) == []


@pytest.mark.parametrize(
    ("python", "error", "why"),
    [
        ("3.99", NoInterpreter, "there is no interpreter '3.99' on this machine; there are: .*CPython 3"),
        ("/no/such/python", NoInterpreter, "there is no interpreter at /no/such/python"),
        ("/bin/true", NoInterpreter, "/bin/true is not a Python"),
        ("best", BuildFailed, "'best' is not allowed"),
    ],
)
def test_an_interpreter_that_is_not_there(
    store: EnvironmentStore, python: str, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        made(store, EnvironmentSpec(python=python))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("script", "print(1)\n", "no block"),
        ("script", "# /// script\n# dependencies = 3\n# ///\n", "dependencies"),
        ("script", "# /// script\n# dependencies = [\n# ///\n", "not TOML"),
        ("project", "[tool.x]\n", r"no table \[project\]"),
        ("project", '[project]\nname = "x"\ndynamic = ["dependencies"]\n', "dependencies as dynamic"),
        ("project", '[project]\nname = "x"\ndependencies = ["-r x"]\n', "dependencies"),
        ("lock", None, "No such file"),
    ],
)
def test_a_source_that_cannot_be_read(
    store: EnvironmentStore, tmp_path: Path, name: str, text: str | None, why: str
) -> None:
    file = tmp_path / "source.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BuildFailed, match=why):
        made(store, EnvironmentSpec(**{name: str(file)}))


def test_a_script_says_which_interpreter(store: EnvironmentStore, spec: Spec, tmp_path: Path) -> None:
    script = tmp_path / "tool.py"
    script.write_text('# /// script\n# requires-python = "<3.10"\n# dependencies = ["blue"]\n# ///\n')
    assert made(store, spec(script=str(script))).lock.interpreter.minor < (3, 10)


# Progress, cancelling, several at once


def test_progress_is_told(each_store: EnvironmentStore, spec: Spec) -> None:
    told: list[BuildProgress] = []
    built: list[events.Event] = []
    unsubscribe = events.subscribe(built.append, EnvironmentBuilt)
    try:
        found = made(each_store, spec("green"), progress=told.append)
        wait_until(lambda: built)
    finally:
        unsubscribe()
    phases = [one.phase for one in told if not one.line]
    assert phases == ["resolving", "creating", "installing", "complete"]
    assert {one.label for one in told} == {"green"}
    assert any("blue" in one.line for one in told)
    (event,) = built
    assert isinstance(event, EnvironmentBuilt)
    assert (event.key, event.packages, event.name) == (found.key, 2, "green")
    assert event.seconds > 0


def test_what_hears_of_progress_and_fails_is_logged(
    store: EnvironmentStore, spec: Spec, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(progress: BuildProgress) -> None:
        raise ValueError("not now")

    made(store, spec("blue"), progress=fails)
    assert "not now" in caplog.text


@pytest.mark.parametrize("phase", ["resolving", "creating", "installing"])
def test_a_build_that_is_cancelled_leaves_nothing(each_store: EnvironmentStore, spec: Spec, phase: str) -> None:
    seen: list[BuildProgress] = []
    cancelled = threading.Event()

    def cancel(progress: BuildProgress) -> None:
        seen.append(progress)
        if progress.phase == phase and not cancelled.is_set():
            future.cancel()
            cancelled.set()

    gate = threading.Event()

    def first(progress: BuildProgress) -> None:
        gate.wait(SECONDS)
        cancel(progress)

    future = each_store.prepare(spec("green"), progress=first)
    gate.set()
    assert cancelled.wait(SECONDS)
    assert future.cancelled()
    wait_until(lambda: not any(t.name == "piactors-environment" for t in threading.enumerate()), SECONDS)
    assert left_in(each_store) == []
    assert seen[-1].phase == phase
    assert made(each_store, spec("green")).packages["green"] == "0.5"


def test_eight_threads_build_it_once(store: EnvironmentStore, spec: Spec) -> None:
    told: list[BuildProgress] = []
    futures = [store.prepare(spec("green"), progress=told.append) for _ in range(8)]
    found = [future.get(timeout=SECONDS) for future in futures]
    assert len({one.path for one in found}) == 1
    assert [one.phase for one in told].count("complete") == 1


# Use, and removal


def test_what_is_used_is_not_removed(store: EnvironmentStore, spec: Spec) -> None:
    found = made(store, spec("blue"))
    other = store.find(spec("blue"))
    assert other is not None
    eager = EnvironmentStore(store.root, max_unused=0)
    assert eager.collect() == 0
    with pytest.raises(EnvironmentInUse, match="in use"):
        store.remove(found)
    del other
    found = made(store, spec("blue"))
    store.remove(found)
    assert store.find(spec("blue")) is None
    assert left_in(store) == []


def test_collect_takes_what_is_unused_and_what_is_too_much(store: EnvironmentStore, spec: Spec) -> None:
    versions = ("1.0", "1.1", "2.0")
    sizes = [made(store, spec(f"blue=={version}")).size for version in versions]
    assert store.collect() == 0
    assert len(list(store.environments())) == 3
    assert EnvironmentStore(store.root, max_bytes=sum(sizes) - 1).collect() == 1
    assert [dict(one.packages)["blue"] for one in store.environments()] == ["2.0", "1.1"]
    assert EnvironmentStore(store.root, max_unused=0).collect() == 2
    assert left_in(store) == []
    assert os.listdir(store.root / "v1" / "trash") == []


def test_what_was_changed_is_seen(store: EnvironmentStore, spec: Spec) -> None:
    found = made(store, spec("green"))
    (site,) = Path(found.path).glob("lib/*/site-packages")
    with (site / "blue.py").open("a") as file:
        file.write("# more\n")
    shutil.rmtree(site / "green-0.5.dist-info")
    assert sorted(store.verify(found)) == [
        "blue: blue.py was changed",
        "green 0.5 is missing",
        "green.py was added",
    ]


def test_a_store_that_can_only_be_read_still_serves(
    store: EnvironmentStore, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root nothing is forbidden, so the system's refusals are put in place of the real thing."""
    found = made(store, spec("blue"))
    usual = os.open

    def only_read(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(path).startswith(str(store.root)):
            raise OSError(30, "Read-only file system", str(path))
        return usual(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", only_read)
    monkeypatch.setattr(Path, "mkdir", lambda self, *_, **__: os.open(self, os.O_CREAT))
    assert made(store, spec("blue")).key == found.key
    with pytest.raises(BuildFailed, match="it can only be read"):
        made(store, spec("blue==1.0"))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"requirements": ["-r other.txt"]}, "requirements such as"),
        ({"requirements": ["blue\nred"]}, "requirements such as"),
        ({"requirements": ["./here"]}, "requirements such as"),
        ({"requirements": "blue"}, "list"),
        ({"requirements": ["blue"], "lock": "x"}, "exclude each other"),
        ({"index_urls": ["--evil"]}, "addresses such as"),
        ({"constraints": ["--evil"]}, "requirements such as"),
        ({"offline": 1}, "True or False"),
        ({"python": ""}, "path"),
    ],
)
def test_a_spec_that_is_wrong_is_refused_at_once(fields: dict[str, Any], why: str) -> None:
    with pytest.raises((TypeError, ValueError), match=why):
        EnvironmentSpec(**fields)


def test_a_store_with_another_builder_is_refused() -> None:
    with pytest.raises(ValueError, match="use 'auto', 'uv' or 'pip'"):
        EnvironmentStore(builder="conda")  # type: ignore[arg-type]


def test_uv_that_is_not_there_is_told(store: EnvironmentStore, spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    from piactors.environments import builders

    monkeypatch.setattr(builders, "_uv", lambda: None)
    with pytest.raises(BuildFailed, match="install piactors\\[uv\\]"):
        made(EnvironmentStore(store.root, builder="uv"), spec("blue"))
    assert made(store, spec("blue")).packages["blue"] == "2.0"


# Found by somebody who tried to break it


@pytest.mark.parametrize(
    "requirement",
    [
        "rock @ file://{folder}/rock-1.0.tar.gz",
        "rock-1.0.tar.gz",
        "rock==1.0 --no-binary=rock",
        "rock==1.0 --index-url=https://example.org",
    ],
)
def test_no_requirement_has_anything_built(each_store: EnvironmentStore, tmp_path: Path, requirement: str) -> None:
    mark = tmp_path / "mark"
    sdist(tmp_path / "w", "rock", "1.0", BACKEND.format(mark=str(mark), then=""))
    spec = EnvironmentSpec(
        requirements=[requirement.format(folder=tmp_path / "w")], find_links=[str(tmp_path / "w")], offline=True
    )
    with pytest.raises(BuildFailed):
        made(each_store, spec)
    assert not mark.exists()


def test_a_wheel_that_wants_a_source_by_its_address_gets_none(each_store: EnvironmentStore, tmp_path: Path) -> None:
    source = sdist(tmp_path / "w", "rock", "1.0", BACKEND.format(mark=str(tmp_path / "mark"), then=""))
    wheel(tmp_path / "w", "lure", "1.0", requires=[f"rock @ {source.as_uri()}"])
    with pytest.raises(BuildFailed):
        made(each_store, EnvironmentSpec(requirements=["lure"], find_links=[str(tmp_path / "w")], offline=True))


@pytest.mark.parametrize("odd", ["hash", "url", "name"])
def test_a_pylock_says_no_more_than_a_lock_can(
    each_store: EnvironmentStore, wheels: Path, tmp_path: Path, odd: str
) -> None:
    file = wheels / "blue-1.0-py3-none-any.whl"
    digest, url, name = sha256(file.read_bytes()), file.as_uri(), file.name
    if odd == "hash":
        digest += "\\n--find-links /elsewhere"
    elif odd == "url":
        url += "\\n--find-links /elsewhere"
    else:
        name = "blue-2.0-py3-none-any.whl"
    lock = tmp_path / "pylock.toml"
    lock.write_text(
        'lock-version = "1.0"\ncreated-by = "a test"\n[[packages]]\nname = "blue"\nversion = "1.0"\n'
        f'wheels = [{{ name = "{name}", url = "{url}", hashes = {{ sha256 = "{digest}" }} }}]\n'
    )
    with pytest.raises(BuildFailed, match="could not be resolved"):
        made(each_store, EnvironmentSpec(lock=str(lock), offline=True))


def test_a_pylock_with_paths_in_an_odd_folder(each_store: EnvironmentStore, wheels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a b ü"
    folder.mkdir()
    file = shutil.copy(wheels / "blue-1.0-py3-none-any.whl", folder)
    lock = folder / "pylock.toml"
    lock.write_text(
        'lock-version = "1.0"\ncreated-by = "a test"\n[[packages]]\nname = "blue"\nversion = "1.0"\n'
        f'wheels = [{{ path = "{Path(file).name}", hashes = {{ sha256 = "{sha256(Path(file).read_bytes())}" }} }}]\n',
        encoding="utf-8",
    )
    assert made(each_store, EnvironmentSpec(lock=str(lock), offline=True)).packages["blue"] == "1.0"


def test_what_was_resolved_without_hashes_does_not_count_with_them(
    each_store: EnvironmentStore, spec: Spec, wheels: Path, tmp_path: Path
) -> None:
    line = f"green==0.5 --hash=sha256:{sha256((wheels / 'green-0.5-py3-none-any.whl').read_bytes())}"
    assert made(each_store, spec(line)).packages.keys() == {"green", "blue"}
    with pytest.raises(BuildFailed):
        made(each_store, spec(line, require_hashes=True))
    lock = tmp_path / "only.lock"
    lock.write_text(line)
    assert made(each_store, spec(lock=str(lock))).packages.keys() == {"green"}


def test_a_hash_of_another_kind_is_refused(store: EnvironmentStore, spec: Spec) -> None:
    with pytest.raises(BuildFailed, match="a hash of sha512 is not looked at"):
        made(store, spec(f"blue==1.0 --hash=sha512:{'0' * 128}"))


def test_an_isolate_keeps_what_its_options_were_given(store: EnvironmentStore, spec: Spec) -> None:
    found = made(store, spec("blue"))
    with piactors.ProcessIsolator(piactors.IsolationOptions(environment=found)) as isolator:
        with pytest.raises(EnvironmentInUse):
            store.remove(found)
        assert isolator.invoke_method("importlib.metadata:version", "blue").get(timeout=SECONDS) == "2.0"
    assert EnvironmentStore(store.root, max_unused=0).collect() == 0  # `found` keeps it all the same


def test_with_copies_what_code_changes_in_its_environment_is_changed_there_alone(tmp_path: Path, spec: Spec) -> None:
    store = EnvironmentStore(tmp_path / "store", copies=True)
    found = [made(store, spec("blue==1.1")), made(store, spec("green"))]
    first = next(Path(found[0].path).rglob("blue.py"))
    first.write_text("VERSION = 'evil'\n")
    assert version_in(found[1], "blue") == "1.1"
    store.remove(found[0])
    assert version_in(made(store, spec("blue==1.1")), "blue") == "1.1"


@pytest.mark.parametrize("content", ["", "[]", "{}", "\0" * 10])
def test_one_whose_mark_cannot_be_read_is_built_again(store: EnvironmentStore, spec: Spec, content: str) -> None:
    found = made(store, spec("blue"))
    mark = Path(found.path).parent / "complete"
    mark.write_text(content)
    del found
    assert store.find(spec("blue")) is None
    assert list(store.environments()) == []
    assert store.verify(made(store, spec("blue"))) == []


def test_an_index_that_is_given_is_the_only_one(
    each_store: EnvironmentStore, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "evil", "red", "9.0")
    with serving(tmp_path / "evil") as other:
        for name in ("UV_EXTRA_INDEX_URL", "UV_INDEX", "PIP_EXTRA_INDEX_URL"):
            monkeypatch.setenv(name, other.url)
        monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "evil"))
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "evil"))
        spec = EnvironmentSpec(requirements=["red"], index_urls=[index.url])
        assert made(each_store, spec).packages["red"] == "2.0"


def test_settings_of_tools_do_not_change_what_they_make(
    each_store: EnvironmentStore, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_NO_DEPS", "PIP_DRY_RUN", "PIP_USER", "UV_VENV_SEED", "UV_NO_DEPS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "1999-01-01")
    assert made(each_store, spec("green")).packages.keys() == {"green", "blue"}


def test_upgrades_at_once_are_all_kept(store: EnvironmentStore, tmp_path: Path) -> None:
    folder, names = tmp_path / "w", ("one", "two", "three")
    for name in names:
        wheel(folder, name, "1.0")
    spec = EnvironmentSpec(requirements=names, find_links=[str(folder)], offline=True)
    store.lock(spec)
    for name in names:
        wheel(folder, name, "2.0")
    threads = [threading.Thread(target=store.lock, args=(spec,), kwargs={"upgrade": name}) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.version for one in store.lock(spec).packages} == {"2.0"}


def test_an_interpreter_that_does_not_answer_is_asked_once(
    store: EnvironmentStore, spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bin" / "python3"
    broken.parent.mkdir()
    broken.write_text(f"#!/bin/sh\necho x >> {tmp_path / 'asked'}\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(broken.parent), prepend=os.pathsep)
    (broken.parent / "python3.12").write_bytes(b"not a program")  # the kernel refuses to run it
    (broken.parent / "python3.12").chmod(0o755)
    for _ in range(3):
        made(store, spec("blue", python="3.12"))
    assert (tmp_path / "asked").read_text() == "x\n"
