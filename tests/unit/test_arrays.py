"""Arrays in pickles that every version of NumPy loads."""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import pickletools
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from piactors.pihost.pickles import arrays
from tests.plain_kinds import SENT, MyArray
from tests.unit.test_plain_kinds import alike

PIHOST = pathlib.Path(arrays.__file__).parent.parent


class Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        return arrays.reduce_array(obj)


def dumps(value: object, **more: Any) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, 5, **more).dump(value)
    return buffer.getvalue()


def back(value: object) -> Any:
    return pickle.loads(dumps(value))


def read_only() -> Any:
    array = np.arange(4)
    array.flags.writeable = False
    return array


def objects() -> Any:
    array = np.empty((2, 2), object)
    array[0] = [1, "x"]
    array[1] = [[1, 2], np.arange(3)]
    return array


NUMPYS = [value for kind in SENT for value in kind.values if isinstance(value, (np.ndarray, np.generic))]
MORE = [
    np.arange(12).reshape(3, 4)[::2, ::-1],
    np.broadcast_to(np.arange(3), (2, 3)),
    read_only(),
    np.empty(0, "S0"),
    np.zeros((2, 3), "S0"),
    np.zeros(2, np.dtype([])),
    np.zeros((0, 2), object),
    np.zeros((2, 2), int).view(np.matrix),
    np.ones(2).view(MyArray),
    np.zeros(1, {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2]}),
    np.asfortranarray(np.arange(6).reshape(2, 3)).view(MyArray),
]
ALL = NUMPYS + MORE
NAMES = [f"{i}-{type(value).__name__}-{value.dtype.char}{value.shape}" for i, value in enumerate(ALL)]


def contiguous(value: Any) -> Any:
    """What may be expected to arrive: an array whose items follow each other."""
    if isinstance(value, np.ndarray) and not (value.flags.c_contiguous or value.flags.f_contiguous):
        return np.ascontiguousarray(value)
    return value


@pytest.mark.parametrize("value", ALL, ids=NAMES)
def test_it_arrives_as_it_was_by_itself_and_inside(value: Any) -> None:
    assert alike(contiguous(value), back(value))
    got = back({"args": (1, [value]), "kwargs": {"x": value}})
    assert alike(contiguous(value), got["args"][1][0])
    assert got["args"][1][0] is got["kwargs"]["x"]


@pytest.mark.parametrize("value", ALL, ids=NAMES)
def test_buffers_go_out_of_band(value: Any) -> None:
    buffers: list[pickle.PickleBuffer] = []
    data = dumps(value, buffer_callback=buffers.append)
    assert alike(contiguous(value), pickle.loads(data, buffers=buffers))
    apart = isinstance(value, np.ndarray) and bool(value.nbytes) and value.dtype != object
    assert len(buffers) == apart
    if apart:
        assert buffers[0].raw().nbytes == value.nbytes


