"""pluggy's manager, whose plugins may run in isolates: it keeps their order and markers, and this says how they run."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import pluggy

from piactors._future import waiting
from piactors.errors import PiactorsError
from piactors.plugins.asking import CallSettings, IsolatedPlugin, Recorder
from piactors.plugins.driving import drive, drive_async
from piactors.plugins.multicall import HookCall, Surround, arguments_of, at_once
from piactors.plugins.stand_in import RemoteHook, behind


class BlockingInLoop(PiactorsError):
    """A hook of plugins in isolates was called in a way that would block the event loop that runs in this thread."""


@attrs.frozen
class HookOutcome:
    """What became of one call of a hook.

    Attributes:
        results: as the call itself returns them: those that are not None, in pluggy's order; of a hook with
            ``firstresult`` a list of at most one.
        by_plugin: the result of each plugin in an isolate that has one.
        errors: of each plugin that had no answer, why: a crash, a time-out, a reply that was refused.
        skipped: of each plugin that was not asked, why: it is in quarantine.
    """

    results: list[Any]
    by_plugin: dict[str, Any]
    errors: dict[str, Exception]
    skipped: dict[str, str]


@attrs.frozen
class _Mode:
    """How the hook that is called next is to be run."""

    settings: CallSettings = attrs.field(factory=CallSettings)
    is_async: bool = False
    only: frozenset[str] | None = None
    without: frozenset[str] = frozenset()

    def takes(self, plugin: str) -> bool:
        """Whether a plugin takes part."""
        return plugin not in self.without and (self.only is None or plugin in self.only)


_USUAL = _Mode()
_mode: contextvars.ContextVar[_Mode] = contextvars.ContextVar("piactors_hook_mode", default=_USUAL)


@contextmanager
def _as(mode: _Mode) -> Iterator[None]:
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)


class HookManager(pluggy.PluginManager):
    """A manager of plugins, some of which run in isolates."""

    def __init__(self, project: str) -> None:
        super().__init__(project)
        self._in_the_host: Any = self._inner_hookexec
        """pluggy's own way, for calls that concern no isolate."""
        self._inner_hookexec: Any = self._execute
        self._unwatched = self._inner_hookexec
        """What that is as long as nobody traces calls."""
        self._history: list[tuple[str, Mapping[str, Any]]] = []

    def remember(self, hook: str, kwargs: Mapping[str, Any]) -> None:
        """A historic call: new processes of plugins hear of it too."""
        self._history.append((hook, kwargs))

    def repeat_history(self, plugin: str) -> None:
        """Have a plugin hear of all historic calls; what it returns goes nowhere."""
        for hook, kwargs in list(self._history):
            impls = [impl for impl in getattr(self.hook, hook).get_hookimpls() if impl.plugin_name == plugin]
            place = IsolatedHooks(CallSettings())
            for begun in [place.begin(impl, kwargs) for impl in impls]:
                if begun is not None:
                    begun.result()

    def forget(self, name: str) -> None:
        """A plugin takes no part any more."""
        if self.has_plugin(name):
            self.unregister(name=name)

    def _hookexec(
        self, hook_name: str, methods: Sequence[pluggy.HookImpl], kwargs: Mapping[str, Any], firstresult: bool
    ) -> Any:
        """Run a hook; what concerns no isolate with no frame of ours in between, which warnings would point at."""
        if (
            self._inner_hookexec is self._unwatched
            and _mode.get() is _USUAL
            and all(behind(impl.function) is None for impl in methods)
        ):
            return self._in_the_host(hook_name, methods, kwargs, firstresult)
        return self._inner_hookexec(hook_name, methods, kwargs, firstresult)

    def _execute(
        self, name: str, methods: Sequence[pluggy.HookImpl], kwargs: Mapping[str, Any], firstresult: bool
    ) -> Any:
        mode = _mode.get()
        if mode is not _USUAL:
            methods = [impl for impl in methods if mode.takes(impl.plugin_name)]
            _mode.set(_USUAL)  # hooks that plugins call in turn are calls of their own
        if not mode.is_async and all(behind(impl.function) is None for impl in methods):
            return self._in_the_host(name, methods, kwargs, firstresult)
        if not mode.is_async and waiting.running_loop() is not None:
            raise BlockingInLoop(f"hook {name}: an event loop runs in this thread; use await host.hook.{name}.aio(...)")
        place = IsolatedHooks(mode.settings)
        if not (mode.is_async or firstresult or methods[-1].wrapper or methods[-1].hookwrapper):
            return at_once(methods, kwargs, place)  # the usual case has no need of steps
        call = HookCall(name=name, kwargs=kwargs, firstresult=firstresult, place=place)
        if not mode.is_async:
            return drive(call.steps(methods), place)
        if _goes_around_itself(methods):  # that its own call waits for it is known of threads, and not of event loops
            return asyncio.to_thread(drive, call.steps(methods), place)
        return drive_async(call.steps(methods), place)


