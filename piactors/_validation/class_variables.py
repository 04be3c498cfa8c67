"""Type variables of generic classes: a checker reads defaults of them, which Python itself knows from 3.13 on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import ParamSpec, TypeVar

    A_co = TypeVar("A_co", covariant=True, default=Any)
    P = ParamSpec("P", default=...)
    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    from typing import ParamSpec, TypeVar

    A_co, P, T_co = TypeVar("A_co", covariant=True), ParamSpec("P"), TypeVar("T_co", covariant=True)
