"""The port to what confines a process: what each mechanism has to do, those of the product and one in memory."""

from __future__ import annotations

import marshal
from collections.abc import Collection, Mapping
from typing import Any

import attrs
import pytest

from piactors import IsolationLimits
from piactors._platform.confinement import Mechanism, choose
from piactors._platform.limits.cgroup_v1 import CgroupV1
from piactors._platform.limits.cgroup_v2 import CgroupV2
from piactors._platform.limits.monitored import Monitored
from piactors._platform.limits.preferences import PREFERENCES
from piactors._platform.limits.rlimits import Rlimits
from piactors._platform.limits.scheduler import Scheduler
from piactors.limits import LIMITS, Scope
from piactors.pihost.process import confine

ALL = IsolationLimits(
    max_memory=1 << 30,
    soft_memory=1 << 29,
    max_cpu=0.5,
    affinity=(0,),
    max_cpu_time=10,
    max_processes=50,
    max_open_files=100,
    max_file_size=1 << 20,
    nice=1,
    io_class="idle",
)
KINDS = [CgroupV2, CgroupV1, Monitored, Rlimits, Scheduler]


@attrs.frozen(kw_only=True)
class Walls:
    """What somebody wants of a layer that is not limits."""

    no_network: bool = False
    read_only: tuple[str, ...] = ()
    mechanisms: tuple[str, ...] | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        return tuple(name for name in ("no_network", "read_only") if getattr(self, name))


class MemoryMechanism:
    """Enforces nothing, and says what it is told to."""

    def __init__(self, name: str, missing: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.scopes: Mapping[str, Scope] = {"no_network": "tree", "read_only": "process"}
        self._missing = missing or {}

    def why_not(self, rule: str, wanted: Walls) -> str | None:
        return self._missing.get(rule)

    def orders(self, wanted: Walls, rules: Collection[str]) -> dict[str, Any]:
        return {rule: getattr(wanted, rule) for rule in rules}


def all_of_them() -> list[tuple[Mechanism[Any], Any]]:
    return [*((kind(), ALL) for kind in KINDS), (MemoryMechanism("memory"), Walls(no_network=True, read_only=("/",)))]


def of_each() -> Any:
    return pytest.mark.parametrize(("mechanism", "wanted"), all_of_them(), ids=lambda found: getattr(found, "name", ""))


def test_what_is_wanted_here_is_everything_that_there_is() -> None:
    assert set(ALL.wanted) == set(LIMITS)


@of_each()
def test_a_mechanism_says_of_each_rule_that_it_knows_why_it_cannot_enforce_it(
    mechanism: Mechanism[Any], wanted: Any
) -> None:
    assert mechanism.scopes
    for rule in mechanism.scopes:
        why_not = mechanism.why_not(rule, wanted)
        assert why_not is None or why_not.strip()
        assert mechanism.why_not(rule, wanted) == why_not  # asked again, it says the same


@of_each()
def test_its_scopes_are_of_the_tree_or_of_a_process(mechanism: Mechanism[Any], wanted: Any) -> None:
    assert set(mechanism.scopes.values()) <= {"tree", "process"}


@of_each()
def test_its_orders_are_plain_data_and_none_are_given_for_no_rules(mechanism: Mechanism[Any], wanted: Any) -> None:
    works = [rule for rule in mechanism.scopes if mechanism.why_not(rule, wanted) is None]
    orders = mechanism.orders(wanted, works)
    assert marshal.loads(marshal.dumps(orders)) == orders
    assert mechanism.orders(wanted, []) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_the_process_has_a_function_for_each_order(kind: Any) -> None:
    assert kind().orders(ALL, list(kind.scopes)).keys() <= confine.ORDERS.keys()


def test_each_limit_has_mechanisms_that_know_it_and_each_mechanism_is_preferred_for_something() -> None:
    known = {kind.name: set(kind.scopes) for kind in KINDS}
    assert {name: {rule for rule in LIMITS if name in PREFERENCES[rule]} for name in known} == known
    assert set().union(*PREFERENCES.values()) == known.keys()


PREFERRED = {"no_network": ("best", "other"), "read_only": ("other",)}


def test_another_layer_is_planned_by_the_same_rules() -> None:
    best, other = MemoryMechanism("best", {"no_network": "the kernel is old"}), MemoryMechanism("other")
    plan = choose(Walls(no_network=True, read_only=("/",)), {"best": best, "other": other}, PREFERRED)
    assert {rule: (found.mechanism, found.scope, found.why) for rule, found in plan.items()} == {
        "no_network": ("other", "tree", "best: the kernel is old"),
        "read_only": ("other", "process", ""),
    }


def test_what_nothing_enforces_has_the_reasons_of_all() -> None:
    mechanisms = {name: MemoryMechanism(name, {"no_network": f"no {name}"}) for name in ("best", "other")}
    found = choose(Walls(no_network=True), mechanisms, PREFERRED)["no_network"]
    assert (found.mechanism, found.scope, found.why) == (None, None, "best: no best; other: no other")


def test_only_what_is_allowed_is_asked() -> None:
    found = choose(Walls(no_network=True, mechanisms=("third",)), {}, PREFERRED)["no_network"]
    assert (found.mechanism, found.why) == (None, "only best, other can, and mechanisms does not allow that")
