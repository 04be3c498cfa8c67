"""Arrays as arguments of isolates of other interpreters, and as results of code that is called by name."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import piactors
from piactors import IsolationOptions, ProcessIsolator, UntrustedReply

SECONDS = 30.0

CUSTOMIZE = """
# As where NumPy has another major version: the modules that its own pickles name are not there.
import sys
import numpy
for name in ("multiarray", "numeric"):
    sys.modules["numpy._core." + name] = sys.modules["numpy.core." + name] = None
"""
PLUGIN = """
import datetime
try:
    import numpy
except ImportError:
    pass

def fine():
    return "fine"

def about(array):
    return type(array).__name__, array.dtype.str, array.shape, array.flags.f_contiguous, array.tolist()

def inside(rows, *, extra):
    return [about(row["a"]) for row in rows], type(extra).__name__, extra.item()

def total(array):
    return float(array.sum()), array.flags.owndata

class Plugin:
    def __init__(self, weights, *, bias):
        self.weights, self.bias = weights, bias
    def apply(self, values):
        return (self.weights * values + self.bias).tolist()

def records():
    return numpy.rec.array([(1, "a"), (2, "b")], dtype=[("n", "<i4"), ("t", "U3")])

def objects():
    return {"rows": [1, numpy.array([None])]}

def berlin():
    import zoneinfo
    return datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))

def own_zone():
    class Zone(datetime.tzinfo):
        def utcoffset(self, moment):
            return datetime.timedelta(0)
    return [datetime.datetime(2024, 1, 1, tzinfo=Zone())]

def loop():
    found = []
    found.append({"again": found})
    return found
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("arrays")
    (made / "array_plugin.py").write_text(PLUGIN)
    return made


def environment(folder: Path) -> str:
    """Make a virtual environment and return its interpreter: not the host's own, and nothing is installed there."""
    done = subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no virtual environment can be made: {done.stderr[-200:]}")
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def other_python(folder: Path) -> str:
    """An interpreter whose NumPy is the host's, but for the modules that its pickles name."""
    python = environment(folder / "other")
    (packages,) = (folder / "other" / "lib").glob("python*/site-packages")
    (packages / "numpy.pth").write_text(f"{Path(np.__file__).parent.parent}\n")
    (packages / "sitecustomize.py").write_text(CUSTOMIZE)
    return python


@pytest.fixture
def options(folder: Path, other_python: str) -> IsolationOptions:
    return IsolationOptions(python=other_python, sys_path=[folder])


@pytest.fixture
def isolator(options: IsolationOptions) -> Iterator[ProcessIsolator]:
    with ProcessIsolator(options) as made:
        yield made


def call(isolator: ProcessIsolator, name: str, *args: Any, **kwargs: Any) -> Any:
    return isolator.invoke_method(f"array_plugin:{name}", *args, **kwargs).get(timeout=SECONDS)


def test_arrays_of_every_kind_are_arguments(isolator: ProcessIsolator) -> None:
    for sent in (
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(9)[::2],
        np.array(5),
        np.zeros((0, 2)),
        np.array([True, False]),
        np.array(["ab", "c"]),
        np.array([b"x"]),
        np.array([1, 2], ">i4"),
    ):
        expected = "ndarray", sent.dtype.str, sent.shape, sent.flags.f_contiguous, sent.tolist()
        if not sent.flags.c_contiguous and not sent.flags.f_contiguous:
            expected = "ndarray", sent.dtype.str, sent.shape, True, sent.tolist()
        assert call(isolator, "about", sent) == expected


def test_arrays_and_scalars_lie_deep_inside_and_in_keyword_arguments(isolator: ProcessIsolator) -> None:
    rows, kind, item = call(isolator, "inside", [{"a": np.arange(2)}, {"a": np.ones(1)}], extra=np.float32(1.5))
    assert [row[4] for row in rows] == [[0, 1], [1.0]]
    assert (kind, item) == ("float32", 1.5)


def test_a_large_array_is_an_argument(isolator: ProcessIsolator) -> None:
    assert call(isolator, "total", np.ones((1000, 300)))[0] == 300_000
    assert call(isolator, "total", np.asfortranarray(np.ones((1000, 300))))[0] == 300_000


def test_arrays_are_arguments_of_a_constructor(options: IsolationOptions) -> None:
    ref = piactors.spawn("array_plugin:Plugin", np.array([1, 2, 3]), bias=np.int64(10), options=options)
    try:
        assert ref.proxy().apply(np.array([1, 1, 1])).get(timeout=SECONDS) == [11, 12, 13]
    finally:
        ref.stop()


def test_an_interpreter_without_numpy_says_so(folder: Path) -> None:
    with ProcessIsolator(IsolationOptions(python=environment(folder / "bare"), sys_path=[folder])) as isolator:
        with pytest.raises(ImportError, match=r"an array of NumPy's .dtype <f8, shape .2,.*cannot import NumPy"):
            call(isolator, "about", np.zeros(2))
        assert call(isolator, "fine") == "fine"


# --- results ----------------------------------------------------------------------------------


def test_records_and_zones_come_back_as_they_were(isolator: ProcessIsolator) -> None:
    found = call(isolator, "records")
    assert type(found) is np.recarray
    assert (found.n.tolist(), found.t.tolist()) == ([1, 2], ["a", "b"])
    moment = call(isolator, "berlin")
    assert moment.tzinfo is zoneinfo.ZoneInfo("Europe/Berlin")
    assert (moment.fold, moment.utcoffset()) == (1, dt.timedelta(hours=1))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("objects", r"numpy\.ndarray \(its dtype, object, holds Python objects; .* \(at item 1 of key 'rows'\)\)"),
        ("own_zone", r"own_zone\.<locals>\.Zone \(it is the tzinfo of a datetime, .* \(at item 0\)\)"),
        ("loop", r"builtins\.list \(it contains itself, as key 'again' of item 0\)"),
    ],
)
def test_a_refused_result_names_type_dtype_and_way(isolator: ProcessIsolator, name: str, text: str) -> None:
    with pytest.raises(UntrustedReply, match=f"would return a .*{text}, but its trust allows only plain data"):
        call(isolator, name)
