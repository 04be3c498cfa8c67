"""What stands for the hooks of a plugin in a manager of pluggy's that knows nothing of isolates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from piactors.errors import Released
from piactors.plugins.application import ways
from piactors.plugins.asking import FAULTS
from piactors.plugins.inside._piactors_plugin import facts, ledgers, things

_FAULTS = (*FAULTS, Released, ledgers.NotLent)
"""Why a hook has no answer."""


class HookPolicy(Protocol):
    """What becomes of calls of hooks."""

    ways: ways.Ways

    def is_left_out(self, hook: str) -> bool:
        """Whether a hook is not called now."""

    def answered(self, hook: str) -> None:
        """A hook has returned, or raised something."""

    def failed(self, hook: str, error: Exception) -> None:
        """There was no answer of a hook; raises that if it is to be raised."""


class HookReach(things.ThingReach):
    """How a hook of a plugin, or something that has hooks, is reached.

    A hook that has no answer is left out, as if it had returned None; one that is a wrapper, as if it were not there.
    """

    __slots__ = ("policy",)

    policy: HookPolicy

    def child(self, name: str, facts: facts.Facts, of: Any) -> things.ThingReach:
        """Return how an attribute of it is reached; one that is marked is a hook."""
        if not is_hook(facts):
            return things.ThingReach(self.side, self.anchor, (*self.path, name), facts, of)
        found = HookReach(self.side, self.anchor, (*self.path, name), facts, of)
        found.policy = self.policy
        return found

    @property
    def _hook(self) -> str:
        named = next((one.get("specname") for one in _opts(self.facts)), None)
        return named if isinstance(named, str) and named else self.facts["name"]

    def use(self, operation: str, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Call the hook, and return its result; None if it has none."""
        if not is_hook(self.facts):
            return super().use(operation, args, kwargs)
        if not self.policy.is_left_out(self._hook):
            with self._noted():
                return super().use(operation, self._arguments(args), kwargs)
        return None

    async def use_async(self, operation: str, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        """Call the hook, and let the event loop run meanwhile."""
        if not is_hook(self.facts):
            return await super().use_async(operation, args, kwargs)
        if not self.policy.is_left_out(self._hook):
            with self._noted():
                return await super().use_async(operation, self._arguments(args), kwargs)
        return None

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        """Note what becomes of a call of the hook; one that has no answer returns nothing."""
        hook, policy = self._hook, self.policy
        try:
            yield
        except _FAULTS as error:
            policy.failed(hook, error)
        except Exception:
            policy.answered(hook)
            raise
        else:
            policy.answered(hook)

    def driven(self, remote: Any) -> Any:
        """Run a wrapper of the plugin here; if its process ends, it is as if it were not there."""
        if not is_wrapper(self.facts):
            return (yield from super().driven(remote))
        hook, policy = self._hook, self.policy
        if remote is None:  # it is left out
            return (yield)
        try:
            value = next(remote)
        except _FAULTS as error:
            policy.failed(hook, error)
            return (yield)
        try:
            sent = yield value
        except GeneratorExit:
            remote.close()
            raise
        except BaseException as error:
            thrown = error
            return _left(policy, hook, lambda: remote.throw(thrown), error, None)
        return _left(policy, hook, lambda: remote.send(sent), None, sent)

    def _arguments(self, args: Any) -> Any:
        if not self.policy.ways:
            return args
        names = [one[0] for one in self.facts.get("parameters") or ()]
        return [ways.taken(value, self.policy.ways.get(name)) for name, value in zip(names, args, strict=False)] + list(
            args[len(names) :]
        )


def _opts(facts: facts.Facts) -> list[dict[str, Any]]:
    """Return what pluggy's markers say, of whichever project."""
    marks = facts.get("marks", {})
    return [
        one for name, one in marks.items() if name.endswith("_impl") and isinstance(one, dict) and "tryfirst" in one
    ]


def is_hook(facts: facts.Facts) -> bool:
    """Whether something is a function that is marked as a hook."""
    return bool(_opts(facts))


def is_wrapper(told: facts.Facts) -> bool:
    """Whether something is a hook that goes around others."""
    return any(one.get("wrapper") or one.get("hookwrapper") for one in _opts(told))


def _left(policy: HookPolicy, hook: str, step: Callable[[], Any], error: BaseException | None, sent: Any) -> Any:
    """Let a wrapper run to its end, and return what it makes of a call."""
    try:
        step()
    except StopIteration as end:
        return end.value
    except _FAULTS as fault:
        policy.failed(hook, fault)
        if error is not None:
            raise error from None
        return sent
    raise RuntimeError(f"hook {hook} is a wrapper, and has a second yield")
