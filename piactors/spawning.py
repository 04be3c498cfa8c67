"""From a class, a function or a name to a running isolate."""

from __future__ import annotations

import inspect
import itertools
import logging
import os
import pickle
import re
import sys
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import attrs

from piactors._codec import encode, importing, shared_memory
from piactors._future import waiting
from piactors._host import runtime
from piactors._isolate.parent import ParentLink
from piactors._isolate.spec import IsolateSpec
from piactors._platform import own_python
from piactors._process.flags import interpreter_flags
from piactors._process.launcher_env import has_all
from piactors._process.placement import MARKER_PREFIX, Order
from piactors._text.logs import plain as logger
from piactors._validation import misplaced_options
from piactors.errors import InvalidTarget
from piactors.options import IsolationOptions, check_standby, inherited_env, needs_fresh_interpreter
from piactors.pihost import PROTOCOL, copies, inherit, plain_tags, targets
from piactors.ref import IsolateRef

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Concatenate

    from pykka import Actor

    from piactors._validation.type_variables import A, AnyArgument, P

_WITHOUT_COROUTINES = frozenset({"builtins", "piactors", "pykka"})
_counter = itertools.count(1)
_TARGETS = "pass a class, a function, or a name such as 'package.module:name' or 'path/to/file.py:name'"