def _goes_around_itself(methods: Sequence[pluggy.HookImpl]) -> bool:
    """Whether a plugin in an isolate has a wrapper, and something that it goes around."""
    names = [impl.plugin_name for impl in methods if behind(impl.function) is not None]
    wrapping = {impl.plugin_name for impl in methods if impl.wrapper or impl.hookwrapper}
    return any(name in wrapping and names.count(name) > 1 for name in names)


class IsolatedHooks:
    """How the implementations of one call are asked that run in isolates."""

    __slots__ = ("_settings",)

    def __init__(self, settings: CallSettings) -> None:
        self._settings = settings

    def begin(self, impl: pluggy.HookImpl, kwargs: Mapping[str, Any]) -> Any:
        """Send a call of one with what it takes of these arguments; None if it runs in the host."""
        found = behind(impl.function)
        return None if found is None else found[0].ask(found[1], arguments_of(impl, kwargs), self._settings)

    def is_isolated(self, impl: pluggy.HookImpl) -> bool:
        """Whether one runs in an isolate."""
        return behind(impl.function) is not None

    def surround(self, step: Surround, rest: Callable[[], Any]) -> Any:
        """Have a wrapper go around the rest, and return what comes of that."""
        plugin, hook = self._behind(step)
        return plugin.surround(hook, step.arguments, self._settings, rest)

    async def surround_async(self, step: Surround, rest: Callable[[], Awaitable[Any]]) -> Any:
        """The same, awaited."""
        plugin, hook = self._behind(step)
        return await plugin.surround_async(hook, step.arguments, self._settings, rest)

    @staticmethod
    def _behind(step: Surround) -> tuple[IsolatedPlugin, RemoteHook]:
        found = behind(step.impl.function)
        assert found is not None
        return found


class HookProxy:
    """One hook of a `PluginHost`.

    Called as it is, it returns what pluggy's would: a list of the results that are not None, that of the plugin that
    was registered last first; with ``firstresult`` the first one, or None.
    """

    def __init__(self, manager: HookManager, caller: pluggy.HookCaller) -> None:
        self._manager, self._caller = manager, caller

    def __repr__(self) -> str:
        return f"<hook {self._caller.name}>"

    def __call__(self, **kwargs: Any) -> Any:
        """Call the hook.

        Raises:
            BlockingInLoop: if an event loop runs in this thread, and a plugin concerned runs in an isolate.
            Exception: what a plugin has raised.
        """
        return self._caller(**kwargs)

    def call(
        self,
        *,
        timeout: float | None = None,
        only: frozenset[str] | set[str] | None = None,
        without: frozenset[str] | set[str] = frozenset(),
        **kwargs: Any,
    ) -> HookOutcome:
        """Call the hook, and return what became of it, plugin by plugin.

        Args:
            timeout: seconds that each plugin in an isolate has, in place of what its policy says.
            only, without: the names of the plugins that take part, or do not.
        """
        recorder = Recorder()
        with _as(self._mode(recorder, timeout, only, without)):
            return _outcome(self._caller(**kwargs), recorder)

    async def aio(self, **kwargs: Any) -> Any:
        """Call the hook, and let the event loop run while isolates are asked; what is in the host runs on the loop."""
        with _as(attrs.evolve(_USUAL, is_async=True)):
            found = self._caller(**kwargs)
        return await found

    async def call_aio(
        self,
        *,
        timeout: float | None = None,
        only: frozenset[str] | set[str] | None = None,
        without: frozenset[str] | set[str] = frozenset(),
        **kwargs: Any,
    ) -> HookOutcome:
        """Call the hook as `call` does, and let the event loop run while isolates are asked."""
        recorder = Recorder()
        with _as(attrs.evolve(self._mode(recorder, timeout, only, without), is_async=True)):
            found = self._caller(**kwargs)
        return _outcome(await found, recorder)

    def call_historic(
        self, result_callback: Callable[[Any], None] | None = None, kwargs: Mapping[str, Any] | None = None
    ) -> None:
        """Call the hook for all plugins, and for those that come later, as pluggy does."""
        self._manager.remember(self._caller.name, kwargs or {})
        self._caller.call_historic(result_callback=result_callback, kwargs=kwargs)

    @staticmethod
    def _mode(recorder: Recorder, timeout: float | None, only: Any, without: Any) -> _Mode:
        return _Mode(
            CallSettings(timeout, recorder), False, None if only is None else frozenset(only), frozenset(without)
        )


def _outcome(found: Any, recorder: Recorder) -> HookOutcome:
    results = found if isinstance(found, list) else [] if found is None else [found]
    return HookOutcome(results, recorder.by_plugin, recorder.errors, recorder.skipped)


class HookRelay:
    """The hooks of a `PluginHost`, by their names."""

    def __init__(self, manager: HookManager) -> None:
        self._manager = manager

    def __getattr__(self, name: str) -> HookProxy:
        caller = getattr(self._manager.hook, name, None)
        if caller is None or name.startswith("_"):
            names = ", ".join(sorted(one for one in vars(self._manager.hook) if not one.startswith("_")))
            raise AttributeError(f"there is no hook {name!r}; there are: {names or 'none'}")
        found = self.__dict__[name] = HookProxy(self._manager, caller)
        return found
