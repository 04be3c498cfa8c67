"""Plugin hosts: plugins of an application, each supervised in an isolate of its own, and pluggy's hooks over them.

Needs the extra ``piactors[plugins]``: pluggy and packaging.
"""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("pluggy") is None or importlib.util.find_spec("packaging") is None:
    raise ModuleNotFoundError("plugins need the packages pluggy and packaging; pip install 'piactors[plugins]'")

from piactors.environment_spec import EnvironmentSpec
from piactors.plugins.application.host import ApplicationHost, isolate, isolated_entry_points
from piactors.plugins.application.ways import snapshot
from piactors.plugins.events import (
    HookFailed,
    PluginCrashed,
    PluginQuarantined,
    PluginRefused,
    PluginReleased,
    PluginReloaded,
    PluginRolledBack,
    PluginStarted,
)
from piactors.plugins.host import PluginHost, PluginNotFound
from piactors.plugins.manager import BlockingInLoop, HookOutcome, HookProxy, HookRelay
from piactors.plugins.sources import EntryPoints, Folder, Listed, RefusedPlugin
from piactors.plugins.specs import PluginHealth, PluginInfo, PluginPolicy, PluginSpec, Quarantine

__all__ = [
    "ApplicationHost",
    "BlockingInLoop",
    "EntryPoints",
    "EnvironmentSpec",
    "Folder",
    "HookFailed",
    "HookOutcome",
    "HookProxy",
    "HookRelay",
    "Listed",
    "PluginCrashed",
    "PluginHealth",
    "PluginHost",
    "PluginInfo",
    "PluginNotFound",
    "PluginPolicy",
    "PluginQuarantined",
    "PluginRefused",
    "PluginReleased",
    "PluginReloaded",
    "PluginRolledBack",
    "PluginSpec",
    "PluginStarted",
    "Quarantine",
    "RefusedPlugin",
    "isolate",
    "isolated_entry_points",
    "snapshot",
]
