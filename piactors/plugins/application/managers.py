"""What an application's plugins are registered with, as its host sees that: pluggy's manager, or nothing at all."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pluggy


class NoManager:
    """The application registers its plugins itself."""

    def __init__(self) -> None:
        self.hook = types.SimpleNamespace()

    def has_plugin(self, name: str) -> bool:
        """Whether a plugin is registered; they are whenever the application has loaded them."""
        return False

    def show(self, make: Callable[[], Any], name: str) -> None:
        """The application asks for what stands for a plugin when it loads that."""

    def forget(self, name: str) -> None:
        """A plugin that does not run is left out when it is called."""

    def repeat_history(self, plugin: str) -> None:
        """The application knows what it has called."""


class ForeignManager:
    """A manager of pluggy's that belongs to the application.

    Args:
        manager: the application's.
    """

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager
        self._places: dict[str, dict[str, int]] = {}

    @property
    def hook(self) -> Any:
        """Its hooks."""
        return self._manager.hook

    def has_plugin(self, name: str) -> bool:
        """Whether a plugin of this name is registered."""
        return self._manager.has_plugin(name)

    def show(self, make: Callable[[], Any], name: str) -> None:
        """Register what stands for a plugin, in the place that this had among the others."""
        self._manager.register(make(), name)
        for hook, place in self._places.pop(name, {}).items():
            implementations = getattr(getattr(self._manager.hook, hook, None), "_hookimpls", None)
            mine = [one for one in implementations or () if one.plugin_name == name]
            if implementations is not None and mine:
                implementations.remove(mine[0])
                implementations.insert(place, mine[0])

    def forget(self, name: str) -> None:
        """A plugin takes no part any more; if it comes back, that is where it was."""
        plugin = self._manager.get_plugin(name)
        if plugin is None:
            return
        self._places[name] = {
            caller.name: [one.plugin_name for one in caller.get_hookimpls()].index(name)
            for caller in self._manager.get_hookcallers(plugin) or ()
        }
        self._manager.unregister(name=name)

    def repeat_history(self, plugin: str) -> None:
        """Historic calls are the manager's, which repeats them for what is registered."""
