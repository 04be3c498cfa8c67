"""Rules of `piactors.limits`: what is allowed, what is stored, and what a refusal says."""

from __future__ import annotations

import inspect
import os
import pickle
import typing
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piactors import limits as limits_module
from piactors._validation import limit_fields
from piactors._validation.fields import parse_size, shortened
from piactors.limits import LIMITS, MECHANISMS, Heartbeat, IsolationLimits, Recycle, machine_cpus, to_heartbeat

NAN, INF = float("nan"), float("inf")
MIB, GIB = 1024**2, 1024**3
KINDS: list[Any] = [IsolationLimits, Recycle, Heartbeat]

MACHINE = frozenset(range(8))
"""The CPUs that the machine has in these tests."""


@pytest.fixture(scope="module", autouse=True)
def machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limit_fields, "machine_cpus", lambda: MACHINE)
        yield


DEFAULTS: dict[Any, dict[str, Any]] = {
    IsolationLimits: {
        **dict.fromkeys(LIMITS),
        "on_soft_memory": "log",
        "strict": False,
        "mechanisms": None,
    },
    Recycle: {"after_calls": 1, "after_seconds": None, "above_memory": None},
    Heartbeat: {"every": 1.0, "action": "kill"},
}

NEEDED: dict[Any, dict[str, Any]] = {IsolationLimits: {}, Recycle: {"after_calls": 1}, Heartbeat: {"every": 1}}
"""What has to be given besides the field that a test is about."""


def make(kind: Any, **values: Any) -> Any:
    return kind(**{**NEEDED[kind], **values})


# (field, (given, stored) pairs)
Accepted = dict[str, list[tuple[Any, Any]]]

ACCEPTED: dict[Any, Accepted] = {
    IsolationLimits: {
        "max_memory": [("256 MiB", 256 * MIB), ("3GB", 3 * 10**9), (MIB, MIB), (2**62, 2**62), (None, None)],
        "soft_memory": [("1 MiB", MIB), (2**62, 2**62), (None, None)],
        "on_soft_memory": [("log", "log")],
        "max_cpu": [(0.5, 0.5), (2, 2.0), (0.01, 0.01), (10_000, 10_000.0), (None, None)],
        "affinity": [
            ([3, 0, 3], (0, 3)),
            ((1,), (1,)),
            ({2, 1}, (1, 2)),
            (range(4), (0, 1, 2, 3)),
            (iter([1]), (1,)),
            (5, (5,)),
            (0, (0,)),
            ("5", (5,)),
            ("cpu0 cpu2", (0, 2)),
            ("0,2", (0, 2)),
            ("0-3", (0, 1, 2, 3)),
            ("cpu0-cpu3", (0, 1, 2, 3)),
            ("cpu1-3, 7 0", (0, 1, 2, 3, 7)),
            (" CPU4 ,, 4-4 ", (4,)),
            (None, None),
        ],
        "max_cpu_time": [(60, 60.0), (0.5, 0.5), (None, None)],
        "max_processes": [(4, 4), (10_000, 10_000), (None, None)],
        "max_open_files": [(32, 32), (10**6, 10**6), (None, None)],
        "max_file_size": [("1 GiB", GIB), (0, 0), (2**62, 2**62), (None, None)],
        "nice": [(-20, -20), (0, 0), (19, 19), (None, None)],
        "io_class": [("realtime", "realtime"), ("best-effort", "best-effort"), ("idle", "idle"), (None, None)],
        "strict": [(True, True)],
        "mechanisms": [
            ("monitor", ("monitor",)),
            ("cgroup", ("cgroup v2", "cgroup v1")),
            (MECHANISMS, MECHANISMS),
            (["rlimit", "cgroup v2", "rlimit"], ("cgroup v2", "rlimit")),
            ({"monitor", "cgroup v1"}, ("cgroup v1", "monitor")),
            (["monitor", "cgroup", "cgroup v1"], ("cgroup v2", "cgroup v1", "monitor")),
            (None, None),
        ],
    },
    Recycle: {
        "after_calls": [(1, 1), (10**6, 10**6)],
        "after_seconds": [(3600, 3600.0), (0.5, 0.5), (None, None)],
        "above_memory": [("1 GiB", GIB), (MIB, MIB), (None, None)],
    },
    Heartbeat: {
        "every": [(5, 5.0), (0.25, 0.25)],
        "action": [("log", "log"), ("kill", "kill"), (print, print)],
    },
}

