"""One plugin in an isolate, as its hooks are asked: what is sent, and what becomes of a crash or a refusal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pykka

from piactors._text.logs import plain as logger
from piactors._values.lent import by_ref
from piactors.errors import (
    ActorDeadError,
    CallTimeout,
    DeadlockError,
    IsolateCrashed,
    MailboxFull,
    NotSendable,
    PiactorsError,
    ProtocolError,
    Revoked,
    StartError,
    Timeout,
    UntrustedReply,
)
from piactors.future import Future
from piactors.plugins import events
from piactors.plugins.crashes import Crashes
from piactors.plugins.multicall import Arguments
from piactors.plugins.specs import PluginPolicy
from piactors.plugins.stand_in import RemoteHook
from piactors.plugins.wrapping import Inner, InnerTask, wrapped, wrapped_async


class StaleHooks(PiactorsError):
    """A plugin's process has other hooks than those that its stand-in was made for: its code has changed."""


FAULTS = (
    *(IsolateCrashed, ActorDeadError, DeadlockError, MailboxFull, NotSendable, ProtocolError, Revoked, StartError),
    *(StaleHooks, Timeout, UntrustedReply, pykka.Timeout),
)
"""What is not the plugin's own exception, but that there is no answer of it."""


@attrs.define
class Recorder:
    """What became of one call of a hook, by the names of plugins."""

    by_plugin: dict[str, Any] = attrs.field(factory=dict)
    errors: dict[str, Exception] = attrs.field(factory=dict)
    skipped: dict[str, str] = attrs.field(factory=dict)


@attrs.frozen
class CallSettings:
    """How one call of a hook differs from others.

    Attributes:
        timeout: seconds that each plugin has; None: as its policy says.
        recorder: notes what became of it; None: nobody asks.
    """

    timeout: float | None = None
    recorder: Recorder | None = None


class Begun:
    """A hook that was begun in an isolate."""

    __slots__ = ("_future", "_hook", "_plugin", "_settings")

    def __init__(self, plugin: IsolatedPlugin, hook: RemoteHook, future: Future[Any], settings: CallSettings) -> None:
        self._plugin, self._hook, self._future, self._settings = plugin, hook, future, settings

    def result(self) -> Any:
        """Return its result; None if the plugin is left out.

        Raises:
            Exception: what the plugin has raised; a fault if its policy says so.
        """
        try:
            value = self._future.get()
        except BaseException as error:
            if not isinstance(error, Exception):  # an interrupt: nobody waits for it any more
                self._future.cancel()
            return self._plugin.has_raised(self._hook, error, self._settings)
        return self._plugin.has_returned(self._hook, value, self._settings)

    async def result_async(self) -> Any:
        """Return its result as `result` does, and let the event loop run meanwhile."""
        try:
            value = await self._future
        except BaseException as error:
            return self._plugin.has_raised(self._hook, error, self._settings)
        return self._plugin.has_returned(self._hook, value, self._settings)

    def give_up(self) -> None:
        """Nobody wants the result any more."""
        self._future.cancel()
        self._plugin.was_given_up(self._hook)


class LeftOut:
    """A hook that was not begun."""

    __slots__ = ()

    def result(self) -> None:
        """Return None: there is no result."""

    async def result_async(self) -> None:
        """Return None: there is no result."""

    def give_up(self) -> None:
        """Nothing was begun."""


_LEFT_OUT = LeftOut()


