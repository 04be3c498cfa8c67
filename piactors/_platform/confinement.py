"""The port of whatever confines a process: limits today, and any other layer that is probed, planned and ordered.

A mechanism says what it knows, why it cannot do it on this machine, and what a process has to do to itself before it
runs anything else.  Which mechanism enforces which rule is decided here, for all layers alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from piactors.limits import Enforcement, Scope


class Rules(Protocol):
    """What somebody wants of a layer: rules by name, such as `IsolationLimits`."""

    @property
    def wanted(self) -> Collection[str]:
        """The names of the rules that are given."""

    @property
    def mechanisms(self) -> Collection[str] | None:
        """The mechanisms that may enforce them; None: all."""


_Rules = TypeVar("_Rules", bound=Rules)
_Rules_contra = TypeVar("_Rules_contra", bound=Rules, contravariant=True)


class Mechanism(Protocol[_Rules_contra]):
    """One way to enforce rules of a layer."""

    name: str
    scopes: Mapping[str, Scope]
    """The rules that it knows, and whether it holds them for the whole tree or for each process of it."""

    def why_not(self, rule: str, wanted: _Rules_contra) -> str | None:
        """Return why it cannot enforce a rule here, or None if it can: found by trying."""

    def orders(self, wanted: _Rules_contra, rules: Collection[str]) -> dict[str, Any]:
        """Return what the process has to do to itself to hold these rules.

        Returns:
            Plain data by the name of the order; `piactors.pihost.process.confine` has a function for each name.
        """


def choose(
    wanted: _Rules, mechanisms: Mapping[str, Mechanism[_Rules]], preferences: Mapping[str, Sequence[str]]
) -> dict[str, Enforcement]:
    """Return what enforces each rule that is wanted: the best that works here, of those that are allowed.

    Args:
        preferences: the mechanisms that know each rule, the best one first.
    """
    return {rule: _choose_one(rule, wanted, mechanisms, preferences[rule]) for rule in wanted.wanted}


def _choose_one(
    rule: str, wanted: _Rules, mechanisms: Mapping[str, Mechanism[_Rules]], best_first: Sequence[str]
) -> Enforcement:
    allowed = [name for name in best_first if wanted.mechanisms is None or name in wanted.mechanisms]
    reasons: list[str] = []
    for name in allowed:
        why_not = mechanisms[name].why_not(rule, wanted)
        if why_not is None:
            scope = mechanisms[name].scopes[rule]
            return Enforcement(limit=rule, mechanism=name, scope=scope, why="; ".join(reasons))
        reasons.append(f"{name}: {why_not}")
    if not allowed:
        reasons.append(f"only {', '.join(best_first)} can, and mechanisms does not allow that")
    return Enforcement(limit=rule, mechanism=None, scope=None, why="; ".join(reasons))