@pytest.mark.parametrize(
    "array",
    [
        np.arange(1000.0),
        np.asfortranarray(np.ones((30, 40))),
        np.zeros(50, "M8[s]"),
        np.zeros(9, [("a", "i1"), ("b", "U3")]),
        np.zeros(99, "?"),
        np.zeros(9, ">f8"),
        np.array(5.0),
        np.zeros(20, "U7"),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_a_contiguous_array_is_not_copied_on_either_side(array: Any) -> None:
    buffers: list[pickle.PickleBuffer] = []
    data = dumps(array, buffer_callback=buffers.append)
    assert np.shares_memory(pickle.loads(data, buffers=buffers), array)
    assert len(data) < 500


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("writeable", [False, True])
def test_whether_it_may_be_written_to_stays_as_it_was(writeable: bool, apart: bool) -> None:
    array = np.arange(4)
    array.flags.writeable = writeable
    buffers: list[pickle.PickleBuffer] = []
    data = dumps(array, buffer_callback=buffers.append) if apart else dumps(array)
    assert pickle.loads(data, buffers=buffers).flags.writeable is writeable


def test_small_arrays_may_stay_in_the_pickle() -> None:
    data = dumps(np.arange(3), buffer_callback=lambda buffer: True)
    assert pickle.loads(data).tolist() == [0, 1, 2]


@pytest.mark.parametrize("array", [objects(), np.asfortranarray(objects()), objects()[:, 1], np.array(None, object)])
def test_arrays_of_objects_go_by_their_items(array: Any) -> None:
    got = back(array)
    assert got.shape == array.shape
    assert got.flags.f_contiguous == contiguous(array).flags.f_contiguous
    assert repr(got) == repr(array)


def test_an_array_of_objects_may_hold_itself() -> None:
    array = np.empty(2, object)
    array[:] = [array, np.float32(1)]
    got = back(array)
    assert got[0] is got
    assert type(got[1]) is np.float32


def test_masked_arrays_pickle_themselves_with_parts_that_are_portable() -> None:
    masked = np.ma.array([1.5, 2.5], mask=[True, False], fill_value=-1.0)
    got = back(masked)
    assert type(got) is np.ma.MaskedArray
    assert (got.mask.tolist(), got.fill_value, got[1]) == ([True, False], -1.0, 2.5)


@pytest.mark.parametrize("value", [*ALL, objects(), np.ma.array([1], mask=[True])], ids=repr)
def test_no_pickle_names_what_is_private_to_numpy(value: Any) -> None:
    """But for the test's own class and for masked arrays, whose module is the same in all versions."""
    strings = {arg for op, arg, _ in pickletools.genops(dumps([value])) if "UNICODE" in op.name}
    modules = {text for text in strings if text.startswith("numpy")}
    assert modules <= {"numpy", "numpy.ma", "numpy.ma.core"}


def test_dtypes_that_only_this_interpreter_knows_are_refused_by_name() -> None:
    structure = np.zeros(1, [("a", "O")])
    for value in (structure, structure[0], [structure]):
        with pytest.raises(arrays.NotPortable, match=r"its dtype, \[\('a', 'O'\)\], holds Python objects"):
            dumps(value)
    if hasattr(np.dtypes, "StringDType"):
        with pytest.raises(TypeError, match=r"its dtype, StringDType\(\), holds Python objects"):
            dumps(np.array(["a"], np.dtypes.StringDType()))


def test_dtypes_of_other_packages_pickle_themselves() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    got = back(np.array([1.5], ml_dtypes.bfloat16))
    assert got.dtype == ml_dtypes.bfloat16
    assert got.tolist() == [1.5]


def test_everything_else_is_left_to_the_pickler(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (1, [np.arange(3)], np.float64, np.dtype("f8"), np.add, np.ma.array([1]), len):
        assert arrays.reduce_array(value) is NotImplemented
    array = np.arange(3)
    monkeypatch.delitem(sys.modules, "numpy")
    assert arrays.reduce_array(array) is NotImplemented


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (np.zeros((2, 3)), r"an array of NumPy's \(dtype <f8, shape \(2, 3\)\)"),
        (np.float32(1), r"a scalar of NumPy's \(dtype <f4\)"),
        (objects(), r"an array of NumPy's \(dtype object, shape \(2, 2\)\)"),
    ],
)
def test_an_interpreter_without_numpy_says_so(value: Any, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dumps(value)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ImportError, match=f"{what}, and .* cannot import NumPy: .*; install numpy there") as caught:
        pickle.loads(data)
    assert sys.executable in str(caught.value)


def test_a_dtype_that_numpy_does_not_know_there_is_named() -> None:
    with pytest.raises(ValueError, match=f"dtype <f7 is not known to NumPy {np.__version__} here"):
        arrays.rebuild_array("<f7", (1,), False, None, b"1234567")


# --- real other versions ----------------------------------------------------------------------

CHILD = """
import io, pickle, sys
package = type(sys)("_pihost")
package.__path__ = [sys.argv[1]]
sys.modules["_pihost"] = package
from _pihost.pickles import arrays
class Pickler(pickle.Pickler):
    def reducer_override(self, obj):
        return arrays.reduce_array(obj)
class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return super().find_class(module.replace("piactors.pihost", "_pihost"), name)
values = Unpickler(sys.stdin.buffer).load()
Pickler(sys.stdout.buffer, 5).dump(values)
"""


def others() -> list[str]:
    """Interpreters with a NumPy of their own: those named in PIACTORS_NUMPY_PYTHONS, and what pyenv has."""
    root = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    named = os.environ.get("PIACTORS_NUMPY_PYTHONS", "").split(os.pathsep)
    found = [
        python for python in [*named, *map(str, sorted(root.glob("versions/3.*/bin/python")))] if shutil.which(python)
    ]
    probe = "import sys, numpy; assert sys.version_info >= (3, 8)"
    return [
        python
        for python in found
        if subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode == 0
    ]


class _Back(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(module.replace("_pihost", "piactors.pihost"), name)


@pytest.mark.process
def test_other_versions_of_numpy_load_them_and_send_them_back() -> None:
    pythons = others()
    if not pythons:
        pytest.skip("no other interpreter with NumPy; name some in PIACTORS_NUMPY_PYTHONS")
    values = [value for value in [*ALL, objects()] if type(value) is not MyArray]
    for python in pythons:
        ran = subprocess.run(
            [python, "-I", "-c", CHILD, str(PIHOST)], input=dumps(values), capture_output=True, check=False
        )
        assert not ran.stderr, f"{python}: {ran.stderr.decode()}"
        got = _Back(io.BytesIO(ran.stdout)).load()
        for value, other in zip(values, got, strict=True):
            if value.dtype != object:
                assert alike(contiguous(value), other), f"{python}: {value!r} {other!r}"
            else:
                assert repr(value) == repr(other)
