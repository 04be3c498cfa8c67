"""What an isolate is made of, and how that follows from what is to be hosted and the options."""

from __future__ import annotations

import inspect
import itertools
import logging
import os
import pickle
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import attrs

from piactors._codec import encode, shared_memory
from piactors._codec.definitions import Needs
from piactors._codec.encode import Whole
from piactors._codec.lending import Loan
from piactors._isolate.hosting import HostedTarget, runs_here
from piactors._platform import own_python
from piactors._process.backend import Order
from piactors._process.flags import interpreter_flags
from piactors._process.launcher_env import MARKER_PREFIX, has_all
from piactors._text.logs import plain as logger
from piactors._text.record import ByAttributes
from piactors.options import IsolationOptions, inherited_env, needs_fresh_interpreter
from piactors.pihost import PROTOCOL
from piactors.pihost.pickles import copies
from piactors.pihost.plain import tags as plain_tags
from piactors.pihost.process import inherit

_WITHOUT_COROUTINES = frozenset({"builtins", "piactors", "pykka"})
_counter = itertools.count(1)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class IsolateSpec(ByAttributes):
    """What an isolate is made of, the same for all its generations.

    Attributes:
        order: how its processes are made.
        init: makes the first frame of a generation: of the urn of the ref, its number, its number as one that lends,
            and what was set with `set_data`.
        code: whether replies may be pickles.
        trusts_objects: whether functions that are handed over with a call are trusted more than that (see `trusting`).
        takes_requests: whether the isolate may ask things of the host: if that has handed over its code.
        needs: the definitions that what is hosted needs; they live as long as the isolate does.
    """

    name: str
    urn: str
    options: IsolationOptions
    order: Order
    own_interpreter: bool
    init: Callable[[str, int, int, dict[str, Whole]], bytes]
    code: bool
    takes_requests: bool
    needs: Needs | None = None
    trusts_objects: bool = False
    is_actor: bool = False


_CHANNELS_AFTER = {"routed": -1, "direct": 0, "auto": 200}
"""Messages to one actor that go by way of the host before an isolate asks for a direct channel; -1: it never does."""


def make_spec(
    what: HostedTarget, options: IsolationOptions, *, name: str | None = None, urn: str | None = None
) -> IsolateSpec:
    """Return what an isolate is made of that hosts this; name and urn are chosen unless it has them already."""
    name = name or options.name or f"{re.sub('[^A-Za-z0-9_.]+', '_', what.label)}-{next(_counter)}"
    own = runs_here(options)
    interpreter = own_python.find() if own else os.path.abspath(options.python or "")
    env = _environment(options, what.code, own)
    urn = urn or uuid.uuid4().urn
    order = Order(
        interpreter or "",
        env,
        _wants_fresh(options, own, name),
        needs=_needs(what) if own else (),
        flags=interpreter_flags(own),
        stdin=what.stdin,
        whole_env=has_all(env),
        member=urn,
    )
    needs = what.packed.needs
    trusted = what.code if options.trust == "auto" else options.trust == "code"
    fixed = {
        "protocol": PROTOCOL,
        "name": name,
        "env": env,
        "argv": _arguments(what, name),
        "own_interpreter": own,
        "sys_path": _paths(options, own, what.folder),
        "concurrency": options.concurrency,
        "log_level": _level(options),
        "own_level": logging.getLogger().level if options.log_level is None else options.log_level,
        "code": trusted,
        "accept": [plain_tags.class_key(cls) for cls in options.accept],
        "debug": options.debug,
        "max_frame": options.max_frame,
        "spin": options.spin and _unmeasured(options),
        "shared": shared_memory.bound(options),
        "asks": what.code,
        "channels_after": _CHANNELS_AFTER[options.channels] if trusted and what.code and own else -1,
        "target": (what.kind, what.packed.data),
        "definitions": [] if needs is None else needs.records,
        "cloudpickle": copies.folder(),
        "host_version": sys.implementation.cache_tag,
    }
    return IsolateSpec(
        name=name,
        urn=urn,
        options=options,
        order=order,
        own_interpreter=own,
        init=partial(_init, fixed, options.cwd, [] if needs is None else needs.all_loans()),
        code=trusted,
        takes_requests=what.code,
        needs=needs,
        trusts_objects=what.kind == "none" and options.trust == "auto",
        is_actor=what.kind == "actor",
    )


def _init(
    fixed: dict[str, Any],
    cwd: str | None,
    loans: list[Loan],
    urn: str,
    number: int,
    owner: int,
    data: dict[str, Whole],
) -> bytes:
    changing = {
        "cwd": inherit.folder(cwd),
        "urn": urn,
        "generation": number,
        "owner": owner,
        "lends": [loan.entry() for loan in lent_at_start(loans, data)],
        "data": {key: whole.data for key, whole in data.items()},
    }
    return pickle.dumps({**fixed, **changing}, 4)


def lent_at_start(loans: Iterable[Loan], data: Mapping[str, Whole]) -> list[Loan]:
    """Return what a process is lent with its orders: what these name, and what was set for it."""
    return [*loans, *(loan for whole in data.values() for loan in whole.loans)]


def _environment(options: IsolationOptions, handed_over: bool, own_interpreter: bool) -> dict[str, str]:
    env = inherited_env(options.inherit_env, os.environ, handed_over=handed_over, own_interpreter=own_interpreter)
    env.update({name: value for name, value in os.environ.items() if name.startswith(MARKER_PREFIX)})
    env.update(options.env or {})
    return env


def _arguments(what: HostedTarget, name: str) -> list[str]:
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


def _needs(what: HostedTarget) -> tuple[str, ...]:
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
    """Whether an isolate may use the processor while it waits: not if its use of that is limited."""
    limits = options.limits
    return limits is None or (limits.max_cpu is None and limits.max_cpu_time is None)


def _level(options: IsolationOptions) -> int:
    """Records below this level stay in the isolate: by default those that the host would drop, from INFO on."""
    if options.log_level is not None:
        return options.log_level
    return min(logging.getLogger().level, logging.INFO)