class IsolatedPlugin:
    """One plugin in an isolate.

    Args:
        name: the plugin's.
        ref: of its isolate; it outlives restarts.
        crashes: those of the host's plugins.
        fingerprint: of the hooks that it has described.
        stale: called when its process turns out to have others.
    """

    def __init__(
        self,
        name: str,
        ref: Any,
        policy: PluginPolicy,
        crashes: Crashes,
        fingerprint: str,
        stale: Callable[[], object] = lambda: None,
    ) -> None:
        self.name, self.ref, self.policy = name, ref, policy
        self._crashes, self._fingerprint, self._stale = crashes, fingerprint, stale
        proxy = ref.proxy()
        self._call, self._acall = proxy.call, proxy.acall
        if policy.hook_timeout is not None:  # with the time that a restart may take, after which nobody waits
            whole = policy.hook_timeout + policy.start_timeout
            self._call, self._acall = (one.with_options(timeout=whole) for one in (self._call, self._acall))
        self._wrap = proxy.wrap.with_options(call_timeout=_NO_TIME)  # what it goes around takes its own time
        self._warned: set[str] = set()

    def called(self, hook: RemoteHook, arguments: Arguments) -> Any:
        """Somebody calls a hook as a function of the stand-in; return its result, as a call of the hook alone would.

        Raises:
            TypeError: if it is a wrapper: it needs something to go around.
        """
        if hook.is_wrapper:
            raise TypeError(f"{hook.name} of plugin {self.name} is a wrapper, which runs in calls of its PluginHost")
        return self.ask(hook, arguments, CallSettings()).result()

    def ask(self, hook: RemoteHook, arguments: Arguments, settings: CallSettings) -> Begun | LeftOut:
        """Begin a hook with these arguments.

        Raises:
            Exception: if its arguments cannot be sent, and the policy says that faults are raised.
        """
        if self._crashes.are_some_closed and self._is_left_out(hook, settings):
            return _LEFT_OUT
        method = self._acall if hook.is_coroutine else self._call
        if settings.timeout is not None:
            method = method.with_options(call_timeout=settings.timeout)
        try:
            future = method(hook.name, arguments, self._fingerprint)
        except FAULTS as error:
            self.has_failed(hook, error, settings)
            return _LEFT_OUT
        return Begun(self, hook, future, settings)

    def _is_left_out(self, hook: RemoteHook, settings: CallSettings) -> bool:
        why_not = self._crashes.why_not(self.name, hook.hook)
        if why_not is not None and settings.recorder is not None:
            settings.recorder.skipped[self.name] = why_not
        return why_not is not None

    # What comes of it

    def has_returned(self, hook: RemoteHook, value: Any, settings: CallSettings) -> Any:
        """Note a result, and return it."""
        if self._crashes.are_some_closed:
            self._crashes.answered(self.name, hook.hook)
        if settings.recorder is not None and value is not None:
            settings.recorder.by_plugin[self.name] = value
        return value

    def has_raised(self, hook: RemoteHook, error: BaseException, settings: CallSettings) -> None:
        """Note an exception.

        Raises:
            BaseException: the same, unless it is a fault that leaves the plugin out.
        """
        if type(error) is LookupError and error.args == (STALE,):
            error = StaleHooks(f"plugin {self.name} has changed, and is called again when its hooks are known")
            self._stale()
        if isinstance(error, FAULTS):
            self.has_failed(hook, error, settings)
            return
        if not isinstance(error, Exception):
            self.was_given_up(hook)
        elif self._crashes.are_some_closed:
            self._crashes.answered(self.name, hook.hook)
        raise error

    def was_given_up(self, hook: RemoteHook) -> None:
        """Nobody wants an answer any more."""
        if self._crashes.are_some_closed:
            self._crashes.undecided(self.name, hook.hook)

    def has_failed(self, hook: RemoteHook, error: Exception, settings: CallSettings) -> None:
        """Note that there is no answer.

        Raises:
            Exception: the error, if the policy says so.
        """
        if isinstance(error, IsolateCrashed):
            alone = self.policy.concurrency == 1 or isinstance(error, CallTimeout)  # else any of them may have done it
            process = (self.name, error.generation, error.pid)
            self._crashes.crashed(process, hook.hook if alone else "", error.reason)
        self.was_given_up(hook)
        if settings.recorder is not None:
            settings.recorder.errors[self.name] = error
        self._tell(hook, error)
        if self.policy.on_error == "raise":
            raise error

    def _tell(self, hook: RemoteHook, error: Exception) -> None:
        key = f"{hook.name}: {type(error).__name__}"
        once = isinstance(error, NotSendable | UntrustedReply)
        level = logging.DEBUG if once and key in self._warned else logging.WARNING
        self._warned.add(key)
        logger.log(level, "hook %s of plugin %s is left out: %s", hook.hook, self.name, str(error))
        events.publish(events.HookFailed, self.name, hook=hook.hook, error=str(error))

    # Wrappers

    def surround(self, hook: RemoteHook, arguments: Arguments, settings: CallSettings, rest: Callable[[], Any]) -> Any:
        """Have a wrapper go around the rest, which runs in this thread meanwhile, and return what comes of that.

        If its isolate does not answer, it is as if it had not been there.
        """
        if self._crashes.are_some_closed and self._is_left_out(hook, settings):
            return rest()
        inner = Inner(rest)
        with by_ref(inner.run, run="caller") as handle:
            try:
                future = self._wrap(hook.name, arguments, self._fingerprint, handle)
                said = wrapped(future, inner, self._seconds(settings))
            except BaseException as error:
                self.has_raised(hook, error, settings)
                return inner.outcome() if inner.has_begun else rest()
        return self._made(hook, said, inner, settings)

    async def surround_async(
        self, hook: RemoteHook, arguments: Arguments, settings: CallSettings, rest: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Have a wrapper go around the rest as `surround` does; the rest runs on the event loop."""
        if self._crashes.are_some_closed and self._is_left_out(hook, settings):
            return await rest()
        inner = InnerTask(rest)
        with by_ref(inner.run, run="loop") as handle:
            try:
                future = self._wrap(hook.name, arguments, self._fingerprint, handle)
                said = await wrapped_async(future, inner, self._seconds(settings))
            except asyncio.CancelledError:
                inner.cancel()
                raise
            except BaseException as error:
                self.has_raised(hook, error, settings)
                return await inner.awaited() if inner.has_begun else await rest()
        return self._made(hook, said, inner, settings)

    def _seconds(self, settings: CallSettings) -> float | None:
        return self.policy.hook_timeout if settings.timeout is None else settings.timeout

    def _made(self, hook: RemoteHook, said: Any, inner: Inner, settings: CallSettings) -> Any:
        """Return what a call comes to whose wrapper has answered; it is not trusted."""
        if self._crashes.are_some_closed:
            self._crashes.answered(self.name, hook.hook)
        word, value = said if isinstance(said, tuple) and len(said) == 2 else (None, None)
        if word == "made":
            return value
        if word != "same" or not inner.has_ended:
            why = str(value)[:200] if word == "unsendable" else "its answer is not one of a wrapper"
            text = f"what it goes around cannot be sent to it: {why}" if word == "unsendable" else why
            kind = NotSendable if word == "unsendable" else ProtocolError
            self.has_failed(hook, kind(f"wrapper {hook.name} of plugin {self.name} is left out: {text}"), settings)
            if not inner.has_ended:
                raise ProtocolError(f"wrapper {hook.name} of plugin {self.name} has not run what it goes around")
        return inner.outcome()


STALE = "piactors: these are not the hooks of this process"
"""What a plugin's side says if it is called by those of another version."""
_NO_TIME = 1e9
