"""What happens to environments, as events of `piactors.events`."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from piactors._text.record import ByAttributes
from piactors.events import Event

Phase: TypeAlias = Literal["waiting", "resolving", "creating", "installing", "complete"]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class BuildProgress(ByAttributes):
    """How far the making of an environment is.

    Attributes:
        label: what is made: the requirements, or the file that names them.
        phase: "waiting" for another process that makes the same, "resolving" which versions fit, "creating" the empty
            environment, "installing" packages, "complete".
        line: what the tool has just written; "" at the begin of a phase.
    """

    label: str
    phase: Phase
    line: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class EnvironmentBuilt(Event):
    """This process has built an environment; `name` is its label.

    Attributes:
        key: of the environment.
        path: its folder.
        seconds: that took, without the wait for others.
        packages: how many it has.
    """

    key: str
    path: str
    seconds: float
    packages: int


@attrs.frozen(kw_only=True, eq=False, repr=False)
class EnvironmentProgress(Event):
    """An environment is being made; `name` is its label."""

    progress: BuildProgress
