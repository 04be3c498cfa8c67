"""Plugins of applications that know nothing of isolates, moved into some: `isolate`, and `isolated_entry_points`."""

from __future__ import annotations

import itertools
import os
import re
import threading
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pluggy

from piactors._text.logs import plain as logger
from piactors.environment_spec import EnvironmentSpec
from piactors.errors import PiactorsError
from piactors.plugins.application import entry_points, managers, ways
from piactors.plugins.application.lives import ApplicationLives
from piactors.plugins.host import PluginHost
from piactors.plugins.inside._piactors_plugin import things
from piactors.plugins.manager import HookRelay
from piactors.plugins.sources import EntryPoints, Listed
from piactors.plugins.specs import PluginPolicy, PluginSpec
from piactors.supervisor_ref import SupervisorRef

_USUAL = PluginPolicy(concurrency=16)
"""A plugin is called in as many threads as the application calls it in, and its coroutines run side by side."""


class ApplicationHost(PluginHost):
    """The plugins of an application that were moved into isolates.

    It is a `PluginHost` whose hooks the application calls itself, through its own manager, or in whichever way.
    """

    def __init__(self, manager: Any, ways: ways.Ways, **options: Any) -> None:
        self._foreign, self._ways = manager, ways
        super().__init__((), **options)

    def _new_manager(self, hookspecs: Any) -> Any:
        return self._foreign

    def _new_lives(self, tree: SupervisorRef) -> ApplicationLives:
        usual = (self.name, self.project, self.api, self._manager, self._crashes, tree, self._is_stale)
        return ApplicationLives(*usual, application=self._foreign, ways=self._ways)

    @property
    def hook(self) -> HookRelay:
        """The hooks are the application's.

        Raises:
            AttributeError: always.
        """
        raise AttributeError("the hooks of an application are called through its own manager")

    @hook.setter
    def hook(self, value: HookRelay) -> None:
        """There are none here."""

    def stop(self) -> None:
        """Stop all plugins, and wait until they have ended; hooks have no results then."""
        super().stop()
        if isinstance(self._lives, ApplicationLives):
            self._lives.close()

    def stand_in(self, name: str) -> Any:
        """Return what stands in this program for a plugin.

        Raises:
            PluginNotFound: if there is none of this name.
            PiactorsError: if it does not run; the text says why.
        """
        lives, plugin = self._living, self._plugin(name)
        assert isinstance(lives, ApplicationLives)
        found = lives.stand_in_of(name)
        if found is None:
            raise PiactorsError(f"plugin {name} does not run: {plugin.why or plugin.state}")
        return found


def isolate(
    manager: pluggy.PluginManager,
    names: Iterable[str] | None = None,
    *,
    policy: PluginPolicy | None = None,
    arguments: Mapping[str, Any] | None = None,
    environments: Mapping[str, EnvironmentSpec] | None = None,
    state: str | os.PathLike[str] | None = None,
    name: str = "plugins",
) -> ApplicationHost:
    """Move plugins that a pluggy manager has into isolates, one each; the application goes on calling its hooks.

    What stands for each has the signatures and markers of its functions, and its place among the others.  Arguments of
    plain kinds are copied; anything else is lent, so that what a plugin does to it is done here, in the thread that
    calls the hook.  What the plugin gives in return (functions, coroutines, objects of its own) is called in its
    isolate, and found again when that has crashed, by its name or by repeating the hook that it came from.

    Args:
        manager: the application's.  Its plugins are modules, or objects that can be sent to an isolate.
        names: of the plugins that are moved; default None: all.
        policy: how they are treated; default: up to 16 calls at once in each, and otherwise as `PluginPolicy()`.
        arguments: by the name of an argument of hooks, how it reaches the plugins: `snapshot` copies it,
            ``by_ref(methods=[...])`` lends no more than these methods.
        environments: by name, the environment that a plugin runs in; default: that of this program.
        state: a file that quarantines are kept in; default None: they end with the host.
        name: of the host, in logs and names of isolates.

    Raises:
        TypeError, ValueError: if one of these is not allowed, or there is no plugin of a name.
    """
    wanted, listed = None if names is None else _names(names), []
    known = {one: plugin for one, plugin in manager.list_name_plugin() if plugin is not None}
    missing = sorted((wanted or set()) - known.keys())
    if missing:
        raise ValueError(f"isolate: there is no plugin {missing[0]!r}; there are: {', '.join(known) or 'none'}")
    for one, plugin in known.items():
        if (wanted is None or one in wanted) and things.reach_of(plugin) is not None:
            raise ValueError(f"isolate: plugin {one!r} runs in an isolate already")
        if wanted is None or one in wanted:
            target = plugin.__name__ if isinstance(plugin, types.ModuleType) else plugin
            listed.append(PluginSpec(name=one, target=target, environment=(environments or {}).get(one)))
    foreign = managers.ForeignManager(manager)
    host = ApplicationHost(
        foreign,
        ways.checked(arguments),
        project=manager.project_name,
        sources=[Listed(listed)],
        policy=policy or _USUAL,
        state=state,
        name=name,
    )
    for spec in listed:
        foreign.forget(spec.name)
    host._begin()
    return host


def _names(names: Iterable[str]) -> set[str]:
    if isinstance(names, str):
        raise TypeError(f"names={names!r} is a text; use a list of names")
    return set(names)


