"""Rules of `piactors.options`: what is allowed, what is stored, and what a refusal says."""

from __future__ import annotations

import enum
import inspect
import logging
import pickle
import typing
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from piactors import options as options_module
from piactors.environment_spec import EnvironmentSpec
from piactors.limits import Heartbeat, IsolationLimits, Recycle
from piactors.options import (
    DEFAULT_INHERITED_ENV,
    Backoff,
    IsolationOptions,
    inherited_env,
    needs_fresh_interpreter,
    parse_size,
)

NAN, INF = float("nan"), float("inf")


class Colour(enum.Enum):
    RED = 1


def local_class() -> type:
    class Local:
        pass

    return Local


DEFAULTS: dict[str, Any] = {
    "name": None,
    "python": None,
    "environment": None,
    "sys_path": (),
    "cwd": None,
    "env": None,
    "inherit_env": None,
    "start_method": None,
    "preload": (),
    "start_timeout": 30.0,
    "call_timeout": None,
    "shutdown_timeout": 5.0,
    "restart": "temporary",
    "max_restarts": 10,
    "within": 60.0,
    "backoff": None,
    "concurrency": 1,
    "mailbox_capacity": None,
    "channels": "auto",
    "on_cycle": "fail",
    "overflow": "block",
    "while_restarting": "queue",
    "limits": None,
    "recycle": None,
    "standby": False,
    "heartbeat": None,
    "output": "log",
    "log_level": None,
    "trust": "auto",
    "accept": (),
    "max_frame": 1024**3,
    "keep_shared": 64 * 1024**2,
    "die_on_crash": False,
    "debug": False,
    "spin": True,
}
BACKOFF_DEFAULTS: dict[str, Any] = {
    "initial": 0.1,
    "factor": 2.0,
    "maximum": 30.0,
    "jitter": 0.2,
    "reset_after": 60.0,
    "max_attempts": None,
}

# field: (given, stored) pairs
ACCEPTED: dict[str, list[tuple[Any, Any]]] = {
    "name": [("worker", "worker")],
    "python": [(PurePosixPath("envs/blur/bin/python"), "envs/blur/bin/python"), ("/not/there", "/not/there")],
    "environment": [(EnvironmentSpec(python="3.12"), EnvironmentSpec(python="3.12"))],
    "sys_path": [(["a", PurePosixPath("b/c")], ("a", "b/c")), ((name for name in "ab"), ("a", "b"))],
    "cwd": [(PurePosixPath("/srv"), "/srv")],
    "env": [({}, {}), ({"A": "", "B": "x=y"}, {"A": "", "B": "x=y"})],
    "inherit_env": [(True, True), (False, False), (["PATH", "LC_*"], ("PATH", "LC_*")), (["*"], ("*",)), ([], ())],
    "start_method": [("launcher", "launcher"), ("spawn", "spawn")],
    "preload": [(["numpy", "os.path"], ("numpy", "os.path"))],
    "start_timeout": [(3, 3.0), (0, 0.0)],
    "call_timeout": [(1, 1.0), (0.25, 0.25)],
    "shutdown_timeout": [(None, None), (0, 0.0)],
    "restart": [("transient", "transient"), ("permanent", "permanent")],
    "max_restarts": [(None, None), (0, 0)],
    "within": [(0.5, 0.5), (1, 1.0)],
    "backoff": [(Backoff(), Backoff())],
    "concurrency": [(256, 256)],
    "mailbox_capacity": [(1, 1)],
    "channels": [("direct", "direct"), ("routed", "routed")],
    "on_cycle": [("wait", "wait")],
    "overflow": [("fail", "fail"), ("drop_oldest", "drop_oldest")],
    "while_restarting": [("fail", "fail")],
    "limits": [(IsolationLimits(), IsolationLimits())],
    "recycle": [(Recycle(after_calls=1), Recycle(after_calls=1))],
    "standby": [(True, True)],
    "heartbeat": [(5, Heartbeat(5)), (0.5, Heartbeat(0.5)), (Heartbeat(1), Heartbeat(1))],
    "output": [("inherit", "inherit"), ("discard", "discard"), (print, print)],
    "log_level": [("debug", logging.DEBUG), ("Warning", logging.WARNING), (0, 0), (15, 15)],
    "trust": [("data", "data"), ("code", "code")],
    "accept": [([Path, Colour], (Path, Colour))],
    "keep_shared": [("8 MiB", 8 * 1024**2), (0, 0), (1024**4, 1024**4)],
    "max_frame": [("256 MiB", 256 * 1024**2), (4096, 4096), (2**32 - 1, 2**32 - 1)],
    "die_on_crash": [(True, True)],
    "debug": [(True, True)],
    "spin": [(False, False)],
}

