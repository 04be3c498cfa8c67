"""What happens to plugins, as events of `piactors.events`; `name` is the plugin's."""

from __future__ import annotations

import time
from typing import Any

import attrs

from piactors import events
from piactors._host import relay, runtime
from piactors.exit_reason import ExitReason


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PluginStarted(events.Event):
    """A plugin runs, and its hooks are called; `version` is its own."""

    version: str | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PluginRefused(events.Event):
    """A plugin does not run: it is incompatible, malformed, or does not start; `why` says it in words."""

    why: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PluginReloaded(events.Event):
    """Another process, perhaps of another version, has taken over between two calls."""

    version: str | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PluginRolledBack(events.Event):
    """A new version of a plugin has crashed too often in its probation: the one before it runs again.

    Attributes:
        version: that one.
        given_up: the new one.
    """

    version: str | None
    given_up: str | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PluginCrashed(events.Event):
    """A process of a plugin has ended abnormally; `hook` is what it ran, "" if it ran none."""

    hook: str
    reason: ExitReason


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PluginQuarantined(events.Event):
    """A hook of a plugin is left out from now on, since it crashes too often; with `hook` "" the whole plugin."""

    hook: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PluginReleased(events.Event):
    """A plugin takes part again: a trial has gone well, or somebody has released it."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HookFailed(events.Event):
    """A hook of a plugin had no result, for a reason that is not an exception of its own; `error` says it in words."""

    hook: str
    error: str


def publish(cls: type[events.Event], name: str, **fields: Any) -> None:
    """Tell subscribers, if there are any."""
    if events.bus.is_wanted(cls):
        event = cls(name=name, pid=None, generation=0, time=time.time(), **fields)
        runtime.current().dispatcher.submit(relay.publish, event)
