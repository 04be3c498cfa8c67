"""Lists, dictionaries and sets that are arguments: they are copied, and what a plugin does to one is done to both."""

from __future__ import annotations

import pickle
from typing import Any, Dict, List, Mapping, Sequence, Tuple

KINDS = (list, dict, set, bytearray)
Watched = List[Tuple[Any, Any, Any]]
"""Place among the arguments, container, and its form."""


def containers(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Dict[Any, Any]:
    """Return the arguments that a call may change in place, by their positions and names."""
    found: Dict[Any, Any] = {place: one for place, one in enumerate(args) if type(one) in KINDS}
    found.update((name, one) for name, one in kwargs.items() if type(one) in KINDS)
    return found


def watched(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Watched:
    """Return those arguments, with what they are now."""
    return [(place, one, _form(one)) for place, one in containers(args, kwargs).items()]


def changed(found: Watched) -> Dict[Any, Any]:
    """Return the ones that are not what they were, by their places."""
    return {place: one for place, one, before in found if _form(one) != before}


def _form(container: Any) -> Any:
    try:
        return pickle.dumps(container, 4)
    except Exception:  # it holds what is lent: then it is looked at whether that is the same
        items = container.items() if type(container) is dict else container
        return [tuple(map(id, one)) if type(one) is tuple else id(one) for one in items]


def restore(container: Any, now: Any) -> None:
    """Have a container hold what its copy holds now.

    Raises:
        ValueError: if that is of another kind.
    """
    if type(now) is not type(container):
        raise ValueError("an argument that was changed has come back as something else")
    if type(container) in (list, bytearray):
        container[:] = now
    else:
        container.clear()
        container.update(now)
