"""The lives of plugins whose application was not written for isolates: what stands for each in the host."""

from __future__ import annotations

import logging
import types
from collections.abc import Callable
from typing import Any

import attrs

from piactors._text.logs import plain as logger
from piactors.errors import CallTimeout, IsolateCrashed, NotSendable, PiactorsError, UntrustedReply
from piactors.plugins import events
from piactors.plugins.application import hooks, managers, resources, ways
from piactors.plugins.application.gateway import Gateway, handle_of
from piactors.plugins.application.side import HostSide
from piactors.plugins.crashes import Crashes
from piactors.plugins.inside import APPLICATION_SIDE
from piactors.plugins.inside._piactors_plugin import facts, things
from piactors.plugins.installed import Installed
from piactors.plugins.lives import Lives
from piactors.plugins.specs import PluginPolicy
from piactors.plugins.stand_in import PluginDescription

_COPIED = frozenset({"markupsafe:Markup"})
"""Classes of texts that are copied from any plugin: what is made of a text of theirs would be that in the host, too."""


@attrs.define
class Hooks:
    """What becomes of calls of the hooks of one plugin."""

    name: str
    policy: PluginPolicy
    crashes: Crashes
    ways: ways.Ways
    _warned: set[str] = attrs.field(factory=set, init=False)

    def is_left_out(self, hook: str) -> bool:
        """Whether a hook is not called now."""
        return self.crashes.are_some_closed and self.crashes.why_not(self.name, hook) is not None

    def answered(self, hook: str) -> None:
        """A hook has returned, or raised something."""
        if self.crashes.are_some_closed:
            self.crashes.answered(self.name, hook)

    def failed(self, hook: str, error: Exception) -> None:
        """There was no answer of a hook.

        Raises:
            Exception: the error, if the policy says so.
        """
        if isinstance(error, IsolateCrashed):
            alone = self.policy.concurrency == 1 or isinstance(error, CallTimeout)  # else any of them may have done it
            process = (self.name, error.generation, error.pid)
            self.crashes.crashed(process, hook if alone else "", error.reason)
        if self.crashes.are_some_closed:
            self.crashes.undecided(self.name, hook)
        key = f"{hook}: {type(error).__name__}"
        once = isinstance(error, NotSendable | UntrustedReply | ValueError)
        logger.log(
            logging.DEBUG if once and key in self._warned else logging.WARNING,
            "hook %s of plugin %s is left out: %s",
            *(hook, self.name, str(error)),
        )
        self._warned.add(key)
        events.publish(events.HookFailed, self.name, hook=hook, error=str(error))
        if self.policy.on_error == "raise":
            raise error


@attrs.define
class PluginBorder:
    """The border with one plugin, and what stands for that."""

    side: HostSide
    gateway: Gateway
    told: facts.Facts = attrs.field(factory=dict)
    """What the plugin has said of itself."""
    _make: Callable[[], Any] | None = None
    _stand_in: Any = None

    def shows(self, told: facts.Facts, make: Callable[[], Any]) -> None:
        """This makes what stands for the plugin, when that is asked for: its application may not be imported yet."""
        self.told, self._make, self._stand_in = told, make, None

    @property
    def stand_in(self) -> Any:
        """What stands for the plugin; None if it has not said what it is."""
        if self._stand_in is None and self._make is not None:
            self._stand_in = self._make()
        return self._stand_in

    def close(self) -> None:
        """Nothing stands for it any more."""
        self.gateway.close()
        resources.undress(self._stand_in)


@attrs.define
class ApplicationLives(Lives):
    """Starts and ends the plugins of one application.

    Args:
        application: what its plugins are registered with.
        ways: how arguments of hooks reach the plugins.
    """

    application: managers.NoManager | managers.ForeignManager = attrs.field(kw_only=True)
    ways: ways.Ways = attrs.field(kw_only=True)
    _borders: dict[str, PluginBorder] = attrs.field(factory=dict, init=False)

    def stand_in_of(self, name: str) -> Any:
        """Return what stands for a plugin; None if it does not run."""
        border = self._borders.get(name)
        return None if border is None else border.stand_in

    def _border(self, plugin: Installed) -> PluginBorder:
        name, policy = plugin.spec.name, plugin.policy
        found = self._borders.get(name)
        if found is None:
            accepted = _COPIED | {f"{cls.__module__}:{cls.__qualname__}" for cls in policy.accept}
            side = HostSide(name, accepted, trusts=policy.trust == "code")
            found = self._borders[name] = PluginBorder(side, Gateway(side, f"{self.name}.{name}"))
        return found

    def _child(self, plugin: Installed, *, tests: bool) -> Any:
        border = self._border(plugin)
        usual = plugin.child(self.name, self.project, {}, tests=tests)
        accepted = sorted(f"{cls.__module__}:{cls.__qualname__}" for cls in plugin.policy.accept)
        args = (plugin.spec.target, handle_of(border.gateway), accepted, plugin.policy.concurrency)
        return attrs.evolve(usual, target=APPLICATION_SIDE, args=args)

    def _describe(self, plugin: Installed) -> PluginDescription:
        name, border = plugin.spec.name, self._border(plugin)
        ref = self.tree.child(name)
        border.side.connect(ref.proxy())
        try:
            node = ref.proxy().describe().get(timeout=plugin.policy.start_timeout)
        except TimeoutError:
            ref.terminate()
            seconds = plugin.policy.start_timeout
            raise PiactorsError(f"it has not said within {seconds:g} seconds what it is") from None
        border.shows(node[-1], self._maker(plugin, border, node))
        return PluginDescription((), repr(node))

    def _maker(self, plugin: Installed, border: PluginBorder, node: Any) -> Callable[[], Any]:
        """Return what makes what stands for a plugin, by what it has said of itself."""
        if type(node) not in (tuple, list) or not (
            (len(node) == 4 and node[0] == "n") or (len(node) == 3 and node[0] == "r" and type(node[1]) is int)
        ):
            raise PiactorsError("it does not say what it is")
        *_, told = node
        path = node[2] if node[0] == "n" else ()
        if type(path) not in (tuple, list) or not all(type(part) is str for part in path):
            raise PiactorsError("it does not say what it is")
        try:
            reach = hooks.HookReach(border.side, things.Anchor(node[1]), tuple(path), facts.checked(told))
        except ValueError as error:
            raise PiactorsError(str(error)) from None
        reach.policy = Hooks(plugin.spec.name, plugin.policy, self.crashes, self.ways)

        def make() -> Any:
            found = things.make(reach)
            if isinstance(found, types.ModuleType):
                resources.dress(found, plugin.spec.target)
            return found

        return make

    def _stand_in(self, plugin: Installed) -> tuple[str, ...]:
        border = self._border(plugin)
        self.application.show(lambda: border.stand_in, plugin.spec.name)
        members = border.told.get("members", {})
        return tuple(sorted(name for name, one in members.items() if one is not None and hooks.is_hook(one)))

    def _end(self, name: str) -> None:
        super()._end(name)
        self._close(name)

    def close(self) -> None:
        """All processes have ended."""
        for name in list(self._borders):
            self._close(name)

    def _close(self, name: str) -> None:
        border = self._borders.pop(name, None)
        if border is not None:
            border.close()