def start_actor(
    actor_class: type[Actor], options: IsolationOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> IsolateRef:
    """Start a ProcessActor in an isolate."""
    importing.check()
    waiting.warn_if_it_blocks_a_loop(f"{actor_class.__name__}.start()", f"{actor_class.__name__}.start_async()")
    return _started(prepare_actor(actor_class, options, args, kwargs))


async def start_actor_async(
    actor_class: type[Actor], options: IsolationOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> IsolateRef:
    """Start a ProcessActor in an isolate, and let the event loop run meanwhile."""
    return await _started_async(prepare_actor(actor_class, options, args, kwargs))


def prepare_actor(
    actor_class: type[Actor], options: IsolationOptions, args: tuple[Any, ...], kwargs: dict[str, Any],
    link: ParentLink | None = None,
) -> IsolateRef:  # fmt: skip
    """Return the ref of a ProcessActor that is still to be started."""
    misplaced_options.check_actor(actor_class, args, kwargs)
    packed = encode.dumps_start(actor_class, args, kwargs, foreign=not _runs_here(options))
    what = _What(actor_class, "actor", packed, code=True, folder=None, label=actor_class.__name__)
    return _prepare(what, options, link)


@overload
def spawn(target: str, /, *args: Any, options: IsolationOptions | None = None, **kwargs: Any) -> IsolateRef[Any]: ...


@overload
def spawn(
    target: Callable[Concatenate[AnyArgument, ...], A], /, *args: Any, options: IsolationOptions | None = None,
    **kwargs: Any,
) -> IsolateRef[A]: ...  # fmt: skip


@overload
def spawn(target: Callable[P, A], /, *args: P.args, **kwargs: P.kwargs) -> IsolateRef[A]: ...


@overload
def spawn(target: type[A], /, *args: Any, options: IsolationOptions | None, **kwargs: Any) -> IsolateRef[A]: ...


@overload
def spawn(  # type: ignore[overload-cannot-match]  # the third is not for functions
    target: Callable[..., object], /, *, options: IsolationOptions | None = None
) -> IsolateRef[Any]: ...


def spawn(  # type: ignore[misc]  # `P` has no `options`
    target: object, /, *args: Any, options: IsolationOptions | None = None, **kwargs: Any
) -> IsolateRef[Any]:
    """Host any class or function in a process of its own.

    Args:
        target: the class or function itself, ``"package.module:qualname"`` or ``"path/to/file.py:qualname"``.
            A name is never imported into the host.  An object is the host's own code, and inherits its environment and
            ``sys.argv``; code called by name gets less (see `IsolationOptions.inherit_env`).
        args, kwargs: for the class's constructor.
        options: how to run it.

    Returns:
        The isolate's ref.  ``ref.proxy()`` offers the instance's attributes and methods; of a function,
        the method `call`.

    Raises:
        InvalidTarget: where there is no such class or function.
        StartError: where the isolate does not start; the cause is what its code raised.
        TypeError: if an option of the isolate is among the arguments, and the class does not take it.
    """
    importing.check()
    waiting.warn_if_it_blocks_a_loop("spawn()", "spawn_async()")
    return _started(prepare_target(target, options or IsolationOptions(), args, kwargs))


async def spawn_async(
    target: object, /, *args: Any, options: IsolationOptions | None = None, **kwargs: Any
) -> IsolateRef:
    """Host any class or function in a process of its own, as `spawn` does, and let the event loop run meanwhile.

    If this is cancelled, nothing stays behind.

    Raises:
        InvalidTarget, StartError, TypeError: as `spawn`.
    """
    return await _started_async(prepare_target(target, options or IsolationOptions(), args, kwargs))


def prepare_target(
    target: object, options: IsolationOptions, args: tuple[Any, ...], kwargs: dict[str, Any],
    link: ParentLink | None = None,
) -> IsolateRef:  # fmt: skip
    """Return the ref of a hosted class or function that is still to be started.

    Raises:
        InvalidTarget: where there is no such class or function.
    """
    by_name = isinstance(target, str)
    folder, found = _resolved(target)
    if not by_name and not callable(found):
        raise InvalidTarget(f"{target!r} is no target; {_TARGETS}")
    if not by_name:
        misplaced_options.check_options(found, kwargs, "spawn(..., options=IsolationOptions({}))")
    label = getattr(found, "__qualname__", type(found).__name__)
    if isinstance(found, str):
        _, label = targets.split(found)
    packed = encode.dumps_start(found, args, kwargs, foreign=not _runs_here(options))
    what = _What(hosting_class(label), "object", packed, code=not by_name, folder=folder, label=label)
    return _prepare(what, options, link)


def start_toolbox(options: IsolationOptions, label: str, stdin: bool = False) -> IsolateRef:
    """Start an isolate that hosts nothing but calls of functions; with `stdin` it reads the host's."""
    waiting.warn_if_it_blocks_a_loop("ProcessIsolator.start()", "isolator.start_async(), or async with")
    return _started(prepare_toolbox(options, label, stdin))


def prepare_toolbox(options: IsolationOptions, label: str, stdin: bool = False) -> IsolateRef:
    """Return the ref of an isolate that hosts nothing but calls of functions, and is still to be started."""
    importing.check()
    packed = encode.Packed(b"", None)
    what = _What(hosting_class(label), "none", packed, code=False, folder=None, label=label, stdin=stdin)
    return _prepare(what, options, None)


def resolved_name(target: object) -> tuple[str | None, object]:
    """Return the folder of a target named by file, and the target as an isolate can resolve it."""
    return _resolved(target)


@attrs.frozen
class _What:
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


def _started(ref: IsolateRef) -> IsolateRef:
    ref._isolate.start()
    return ref


async def _started_async(ref: IsolateRef) -> IsolateRef:
    await ref._isolate.start_async()
    return ref


def _prepare(what: _What, options: IsolationOptions, link: ParentLink | None) -> IsolateRef:
    runtime.refuse_patched()
    if link is None:
        check_standby(options, options.restart)
    name = options.name or f"{re.sub('[^A-Za-z0-9_.]+', '_', what.label)}-{next(_counter)}"
    own = _runs_here(options)
    interpreter = own_python.find() if own else os.path.abspath(options.python or "")
    env = _environment(options, what.code, own)
    urn = uuid.uuid4().urn
    order = Order(
        interpreter or "", env, _wants_fresh(options, own, name), needs=_needs(what) if own else (),
        flags=interpreter_flags(own), stdin=what.stdin, whole_env=has_all(env), member=urn,
    )  # fmt: skip
    needs = what.packed.needs
    trusted = what.code if options.trust == "auto" else options.trust == "code"
    fixed = {
        "protocol": PROTOCOL, "name": name, "env": env, "argv": _arguments(what, name), "own_interpreter": own,
        "sys_path": _paths(options, own, what.folder), "concurrency": options.concurrency, "log_level": _level(options),
        "own_level": logging.getLogger().level if options.log_level is None else options.log_level,
        "code": trusted, "accept": [plain_tags.class_key(cls) for cls in options.accept], "debug": options.debug,
        "max_frame": options.max_frame, "spin": options.spin and _unmeasured(options),
        "shared": shared_memory.bound(options), "asks": what.code,
        "target": (what.kind, what.packed.data), "definitions": [] if needs is None else needs.records,
        "cloudpickle": copies.folder(), "host_version": sys.implementation.cache_tag,
    }  # fmt: skip
    spec = IsolateSpec(
        name=name, urn=urn, options=options, order=order, own_interpreter=own, init=partial(_init, fixed, options.cwd),
        code=trusted, takes_requests=what.code, needs=needs,
        trusts_objects=what.kind == "none" and options.trust == "auto",
    )  # fmt: skip
    return IsolateRef(what.actor_class, spec, link)


def hosting_class(label: str) -> type[Actor]:
    """Return a class to stand for a hosted class or function in pykka's registry, under its name."""
    from piactors.actor import ProcessActor

    return type(label.rpartition(".")[2] or "Hosted", (ProcessActor,), {})


def _init(fixed: dict[str, Any], cwd: str | None, urn: str, number: int, data: dict[str, bytes]) -> bytes:
    return pickle.dumps({**fixed, "cwd": inherit.folder(cwd), "urn": urn, "generation": number, "data": data}, 4)


def _resolved(target: object) -> tuple[str | None, object]:
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


def _runs_here(options: IsolationOptions) -> bool:
    return options.python is None or own_python.is_own(options.python)


def _environment(options: IsolationOptions, handed_over: bool, own_interpreter: bool) -> dict[str, str]:
    env = inherited_env(
        options.inherit_env, os.environ, handed_over=handed_over, own_interpreter=own_interpreter
    )
    env.update({name: value for name, value in os.environ.items() if name.startswith(MARKER_PREFIX)})
    env.update(options.env or {})
    return env


def _arguments(what: _What, name: str) -> list[str]:
    """Return `sys.argv` of an isolate: of the host's own code, the host's; code called by name gets its name alone."""
    return [str(argument) for argument in getattr(sys, "argv", ())] if what.code else [name]


def _wants_fresh(options: IsolationOptions, own: bool, name: str) -> bool:
    if options.start_method is not None and options.start_method == "spawn":
        return True
    early = needs_fresh_interpreter(options.env or {})
    if early:
        logger.info("isolate %s starts in a fresh interpreter: %s only work before one starts", name, ", ".join(early))
        return True
    return options.start_method is None and not own


def _paths(options: IsolationOptions, own: bool, folder: str | None) -> list[str]:
    extra = [os.path.abspath(path) for path in options.sys_path] + ([folder] if folder is not None else [])
    return [*extra, *(path for path in inherit.absolute(sys.path) if path not in extra)] if own else extra


def _needs(what: _What) -> tuple[str, ...]:
    """Return the large modules that an isolate will import for certain, so that its launcher does so once."""
    needs = ["cloudpickle"] if _holds_copies(what.packed) else []
    mine = [cls for cls in what.actor_class.__mro__ if cls.__module__.partition(".")[0] not in _WITHOUT_COROUTINES]
    if any(inspect.iscoroutinefunction(found) for cls in mine for found in vars(cls).values()):
        needs.append("asyncio")
    return tuple(needs)


def _holds_copies(packed: encode.Packed) -> bool:
    """Whether what is sent at the start holds odd types, for which cloudpickle is needed there."""
    made = () if packed.needs is None else packed.needs.made
    return any(data.find(b"cloudpickle") >= 0 for data in (packed.data, *(found.record.body for found in made)))


def _unmeasured(options: IsolationOptions) -> bool:
    """Whether an isolate may use the processor while it waits: not where its use of that is limited."""
    limits = options.limits
    return limits is None or (limits.max_cpu is None and limits.max_cpu_time is None)


def _level(options: IsolationOptions) -> int:
    """Records below this level stay in the isolate: by default those that the host would drop, from INFO on."""
    if options.log_level is not None:
        return options.log_level
    return min(logging.getLogger().level, logging.INFO)