# (field, what the message says is allowed, wrong values, values of a wrong type)
Refused = tuple[str, str, list[Any], list[Any]]

REFUSED: list[Refused] = [
    ("name", "use a non-empty str without NUL or lone surrogates, or None", ["", "a\0b", "a\ud800"], [3, b"worker"]),
    ("python", "use a non-empty path (str or os.PathLike, no NUL), or None", ["", "\0"], [3, b"python"]),
    ("environment", "use an EnvironmentSpec or an Environment of piactors.environments, or None", [], ["numpy", 3]),
    ("sys_path", "pass a list of paths (str or os.PathLike, no NUL)", [["a\0"]], ["lib", b"lib", None, ["a", 3]]),
    ("sys_path", "pass a list of paths", [], [PurePosixPath("lib"), [b"lib"]]),
    ("cwd", "use a non-empty path (str or os.PathLike, no NUL), or None", ["", "\0"], [3, b"/srv"]),
    ("env", "use a mapping", [], [[("A", "b")], "A=b", 3]),
    ("env", "names (non-empty, no '=' or NUL)", [{"": "b"}, {"A=": "b"}, {"A\0": "b"}], [{1: "b"}, {b"A": "b"}]),
    ("env", "str values (no NUL), without lone", [{"A": "b\0"}], [{"A": 1}, {"A": None}, {"A": ["unhashable"]}]),
    ("env", "lone surrogates, or None", [{"A": "\ud800"}, {"\ud800": ""}], []),
    ("inherit_env", "pass a list of names such as 'PATH' or 'LC_*'", [[""], ["\0"]], ["PATH", 1, ["PATH", 3]]),
    ("inherit_env", "no '=' or NUL), or True, False or None", [["*_PROXY"], ["**"], ["A=B"]], [2.0]),
    ("start_method", "use 'launcher', 'spawn' or None", ["fork", ""], [3]),
    ("preload", "pass a list of dotted module names such as 'package.module'", [["a..b"], [""], ["a.py:f"]], ["a"]),
    ("preload", "dotted module names", [], [logging, [3], None]),
    ("start_timeout", "use a finite number of seconds, at least 0", [-1.0, NAN, INF, -INF], [None, "30", True]),
    ("call_timeout", "use a finite number of seconds, more than 0, or None", [0.0, -1.0, NAN, INF], ["5", True]),
    ("shutdown_timeout", "use a finite number of seconds, at least 0, or None", [-0.1, NAN, INF], ["5", False]),
    ("restart", "use 'temporary', 'transient' or 'permanent'", ["always", "Permanent"], [None, ["permanent"]]),
    ("max_restarts", "use a whole number of at least 0, or None", [-1], [1.0, True, "1"]),
    ("within", "use a finite number of seconds, more than 0", [0.0, -1.0, INF, NAN], [None, "60", True]),
    ("backoff", "use a Backoff, or None", [], [0.1, Backoff, {"initial": 1}]),
    ("concurrency", "use a whole number from 1 to 256", [0, 257], [True, 2.0, None]),
    ("mailbox_capacity", "use a whole number of at least 1, or None", [0, -1], ["9", 1.0, True]),
    ("channels", "use 'routed', 'direct' or 'auto'", ["fast"], [None]),
    ("on_cycle", "use 'fail', 'reenter' or 'wait'", ["hope"], [None]),
    ("overflow", "use 'block', 'fail' or 'drop_oldest'", ["drop"], [None]),
    ("while_restarting", "use 'queue' or 'fail'", ["wait"], [False]),
    ("limits", "use IsolationLimits, or None", [], [{"max_memory": 1}, "1 GiB", 1024**3, IsolationLimits]),
    ("recycle", "use a Recycle, or None", [], [{"after_calls": 1}, 100, Recycle]),
    ("standby", "use True or False", [], [1, "yes", None]),
    ("heartbeat", "use a Heartbeat, a finite number of seconds, more than 0, or None", [0, -1.0, NAN, INF], ["5"]),
    ("heartbeat", "use a Heartbeat", [], [True, {"every": 5}, Heartbeat]),
    ("output", "use 'log', 'inherit', 'discard' or a callable", ["null"], [None, 3]),
    ("log_level", "use a level name such as 'DEBUG', a whole number of at least 0", ["LOUD", "", -1], [True, 10.0]),
    ("trust", "use 'auto', 'data' or 'code'", ["all"], [1]),
    ("accept", "pass a list of classes that can be imported by name", [[local_class()]], [Path, Colour, ["Path"]]),
    ("accept", "pass a list of classes", [], [None, [list[int]], [Path()]]),
    ("max_frame", "from 4096 to 4294967295 bytes", [4095, 2**32, -1], [True, 1e6, None]),
    ("keep_shared", "from 0 to 1099511627776 bytes", [-1, 2**41], [True, 1e6, None]),
    ("max_frame", '"64 KiB", "256 MiB" or "3GB"', ["3 XB", ""], [b"3 MB"]),
    ("die_on_crash", "use True or False", [], [1, "yes", None]),
    ("debug", "use True or False", [], [0, "yes", None]),
    ("spin", "use True or False", [], [0, "yes", None]),
]
BACKOFF_REFUSED: list[Refused] = [
    ("initial", "use a finite number of seconds, at least 0", [-0.1, NAN, INF], [None, True]),
    ("factor", "use a finite number, at least 1", [0.5, INF, NAN], ["2", None]),
    ("maximum", "use a finite number of seconds, at least 0", [-1.0, INF], [None, "30"]),
    ("jitter", "use a finite fraction, from 0 to 1", [1.1, -0.1, NAN], [True, None]),
    ("reset_after", "use a finite number of seconds, at least 0, or None", [-1.0, INF], ["60", True]),
    ("max_attempts", "use a whole number of at least 1, or None", [0, -1], [1.0, True]),
]