# (field, what the message says is allowed, wrong values, values of a wrong type)
Refused = tuple[str, str, list[Any], list[Any]]

REFUSED: dict[Any, list[Refused]] = {
    IsolationLimits: [
        ("max_memory", "from 1048576 to 4611686018427387904 bytes, or None", [MIB - 1, 0, -1, 2**62 + 1], [True, 1e9]),
        ("max_memory", 'use a whole number of bytes, or a str such as "64 KiB"', ["3 XB", "", "1.5 GiB"], [b"3 MB"]),
        ("soft_memory", "from 1048576 to 4611686018427387904 bytes, or None", [MIB - 1, -1, 2**62 + 1, "1 XB"], [1e9]),
        ("on_soft_memory", "use 'log', 'recycle', 'kill' or a callable", ["stop", ""], [None, 3]),
        ("on_soft_memory", "use 'log', or give soft_memory too, which is None", ["recycle", "kill", print], []),
        ("max_cpu", "use a finite number of cores, at least 0.01, or None", [0.0, -1.0, 0.009, NAN, INF], ["2", True]),
        ("affinity", "pass a list of CPU numbers, or a str such as", [[0, -1], [8], [], "", " ,"], [True, 1.0, b"0"]),
        ("affinity", '"0-3" or "cpu0 cpu2" (this machine has cpu0 to cpu7), or None', ["3-0", "0-", "cpu"], [["cpu0"]]),
        ("affinity", "this machine has", ["0;1", "0\n", "-1", "core0", "\u0663", "00000", "0 - 3"], [[0, None]]),
        ("max_cpu_time", "use a finite number of seconds, more than 0, or None", [0.0, -1.0, NAN, INF], ["60", True]),
        ("max_processes", "use a whole number of at least 4 (threads count too", [3, 0, -1], [4.0, True, "9"]),
        ("max_processes", "the isolate itself needs 3), or None", [3], []),
        ("max_open_files", "use a whole number of at least 32 (the isolate itself needs some), or None", [31], [1e3]),
        ("max_file_size", "from 0 to 4611686018427387904 bytes, or None", [-1, 2**62 + 1, "1 XB"], [True, 1e6]),
        ("nice", "use a whole number from -20 to 19, or None", [-21, 20], [1.0, True, "5"]),
        ("io_class", "use 'realtime', 'best-effort', 'idle' or None", ["Idle", "none"], [3, True]),
        ("strict", "use True or False", [], [1, None, "yes"]),
        ("mechanisms", "pass a list of 'cgroup v2', 'cgroup v1', 'rlimit', 'scheduler' or 'monitor'", [[]], [3, True]),
        ("mechanisms", "('cgroup' stands for both versions), or None", [["cgroup", "cgroups"], ["Monitor"]], [[None]]),
        ("mechanisms", "pass a list of", [["rlimit", "rlimit "]], [["rlimit", []], b"rlimit"]),
    ],
    Recycle: [
        ("after_calls", "use a whole number of at least 1, or None", [0, -1], [1.0, True, "9"]),
        ("after_seconds", "use a finite number of seconds, more than 0, or None", [0.0, -1.0, NAN, INF], ["60", True]),
        ("above_memory", "from 1048576 to 4611686018427387904 bytes, or None", [MIB - 1, "1 XB"], [True, 1e9]),
    ],
    Heartbeat: [
        ("every", "use a finite number of seconds, more than 0", [0.0, -1.0, NAN, INF, 10**400], [None, "5", True]),
        ("action", "use 'kill', 'log' or a callable", ["recycle", ""], [None, 3]),
    ],
}