class IsolatedEntryPoints(ApplicationHost):
    """Entry points that are loaded into isolates; as a context manager, within its block."""

    group = ""
    _names: frozenset[str] | None = None
    _environments: Mapping[str, EnvironmentSpec]

    def takes(self, group: str, names: frozenset[str] | None, environments: Mapping[str, EnvironmentSpec]) -> None:
        """These entry points are its."""
        self.group, self._names, self._environments = group, names, dict(environments)
        self._loading = threading.Lock()
        self._unloaded: set[str] = set()

    def _begin(self) -> None:
        super()._begin()
        self._unloaded = set(self._plugins)

    def loads(self, group: str, name: str, value: str) -> tuple[Any] | None:
        """Return what stands for an entry point, which is started if it has not been; None if it is not one of these.

        A module that does not start is an empty one for the application, which goes on without it.

        Raises:
            ImportError: if it is something else, and does not start.
        """
        module, _, path = value.partition(":")
        if group not in (self.group, "") or not self._is_its(name, module):
            return None
        with self._loading:  # what two threads load is started once
            plugin = self._named(name, value)
            if plugin is None:
                if group == "":  # of pkg_resources, which does not say
                    return None
                plugin = self._load(name, value)
            self._unloaded.discard(plugin)
        try:
            return (self.stand_in(plugin),)
        except PiactorsError as error:
            if self._policy.on_error == "raise" or path:
                raise ImportError(f"entry point {name} of {self.group}: {error}", name=module) from error
            logger.warning("entry point %s of %s is left out: %s", name, self.group, str(error))
            return (types.ModuleType(f"piactors_isolated_{name}", str(error)),)

    def _is_its(self, name: str, module: str) -> bool:
        return self._names is None or name in self._names or module in self._names

    def _named(self, name: str, value: str) -> str | None:
        """Return the name by which an entry point runs here; None if it does not."""
        with self._lock:
            found = [one.spec for one in self._plugins.values() if one.spec.target == value]
        return next((one.name for one in found if one.name in (name, _allowed(name))), None)

    def _load(self, name: str, value: str) -> str:
        plugin = next(one for one in _names_like(_allowed(name)) if one not in self._plugins)
        spec = PluginSpec(name=plugin, target=value, environment=self._environments.get(name))
        job = self._jobs.submit(plugin, lambda: self._declare(spec))
        error = job.exception()
        if error is None:
            self._living.register(self._plugin(plugin))
        return plugin

    def stop(self) -> None:
        """Load entry points as usual from now on, and end the isolates."""
        if entry_points.end(self) and self._unloaded:
            names = ", ".join(sorted(self._unloaded))
            logger.warning("entry points of %s that the application has not loaded by load(): %s", self.group, names)
        super().stop()


def _allowed(name: str) -> str:
    """Return a name that a plugin may have, for an entry point, whose name may be anything."""
    return re.sub("[^A-Za-z0-9._-]", "_", name).lstrip("._-")[:150] or "plugin"


def _names_like(name: str) -> Iterator[str]:
    yield name
    for number in itertools.count(2):
        yield f"{name}-{number}"


def isolated_entry_points(
    group: str,
    names: Iterable[str] | None = None,
    *,
    policy: PluginPolicy | None = None,
    arguments: Mapping[str, Any] | None = None,
    environments: Mapping[str, EnvironmentSpec] | None = None,
    state: str | os.PathLike[str] | None = None,
    name: str = "plugins",
) -> IsolatedEntryPoints:
    """Have entry points of a group load into isolates, for any application that finds its plugins by them.

    From this call on, `EntryPoint.load` of the standard library (and that of ``importlib_metadata`` and
    ``pkg_resources``) returns for them what stands for a module, a function, a class or an object in an isolate; see
    `isolate`.  It ends with `stop`, or with the block if this is used as a context manager.

    Args:
        group: of the entry points, such as ``"datasette"``.
        names: of the entry points, or of their modules; default None: all of the group.
        policy, arguments, environments, state, name: as of `isolate`.

    Raises:
        TypeError, ValueError: if one of these is not allowed, or there is no entry point of a name.

    Example:
        ::

            with isolated_entry_points("datasette", ["datasette_json_html"]):
                from datasette.cli import cli
                cli()
    """
    if not isinstance(group, str) or not group:
        raise ValueError(f"isolated_entry_points: group={group!r} is not allowed; use the name of a group")
    wanted = None if names is None else frozenset(_names(names))
    environments = dict(environments or {})
    known = [spec for spec in EntryPoints(group).find() if isinstance(spec, PluginSpec)]
    missing = sorted((wanted or frozenset()) - {one for spec in known for one in (spec.name, _module(spec))})
    if missing:
        there = ", ".join(sorted({spec.name for spec in known})) or "none"
        raise ValueError(f"there is no entry point {missing[0]!r} of {group!r}; there are: {there}")
    listed = [
        _in_environment(spec, environments) for spec in known if wanted is None or {spec.name, _module(spec)} & wanted
    ]
    host = IsolatedEntryPoints(
        managers.NoManager(),
        ways.checked(arguments),
        project=group,
        sources=[Listed(listed)],
        policy=policy or _USUAL,
        state=state,
        name=name,
    )
    host.takes(group, wanted, environments)
    host._begin()
    entry_points.begin(host)
    return host


def _module(spec: PluginSpec) -> str:
    return str(spec.target).partition(":")[0]


def _in_environment(spec: PluginSpec, environments: Mapping[str, EnvironmentSpec]) -> PluginSpec:
    found = environments.get(spec.name) or environments.get(_module(spec))
    if found is None:
        return spec
    return PluginSpec(name=spec.name, target=spec.target, version=spec.version, environment=found)
