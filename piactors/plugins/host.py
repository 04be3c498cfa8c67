"""`PluginHost`: finds plugins, runs each in an isolate, and calls their hooks as pluggy does."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self

from piactors import events as piactors_events
from piactors._text.logs import plain as logger
from piactors.errors import PiactorsError
from piactors.events import IsolateExited, IsolateStarted
from piactors.future import Future
from piactors.plugins import names, rows, versions, watching
from piactors.plugins.crashes import Crashes
from piactors.plugins.installed import Installed
from piactors.plugins.kept import KeptState
from piactors.plugins.lives import Lives
from piactors.plugins.manager import HookManager, HookRelay
from piactors.plugins.probation import Probation
from piactors.plugins.sources import PluginSource, RefusedPlugin, found_in
from piactors.plugins.specs import PluginHealth, PluginInfo, PluginPolicy, PluginSpec, bounded
from piactors.supervisor import Supervisor
from piactors.supervisor_ref import SupervisorRef

_AT_ONCE = 8
_EARLY_ENDS, _EARLY_SECONDS = 3, 10
_OFF = ("off", "0", "no", "none")


class PluginNotFound(PiactorsError):
    """A host has no plugin of that name."""


class PluginHost:
    """Plugins of an application, each supervised in an isolate of its own, and their hooks.

    Attributes:
        hook: the hooks, by name: ``host.hook.render(text="x")``.
        tree: the supervisor of the isolates: one child for each plugin.
    """

    def __init__(
        self,
        hookspecs: Any,
        *,
        project: str,
        api: str | None = None,
        sources: Iterable[PluginSource] = (),
        policy: PluginPolicy | None = None,
        state: str | os.PathLike[str] | None = None,
        name: str = "plugins",
    ) -> None:
        if api is not None:
            versions.check_api(api)
        self.project, self.api, self.name = project, api, names.taken(name)
        self._policy = policy or PluginPolicy()
        self._sources = list(sources)
        self._manager = self._new_manager(hookspecs)
        self._kept = KeptState(state)
        self._crashes = Crashes(self._kept, forgives=lambda plugin: self._probation.has_failed(plugin))
        self._plugins: dict[str, Installed] = {}
        self._watching = watching.FileWatch(f"{name}-files", self._files_changed)
        self._lock = threading.RLock()
        self._jobs = rows.Rows(_AT_ONCE, f"{name}-jobs")
        self._lasting: threading.Timer | None = None
        self._has_died_early = False
        self._probation: Probation = Probation(self._plugins, self._jobs.submit, lambda: self._living)
        self._unsubscribe: Callable[[], None] = lambda: None
        self._lives: Lives | None = None
        self.hook = HookRelay(self._manager)
        self.refused: tuple[RefusedPlugin, ...] = ()

    @classmethod
    def start(cls, hookspecs: object, **options: Any) -> Self:
        """Start a host, and the plugins that it finds, and return it once each runs or is known not to.

        Args:
            hookspecs: the specifications of the hooks: a module or object that is marked with pluggy's
                ``HookspecMarker``, or a list of them.
            project: the name that markers and ``pluggy.PluginManager`` of the application have.
            api: the version of the application's API, which plugins name in their ``api``; default None: any fits.
            sources: where plugins come from, such as ``EntryPoints("group")`` and ``Folder("path")``; of equal names
                the first one counts.
            policy: how plugins are treated; bounds what the policy of each says.
            state: a file that quarantines are kept in; default None: they end with the host.
            name: of the host, in logs and names of isolates; default "plugins".

        Nothing that a plugin does keeps this from returning: a start takes at most the `start_timeout` of its policy,
        after the build of its environment.  With ``<PROJECT>_PLUGINS=off`` in the environment nothing is started; nor
        if the program has died within 10 seconds of its start three times in a row, as far as `state` knows of that.

        Raises:
            TypeError, ValueError: if one of these is not allowed.
        """
        host = cls(hookspecs, **options)
        host._begin()
        return host

    def _new_manager(self, hookspecs: Any) -> Any:
        """Return what keeps and calls the hooks."""
        manager = HookManager(self.project)
        for one in hookspecs if isinstance(hookspecs, list | tuple) else [hookspecs]:
            manager.add_hookspecs(one)
        return manager

    def _new_lives(self, tree: SupervisorRef) -> Lives:
        """Return what starts and ends plugins."""
        return Lives(self.name, self.project, self.api, self._manager, self._crashes, tree, self._is_stale)

    def _begin(self) -> None:
        self._has_died_early = self._kept.begins(f"{self.project}.{self.name}") >= _EARLY_ENDS
        if self._kept.is_kept:
            self._lasting = threading.Timer(_EARLY_SECONDS, self._has_lasted)
            self._lasting.daemon = True
            self._lasting.start()
        tree = Supervisor.start(children=[], name=self.name, max_restarts=None)
        self._lives = self._new_lives(tree)
        self._unsubscribe = piactors_events.subscribe(self._happened, IsolateStarted, IsolateExited)
        try:
            self._find()
        except BaseException:
            self.stop()
            raise

    def _find(self) -> None:
        specs, refused = found_in(self._sources)
        self.refused = tuple(refused)
        for one in refused:
            self._living.refuse(one.name, one.why)
        if self._has_died_early:
            text = "plugins of %s are off this time: it has ended %d times within %d seconds of its start"
            logger.warning(text, self.project, _EARLY_ENDS, _EARLY_SECONDS)
        elif self.is_safe_mode:
            logger.warning("plugins of %s are off: nothing of them is started", self.project)
        begun = [(spec, self._jobs.submit(spec.name, partial(self._declare, spec))) for spec in specs]
        for spec, job in begun:  # in their order, whichever is ready first
            error = job.exception()
            if error is None:
                self._living.register(self._plugin(spec.name))
            else:
                self._living.refuse(spec.name, str(error))

    @property
    def is_safe_mode(self) -> bool:
        """Whether no plugin is started: the environment says so, or the program has died early too often in a row."""
        if self._has_died_early:
            return True
        variable = f"{re.sub('[^A-Za-z0-9]+', '_', self.project).upper()}_PLUGINS"
        return os.environ.get(variable, "").lower() in _OFF

    def _has_lasted(self) -> None:
        self._kept.lasts(f"{self.project}.{self.name}")

    @property
    def tree(self) -> SupervisorRef:
        """The supervisor of the isolates."""
        return self._living.tree

    @property
    def _living(self) -> Lives:
        if self._lives is None:
            raise PiactorsError("a plugin host is made by PluginHost.start(...)")
        return self._lives

    # What there is

    def plugins(self) -> tuple[PluginInfo, ...]:
        """Return the plugins, in the order in which they came."""
        with self._lock:
            return tuple(self._info(plugin) for plugin in self._plugins.values())

    def _info(self, plugin: Installed) -> PluginInfo:
        return PluginInfo(
            name=plugin.spec.name,
            version=plugin.spec.version,
            state=plugin.state,
            why=plugin.why,
            hooks=plugin.hooks,
            isolated=plugin.policy.isolate,
        )

    def health(self) -> dict[str, PluginHealth]:
        """Return how each plugin is, by name."""
        found = {}
        with self._lock:
            for name, plugin in self._plugins.items():
                crashes, last, hooks = self._crashes.of(name)
                found[name] = PluginHealth(
                    state=plugin.state,
                    why=plugin.why,
                    crashes=crashes,
                    last_exit=last,
                    quarantined=hooks,
                    generation=plugin.generation,
                )
        return found

    # Change at run time

    def install(self, spec: PluginSpec) -> Future[PluginInfo]:
        """Add a plugin and start it; of an installed one, have this version take over between two calls.

        Returns:
            A future of the plugin once it runs.  It fails, and what ran before goes on, if the new one does not start.
        """
        return self._jobs.submit(spec.name, partial(self._install, spec))

    def remove(self, name: str) -> Future[None]:
        """Stop a plugin and forget it."""
        return self._jobs.submit(name, partial(self._remove, name))

    def enable(self, name: str) -> Future[PluginInfo]:
        """Start a plugin that is disabled, has failed, or was stopped."""
        return self._jobs.submit(name, partial(self._enable, name))

    def disable(self, name: str) -> Future[PluginInfo]:
        """Stop a plugin; it is not called until it is enabled again."""
        return self._jobs.submit(name, partial(self._disable, name))

    def reload(self, name: str) -> Future[PluginInfo]:
        """Have a fresh process of a plugin, with the code that is there now, take over between two calls."""
        return self._jobs.submit(name, partial(self._reload, name))

    def release(self, name: str) -> None:
        """Let a plugin and its hooks take part again that are in quarantine, and forget its crashes."""
        self._plugin(name)
        self._crashes.release(name)

    def stop(self) -> None:
        """Stop all plugins, and wait until they have ended; hooks have no results then."""
        if self._lasting is not None and self._lasting.is_alive():
            self._lasting.cancel()
            self._has_lasted()
        self._unsubscribe()
        self._watching.close()
        self._jobs.close()
        for name, plugin in list(self._plugins.items()):
            self._manager.forget(name)
            if plugin.state == "running":
                plugin.became("stopped", "the host has stopped")
        if self._lives is not None:
            self._lives.tree.stop()
        names.release(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    # Jobs: of one plugin one after the other

    def _plugin(self, name: str) -> Installed:
        with self._lock:
            found = self._plugins.get(name)
            names = ", ".join(self._plugins) or "none"
        if found is None:
            raise PluginNotFound(f"there is no plugin {name!r}; there are: {names}")
        return found

    def _declare(self, spec: PluginSpec) -> PluginInfo:
        plugin = Installed(spec, bounded(self._policy, spec.policy))
        with self._lock:
            self._plugins[spec.name] = plugin
        if plugin.policy.enabled and not self.is_safe_mode:
            self._living.start(plugin)
        elif not plugin.policy.enabled:
            plugin.became("disabled", "its policy says so")
        if plugin.policy.enabled and not self.is_safe_mode:
            self._watch(plugin)
        return self._info(plugin)

    def _install(self, spec: PluginSpec) -> PluginInfo:
        with self._lock:
            before = self._plugins.get(spec.name)
        policy = bounded(self._policy, spec.policy)
        if before is not None and before.state == "running" and before.policy.isolate and policy.isolate:
            self._probation.take_over(before, spec, policy)
            return self._started(before)
        plugin = Installed(spec, policy)
        if before is not None:
            self._living.take_out(spec.name)
        self._living.start(plugin)
        self._living.register(plugin)
        if plugin.state == "running" or before is None:
            info = self._started(plugin)  # else nothing of it is left
            with self._lock:
                self._plugins[spec.name] = plugin
            return info
        if before.state == "running":  # it comes back
            before.became("disabled")
            self._enable(spec.name)
        return self._started(plugin)

    def _enable(self, name: str) -> PluginInfo:
        plugin = self._plugin(name)
        if plugin.state != "running":
            self._living.start(plugin)
            self._living.register(plugin)
        return self._started(plugin)

    def _started(self, plugin: Installed) -> PluginInfo:
        if plugin.state != "running":
            raise PiactorsError(f"plugin {plugin.spec.name} does not run: {plugin.why}")
        self._watch(plugin)
        return self._info(plugin)

    def _watch(self, plugin: Installed) -> None:
        """Watch the files of a plugin, if its policy says so: also if it does not run, as that may mend it."""
        if plugin.policy.watch and plugin.policy.isolate:
            self._watching.watch(plugin.spec.name, watching.files_of(plugin.spec))

    def _files_changed(self, name: str) -> None:
        self._jobs.submit(name, partial(self._reload_changed, name))

    def _reload_changed(self, name: str) -> None:
        """The files of a plugin have changed: reload it; if that fails, it goes on as it was, and says so."""
        with self._lock:
            plugin = self._plugins.get(name)
        if plugin is None or plugin.state == "disabled":
            return
        was_running = plugin.state == "running"
        try:
            self._reload(name)
        except Exception as error:
            why = f"its new code does not start: {error}"
            if was_running:
                plugin.became("running", why)
            self._living.refuse(name, why)
        else:
            plugin.became("running")

    def _disable(self, name: str) -> PluginInfo:
        plugin = self._plugin(name)
        self._watching.forget(name)
        self._living.take_out(name)
        plugin.runs(0)
        plugin.became("disabled", "somebody has disabled it")
        return self._info(plugin)

    def _remove(self, name: str) -> None:
        self._plugin(name)
        self._watching.forget(name)
        self._living.take_out(name)
        with self._lock:
            del self._plugins[name]

    def _reload(self, name: str) -> PluginInfo:
        plugin = self._plugin(name)
        if plugin.state == "running" and plugin.policy.isolate:
            self._living.swap(plugin, plugin.spec, plugin.policy)
            return self._started(plugin)
        if plugin.state == "running":
            raise PiactorsError(f"plugin {name} runs in the host, where code that is loaded stays as it is")
        return self._enable(name)

    # News of isolates

    def _is_stale(self, name: str) -> None:
        with self._lock:
            plugin = self._plugins.get(name)
        if plugin is not None:
            self._jobs.submit(name, partial(self._living.refresh, plugin))

    def _happened(self, event: Any) -> None:
        prefix = f"{self.name}."
        with self._lock:
            plugin = self._plugins.get(event.name[len(prefix) :]) if event.name.startswith(prefix) else None
        if plugin is None:
            return
        name = plugin.spec.name
        if isinstance(event, IsolateStarted):
            plugin.runs(max(event.generation, plugin.generation))
            if event.generation > 1:
                self._jobs.submit(name, partial(self._living.refresh, plugin))
            return
        self._crashes.crashed((name, event.generation, event.pid), "", event.reason)
        restart = plugin.policy.restart
        if plugin.state == "running" and (
            restart == "temporary" or (restart == "transient" and event.reason.is_normal)
        ):
            plugin.became("stopped", f"its process has ended: {event.reason.summary}")
            self._jobs.submit(name, partial(self._living.take_out, name))
