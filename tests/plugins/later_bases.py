"""A base class that notes what is derived from it, in a module that an application imports late."""

from __future__ import annotations

from typing import Any

made: list[str] = []


class Base:
    """What each plugin is."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        made.append(cls.__name__)
