"""What an isolate is to host: an actor, an object or nothing, and how it is made there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from piactors._codec import encode
from piactors._isolate import misplaced_options
from piactors._platform import own_python
from piactors._text.record import ByAttributes
from piactors.errors import InvalidTarget
from piactors.options import IsolationOptions
from piactors.pihost.serve import targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykka import Actor

_TARGETS = "pass a class, a function, or a name such as 'package.module:name' or 'path/to/file.py:name'"


@attrs.frozen(eq=False, repr=False)
class HostedTarget(ByAttributes):
    """What an isolate is to host: an actor, an object or nothing (`kind`), and how to make it there.

    `code` says whether the host has handed it over as an object: then it is code of the host's own.
    """

    actor_class: type[Actor]
    kind: str
    packed: encode.Packed
    code: bool
    folder: str | None
    label: str
    stdin: bool = False


def actor_target(
    actor_class: type[Actor], options: IsolationOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> HostedTarget:
    """Return what an isolate is to host: an actor of this class."""
    misplaced_options.check_actor(actor_class, args, kwargs)
    packed = encode.dumps_start(actor_class, args, kwargs, foreign=not runs_here(options))
    return HostedTarget(actor_class, "actor", packed, code=True, folder=None, label=actor_class.__name__)


def object_target(
    target: object,
    options: IsolationOptions,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    stand_in: Callable[[str], type[Actor]],
) -> HostedTarget:
    """Return what an isolate is to host: an instance of a class, or a function, given as such or by name.

    Args:
        stand_in: makes the class that stands for it in pykka's registry, of its label.

    Raises:
        InvalidTarget: if there is no such class or function.
    """
    by_name = isinstance(target, str)
    folder, found = resolved_name(target)
    if not by_name and not callable(found):
        raise InvalidTarget(f"{target!r} is not a target; {_TARGETS}")
    if not by_name:
        misplaced_options.check_options(found, kwargs, "spawn(..., options=IsolationOptions({}))")
    label = getattr(found, "__qualname__", type(found).__name__)
    if isinstance(found, str):
        _, label = targets.split(found)
    packed = encode.dumps_start(found, args, kwargs, foreign=not runs_here(options))
    return HostedTarget(stand_in(label), "object", packed, code=not by_name, folder=folder, label=label)


def resolved_name(target: object) -> tuple[str | None, object]:
    """Return the folder of a target named by file, and the target as an isolate can resolve it."""
    if not isinstance(target, str):
        return None, target
    try:
        place, qualname = targets.split(target)
    except targets.TargetError as error:
        raise InvalidTarget(str(error)) from None
    if not targets.is_file(place):
        return None, target
    path = os.path.abspath(place)
    return os.path.dirname(path), f"{path}:{qualname}"


def runs_here(options: IsolationOptions) -> bool:
    """Whether an isolate runs in the host's own interpreter."""
    return options.python is None or own_python.is_own(options.python)