def refusals(kind: Any, rows: list[Refused]) -> list[Any]:
    return [
        pytest.param(kind, field, value, error, allowed, id=f"{kind.__name__}.{field}-{value!r}"[:80])
        for field, allowed, wrong, mistyped in rows
        for error, values in ((ValueError, wrong), (TypeError, mistyped))
        for value in values
    ]


ALL_REFUSALS = refusals(IsolationOptions, REFUSED) + refusals(Backoff, BACKOFF_REFUSED)


@pytest.mark.parametrize(("kind", "defaults"), [(IsolationOptions, DEFAULTS), (Backoff, BACKOFF_DEFAULTS)])
def test_defaults(kind: Any, defaults: dict[str, Any]) -> None:
    made = kind()
    assert {field.name: getattr(made, field.name) for field in attrs.fields(kind)} == defaults


@pytest.mark.parametrize(
    ("field", "given", "stored"), [(field, *pair) for field, pairs in ACCEPTED.items() for pair in pairs]
)
def test_an_allowed_value_is_stored_in_its_one_form(field: str, given: Any, stored: Any) -> None:
    found = getattr(IsolationOptions(**{field: given}), field)
    assert found == stored
    assert field == "env" or type(found) is type(stored)


def test_every_field_has_accepted_and_refused_values() -> None:
    """A new field cannot be forgotten in the tables above."""
    names = {field.name for field in attrs.fields(IsolationOptions)}
    assert ACCEPTED.keys() == names
    assert {row[0] for row in REFUSED} == names
    assert {row[0] for row in BACKOFF_REFUSED} == {field.name for field in attrs.fields(Backoff)}


def test_backoff_takes_positions_and_keywords() -> None:
    keywords = {"initial": 1.0, "factor": 3.0, "maximum": 60.0, "jitter": 0.0, "reset_after": None, "max_attempts": 5}
    assert attrs.asdict(Backoff(1, 3, 60, 0, None, 5)) == keywords
    assert Backoff(**keywords) == Backoff(1, 3, 60, 0, None, 5)  # type: ignore[arg-type]


def test_isolation_options_take_keywords_only() -> None:
    with pytest.raises(TypeError):
        IsolationOptions("worker")  # type: ignore[call-arg]


def test_an_unknown_keyword_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="restrat"):
        IsolationOptions(restrat="permanent")  # type: ignore[call-arg]


@pytest.mark.parametrize(("kind", "field", "value", "error", "allowed"), ALL_REFUSALS)
def test_a_refusal_names_class_field_value_and_what_is_allowed(
    kind: Any, field: str, value: Any, error: type[Exception], allowed: str
) -> None:
    """Of a list it shows the last item, which is the wrong one in these tables."""
    with pytest.raises((TypeError, ValueError)) as caught:
        kind(**{field: value})
    place, _, rest = str(caught.value).partition(": ")
    shown, _, advice = rest.partition(" is not allowed; ")
    assert type(caught.value) is error
    assert place == f"{kind.__name__}.{field}"
    assert shown in (repr(value), repr(value[-1]) if isinstance(value, list) else None)
    assert allowed in advice


