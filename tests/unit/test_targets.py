"""Rules of `piactors.pihost.serve.targets`: what a target names is found, or the text says what was not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piactors.pihost.serve.targets import TargetError, is_file, resolve, split

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a file into a folder that is on `sys.path` and the working directory; what it adds to modules goes."""
    before = dict(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def made(name: str, text: str = "def run(): return 'ran'\n") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    yield made
    for name in set(sys.modules) - set(before):
        del sys.modules[name]


def refusal(target: str) -> str:
    with pytest.raises(TargetError) as caught:
        resolve(target)
    assert type(caught.value) is TargetError
    return str(caught.value)


# Splitting


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("pkg.mod:f", ("pkg.mod", "f")),
        ("pkg.mod:Outer.Inner", ("pkg.mod", "Outer.Inner")),
        ("a/b.py:f", ("a/b.py", "f")),
        ("C:/x:y/b.py:f", ("C:/x:y/b.py", "f")),
        ("m:_ä", ("m", "_ä")),
    ],
)
def test_the_last_colon_divides_place_and_name(target: str, parts: tuple[str, str]) -> None:
    """A path may hold colons, a name cannot."""
    assert split(target) == parts


@pytest.mark.parametrize("target", ["", ":", "m", "m:", ":f", "a.b.c", "a/b.py", "::"])
def test_a_target_without_place_or_name_is_none(target: str) -> None:
    """The text says how one looks."""
    text = refusal(target)
    assert repr(target) in text
    assert "'package.module:name'" in text


@pytest.mark.parametrize("name", ["1", "a b", "f()", "a..b", ".a", "a.", "a-b", "f\n", " f", "a[0]", "\0"])
def test_what_is_no_name_is_refused_and_named(name: str) -> None:
    """Nothing is imported for it."""
    text = refusal(f"no_such_module_here:{name}")
    assert repr(name) in text
    assert "is not the name" in text


@given(st.text())
def test_splitting_gives_parts_or_a_target_error(target: str) -> None:
    """Whatever the text."""
    try:
        place, name = split(target)
    except TargetError:
        return
    assert f"{place}:{name}" == target
    assert place
    assert all(part.isidentifier() for part in name.split("."))


@pytest.mark.parametrize(
    ("place", "expected"),
    [("a.b", False), ("a.py", True), ("./a", True), ("a/b", True), ("py", False), ("a.pyx", False)],
)
def test_a_place_is_a_file_where_it_looks_like_a_path(place: str, expected: bool) -> None:
    """By its ending, or a slash."""
    assert is_file(place) == expected


# Modules


def test_functions_classes_and_what_classes_hold_are_found(write: Write) -> None:
    """In modules and packages."""
    write("tm_pkg/__init__.py", "")
    text = "class Outer:\n  class Inner:\n    @staticmethod\n    def f(): return 1\ndef g(): return 2\n"
    write("tm_pkg/mod.py", text)
    assert resolve("tm_pkg.mod:g")() == 2
    assert resolve("tm_pkg.mod:Outer.Inner").__name__ == "Inner"
    assert resolve("tm_pkg.mod:Outer.Inner.f")() == 1
    assert resolve("tm_pkg.mod:g") is resolve("tm_pkg.mod:g")


def test_a_module_that_is_not_there_is_named(write: Write) -> None:
    """The first part that is missing, not the whole."""
    write("tm_pkg2/__init__.py", "")
    assert "'tm_nowhere'" in refusal("tm_nowhere:f")
    assert "'tm_nowhere'" in refusal("tm_nowhere.sub.sub:f")
    assert "'tm_pkg2.missing'" in refusal("tm_pkg2.missing:f")
    assert "'tm_pkg2.missing'" in refusal("tm_pkg2.missing.deeper:f")


def test_a_module_that_is_no_package_has_no_submodules(write: Write) -> None:
    """That is a target that is not there."""
    write("tm_flat.py")
    assert "'tm_flat.sub'" in refusal("tm_flat.sub:f")


@pytest.mark.parametrize(
    "place", [".", "..", ".mod", "..mod", "json.", "json..decoder", " json", "json ", "a b", "a\0b", "-"]
)
def test_a_place_that_is_no_module_name_is_a_target_error(place: str) -> None:
    """Not whatever the import system makes of it."""
    assert repr(f"{place}:f") in refusal(f"{place}:f")


def test_a_module_that_imports_something_missing_raises_its_own_error(write: Write) -> None:
    """The target is there, so it is no bad target."""
    write("tm_needs.py", "import tm_something_missing\n")
    with pytest.raises(ModuleNotFoundError, match="tm_something_missing"):
        resolve("tm_needs:f")


def test_a_package_that_imports_something_missing_raises_its_own_error(write: Write) -> None:
    """Also where what is missing is named like a sibling, or a longer name."""
    write("tm_parent/__init__.py", "import tm_parent_extra\n")
    write("tm_parent/mod.py")
    with pytest.raises(ModuleNotFoundError, match="tm_parent_extra"):
        resolve("tm_parent.mod:f")
    write("tm_deep/__init__.py", "")
    write("tm_deep/mod.py", "import tm_deep.mod.sub\n")
    with pytest.raises(ModuleNotFoundError, match=r"tm_deep\.mod\.sub"):
        resolve("tm_deep.mod:f")


