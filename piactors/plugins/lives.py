"""The lives of the plugins of one host: starting, taking part, taking over, ending; each in the plugin's row."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import attrs
import pluggy

from piactors._text.logs import plain as logger
from piactors.errors import ActorDeadError, ChildNotFound, PiactorsError
from piactors.plugins import events, versions
from piactors.plugins.asking import FAULTS, IsolatedPlugin
from piactors.plugins.crashes import Crashes
from piactors.plugins.installed import Installed, loaded, marked
from piactors.plugins.manager import HookManager
from piactors.plugins.specs import PluginPolicy, PluginSpec
from piactors.plugins.stand_in import PluginDescription, described, module_of
from piactors.supervisor_ref import SupervisorRef


@attrs.define
class Lives:
    """Starts and ends the plugins of one host.

    Args:
        name: the host's.
        project: whose markers hooks have.
        api: the version of the application's API.
        tree: the supervisor of the isolates.
        stale: called with the name of a plugin whose process has other hooks than its stand-in.
    """

    name: str
    project: str
    api: str | None
    manager: HookManager
    crashes: Crashes
    tree: SupervisorRef
    stale: Callable[[str], object]
    _pluggy: threading.RLock = attrs.field(factory=threading.RLock, init=False)
    """Held while something is registered: pluggy expects that of one thread at a time."""

    def start(self, plugin: Installed) -> None:
        """Start a plugin; if that fails, it says why."""
        spec = plugin.spec
        why = versions.why_incompatible(self.api, spec.api, spec.name)
        if why is not None:
            plugin.became("incompatible", why)
            self.refuse(spec.name, why)
            return
        plugin.became("preparing")
        try:
            self.crashes.begin(spec.name, plugin.policy.quarantine, plugin.key)
            if plugin.policy.isolate:
                self._end(spec.name)
                ref = self.tree.start_child(self._child(plugin, tests=False))
                plugin.runs(ref.generation)
                plugin.has(self._describe(plugin))
            plugin.became("running")
        except Exception as error:
            self._end(spec.name)
            self._failed(plugin, error)

    def register(self, plugin: Installed) -> None:
        """Have the hooks of a plugin called, if it runs."""
        name = plugin.spec.name
        if plugin.state != "running":
            return
        try:
            with self._pluggy:
                if self.manager.has_plugin(name):
                    return
                hooks = self._stand_in(plugin) if plugin.policy.isolate else self._in_the_host(plugin)
        except (Exception, SystemExit) as error:  # an exit of a plugin in the host is not one of the host
            self.take_out(name)
            self._failed(plugin, error)
            return
        plugin.became("running", hooks=hooks)
        plugin.has_heard(plugin.generation)
        events.publish(events.PluginStarted, name, version=plugin.spec.version)

    def swap(self, plugin: Installed, spec: PluginSpec, policy: PluginPolicy) -> None:
        """Have another process take over; what runs goes on if that one does not start.

        Raises:
            PiactorsError: if that one does not start, or is not compatible.
        """
        why = versions.why_incompatible(self.api, spec.api, spec.name)
        if why is not None:
            raise PiactorsError(why)
        generation = self.tree.replace_child(self._child(Installed(spec, policy), tests=True)).get()
        plugin.declared(spec, policy)
        plugin.runs(generation)
        self.crashes.begin(spec.name, policy.quarantine, plugin.key)
        self._refreshed(plugin)
        events.publish(events.PluginReloaded, spec.name, version=spec.version)

    def refresh(self, plugin: Installed) -> None:
        """A process of a plugin has begun by itself: it may have other hooks, and has not heard what others have."""
        if plugin.state == "running" and plugin.policy.isolate and plugin.generation > plugin.heard:
            try:
                self._refreshed(plugin)
            except FAULTS as error:  # it has ended again
                logger.info("plugin %s: %s", plugin.spec.name, str(error))

    def _refreshed(self, plugin: Installed) -> None:
        name, found = plugin.spec.name, self._describe(plugin)
        if found != plugin.described:  # else it keeps its place among the others
            plugin.has(found)
            with self._pluggy:
                self.manager.forget(name)
            self.register(plugin)
            return
        plugin.has_heard(plugin.generation)
        self.manager.repeat_history(name)

    def take_out(self, name: str) -> None:
        """Call a plugin no more, and end its process."""
        with self._pluggy:
            self.manager.forget(name)
        self._end(name)

    def _end(self, name: str) -> None:
        with contextlib.suppress(ChildNotFound, ActorDeadError):
            self.tree.terminate_child(name)
            self.tree.delete_child(name)

    def _failed(self, plugin: Installed, error: BaseException) -> None:
        why = str(error) or repr(error)
        plugin.became("failed", why)
        self.refuse(plugin.spec.name, why)

    def refuse(self, name: str, why: str) -> None:
        """Tell that something takes no part."""
        logger.warning("plugin %s of %s is left out: %s", name, self.project, why)
        events.publish(events.PluginRefused, name, why=why)

    def _child(self, plugin: Installed, *, tests: bool) -> Any:
        with self._pluggy:
            callers = [one for one in vars(self.manager.hook).values() if isinstance(one, pluggy.HookCaller)]
        specs = {one.name: [*one.spec.argnames, *one.spec.kwargnames] for one in callers if one.spec is not None}
        return plugin.child(self.name, self.project, specs, tests=tests)

    def _describe(self, plugin: Installed) -> PluginDescription:
        """Ask a plugin that runs in an isolate for its hooks."""
        ref = self.tree.child(plugin.spec.name)
        try:
            return described(ref.proxy().describe().get(timeout=plugin.policy.start_timeout))
        except TimeoutError:
            ref.terminate()
            seconds = plugin.policy.start_timeout
            raise PiactorsError(f"it has not said within {seconds:g} seconds which hooks it has") from None

    def _stand_in(self, plugin: Installed) -> tuple[str, ...]:
        name, found = plugin.spec.name, plugin.described
        assert found is not None
        isolated = IsolatedPlugin(
            name, self.tree.child(name), plugin.policy, self.crashes, found.fingerprint, lambda: self.stale(name)
        )
        self.manager.register(module_of(name, found.hooks, f"{self.project}_impl", isolated), name)
        return tuple(sorted({hook.hook for hook in found.hooks}))

    def _in_the_host(self, plugin: Installed) -> tuple[str, ...]:
        found = loaded(plugin.spec.target)
        made = found() if isinstance(found, type) else found
        hooks = [name for name, one in vars(self.manager.hook).items() if isinstance(one, pluggy.HookCaller)]
        marked(made, hooks, pluggy.HookimplMarker(self.project))
        self.manager.register(made, plugin.spec.name)
        callers = self.manager.get_hookcallers(made) or []
        return tuple(sorted(caller.name for caller in callers))