def test_a_refusal_in_full() -> None:
    with pytest.raises(ValueError) as caught:
        IsolationOptions(restart="always")  # type: ignore[arg-type]
    assert str(caught.value) == (
        "IsolationOptions.restart: 'always' is not allowed; use 'temporary', 'transient' or 'permanent'"
    )


def test_a_refusal_shortens_a_long_value() -> None:
    with pytest.raises(ValueError) as caught:
        IsolationOptions(overflow="x" * 10**6)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 400


def test_a_refusal_names_the_subclass_that_was_made() -> None:
    @attrs.frozen(kw_only=True)
    class PluginOptions(IsolationOptions):
        pass

    with pytest.raises(ValueError, match=r"^PluginOptions\.concurrency: 0 "):
        PluginOptions(concurrency=0)


@pytest.mark.parametrize("made", [IsolationOptions(), Backoff()])
def test_a_field_cannot_be_set_or_deleted(made: Any) -> None:
    name = attrs.fields(type(made))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(made, name, "other")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        delattr(made, name)
    with pytest.raises(AttributeError):
        made.new_field = 1


def test_the_environment_is_a_copy_that_cannot_change() -> None:
    mine = {"A": "1"}
    made: Any = IsolationOptions(env=mine)
    mine["A"] = "2"
    assert dict(made.env) == {"A": "1"}
    with pytest.raises(TypeError):
        made.env["A"] = "3"
    with pytest.raises(AttributeError):
        made.env._items = {}


def test_evolve_makes_another_and_leaves_the_first() -> None:
    first = IsolationOptions(env={"A": "1"}, log_level="info", max_frame="1 MiB", sys_path=["a"])
    second = attrs.evolve(first, restart="permanent")
    assert (first.restart, second.restart) == ("temporary", "permanent")
    assert attrs.evolve(second, restart="temporary") == first


@pytest.mark.parametrize(("kind", "field", "value", "error", "allowed"), ALL_REFUSALS)
def test_evolve_validates_again(kind: Any, field: str, value: Any, error: type[Exception], allowed: str) -> None:
    with pytest.raises(error, match=rf"^{kind.__name__}\.{field}: "):
        attrs.evolve(kind(), **{field: value})


FULL = IsolationOptions(
    env={"A": "1", "B": "2"},
    sys_path=["a"],
    backoff=Backoff(max_attempts=3),
    accept=[Path],
    output=print,
    limits=IsolationLimits(max_memory="1 GiB", affinity=0),
    recycle=Recycle(after_calls=9),
    heartbeat=5,
)


def test_equal_values_are_equal_and_hash_alike() -> None:
    other = attrs.evolve(FULL, env={"B": "2", "A": "1"})
    assert other == FULL
    assert hash(other) == hash(FULL)
    assert attrs.evolve(FULL, env={"A": "2"}) != FULL


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("made", [FULL, IsolationOptions(), Backoff()])
def test_options_pickle(made: Any, protocol: int) -> None:
    copy = pickle.loads(pickle.dumps(made, protocol))
    assert copy == made
    assert hash(copy) == hash(made)
    assert repr(copy) == repr(made)


def test_repr_keeps_the_values_of_the_environment_secret() -> None:
    shown = repr(IsolationOptions(env={"TOKEN": "s3cret"}))
    assert "TOKEN" in shown
    assert "s3cret" not in shown


UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
CASES: list[Callable[[str], str]] = [str, str.lower, str.upper]


@given(
    amount=st.integers(0, 10**15),
    unit=st.sampled_from(sorted(UNITS)),
    gap=st.sampled_from(["", " ", "  "]),
    case=st.sampled_from(CASES),
)
def test_a_size_is_its_amount_times_its_unit(amount: int, unit: str, gap: str, case: Callable[[str], str]) -> None:
    assert parse_size(f"{amount}{gap}{case(unit)}") == amount * UNITS[unit]


@given(st.integers(min_value=0))
def test_a_number_is_a_size_in_bytes(amount: int) -> None:
    assert parse_size(amount) == amount


@given(st.text())
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except ValueError as error:
        assert str(error).startswith("parse_size: ")


@given(st.integers(-(2**40), 2**40))
def test_max_frame_takes_exactly_the_sizes_within_its_bounds(amount: int) -> None:
    if 4096 <= amount <= 2**32 - 1:
        assert IsolationOptions(max_frame=amount).max_frame == amount
        return
    with pytest.raises(ValueError, match="from 4096 to 4294967295 bytes"):
        IsolationOptions(max_frame=amount)