ALL_REFUSALS = [
    pytest.param(kind, field, value, error, allowed, id=f"{kind.__name__}.{field}-{value!r}"[:80])
    for kind, rows in REFUSED.items()
    for field, allowed, wrong, mistyped in rows
    for error, values in ((ValueError, wrong), (TypeError, mistyped))
    for value in values
]


@pytest.mark.parametrize("kind", KINDS)
def test_defaults(kind: Any) -> None:
    made = make(kind)
    assert {field.name: getattr(made, field.name) for field in attrs.fields(kind)} == DEFAULTS[kind]


@pytest.mark.parametrize(
    ("kind", "field", "given", "stored"),
    [(kind, field, *pair) for kind, rows in ACCEPTED.items() for field, pairs in rows.items() for pair in pairs],
)
def test_an_allowed_value_is_stored_in_its_one_form(kind: Any, field: str, given: Any, stored: Any) -> None:
    found = getattr(make(kind, **{field: given}), field)
    assert found == stored
    assert type(found) is type(stored)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_has_accepted_and_refused_values(kind: Any) -> None:
    """A new field cannot be forgotten in the tables above."""
    names = {field.name for field in attrs.fields(kind)}
    assert ACCEPTED[kind].keys() == names
    assert {row[0] for row in REFUSED[kind]} == names


