"""`ChildSpec`: what a supervisor is told about one child."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, cast, get_args

import attrs
import pykka

from piactors._isolate import misplaced_options
from piactors._rules.budget import Budget
from piactors._rules.supervisor.rules import ChildRule
from piactors._spawn.starter import ActorStarter
from piactors._text.logs import logger
from piactors._validation import fields as rule
from piactors._validation.fields import NONE
from piactors.actor import ProcessActor
from piactors.exit_reason import KINDS, ExitReason, Kind
from piactors.options import Backoff, IsolationOptions, RestartType, check_standby
from piactors.pihost.serve import targets

Shutdown: TypeAlias = float | Literal["kill", "default"] | None
OnExhausted: TypeAlias = Literal["escalate", "stop"]
Target: TypeAlias = str | Callable[..., Any] | ActorStarter[Any, Any]
SHARED: Literal["shared"] = "shared"


def _to_target(value: Target) -> Any:
    """Change nothing: it is here for its annotation, by which a type checker knows what the constructor takes."""
    return value


def _to_kinds(
    value: Callable[[ExitReason], bool] | Iterable[Kind] | None,
) -> Callable[[ExitReason], bool] | frozenset[str] | None:
    if isinstance(value, str) or callable(value) or not isinstance(value, Iterable):
        return value
    kinds = tuple(value)
    return frozenset(kinds) if all(isinstance(kind, str) for kind in kinds) else cast(Any, kinds)


def _to_kwargs(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict(value) if isinstance(value, Mapping) else value


def _are_names(kwargs: Mapping[str, Any]) -> bool:
    return all(isinstance(name, str) for name in kwargs)


def _check_target(spec: ChildSpec, field: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, ActorStarter) or (callable(value) and value is not pykka.Actor):
        return
    if isinstance(value, str) and value:
        try:
            targets.split(value)
        except targets.TargetError as error:
            raise ValueError(f"ChildSpec.target of child {spec.id!r}: {error}") from None
        return
    raise (ValueError if isinstance(value, str) else TypeError)(
        f"ChildSpec.target of child {spec.id!r}: {value!r} is not allowed; use a ProcessActor, a pykka.ThreadingActor, "
        "a Supervisor, another class or function, or a name such as 'package.module:name'"
    )


def _check_restart_on(spec: ChildSpec, field: attrs.Attribute[Any], value: Any) -> None:
    if value is None or callable(value):
        return
    if not isinstance(value, frozenset) or not value <= set(KINDS):
        wrong = sorted(map(repr, value - set(KINDS))) if isinstance(value, frozenset) else [repr(value)]
        raise (ValueError if isinstance(value, frozenset) else TypeError)(
            f"ChildSpec.restart_on of child {spec.id!r}: {', '.join(wrong)} is not allowed; use a function of an "
            f"ExitReason, or a set of kinds out of {', '.join(KINDS)}"
        )


_OPTIONS = frozenset(field.name for field in attrs.fields(IsolationOptions))


def _hint(name: str) -> str | None:
    return f"use options=IsolationOptions({name}=...)" if name in _OPTIONS else None


@rule.explains_unknown(_hint)
@attrs.frozen
class ChildSpec:
    """One child of a supervisor.  A bad value raises at construction; nothing is started.

    Attributes:
        id: Its name among its siblings, a non-empty str.
        target: What it runs: a `ProcessActor` (or what its `with_options` returns), a plain `pykka.ThreadingActor` (a
            thread of the host), a `Supervisor`, any other class or function (in a process of its own), or a name such
            as "package.module:name" or "path/to/file.py:name".
        args, kwargs: For its constructor; default none.
        options: `IsolationOptions` of a child with a process of its own; default those of its class.
        restart: "permanent" always, "transient" after an abnormal exit, "temporary" never; default "permanent".
        shutdown: Seconds from the request to stop until the kill, 0 or "kill" to kill at once, None to wait forever;
            default "default": 5 for a worker (or its options' `shutdown_timeout`), None for a supervisor.
        significant: Whether its own end may end the supervisor, as `auto_shutdown` says; not for a permanent child.
        backoff: How long its restarts wait; default None: as its supervisor says.
        max_restarts: Restarts of this child within `within` seconds, at least 0, in place of the count that it shares
            with its siblings; None: any number; default "shared".
        within: Seconds of the window for `max_restarts`, more than 0; default 5.0.
        on_exhausted: When its own restarts (or the attempts of its backoff) are used up, "escalate" ends the
            supervisor, "stop" leaves only this child down; default "escalate".
        restart_on: Decides in place of the restart type which exits it starts again after: a function of an
            `ExitReason`, or a set of kinds such as {"signaled", "limit"}; default None.
        quarantine: Whether a death in a call that may be tried again (`idempotent`, ``retries=``) costs no restarts:
            that call's own retries end it, with `PoisonMessage`; default False.
    """

    id: str = attrs.field(validator=rule.text())
    target: Any = attrs.field(converter=_to_target, validator=_check_target)
    args: tuple[Any, ...] = attrs.field(
        default=(),
        kw_only=True,
        converter=rule.to_args,
        validator=rule.check("a tuple of arguments", (tuple,)),
        hash=False,
    )
    kwargs: Mapping[str, Any] = attrs.field(
        factory=dict,
        kw_only=True,
        converter=_to_kwargs,
        hash=False,
        validator=rule.check("a dict of arguments by name", (Mapping,), _are_names),
    )
    options: IsolationOptions | None = attrs.field(
        default=None, kw_only=True, validator=rule.check("IsolationOptions", (IsolationOptions,), also=NONE)
    )
    restart: RestartType = attrs.field(default="permanent", kw_only=True, validator=rule.one_of(*get_args(RestartType)))
    shutdown: Shutdown = attrs.field(default="default", kw_only=True, validator=rule.shutdown())
    significant: bool = attrs.field(default=False, kw_only=True, validator=rule.flag())
    backoff: Backoff | None = attrs.field(
        default=None, kw_only=True, validator=rule.check("a Backoff", (Backoff,), also=NONE)
    )
    max_restarts: int | Literal["shared"] | None = attrs.field(
        default=SHARED, kw_only=True, validator=rule.count(0, also=rule.SHARED_OR_NONE)
    )
    within: float = attrs.field(
        default=5.0, kw_only=True, converter=rule.to_float, validator=rule.above_zero("number of seconds")
    )
    on_exhausted: OnExhausted = attrs.field(
        default="escalate", kw_only=True, validator=rule.one_of(*get_args(OnExhausted))
    )
    restart_on: Callable[[ExitReason], bool] | frozenset[str] | None = attrs.field(
        default=None, kw_only=True, converter=_to_kinds, validator=_check_restart_on
    )
    quarantine: bool = attrs.field(default=False, kw_only=True, validator=rule.flag())

    def __attrs_post_init__(self) -> None:
        if self.significant and self.restart == "permanent":
            self._refuse("significant", True, "a permanent child never ends by itself; use 'transient' or 'temporary'")
        if self.restart_on is not None and self.restart == "temporary":
            self._refuse("restart_on", self.restart_on, "a temporary child is never restarted")
        if self.options is not None and not self.is_isolate:
            self._refuse("options", self.options, "only a child with a process of its own has options")
        if self.is_isolate:
            check_standby(self.isolation, self.restart, f" of child {self.id!r}")

    def _refuse(self, field: str, value: object, why: str) -> None:
        raise ValueError(f"ChildSpec.{field} of child {self.id!r}: {rule.shortened(value)} is not allowed; {why}")

    @property
    def is_supervisor(self) -> bool:
        """Whether the child is a supervisor."""
        return isinstance(self.target, type) and getattr(self.target, "_is_supervisor", False) is True

    @property
    def is_thread(self) -> bool:
        """Whether the child is an actor in a thread of the host."""
        return (
            isinstance(self.target, type)
            and issubclass(self.target, pykka.Actor)
            and not issubclass(self.target, ProcessActor)
        )

    @property
    def is_isolate(self) -> bool:
        """Whether the child has a process of its own."""
        return not (self.is_supervisor or self.is_thread)

    @property
    def isolation(self) -> IsolationOptions:
        """The options of a child with a process of its own: the spec's, or those of its class."""
        if self.options is not None:
            return self.options
        if isinstance(self.target, ActorStarter):
            return self.target.options
        is_actor = isinstance(self.target, type) and issubclass(self.target, ProcessActor)
        return self.target.isolation if is_actor else IsolationOptions()

    def check(self) -> None:
        """Check also what the fields alone do not show: that the arguments fit, and the children of a supervisor.

        Raises:
            TypeError, ValueError: what was wrong, and in which child.
        """
        if self.is_supervisor:
            self._check_below()
            return
        target = self.target.actor_class if isinstance(self.target, ActorStarter) else self.target
        self._check_no_options(target)
        if not isinstance(target, type):  # a name; or a function, whose arguments come with its calls
            return
        try:
            inspect.signature(target).bind(*self.args, **self.kwargs)
        except TypeError as error:
            name = getattr(target, "__qualname__", repr(target))
            raise TypeError(f"ChildSpec.args of child {self.id!r}: they do not fit {name}: {error}") from None
        except ValueError:  # a builtin without a signature
            return

    def _check_no_options(self, target: Any) -> None:
        """Refuse arguments that the class would swallow, or that are meant for the isolate."""
        if not self.is_isolate or isinstance(target, str):
            return
        of_spec = all(name in _FIELDS for name in self.kwargs if name in _OPTIONS)
        way = "ChildSpec(..., {})" if of_spec else "ChildSpec(..., options=IsolationOptions({}))"
        try:
            misplaced_options.check_options(target, self.kwargs, way)
            if isinstance(target, type) and issubclass(target, ProcessActor):
                misplaced_options.check_actor(target, self.args, self.kwargs)
        except TypeError as error:
            raise TypeError(f"ChildSpec.kwargs of child {self.id!r}: {error}") from None

    def _check_below(self) -> None:
        try:
            self.target.check(*self.args, **self.kwargs)
        except (TypeError, ValueError) as error:
            if type(error) not in (TypeError, ValueError):
                raise
            raise type(error)(f"child {self.id!r}: {error}") from error

    def to_rule(self, *, listed: bool = True, runner: Any = None) -> ChildRule:
        """Return the part of it that decides."""
        return ChildRule(
            id=self.id,
            restart=self.restart,
            significant=self.significant,
            type="supervisor" if self.is_supervisor else "worker",
            backoff=self.backoff,
            budget=None if self.max_restarts == SHARED else Budget(self.max_restarts, self.within),
            escalates=self.on_exhausted == "escalate",
            restart_on=self._predicate(),
            listed=listed,
            runner=runner,
        )

    def _predicate(self) -> Callable[[ExitReason], bool] | None:
        wanted = self.restart_on
        if wanted is None:
            return None
        if isinstance(wanted, frozenset):
            return lambda reason: reason.kind in wanted
        return lambda reason: self._asked(wanted, reason)

    def _asked(self, predicate: Callable[[ExitReason], bool], reason: ExitReason) -> bool:
        try:
            return bool(predicate(reason))
        except BaseException:  # on the supervisor's own thread, which has to go on
            logger.exception("restart_on of child %r has failed; the child is restarted", self.id)
            return True


@attrs.frozen
class ChildInfo:
    """One child, as `which_children` lists it.

    Attributes:
        id: its name among its siblings.
        ref: its ref.
        state: "running", "restarting" (also while it waits for its backoff) or "stopped".
        type: "worker" or "supervisor".
        restarts: how often it has been restarted, with its group or alone, since its supervisor was started.
        exit_reason: why it ended last, or None.
    """

    id: str
    ref: pykka.ActorRef[Any]
    state: Literal["running", "restarting", "stopped"]
    type: Literal["worker", "supervisor"]
    restarts: int
    exit_reason: ExitReason | None


@attrs.frozen
class ChildCounts:
    """How many children there are: `specs` in all, `active` of them run; by type, `supervisors` and `workers`."""

    specs: int
    active: int
    supervisors: int
    workers: int


_FIELDS = frozenset(field.name for field in attrs.fields(ChildSpec))