@pytest.mark.parametrize(
    "text",
    [
        *("1\n", "9" * 21, "1 MiB 2", "", " ", "MiB", "-1 B", "+1", "1.5 GiB", "1e3", "1_000", "1,000"),
        *("1 XB", "1 MiBB", "1 M", "1 \u212aB", "\u0663"),
    ],
)
def test_text_that_is_no_size_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="256 MiB"):
        parse_size(text)


@pytest.mark.parametrize("value", [None, True, 1.5, b"1", [1]])
def test_a_size_of_another_type_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="parse_size: .*256 MiB"):
        parse_size(value)


@given(st.floats() | st.integers())
@example(10**400)  # more than a float can hold
def test_a_duration_is_finite_and_not_negative(value: float) -> None:
    try:
        stored = IsolationOptions(start_timeout=value).start_timeout
    except ValueError as error:
        assert not 0 <= value <= 1.7976931348623157e308
        assert "finite number of seconds" in str(error)
    else:
        assert type(stored) is float
        assert stored == float(value)


ENVIRON = {"PATH": "/bin", "LC_ALL": "C", "LC_TIME": "de", "LCX": "no", "TOKEN": "s3cret", "LD_LIBRARY_PATH": "/lib"}


@pytest.mark.parametrize(
    ("inherit", "names"),
    [
        (True, ENVIRON.keys()),
        (False, ()),
        ((), ()),
        (("LC_*",), ("LC_ALL", "LC_TIME")),
        (("LC_TIME", "ABSENT"), ("LC_TIME",)),
        (("LC",), ()),
        (("*",), ENVIRON.keys()),
        (iter(["PATH", "TOKEN"]), ("PATH", "TOKEN")),
        (DEFAULT_INHERITED_ENV, ("PATH", "LC_ALL", "LC_TIME")),
    ],
)
def test_an_isolate_inherits_what_a_name_or_prefix_allows(inherit: Any, names: Any) -> None:
    assert inherited_env(inherit, ENVIRON) == {name: ENVIRON[name] for name in names}


def test_by_default_it_depends_on_how_the_code_is_called_what_is_inherited() -> None:
    host = {**ENVIRON, "PYTHONPATH": "src", "DATABASE_URL": "db"}
    assert inherited_env(None, host) == inherited_env(DEFAULT_INHERITED_ENV, host)
    assert inherited_env(None, host, handed_over=True) == host
    for_another = inherited_env(None, host, handed_over=True, own_interpreter=False)
    assert for_another == {name: value for name, value in host.items() if name != "PYTHONPATH"}
    assert inherited_env(True, host, handed_over=True, own_interpreter=False) == host
    assert inherited_env(False, host, handed_over=True) == {}


def test_the_default_allow_list_is_itself_an_allowed_value() -> None:
    assert IsolationOptions(inherit_env=DEFAULT_INHERITED_ENV).inherit_env == DEFAULT_INHERITED_ENV
    assert attrs.evolve(IsolationOptions(inherit_env=False), inherit_env=None) == IsolationOptions()


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "LD_PRELOAD", "LD_LIBRARY_PATH"])
def test_secrets_and_interpreter_settings_are_not_inherited_by_code_called_by_name(name: str) -> None:
    assert inherited_env(None, {name: "x"}) == {}


def test_names_that_only_work_before_a_start_are_told_in_order() -> None:
    early = ["PYTHONHASHSEED", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "PYTHONPATH"]
    late = ["PATH", "LD", "MY_LD_PRELOAD", "GLIBC_TUNABLES_2", "python", "MALLOC"]
    assert needs_fresh_interpreter(dict.fromkeys(early + late, "1")) == early


@pytest.mark.parametrize("kind", [IsolationOptions, Backoff])
def test_every_field_is_documented(kind: Any) -> None:
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes:")
    documented = [line.split(":")[0].strip() for line in section.splitlines() if line[4:5].strip() and ":" in line]
    assert documented == [field.name for field in attrs.fields(kind)]


@pytest.mark.parametrize("kind", [IsolationOptions, Backoff])
def test_annotations_of_the_signature_resolve(kind: Any) -> None:
    names = {field.name for field in attrs.fields(kind)}
    assert set(typing.get_type_hints(kind.__init__)) == names | {"return"}
    assert names == set(typing.get_type_hints(kind))


def test_all_public_names_exist() -> None:
    assert all(hasattr(options_module, name) for name in options_module.__all__)
