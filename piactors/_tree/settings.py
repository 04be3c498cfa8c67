"""What a supervisor is made of, checked as a whole before anything is started."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, get_args

import attrs

from piactors._rules.budget import Budget
from piactors._rules.supervisor.rules import AutoShutdown, Strategy, TreeRule
from piactors._validation import fields as rule
from piactors._validation.fields import NONE
from piactors.child_spec import ChildSpec
from piactors.options import Backoff


def _to_specs(value: Iterable[ChildSpec]) -> tuple[ChildSpec, ...]:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else value


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of one supervisor; see `Supervisor` for the fields."""

    _called: ClassVar[str] = "Supervisor"

    name: str | None = attrs.field(default=None, validator=rule.text(also=NONE))
    strategy: Strategy = attrs.field(default="one_for_one", validator=rule.one_of(*get_args(Strategy)))
    max_restarts: int | None = attrs.field(default=3, validator=rule.count(0, also=NONE))
    within: float = attrs.field(default=5.0, converter=rule.to_float, validator=rule.above_zero("number of seconds"))
    auto_shutdown: AutoShutdown = attrs.field(default="never", validator=rule.one_of(*get_args(AutoShutdown)))
    backoff: Backoff | None = attrs.field(default=None, validator=rule.check("a Backoff", (Backoff,), also=NONE))
    children: tuple[ChildSpec, ...] = attrs.field(
        default=(), converter=_to_specs, validator=rule.each("ChildSpec instances", (ChildSpec,))
    )
    template: ChildSpec | None = attrs.field(default=None, validator=rule.check("a ChildSpec", (ChildSpec,), also=NONE))
    max_children: int | None = attrs.field(default=None, validator=rule.count(0, also=NONE))
    dynamic: bool = False

    def __attrs_post_init__(self) -> None:
        if self.template is not None:
            self._check_significant(self.template)
        seen: set[str] = set()
        for spec in self.children:
            if spec.id in seen:
                raise ValueError(f"Supervisor.children: the id {spec.id!r} occurs twice; every child needs its own")
            seen.add(spec.id)
            self.check_child(spec)

    def check_child(self, spec: ChildSpec) -> None:
        """Check what a child's fields mean under this supervisor, and what is below it.

        Raises:
            TypeError, ValueError: what was wrong, and in which child.
        """
        self._check_significant(spec)
        spec.check()

    def _check_significant(self, spec: ChildSpec) -> None:
        if spec.significant and self.auto_shutdown == "never":
            raise ValueError(
                f"ChildSpec.significant of child {spec.id!r}: True is not allowed under auto_shutdown='never'; "
                "use 'any_significant' or 'all_significant'"
            )

    def tree_rule(self) -> TreeRule:
        """Return the part of them that decides."""
        return TreeRule(
            strategy=self.strategy,
            budget=Budget(self.max_restarts, self.within),
            auto_shutdown=self.auto_shutdown,
            backoff=self.backoff,
            max_children=self.max_children,
            parallel=self.dynamic,
        )


def settings_of(supervisor: Any) -> Settings:
    """Return the settings of an instance of `Supervisor`."""
    found: Settings = supervisor._settings()
    return found
