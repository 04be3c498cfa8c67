"""The ref of an isolate that hosts something, prepared or started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from piactors._codec import importing
from piactors._future import waiting
from piactors._host import runtime
from piactors._isolate.hosting import HostedTarget, actor_target
from piactors._isolate.parent import ParentLink
from piactors._isolate.spec import make_spec
from piactors.options import IsolationOptions, check_standby
from piactors.ref import IsolateRef

if TYPE_CHECKING:
    from pykka import Actor


def start_actor(
    actor_class: type[Actor], options: IsolationOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> IsolateRef:
    """Start a ProcessActor in an isolate."""
    importing.check()
    waiting.warn_if_it_blocks_a_loop(f"{actor_class.__name__}.start()", f"{actor_class.__name__}.start_async()")
    return started(prepare_actor(actor_class, options, args, kwargs))


async def start_actor_async(
    actor_class: type[Actor], options: IsolationOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> IsolateRef:
    """Start a ProcessActor in an isolate, and let the event loop run meanwhile."""
    return await started_async(prepare_actor(actor_class, await inside_async(options), args, kwargs))


def prepare_actor(
    actor_class: type[Actor],
    options: IsolationOptions,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    link: ParentLink | None = None,
) -> IsolateRef:
    """Return the ref of a ProcessActor that is still to be started."""
    options = inside(options)
    return prepare(actor_target(actor_class, options, args, kwargs), options, link)


def inside(options: IsolationOptions) -> IsolationOptions:
    """Return options whose environment, if they name one, is there: built if it has to be.

    Raises:
        BuildFailed, NoInterpreter: if it cannot be made.
    """
    if options.environment is None:
        return options
    from piactors.environments import at_start  # it has its price, and needs an extra

    return at_start.resolved(options)


async def inside_async(options: IsolationOptions) -> IsolationOptions:
    """Return options as `inside` does, and let the event loop run meanwhile."""
    if options.environment is None:
        return options
    from piactors.environments import at_start  # as above

    return await at_start.resolved_async(options)


def started(ref: IsolateRef) -> IsolateRef:
    """Start the isolate of a ref, and return the ref when it is ready."""
    ref._isolate.start()
    return ref


async def started_async(ref: IsolateRef) -> IsolateRef:
    """Start the isolate of a ref as `started` does, and let the event loop run meanwhile."""
    await ref._isolate.start_async()
    return ref


def prepare(what: HostedTarget, options: IsolationOptions, link: ParentLink | None) -> IsolateRef:
    """Return the ref of an isolate that is still to be started."""
    runtime.refuse_patched()
    if link is None:
        check_standby(options, options.restart)
    return IsolateRef(what.actor_class, make_spec(what, options), link)