@pytest.mark.parametrize(("kind", "field", "value", "error", "allowed"), ALL_REFUSALS)
def test_a_refusal_names_class_field_value_and_what_is_allowed(
    kind: Any, field: str, value: Any, error: type[Exception], allowed: str
) -> None:
    """Of a list it shows one item, which is the wrong one."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make(kind, **{field: value})
    place, _, rest = str(caught.value).partition(": ")
    shown, _, advice = rest.partition(" is not allowed; ")
    assert type(caught.value) is error
    assert place == f"{kind.__name__}.{field}"
    assert shown in map(shortened, [value, (), *value] if isinstance(value, list) else [value])
    assert allowed in advice


@pytest.mark.parametrize(("kind", "field", "value", "error", "allowed"), ALL_REFUSALS)
def test_evolve_validates_again(kind: Any, field: str, value: Any, error: type[Exception], allowed: str) -> None:
    with pytest.raises(error, match=rf"^{kind.__name__}\.{field}: "):
        attrs.evolve(make(kind), **{field: value})


def refusal(kind: Any, **values: Any) -> str:
    with pytest.raises(ValueError) as caught:
        kind(**values)
    return str(caught.value)


def test_refusals_in_full() -> None:
    assert refusal(IsolationLimits, max_processes=3) == (
        "IsolationLimits.max_processes: 3 is not allowed; use a whole number of at least 4 (threads count too, and the "
        "isolate itself needs 3), or None"
    )
    assert refusal(IsolationLimits, affinity="0-9") == (
        'IsolationLimits.affinity: 8 is not allowed; pass a list of CPU numbers, or a str such as "0-3" or "cpu0 cpu2" '
        "(this machine has cpu0 to cpu7), or None"
    )


# Fields that go together


def test_soft_memory_is_less_than_max_memory() -> None:
    made = IsolationLimits(soft_memory="1 GiB", max_memory=GIB + 1, on_soft_memory="recycle")
    assert (made.soft_memory, made.max_memory) == (GIB, GIB + 1)
    assert refusal(IsolationLimits, soft_memory="1 GiB", max_memory="1 GiB") == (
        f"IsolationLimits.soft_memory: {GIB} is not allowed; use less than max_memory, which is {GIB}"
    )
    with pytest.raises(ValueError, match=r"^IsolationLimits\.soft_memory: .* less than max_memory"):
        attrs.evolve(made, max_memory="1 MiB")


@pytest.mark.parametrize("action", ["log", "recycle", "kill", print])
def test_with_soft_memory_every_action_is_allowed(action: Any) -> None:
    made = IsolationLimits(soft_memory="1 GiB", on_soft_memory=action)
    assert made.on_soft_memory == action
    if action != "log":
        with pytest.raises(ValueError, match=r"^IsolationLimits\.on_soft_memory: .* give soft_memory too"):
            attrs.evolve(made, soft_memory=None)


def test_a_recycle_needs_at_least_one_condition() -> None:
    assert refusal(Recycle) == (
        "Recycle: (None, None, None) is not allowed; give at least one of after_calls, after_seconds and above_memory"
    )
    with pytest.raises(ValueError, match="at least one of"):
        attrs.evolve(Recycle(after_calls=1), after_calls=None)


def test_wanted_names_the_limits_that_are_given_in_order() -> None:
    assert IsolationLimits().wanted == ()
    assert IsolationLimits(strict=True, mechanisms="cgroup").wanted == ()
    assert IsolationLimits(io_class="idle", max_file_size=0, nice=0, max_cpu=1).wanted == (
        "max_cpu",
        "max_file_size",
        "nice",
        "io_class",
    )
    assert FULL.wanted == LIMITS


def test_the_limits_are_the_fields_that_say_how_much() -> None:
    others = ("on_soft_memory", "strict", "mechanisms")
    assert tuple(field.name for field in attrs.fields(IsolationLimits) if field.name not in others) == LIMITS


@pytest.mark.parametrize("value", [None, "5", True, 0, -1.0, NAN, 10**400, Heartbeat(3, action="log")])
def test_what_is_no_number_of_seconds_is_left_to_the_validator(value: Any) -> None:
    assert to_heartbeat(value) is value


def test_a_heartbeat_takes_its_seconds_by_position_and_the_rest_by_keyword() -> None:
    assert Heartbeat(5, action="log") == Heartbeat(every=5.0, action="log")
    with pytest.raises(TypeError):
        Heartbeat(5, "log")  # type: ignore[misc]


@pytest.mark.parametrize("kind", [IsolationLimits, Recycle])
def test_limits_and_recycle_take_keywords_only(kind: Any) -> None:
    with pytest.raises(TypeError):
        kind(1)


# Sizes and CPUs as text


@given(amount=st.integers(1, 2**20), unit=st.sampled_from(["MiB", "MB", "GiB", "GB", "TiB"]))
def test_a_size_as_text_is_its_number_of_bytes(amount: int, unit: str) -> None:
    text = f"{amount} {unit}"
    size = parse_size(text)
    if size < MIB:
        with pytest.raises(ValueError):
            IsolationLimits(max_memory=text)
        return
    assert IsolationLimits(max_memory=text) == IsolationLimits(max_memory=size)
    assert Recycle(above_memory=text).above_memory == IsolationLimits(soft_memory=text).soft_memory == size


@given(st.sets(st.sampled_from(sorted(MACHINE)), min_size=1), st.data())
def test_cpus_as_text_are_the_same_as_in_a_list(cpus: set[int], data: st.DataObject) -> None:
    prefix = st.sampled_from(["", "cpu", "CPU"])
    text = ""
    for cpu in data.draw(st.permutations(sorted(cpus))):
        text += data.draw(prefix) + str(cpu) + data.draw(st.sampled_from([" ", ",", ", ", "  "]))
    assert IsolationLimits(affinity=text) == IsolationLimits(affinity=cpus)
    assert IsolationLimits(affinity=text).affinity == tuple(sorted(cpus))


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_range_has_both_its_ends_and_runs_forwards(first: int, last: int) -> None:
    text = f"{first}-cpu{last}"
    if first <= last < 8:
        assert IsolationLimits(affinity=text).affinity == tuple(range(first, last + 1))
        return
    with pytest.raises(ValueError, match="this machine has cpu0 to cpu7"):
        IsolationLimits(affinity=text)


@given(st.text())
def test_any_text_is_cpus_of_the_machine_or_a_value_error(text: str) -> None:
    try:
        found = IsolationLimits(affinity=text).affinity
    except ValueError as error:
        assert str(error).startswith("IsolationLimits.affinity: ")
    else:
        assert found
        assert MACHINE.issuperset(found)


def test_a_long_range_is_refused_without_being_counted_out() -> None:
    assert "'0-999999999999' is not allowed" in refusal(IsolationLimits, affinity="0-999999999999")


@pytest.mark.parametrize(
    ("cpus", "words"),
    [({0}, "has cpu0)"), ({0, 1, 2, 3, 6, 8, 9}, "has cpu0 to cpu3, cpu6, cpu8 to cpu9)"), ({4, 5}, "cpu4 to cpu5)")],
)
def test_a_refusal_says_which_cpus_the_machine_has(cpus: set[int], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_fields, "machine_cpus", lambda: frozenset(cpus))
    assert words in refusal(IsolationLimits, affinity=7)


def test_the_machines_cpus_are_those_it_counts_and_those_it_lets_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine_cpus() >= os.sched_getaffinity(0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 6})
    assert machine_cpus() == {0, 1, 6}
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine_cpus() == {0}


# As values

FULL = IsolationLimits(
    max_memory="2 GiB",
    soft_memory="1 GiB",
    on_soft_memory=print,
    max_cpu=0.5,
    affinity="0",
    max_cpu_time=60,
    max_processes=64,
    max_open_files=256,
    max_file_size="1 GiB",
    nice=5,
    io_class="idle",
    strict=True,
    mechanisms=["rlimit", "cgroup"],
)
MADE = [FULL, IsolationLimits(), Recycle(after_calls=9, after_seconds=5, above_memory="1 GiB"), Heartbeat(5)]


@pytest.mark.parametrize("made", MADE)
def test_a_field_cannot_be_set_or_deleted(made: Any) -> None:
    name = attrs.fields(type(made))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(made, name, 1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        delattr(made, name)
    with pytest.raises(AttributeError):
        made.new_field = 1


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_options_pickle(made: Any, protocol: int) -> None:
    copy = pickle.loads(pickle.dumps(made, protocol))
    assert copy == made
    assert hash(copy) == hash(made)
    assert repr(copy) == repr(made)


def test_a_pickle_with_a_callable_that_does_not_pickle_fails() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(IsolationLimits(soft_memory="1 GiB", on_soft_memory=lambda event: None))


def test_limits_that_were_made_on_another_machine_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    made = pickle.dumps(IsolationLimits(affinity=7))
    monkeypatch.setattr(limit_fields, "machine_cpus", lambda: frozenset({0}))
    assert pickle.loads(made).affinity == (7,)


def test_equal_values_are_equal_and_hash_alike() -> None:
    first = IsolationLimits(max_memory="1 GiB", affinity="cpu0-cpu2", mechanisms=["monitor", "cgroup"])
    other = IsolationLimits(max_memory=GIB, affinity=[2, 1, 0], mechanisms=["cgroup v1", "cgroup v2", "monitor"])
    assert other == first
    assert hash(other) == hash(first)
    assert attrs.evolve(first, nice=1) != first


@pytest.mark.parametrize("made", MADE)
def test_evolve_makes_another_and_leaves_the_first(made: Any) -> None:
    name, value = {IsolationLimits: ("nice", 7), Recycle: ("after_calls", 7), Heartbeat: ("every", 7.0)}[type(made)]
    before = getattr(made, name)
    other = attrs.evolve(made, **{name: value})
    assert (getattr(made, name), getattr(other, name)) == (before, value)
    assert attrs.evolve(other, **{name: before}) == made


# As a public surface


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_documented(kind: Any) -> None:
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes:")
    documented = [line.split(":")[0].strip() for line in section.splitlines() if line[4:5].strip() and ":" in line]
    assert documented == [field.name for field in attrs.fields(kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_annotations_of_the_signature_resolve(kind: Any) -> None:
    names = {field.name for field in attrs.fields(kind)}
    assert set(typing.get_type_hints(kind.__init__)) == names | {"return"}
    assert names == set(typing.get_type_hints(kind))


def test_all_public_names_exist() -> None:
    assert all(hasattr(limits_module, name) for name in limits_module.__all__)
