"""New versions of plugins: for some time the one before is kept, and takes over again if they crash too often."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs

from piactors._text.logs import plain as logger
from piactors.plugins import events
from piactors.plugins.installed import Installed
from piactors.plugins.lives import Lives
from piactors.plugins.specs import PluginPolicy, PluginSpec


@attrs.frozen
class Probation:
    """Has versions of plugins take over, and give way.

    Args:
        plugins: those of the host, by name.
        submit: has a job of a plugin done, after those that it has.
        lives: returns what starts and ends them.
    """

    _plugins: Mapping[str, Installed]
    _submit: Callable[[str, Callable[[], object]], Any]
    _lives: Callable[[], Lives]

    def take_over(self, plugin: Installed, spec: PluginSpec, policy: PluginPolicy) -> None:
        """Have another version take over, on probation if it is another one indeed."""
        old = Installed(plugin.spec, plugin.policy)
        self._lives().swap(plugin, spec, policy)
        plugin.became("running")
        if Installed(spec, policy).key != old.key and policy.probation > 0:
            plugin.is_on_probation(old.spec, old.policy, time.monotonic() + policy.probation)

    def has_failed(self, name: str) -> bool:
        """A plugin is to be left out: if the version before it is kept, have that run again, and return True."""
        plugin = self._plugins.get(name)
        if plugin is None or plugin.before is None or time.monotonic() >= plugin.until:
            return False
        self._submit(name, partial(self._give_way, plugin))
        return True

    def _give_way(self, plugin: Installed) -> None:
        before, given_up = plugin.is_trusted(), plugin.spec
        if before is None or plugin.state != "running":  # a job that came first has changed it
            return
        spec, policy = before
        try:
            self._lives().swap(plugin, spec, policy)
        except Exception as error:
            logger.warning("plugin %s: version %s does not start again: %s", spec.name, spec.version, str(error))
            return
        why = f"version {given_up.version} has crashed too often in its probation: {spec.version} runs again"
        plugin.became("running", why)
        logger.warning("plugin %s: %s", spec.name, why)
        events.publish(events.PluginRolledBack, spec.name, version=spec.version, given_up=given_up.version)
