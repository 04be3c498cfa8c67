"""Refs that allow less than the one that they were made from: what `IsolateRef.restrict` returns."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable
from typing import Any, NoReturn

from piactors._isolate.calls import Calls
from piactors._isolate.isolate import Isolate
from piactors._isolate.lent_refs import RefLoan
from piactors._isolate.remote_attributes import Described
from piactors._rules.capability import Capability
from piactors._rules.message import Message
from piactors.errors import NotPermitted
from piactors.exit_reason import ExitReason
from piactors.future import Future
from piactors.proxy import check_call_options
from piactors.ref import IsolateRef

_LONGEST = 1e9


class RestrictedRef(IsolateRef[Any]):
    """A ref of an actor that allows less than the one that it was made from, here and wherever it is sent."""

    def __init__(self, base: IsolateRef[Any], rules: Capability) -> None:
        # Not that of `IsolateRef`, which makes an isolate.
        self._base, self._rules = base, rules
        self._foreign, self._ends, self._history = base._foreign, base._ends, base._history
        self._loan = None
        self.actor_class, self.actor_urn = base.actor_class, base.actor_urn
        self._sent: weakref.WeakSet[Message] = weakref.WeakSet()
        self._checked: CheckedCalls | None = None

    def revoke(self) -> None:
        """Have this ref, and all that were made from it, allow nothing any more, wherever they are.

        Calls that have begun go on; those that have not, and later ones, raise `Revoked`.
        """
        self._rules.revoke()
        delivery = self._isolate.delivery
        for message in list(self._sent):
            if delivery.give_up(message) and message.reply_to is not None:
                message.reply_to.fail(self._rules.ended(time.monotonic()))

    def check(self, method: str) -> None:
        """Allow one message, or raise; see `Capability.check`."""
        self._rules.check(method, time.monotonic())

    def note(self, message: Message) -> None:
        """This message was sent through the ref."""
        ref: IsolateRef[Any] = self
        while isinstance(ref, RestrictedRef):
            ref._sent.add(message)
            ref = ref._base

    @property
    def rules(self) -> Capability:
        """What it allows."""
        return self._rules

    # What `IsolateRef` has as attributes

    @property
    def _isolate(self) -> Isolate:  # type: ignore[override]
        return self._base._isolate

    @property
    def _calls(self) -> CheckedCalls:  # type: ignore[override]
        found = self._checked
        if found is None or found.isolate is not self._isolate:
            found = self._checked = CheckedCalls(self._isolate, self)
        return found

    @property
    def _call(self) -> Any:  # type: ignore[override]
        return self._calls.call

    @property
    def _map(self) -> Any:  # type: ignore[override]
        return self._calls.map

    @property
    def _amap(self) -> Any:  # type: ignore[override]
        return self._calls.amap

    def _lend(self) -> RefLoan:
        if self._loan is None:
            self._loan = RefLoan(self, lambda: self._isolate, lambda: self._calls, self)
        return self._loan

    # What it may not do

    def _ask_stop(self) -> Future[Any]:
        self._rules.check_stop(time.monotonic())
        return super()._ask_stop()

    def terminate(self, timeout: float | None = 5.0) -> ExitReason | None:
        """End its whole process tree at once, if it may be stopped."""
        self._rules.check_stop(time.monotonic())
        return super().terminate(timeout)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotPermitted(f"this ref of {self.name} allows calls alone: it was made with restrict()")

    recycle = replace = set_data = get_data = _renew = _refuse

    def invoke(self, target: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        """Refuse: the function could do anything."""
        self._refuse()

    def _describe_again(self) -> Described:
        return self._allowed(super()._describe_again())

    def _description(self) -> Described:
        return self._allowed(super()._description())

    def _allowed(self, described: Described) -> Described:
        return {path: entry for path, entry in described.items() if self._rules.allows(path)}


class CheckedCalls(Calls):
    """Makes the calls of a ref that does not allow all of them."""

    def __init__(self, isolate: Isolate, ref: RestrictedRef) -> None:
        super().__init__(isolate, foreign=ref._foreign)
        self.isolate = isolate
        self._ref = ref

    def call(
        self,
        path: Any,
        args: Any,
        kwargs: Any,
        retries: int = 0,
        call_timeout: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Call a method, if that is allowed."""
        self._ref.check(".".join(path))
        return self._noted(super().call(path, args, kwargs, retries, self._limited(call_timeout), timeout))

    def call_many(self, path: Any, items: list[Any], **options: Any) -> Any:
        """Call a method for each item, if that is allowed."""
        return [self.call(path, (item,), {}, **options) for item in items]

    def ask(
        self,
        message: Any,
        retries: int,
        call_timeout: float | None,
        until: float | None,
        wanted_until: float | None = None,
    ) -> Any:
        """Send a message that wants an answer, if that is allowed."""
        self._ref.check(_method_of(message))
        return self._noted(super().ask(message, retries, self._limited(call_timeout), until, wanted_until))

    def tell(self, message: Any, retries: int, call_timeout: float | None, until: float | None) -> Any:
        """Send a message that wants no answer, if that is allowed."""
        self._ref.check(_method_of(message))
        return self._noted(super().tell(message, retries, self._limited(call_timeout), until))

    def _limited(self, call_timeout: float | None) -> float | None:
        most = self._ref.rules.call_timeout
        return call_timeout if most is None else most if call_timeout is None else min(most, call_timeout)

    def _noted(self, message: Any) -> Any:
        self._ref.note(message)
        return message


def _method_of(message: Any) -> str:
    return ".".join(getattr(message, "attr_path", ()))


def restricted(
    base: IsolateRef[Any],
    methods: Iterable[str] | None,
    *,
    stop: bool,
    call_timeout: float | None,
    calls_per_second: float | None,
    expires: float | None,
) -> RestrictedRef:
    """Return a ref that allows less; see `IsolateRef.restrict`."""
    check_call_options(0, call_timeout)
    for name, value in (("calls_per_second", calls_per_second), ("expires", expires)):
        _check_number(name, value)
    rules = Capability(
        base.name,
        base.rules if isinstance(base, RestrictedRef) else None,
        methods=None if methods is None else list(_names(methods)),
        stop=stop,
        call_timeout=call_timeout,
        rate=calls_per_second,
        expires=None if expires is None else time.monotonic() + expires,
    )
    return RestrictedRef(base, rules)


def _check_number(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"restrict: {name}={value!r} is not allowed; use a number, more than 0")
    if not 0 < value <= _LONGEST:
        raise ValueError(
            f"restrict: {name}={value!r} is not allowed; use a number, more than 0 and at most {_LONGEST:g}"
        )


def _names(methods: Iterable[str]) -> Iterable[str]:
    if isinstance(methods, str):
        raise TypeError(f"restrict: methods={methods!r} is a text; use a list of names")
    for name in methods:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise TypeError(f"restrict: {name!r} is not the name of a method")
        yield name
