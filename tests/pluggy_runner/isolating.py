"""A pytest plugin that has pluggy's tests run with `HookManager`, and their plugins in isolates.

Load it with ``-p pluggy_runner.isolating``.  `pluggy.PluginManager` is another one by the time the tests import it.
Functions of the tests are sent with what they close over; what they change of that changes in their isolate alone.
"""

from __future__ import annotations

import os
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pluggy
import pytest

import piactors
from piactors.errors import NotSendable, StartError
from piactors.options import IsolationOptions
from piactors.plugins.asking import CallSettings, IsolatedPlugin
from piactors.plugins.crashes import Crashes
from piactors.plugins.driving import drive
from piactors.plugins.inside import FOLDER, SIDE
from piactors.plugins.kept import KeptState
from piactors.plugins.manager import HookManager, IsolatedHooks
from piactors.plugins.multicall import HookCall
from piactors.plugins.specs import PluginPolicy
from piactors.plugins.stand_in import RemoteHook, described, module_of

POLICY = PluginPolicy(on_error="raise", quarantine=None)
ISOLATES = os.environ.get("PIACTORS_PLUGGY_IN") != "host"


class IsolatingManager(HookManager):
    """Runs the hooks of each plugin that can be sent in an isolate of its own, and shows the plugins themselves."""

    def __init__(self, project_name: str) -> None:
        super().__init__(project_name)
        self._behind: dict[Any, Any] = {}
        """By stand-in: the plugin."""

    def register(self, plugin: Any, name: str | None = None) -> str | None:
        """Register a stand-in of it."""
        plugin_name = name or self.get_canonical_name(plugin)
        if not ISOLATES or plugin is None or self.is_registered(plugin) or self.is_blocked(plugin_name):
            return super().register(plugin, name)
        functions = {one: getattr(plugin, one) for one in dir(plugin) if self.parse_hookimpl_opts(plugin, one)}
        sent = plugin if not isinstance(plugin, type | types.ModuleType) else types.SimpleNamespace(**functions)
        isolated = isolate(sent, plugin_name, self.project_name) if functions else None
        if isolated is None or self.has_plugin(plugin_name):
            return super().register(plugin, name)
        behind, hooks = isolated
        module = module_of(plugin_name, hooks, f"{self.project_name}_impl", behind)
        self._behind[module] = plugin
        try:
            return super().register(module, plugin_name)
        except pluggy.PluginValidationError as error:
            error.plugin = plugin
            raise

    def _stand_in(self, plugin: Any) -> Any:
        return next((module for module, one in self._behind.items() if one is plugin), plugin)

    def _own(self, module: Any) -> Any:
        return self._behind.get(module, module) if isinstance(module, types.ModuleType) else module

    def unregister(self, plugin: Any = None, name: str | None = None) -> Any:
        """Unregister it."""
        return self._own(super().unregister(self._stand_in(plugin), name))

    def get_plugin(self, name: str) -> Any:
        """Return it."""
        return self._own(super().get_plugin(name))

    def get_plugins(self) -> set[Any]:
        """Return them."""
        return {self._own(plugin) for plugin in super().get_plugins()}

    def list_name_plugin(self) -> list[tuple[str, Any]]:
        """Return their names and them."""
        return [(name, self._own(plugin)) for name, plugin in super().list_name_plugin()]

    def is_registered(self, plugin: Any) -> bool:
        """Whether it is registered."""
        return super().is_registered(self._stand_in(plugin))

    def get_name(self, plugin: Any) -> str | None:
        """Return its name."""
        return super().get_name(self._stand_in(plugin))

    def get_hookcallers(self, plugin: Any) -> Any:
        """Return its hooks."""
        return super().get_hookcallers(self._stand_in(plugin))

    def subset_hook_caller(self, name: str, remove_plugins: Iterable[Any]) -> pluggy.HookCaller:
        """Return a hook without some of them."""
        return super().subset_hook_caller(name, [self._stand_in(plugin) for plugin in remove_plugins])


def isolate(plugin: Any, name: str, project: str) -> tuple[IsolatedPlugin, tuple[RemoteHook, ...]] | None:
    """Return a plugin in an isolate of its own; None if it cannot be sent."""
    options = IsolationOptions(trust="code", restart="temporary", sys_path=[FOLDER])
    try:
        ref = piactors.spawn(SIDE, plugin, project, {}, False, options=options)
    except (NotSendable, StartError):
        return None
    found = described(ref.proxy().describe().get(timeout=10))
    return IsolatedPlugin(name, ref, POLICY, Crashes(KeptState(None)), found.fingerprint), found.hooks


def multicall(
    hook_name: str, hook_impls: Sequence[pluggy.HookImpl], caller_kwargs: Mapping[str, object], firstresult: bool
) -> Any:
    """Run implementations as pluggy's `_multicall` does, each in an isolate of its own."""
    methods = []
    for number, impl in enumerate(hook_impls):
        plugin = isolate(_alone(impl), f"p{number}", "example") if ISOLATES else None
        methods.append(impl if plugin is None else _stand_in(impl, plugin))
    place = IsolatedHooks(CallSettings())
    call = HookCall(name=hook_name, kwargs=caller_kwargs, firstresult=firstresult, place=place)
    return drive(call.steps(methods), place)


def _alone(impl: pluggy.HookImpl) -> Any:
    return types.SimpleNamespace(**{impl.function.__name__: impl.function})


def _stand_in(impl: pluggy.HookImpl, plugin: tuple[IsolatedPlugin, tuple[RemoteHook, ...]]) -> pluggy.HookImpl:
    behind, (hook,) = plugin
    module = module_of(behind.name, [hook], "example_impl", behind)
    return pluggy.HookImpl(module, behind.name, getattr(module, hook.name), impl.opts)


pluggy.PluginManager = IsolatingManager  # type: ignore[misc]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests of pluggy's engine run ours."""
    for item in items:
        module = getattr(item, "module", None)
        if module is not None and hasattr(module, "_multicall"):
            module._multicall = multicall


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    """Stop the isolates of a test."""
    yield
    import pykka

    pykka.ActorRegistry.stop_all(timeout=10)