@pytest.mark.parametrize(
    "text", ["1/0", "raise ImportError('mine')", "raise SystemExit(3)", "raise ModuleNotFoundError('x')"]
)
def test_what_a_module_raises_is_its_own_error(write: Write, text: str) -> None:
    """As it is."""
    write("tm_raises.py", text)
    with pytest.raises((ZeroDivisionError, ImportError, SystemExit)):
        resolve("tm_raises:f")


def test_a_name_that_is_not_there_is_named_with_where_it_was_looked_for(write: Write) -> None:
    """A module, a class, or a file."""
    path = write("tm_names.py", "class Outer: pass\n")
    text = refusal("tm_names:nothing")
    assert "module tm_names" in text
    assert "'nothing'" in text
    text = refusal("tm_names:Outer.Inner.deeper")
    assert "Outer" in text
    assert "has no 'Inner'" in text
    assert f"file {path}" in refusal(f"{path}:nothing")


def test_a_name_missing_in_a_module_within_the_place_is_missing_there(write: Write) -> None:
    """The text names the module that was looked into, not the one at the start."""
    write("tm_outer/__init__.py", "from tm_outer import inner\n")
    write("tm_outer/inner.py")
    assert resolve("tm_outer:inner.run")() == "ran"
    assert "tm_outer.inner has no 'nothing'" in refusal("tm_outer:inner.nothing")


@pytest.mark.parametrize(
    ("name", "kind"), [("number", "int"), ("text", "str"), ("none", "NoneType"), ("sub", "module")]
)
def test_what_cannot_be_called_is_no_target(write: Write, name: str, kind: str) -> None:
    """The text says what it is."""
    write("tm_values.py", "import os as sub\nnumber, text, none = 1, 'x', None\n")
    text = refusal(f"tm_values:{name}")
    assert f"is a {kind}" in text
    assert "class or a function" in text


# Files


@pytest.mark.parametrize("place", ["tf_job.py", "./tf_job.py", "sub/../tf_job.py"])
def test_a_file_is_loaded_once_however_its_path_is_written(write: Write, place: str) -> None:
    """And by its absolute path."""
    path = write("tf_job.py", "loaded = []\nloaded.append(1)\ndef run(): return loaded\n")
    write("sub/other.py")
    first = resolve(f"{path}:run")
    first().append(2)
    assert resolve(f"{place}:run") is first
    assert resolve(f"{place}:run")() == [1, 2]


def test_files_of_the_same_name_are_different(write: Write) -> None:
    """By their folders."""
    one, two = write("one/tf_same.py", "def f(): return 1\n"), write("two/tf_same.py", "def f(): return 2\n")
    assert (resolve(f"{one}:f")(), resolve(f"{two}:f")()) == (1, 2)


def test_a_file_is_not_the_module_of_its_name(write: Write) -> None:
    """It hides none, and what it defines can be found by its module."""
    path = write("json.py", "class Mine: pass\n")
    cls = resolve(f"{path}:Mine")
    import json

    assert json.__file__ != str(path)
    assert getattr(sys.modules[cls.__module__], "Mine") is cls  # noqa: B009


@pytest.mark.parametrize("place", ["tf_nowhere.py", "./tf_nowhere", "no/folder/x.py", "a\0b.py", "\udc80.py"])
def test_a_file_that_is_not_there_is_named(write: Write, place: str) -> None:
    """With its whole path."""
    assert f"there is no file {os.path.abspath(place)}" in refusal(f"{place}:f")


def test_a_folder_is_no_file(write: Write) -> None:
    """Even where its name looks like one."""
    write("folder.py/x.py")
    assert "there is no file" in refusal("folder.py:f")


def test_a_file_that_is_no_python_file_is_refused(write: Write) -> None:
    """By its ending."""
    path = write("tf_notes.txt")
    assert f"{path} is not a Python file" in refusal(f"{path}:f")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("1/0", ZeroDivisionError),
        ("x = (", SyntaxError),
        ("import tf_missing", ModuleNotFoundError),
        ("raise SystemExit(2)", SystemExit),
        ("raise KeyboardInterrupt", KeyboardInterrupt),
    ],
)
def test_a_file_that_fails_raises_its_own_error_and_is_loaded_again_next_time(
    write: Write, text: str, error: type[BaseException]
) -> None:
    """Nothing half-made stays behind."""
    path = write("tf_fails.py", text)
    with pytest.raises(error):
        resolve(f"{path}:run")
    write("tf_fails.py", "def run(): return 'now it is longer'\n")
    assert resolve(f"{path}:run")() == "now it is longer"


def test_a_file_that_takes_itself_out_of_the_modules_and_fails_raises_its_own_error(write: Write) -> None:
    """Not one about the clearing up."""
    path = write("tf_odd.py", "import sys\ndel sys.modules[__name__]\n1/0\n")
    with pytest.raises(ZeroDivisionError):
        resolve(f"{path}:run")


def test_a_dataclass_in_a_file_finds_its_module(write: Write) -> None:
    """Which needs the module to be known while it is loaded."""
    text = "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass P:\n  x: int = 1\n"
    found: Any = resolve(f"{write('tf_data.py', text)}:P")
    assert found() == found(1)
